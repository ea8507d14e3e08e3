//! Taking away what nobody needs.
use super::lock::Lock;
use super::{ImageStore, Names, files};
use crate::digest::Digest;
use crate::error::Context;
use crate::manifest::{ConfigFile, Manifest};
use crate::reference::{Reference, Wanted};
use crate::{ImageError, Result};
use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

/// How long to wait for builds and pulls to end before what they may rely on is left for the next time.
const PATIENCE: Duration = Duration::from_millis(500);

/// A build step that nobody asked for in this time is not remembered.
const FORGOTTEN: Duration = Duration::from_secs(14 * 24 * 3600);

/// Small files (`f…`, `c…`) are renamed to where they belong without a lock, at once.
const AT_ONCE: Duration = Duration::from_secs(600);

/// What was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    /// Names that are gone, normalized.
    pub untagged: Vec<String>,
    /// Images that are gone.
    pub deleted: Vec<Digest>,
    pub bytes: u64,
}

/// How much `prune` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneScope {
    /// Images without a name, and layers that neither an image nor the build cache holds.
    Dangling,
    /// All images that no container uses, and the build cache.
    Unused,
}

impl ImageStore {
    /// `image rm`: takes a name away; with its last name the image goes. By id only if it has at most one name, or by `force`.
    pub fn untag(&self, text: &str, force: bool, in_use: &HashSet<Digest>) -> Result<Freed> {
        let mut freed = self.change_names(|names| {
            let (id, entry) = names.find_loosely(text)?;
            let (id, mut entry) = (*id, entry.clone());
            let named =
                matches!(Wanted::parse(text), Ok(Wanted::Name(r)) if names.find(&Wanted::Name(r.clone())).is_some());
            let mut freed = Freed::default();
            if named && entry.tags.len() + entry.digests.len() > 1 {
                let reference = Reference::parse(text)?.or_latest();
                let name = reference.digest.map_or_else(|| reference.tagged(), |digest| reference.with_digest(&digest));
                entry.tags.remove(&name);
                entry.digests.remove(&name);
                freed.untagged.push(name);
                // Digests are names of what was pulled; with its last tag the image goes.
                if !entry.tags.is_empty() || reference.digest.is_some() && !entry.digests.is_empty() {
                    names.images.insert(id, entry);
                    return Ok(freed);
                }
            } else if !force && entry.tags.len() > 1 {
                let message = format!("image {} has several names: {}", short(&id), list(&entry.tags));
                return Err(ImageError::Refused { message: format!("{message} (name one, or use --force)") });
            }
            if in_use.contains(&id) {
                let message = format!("image {} is used by a container", short(&id));
                return Err(ImageError::Refused { message });
            }
            freed.untagged.extend(entry.tags.iter().chain(&entry.digests).cloned());
            freed.deleted.push(id);
            Ok(freed)
        })?;
        for id in freed.deleted.clone() {
            freed.bytes += self.delete(&id)?;
        }
        Ok(freed)
    }

    /// Removes an image with all its names, and the layers that nobody else needs. Returns the bytes freed; what builds and pulls
    /// may rely on stays for the next time.
    pub fn delete(&self, id: &Digest) -> Result<u64> {
        let mine = self.layer_keys_of(id);
        let gone = self.change_names(|names| Ok(names.images.remove(id)))?;
        if gone.is_none() {
            return Ok(0);
        }
        let Some(_lock) = self.lock_patiently()? else { return Ok(0) };
        self.collect_with(&mine?)
    }

    /// The same, but not at all while something is being built or pulled.
    pub(super) fn delete_at_rest(&self, id: &Digest) -> Result<Option<u64>> {
        let Some(_lock) = self.lock_patiently()? else { return Ok(None) };
        let mine = self.layer_keys_of(id);
        let gone = self.change_names(|names| Ok(names.images.remove(id)))?;
        if gone.is_none() {
            return Ok(Some(0));
        }
        self.collect_with(&mine?).map(Some)
    }

    /// Layers of an image that is gone, also if the build cache remembers them, and what earlier removals had to leave.
    fn collect_with(&self, mine: &HashSet<Digest>) -> Result<u64> {
        let needed = self.needed(&self.names()?)?;
        let cached = self.cached_layers()?;
        let mut bytes = 0;
        for key in self.layer_keys()? {
            if !needed.layers.contains(&key) && (mine.contains(&key) || !cached.contains(&key)) {
                bytes += self.remove_layer(&key)?;
            }
        }
        bytes += self.collect_blobs(&needed)?;
        Ok(bytes)
    }

    /// Removes images nobody needs, and everything that belongs to none.
    pub fn prune(&self, scope: PruneScope, in_use: &HashSet<Digest>) -> Result<Freed> {
        let mut freed = Freed::default();
        let _lock = Lock::exclusive(&self.root().join("collect.lock"))?;
        let names = self.change_names(|names| {
            for (id, entry) in &names.images {
                let dangling = entry.tags.is_empty() && (scope == PruneScope::Unused || entry.digests.is_empty());
                if (dangling || scope == PruneScope::Unused) && !in_use.contains(id) {
                    freed.untagged.extend(entry.tags.iter().chain(&entry.digests).cloned());
                    freed.deleted.push(*id);
                }
            }
            for id in &freed.deleted {
                names.images.remove(id);
            }
            Ok(names.clone())
        })?;
        if scope == PruneScope::Unused {
            freed.bytes += self.forget_builds()?;
        }
        let mut needed = self.needed(&names)?;
        needed.layers.extend(self.cached_layers()?);
        for key in self.layer_keys()? {
            if !needed.layers.contains(&key) {
                freed.bytes += self.remove_layer(&key)?;
            }
        }
        freed.bytes += self.collect_blobs(&needed)?;
        Ok(freed)
    }

    /// What others left behind when they died. Only if nobody works just now.
    pub(super) fn sweep(&self) -> Result<()> {
        let Some(_lock) = Lock::try_exclusive(&self.root().join("collect.lock"))? else { return Ok(()) };
        let dir = self.root().join("tmp");
        for entry in fs::read_dir(&dir).context(|| dir.display())? {
            let entry = entry.context(|| dir.display())?;
            let Ok(metadata) = entry.metadata() else { continue };
            let fresh = metadata.modified().is_ok_and(|m| m.elapsed().is_ok_and(|age| age < AT_ONCE));
            if fresh && entry.file_name().to_str().is_some_and(|name| name.starts_with(['f', 'c'])) {
                continue;
            }
            if metadata.is_dir() { files::remove_dir(&entry.path())? } else { files::remove(&entry.path())? }
        }
        let dir = self.root().join("layers");
        for entry in fs::read_dir(&dir).context(|| dir.display())? {
            let path = entry.context(|| dir.display())?.path();
            if path.is_dir() && !path.with_extension("json").exists() {
                files::remove_dir(&path)?;
            }
        }
        Ok(())
    }

    fn lock_patiently(&self) -> Result<Option<Lock>> {
        let begun = Instant::now();
        loop {
            let lock = Lock::try_exclusive(&self.root().join("collect.lock"))?;
            if lock.is_some() || begun.elapsed() > PATIENCE {
                return Ok(lock);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn layer_keys_of(&self, id: &Digest) -> Result<HashSet<Digest>> {
        let config: Option<ConfigFile> = self.document(id)?;
        Ok(config.map(|c| Self::chain_keys(&c.rootfs.diff_ids).into_iter().collect()).unwrap_or_default())
    }

    fn needed(&self, names: &Names) -> Result<Needed> {
        let mut needed = Needed::default();
        for (id, entry) in &names.images {
            needed.blobs.extend([*id, entry.manifest]);
            needed.blobs.extend(entry.digests.iter().filter_map(|d| d.rsplit_once('@')?.1.parse::<Digest>().ok()));
            // A damaged document must not make us take the layers of a good one; and an image that cannot be read cannot run either.
            if let Ok(Some(manifest)) = self.document::<Manifest>(&entry.manifest) {
                needed.blobs.extend(manifest.layers.iter().map(|l| l.digest));
            }
            if let Ok(keys) = self.layer_keys_of(id) {
                needed.layers.extend(keys);
            }
        }
        Ok(needed)
    }

    fn collect_blobs(&self, needed: &Needed) -> Result<u64> {
        let dir = self.root().join("blobs/sha256");
        let mut bytes = 0;
        for entry in fs::read_dir(&dir).context(|| dir.display())? {
            let entry = entry.context(|| dir.display())?;
            let digest = entry.file_name().to_str().and_then(Digest::from_hex);
            if digest.is_none_or(|d| !needed.blobs.contains(&d)) {
                bytes += entry.metadata().map_or(0, |m| m.len());
                files::remove(&entry.path())?;
            }
        }
        Ok(bytes)
    }

    /// Layers that steps in the build cache came to. Steps that no build asked for in a long time are forgotten.
    fn cached_layers(&self) -> Result<HashSet<Digest>> {
        let dir = self.root().join("cache");
        let mut layers = HashSet::new();
        for entry in fs::read_dir(&dir).context(|| dir.display())? {
            let entry = entry.context(|| dir.display())?;
            let metadata = entry.metadata().context(|| dir.display())?;
            if metadata.is_file() && metadata.modified().is_ok_and(|m| m.elapsed().is_ok_and(|age| age > FORGOTTEN)) {
                files::remove(&entry.path())?;
            } else if let Some(step) = crate::build::cache::Step::read(&entry.path()) {
                layers.extend(step.layer);
            }
        }
        Ok(layers)
    }

    fn forget_builds(&self) -> Result<u64> {
        let dir = self.root().join("cache");
        for entry in fs::read_dir(&dir).context(|| dir.display())? {
            let entry = entry.context(|| dir.display())?;
            let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
            if is_dir { files::remove_dir(&entry.path())? } else { files::remove(&entry.path())? }
        }
        Ok(0)
    }
}

#[derive(Default)]
struct Needed {
    blobs: HashSet<Digest>,
    layers: HashSet<Digest>,
}

/// As docker shows ids.
pub fn short(id: &Digest) -> String {
    id.hex().chars().take(12).collect()
}

fn list(names: &std::collections::BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

//! Which images there are, and what they are called.
use super::lock::Lock;
use super::{ImageStore, files};
use crate::digest::Digest;
use crate::error::{Context, corrupt};
use crate::reference::{Reference, Wanted};
use crate::{ImageError, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// `names.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// By id, which is the digest of the configuration.
    pub images: BTreeMap<Digest, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub manifest: Digest,
    /// When it came to be on this machine: a reproducible image does not say when it was made.
    pub added: Timestamp,
    /// `docker.io/library/web:v1`.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// `docker.io/library/web@sha256:…`, of manifests and of indexes it was reached through.
    #[serde(default)]
    pub digests: BTreeSet<String>,
}

impl Names {
    pub fn find(&self, wanted: &Wanted) -> Option<(&Digest, &Entry)> {
        match wanted {
            Wanted::Id(id) => self.images.get_key_value(id),
            Wanted::Name(reference) => self.images.iter().find(|(_, entry)| entry.is(reference)),
        }
    }

    /// What a person at a command line means: a name, an id, or the beginning of an id, as with docker.
    pub fn find_loosely(&self, text: &str) -> Result<(&Digest, &Entry)> {
        let none = || ImageError::Refused { message: format!("no such image: {text}") };
        let named = Wanted::parse(text).ok().and_then(|wanted| self.find(&wanted));
        if let Some(found) = named {
            return Ok(found);
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(none());
        }
        let mut found = self.images.iter().filter(|(id, _)| id.hex().starts_with(digits));
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(ImageError::Refused { message: format!("several images begin with {text}") }),
            (None, _) => Err(none()),
        }
    }

    /// Adds an image, or a further name to it. A tag belongs to one image: it is taken from another one that had it.
    pub fn add(&mut self, id: Digest, manifest: Digest, now: Timestamp, reference: Option<&Reference>) {
        let tag = reference.filter(|r| r.digest.is_none()).map(Reference::tagged);
        if let Some(tag) = &tag {
            for entry in self.images.values_mut() {
                entry.tags.remove(tag);
            }
        }
        let entry = self.images.entry(id);
        let entry =
            entry.or_insert_with(|| Entry { manifest, added: now, tags: BTreeSet::new(), digests: BTreeSet::new() });
        entry.manifest = manifest;
        entry.tags.extend(tag);
    }
}

impl Entry {
    /// With a digest the digest alone decides, as everywhere.
    fn is(&self, reference: &Reference) -> bool {
        match &reference.digest {
            Some(digest) => self.digests.contains(&reference.with_digest(digest)),
            None => self.tags.contains(&reference.tagged()),
        }
    }
}

impl ImageStore {
    pub fn names(&self) -> Result<Names> {
        let path = self.root().join("names.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| corrupt(path.display(), e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Names::default()),
            Err(e) => Err(e).context(|| path.display()),
        }
    }

    /// Changes the names; nobody else does meanwhile.
    pub fn change_names<T>(&self, change: impl FnOnce(&mut Names) -> Result<T>) -> Result<T> {
        let _lock = Lock::exclusive(&self.root().join("names.lock"))?;
        let before = self.names()?;
        let mut names = before.clone();
        let value = change(&mut names)?;
        if names != before {
            let mut bytes = serde_json::to_vec_pretty(&names).map_err(|e| corrupt("names.json", e))?;
            bytes.push(b'\n');
            files::write_atomically(self.root(), &self.root().join("names.json"), &bytes)?;
        }
        Ok(value)
    }

    /// Gives an image one more name.
    pub fn tag(&self, image: &str, name: &str) -> Result<()> {
        let reference = Reference::parse(name)?;
        if reference.digest.is_some() {
            return Err(ImageError::Refused { message: format!("{name}: a new name has a tag and no digest") });
        }
        self.change_names(|names| {
            let (id, entry) = names.find_loosely(image)?;
            let (id, manifest, added) = (*id, entry.manifest, entry.added);
            names.add(id, manifest, added, Some(&reference));
            Ok(())
        })
    }
}

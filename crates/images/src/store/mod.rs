//! The images of one machine: [`ImageStore`].
//!
//! ```text
//! version                 format of this directory
//! names.json              which images there are, and their names
//! blobs/sha256/HEX        documents, and layers as they came from outside (compressed or not)
//! layers/HEX/             an unpacked layer, by the digest of its tar (or of its whole chain, if it leans on those below)
//! layers/HEX.json         what is known of it; written last: a layer without it is not there
//! cache/                  what build steps came to
//! tmp/                    work in progress, worthless to everybody else
//! collect.lock            shared: somebody relies on things that have no name yet; exclusive: unneeded things are taken away
//! names.lock              held while names.json is changed
//! ```
//!
//! Several processes use one store at once (`isopod build` beside the server). Everything is written under `tmp`, and renamed to where
//! it belongs when it is whole. Blobs and names are on disk before they count; a layer may be lost to a power failure together with the
//! record of the boot it was unpacked in, and is then unpacked again from its blob (see [`layers`]).
mod blobs;
mod collect;
mod files;
mod images;
mod layers;
mod lock;
mod names;

pub use collect::{Freed, PruneScope, short};
pub(crate) use images::blocking;
pub use layers::{Layer, LayerRecord, NewLayer};
pub use names::{Entry, Names};

use crate::digest::Digest;
use crate::error::{Context, corrupt};
use crate::manifest::{ConfigFile, Manifest};
use crate::reference::Wanted;
use crate::registry::{Pulls, RegistryConfig};
use crate::{Image, Result};
use lock::Lock;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VERSION: &str = "isopod-images 1\n";

/// A store of images in a directory. Cheap to clone.
#[derive(Clone)]
pub struct ImageStore {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    /// This boot, as the kernel names it.
    boot: String,
    registries: RegistryConfig,
    pulls: Pulls,
}

/// Keeps what has no name yet from being collected.
pub struct Work {
    _lock: Lock,
}

/// All there is to know of one image.
#[derive(Debug, Clone)]
pub struct Details {
    pub id: Digest,
    pub entry: Entry,
    pub manifest: Manifest,
    pub config: ConfigFile,
}

impl ImageStore {
    /// Opens the store in `dir`, and makes it if it is not there. Registries are those of this machine's configuration.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let registries = RegistryConfig::of_machine(&dir);
        Self::open_with(dir, registries)
    }

    pub fn open_with(dir: impl Into<PathBuf>, registries: RegistryConfig) -> Result<Self> {
        let dir = dir.into();
        // Layers are mounted by their paths, and other processes have other working directories.
        let root = std::path::absolute(&dir).context(|| format!("image store {}", dir.display()))?;
        for part in ["", "blobs/sha256", "layers", "cache", "tmp"] {
            files::make_private_dir(&root.join(part))?;
        }
        let version = root.join("version");
        match std::fs::read_to_string(&version) {
            Ok(text) if text == VERSION => {}
            Ok(text) => return Err(corrupt(version.display(), format!("unknown format {:?}", text.trim()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                files::write_atomically(&root, &version, VERSION.as_bytes())?;
            }
            Err(e) => return Err(e).context(|| version.display()),
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context(|| "boot id")?.trim().to_owned();
        let store = Self { shared: Arc::new(Shared { root, boot, registries, pulls: Pulls::default() }) };
        store.sweep()?;
        Ok(store)
    }

    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    pub(crate) fn registries(&self) -> &RegistryConfig {
        &self.shared.registries
    }

    pub(crate) fn pulls(&self) -> &Pulls {
        &self.shared.pulls
    }

    /// To be held from the first blob of something new until it has its name.
    pub fn work(&self) -> Result<Work> {
        Ok(Work { _lock: Lock::shared(&self.root().join("collect.lock"))? })
    }

    /// A path for something new, in a directory that disappears with the value.
    pub(crate) fn temporary(&self) -> Result<tempfile::TempDir> {
        let dir = self.root().join("tmp");
        tempfile::Builder::new().prefix("t").tempdir_in(&dir).context(|| dir.display())
    }

    /// The image of that name or id, if it is here and whole.
    pub fn lookup(&self, reference: &str) -> Result<Option<Image>> {
        let wanted = Wanted::parse(reference)?;
        match self.names()?.find(&wanted) {
            Some((id, entry)) => self.image(id, entry),
            None => Ok(None),
        }
    }

    /// All images that are whole, in order of id.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for (id, entry) in &self.names()?.images {
            images.extend(self.image(id, entry)?);
        }
        Ok(images)
    }

    /// The documents of an image. None if they are not (all) here.
    pub fn details(&self, id: &Digest) -> Result<Option<Details>> {
        let names = self.names()?;
        let Some(entry) = names.images.get(id) else { return Ok(None) };
        let (Some(manifest), Some(config)) = (self.document(&entry.manifest)?, self.document(id)?) else {
            return Ok(None);
        };
        Ok(Some(Details { id: *id, entry: entry.clone(), manifest, config }))
    }

    fn image(&self, id: &Digest, entry: &Entry) -> Result<Option<Image>> {
        let (Some(manifest), Some(config)) =
            (self.document::<Manifest>(&entry.manifest)?, self.document::<ConfigFile>(id)?)
        else {
            return Ok(None);
        };
        let Some(layers) = self.unpacked_layers(&manifest, &config)? else { return Ok(None) };
        let size = layers.iter().map(|l| l.bytes).sum();
        Ok(Some(Image {
            id: id.to_string(),
            tags: entry.tags.iter().cloned().collect(),
            digests: entry.digests.iter().cloned().collect(),
            config: (&config.config).into(),
            layers: layers.into_iter().map(|l| l.path).collect(),
            size,
        }))
    }
}

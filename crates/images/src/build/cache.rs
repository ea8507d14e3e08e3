//! What build steps came to, so that a step whose inputs are the same is not done again.
//!
//! ```text
//! cache/HEX.json        a step, by the digest of all it depends on
//! cache/digests/HEX     digest of a large file's content, by place, size and times (as git's index does it)
//! cache/mounts/HEX/     directories of RUN --mount=type=cache
//! ```
//! All of it may be taken away at any time.
use crate::digest::Digest;
use crate::store::ImageStore;
use serde::{Deserialize, Serialize};
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The layer it made; none if it changed nothing.
    pub layer: Option<Digest>,
}

impl Step {
    /// A step's record. None if it cannot be read: the cache may always forget.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

/// Files below this size are faster read than looked up.
const WORTH_REMEMBERING: u64 = 1 << 20;
/// A file that was changed this short a time ago may change again without its times telling.
const SETTLED: Duration = Duration::from_secs(2);

/// The build cache of a store.
pub struct Cache<'s> {
    store: &'s ImageStore,
}

impl<'s> Cache<'s> {
    pub fn new(store: &'s ImageStore) -> Self {
        Self { store }
    }

    fn dir(&self) -> PathBuf {
        self.store.root().join("cache")
    }

    /// What a step came to; that it was asked for is noted in the record's time.
    pub fn find(&self, key: &Digest) -> Option<Step> {
        let path = self.dir().join(format!("{}.json", key.hex()));
        let step = Step::read(&path)?;
        let touched = std::fs::File::options().append(true).open(&path).and_then(|f| f.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            tracing::debug!(%error, "cannot note that a step was asked for");
        }
        Some(step)
    }

    pub fn remember(&self, key: &Digest, step: &Step) -> io::Result<()> {
        let bytes = serde_json::to_vec(step)?;
        self.write(&self.dir().join(format!("{}.json", key.hex())), &bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix("c").tempfile_in(self.store.root().join("tmp"))?;
        io::Write::write_all(&mut file, bytes)?;
        file.persist(path).map(drop).map_err(|e| e.error)
    }

    /// The digest of a regular file's content.
    pub fn file_digest(&self, path: &Path, metadata: &Metadata) -> io::Result<Digest> {
        if metadata.len() < WORTH_REMEMBERING {
            return hash(path);
        }
        let mut key = crate::digest::Hasher::default();
        key.field(path.as_os_str().as_bytes());
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        for number in [metadata.dev(), metadata.ino(), metadata.len()].into_iter().chain(times.map(i64::cast_unsigned))
        {
            key.field(number.to_le_bytes());
        }
        let dir = self.dir().join("digests");
        let at = dir.join(key.finish().hex());
        let known = std::fs::read_to_string(&at).ok().and_then(|text| text.parse().ok());
        if let Some(digest) = known {
            return Ok(digest);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let digest = hash(path)?;
        let changed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
        if now.saturating_sub(changed) > SETTLED {
            std::fs::create_dir_all(&dir)?;
            self.write(&at, digest.to_string().as_bytes())?;
        }
        Ok(digest)
    }

    /// The directory of a cache mount, made if it is not there.
    pub fn mount(&self, id: &str) -> io::Result<PathBuf> {
        let dir = self.dir().join("mounts").join(Digest::of(id.as_bytes()).hex());
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }
}

fn hash(path: &Path) -> io::Result<Digest> {
    let mut hashing = crate::digest::Hashing::new(io::sink());
    let mut buffer = vec![0; 256 << 10];
    let mut file = std::fs::File::open(path)?;
    loop {
        let n = io::Read::read(&mut file, &mut buffer)?;
        if n == 0 {
            return Ok(hashing.finish().0);
        }
        io::Write::write_all(&mut hashing, buffer.get(..n).unwrap_or_default())?;
    }
}

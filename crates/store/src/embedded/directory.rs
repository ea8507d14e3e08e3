//! The data directory: who has it open, which format it is in, which key opens its secrets.
//!
//! ```text
//! format           "isopod-store 1": what wrote it, so that a release never misreads another's data
//! lock             flock(2) of the server that has it open, and its pid
//! store.redb       the rows
//! encryption.key   keys for secrets at rest (0600), unless another file was given
//! ```
use super::table::Table;
use crate::seal::KeyRing;
use crate::{Error, Result};
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format this release writes. It reads all up to this one.
pub const FORMAT: u32 = 1;
const FORMAT_WORD: &str = "isopod-store";

#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Held as long as the store is open; the kernel lets go of it when the process dies.
    _lock: File,
}

impl Directory {
    /// Takes the directory, made if need be, for this process alone.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = |source| disk(path, source);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(cannot)?;
        let lock = lock(path)?;
        let directory = Self { path: path.to_owned(), _lock: lock };
        directory.check_format()?;
        Ok(directory)
    }

    pub fn database_path(&self) -> PathBuf {
        self.path.join("store.redb")
    }

    /// The database's file. A new database is made under another name and renamed when it is whole: redb does not open a file
    /// whose creation was cut short by a power loss.
    pub fn database(&self) -> Result<File> {
        let path = self.database_path();
        let cannot = |source| disk(&path, source);
        if !path.try_exists().map_err(cannot)? {
            let new = path.with_extension("new");
            let file = open_file(&new, true).map_err(cannot)?;
            drop(Table::open(path.display().to_string(), Arc::new(file))?);
            std::fs::rename(&new, &path).map_err(cannot)?;
            File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(cannot)?;
        }
        open_file(&path, false).map_err(cannot)
    }

    /// The keys in `given`, which must be there, or else in the directory; `None`: there is no file yet.
    pub fn keys(&self, given: Option<&Path>) -> Result<Option<KeyRing>> {
        let path = self.key_path(given);
        match path.try_exists() {
            Ok(false) if given.is_none() => Ok(None),
            Ok(_) => KeyRing::load(&path).map(Some),
            Err(source) => Err(disk(&path, source)),
        }
    }

    pub fn key_path(&self, given: Option<&Path>) -> PathBuf {
        given.map_or_else(|| self.path.join("encryption.key"), Path::to_owned)
    }

    fn check_format(&self) -> Result<()> {
        let path = self.path.join("format");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.write_format(&path),
            Err(source) => return Err(disk(&path, source)),
        };
        let found = text.trim();
        let number = found.strip_prefix(FORMAT_WORD).and_then(|number| number.trim().parse::<u32>().ok());
        if number.is_some_and(|number| (1..=FORMAT).contains(&number)) {
            return Ok(());
        }
        let path = self.path.display().to_string();
        Err(Error::Format { path, found: found.chars().take(40).collect(), supported: FORMAT })
    }

    /// Written before anything else, in one step, so that a directory with data always has it.
    fn write_format(&self, path: &Path) -> Result<()> {
        let write = || {
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            writeln!(file, "{FORMAT_WORD} {FORMAT}")?;
            file.sync_all()?;
            std::fs::rename(&new, path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| disk(path, source))
    }
}

fn open_file(path: &Path, truncate: bool) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

fn lock(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let cannot = |source| disk(&path, source);
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(source)) => return Err(cannot(source)),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Who it is only serves the message.
            if file.read_to_string(&mut pid).is_err() || pid.trim().is_empty() {
                pid = "unknown".to_owned();
            }
            return Err(Error::InUse { path: directory.display().to_string(), pid: pid.trim().to_owned() });
        }
    }
    let pid = format!("{}\n", std::process::id());
    file.set_len(0).and_then(|()| file.write_all(pid.as_bytes())).map_err(cannot)?;
    Ok(file)
}

fn disk(path: &Path, source: io::Error) -> Error {
    Error::Disk { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_told_who_has_it() {
        let at = tempfile::tempdir().unwrap();
        let first = Directory::open(at.path()).unwrap();
        let second = Directory::open(at.path()).unwrap_err().to_string();
        assert_eq!(second, format!("{} is in use by another isopod (pid {})", at.path().display(), std::process::id()));
        drop(first);
        Directory::open(at.path()).unwrap();
    }

    #[test]
    fn a_creation_cut_short_is_begun_anew() {
        let at = tempfile::tempdir().unwrap();
        std::fs::write(at.path().join("store.new"), vec![0xff; 10_000]).unwrap();
        let directory = Directory::open(at.path()).unwrap();
        directory.database().unwrap();
        assert!(directory.database_path().exists());
        assert!(!at.path().join("store.new").exists());
    }

    #[test]
    fn a_format_of_the_future_is_refused() {
        let at = tempfile::tempdir().unwrap();
        drop(Directory::open(at.path()).unwrap());
        assert_eq!(std::fs::read_to_string(at.path().join("format")).unwrap(), "isopod-store 1\n");
        for text in ["isopod-store 2\n", "isopod-store 0", "isopod-store", "", "something else"] {
            std::fs::write(at.path().join("format"), text).unwrap();
            let refused = Directory::open(at.path()).unwrap_err();
            let Error::Format { found, supported: 1, .. } = refused else { panic!("{text:?}: {refused}") };
            assert_eq!(found, text.trim());
        }
    }
}

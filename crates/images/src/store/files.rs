//! Files that are whole or not there.
use crate::Result;
use crate::error::Context;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Only root may look inside: layers hold set-uid programs of old distributions.
pub fn make_private_dir(dir: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).context(|| format!("cannot make {}", dir.display()))
}

/// Writes a file by way of `root/tmp`: afterwards it is there and on disk, or (after a crash) the old one is.
pub fn write_atomically(root: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut temporary = tempfile::Builder::new().prefix("f").tempfile_in(root.join("tmp"))?;
        temporary.write_all(bytes)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|e| e.error)?;
        sync_parent(path)
    };
    write().context(|| format!("cannot write {}", path.display()))
}

/// Writes a file that may be lost to a power failure, but is never half there.
pub fn write_lazily(root: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut temporary = tempfile::Builder::new().prefix("f").tempfile_in(root.join("tmp"))?;
        temporary.write_all(bytes)?;
        temporary.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().context(|| format!("cannot write {}", path.display()))
}

/// Makes a rename last.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a file; that it is gone already is fine.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).context(|| format!("cannot remove {}", path.display())),
        _ => Ok(()),
    }
}

/// Removes a directory with all it holds, following nothing.
pub fn remove_dir(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let removed =
        File::open(parent).and_then(|parent| crate::layer::remove_tree(std::os::fd::AsFd::as_fd(&parent), name));
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).context(|| format!("cannot remove {}", path.display())),
        _ => Ok(()),
    }
}

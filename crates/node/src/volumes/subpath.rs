//! `subPath`: a part of a volume, found without ever leaving the volume (`pkg/volume/util/subpath`, CVE-2017-1002101, CVE-2021-25741).
//!
//! The kernel resolves the path beneath the volume's root (`openat2(2)`, `RESOLVE_BENEATH`), and what it opened is bind-mounted by its
//! descriptor to a place of ours: nothing that a container does to the volume meanwhile can make it another file.
use super::mount_table;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, fstat, mkdirat};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub(crate) enum SubPathError {
    #[error("error SubPath `{0}` must not be an absolute path")]
    Absolute(String),
    #[error("unable to provision SubPath `{0}`: must not contain '..'")]
    Backsteps(String),
    /// A link leads out of the volume.
    #[error("the path leads out of the volume")]
    Escapes,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for SubPathError {
    fn from(error: Errno) -> Self {
        if error == Errno::EXDEV { Self::Escapes } else { Self::Io(error.into()) }
    }
}

/// The path's components, if they go down only.
fn parts(path: &str) -> Result<Vec<&std::ffi::OsStr>, SubPathError> {
    let mut out = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err(SubPathError::Backsteps(path.to_owned())),
            Component::RootDir | Component::Prefix(_) => return Err(SubPathError::Absolute(path.to_owned())),
        }
    }
    Ok(out)
}

fn beneath(directory: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(flags);
    // The kernel gives up when something is renamed under its feet; it asks to be asked again.
    for _ in 0..16 {
        match openat2(directory, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// Opens what `path` names in the volume. What is missing is made as directories with the mode of the volume's root.
pub(crate) fn find(volume: &Path, path: &str) -> Result<OwnedFd, SubPathError> {
    let parts = parts(path)?;
    let root = open(volume, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let whole: PathBuf = parts.iter().collect();
    if whole.as_os_str().is_empty() {
        return Ok(root);
    }
    match beneath(root.as_fd(), &whole) {
        Err(Errno::ENOENT) => {}
        other => return Ok(other?),
    }
    let mode = fstat(&root)?.st_mode & 0o7777;
    let mut reached = PathBuf::new();
    let mut here = root.as_fd().try_clone_to_owned()?;
    for part in parts {
        reached.push(part);
        here = match beneath(root.as_fd(), &reached) {
            Err(Errno::ENOENT) => {
                match mkdirat(&here, part, Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let made = beneath(root.as_fd(), &reached)?;
                fs::set_permissions(format!("/proc/self/fd/{}", made.as_raw_fd()), Permissions::from_mode(mode))?;
                made
            }
            other => other?,
        };
    }
    Ok(here)
}

/// Makes what is open on `source` visible at `target`, a place of ours. Idempotent: what is there already stays.
pub(crate) fn show(source: &OwnedFd, target: &Path) -> io::Result<()> {
    let wanted = fstat(source)?;
    if let Ok(found) = fs::metadata(target)
        && (found.dev(), found.ino()) == (wanted.st_dev, wanted.st_ino)
    {
        return Ok(());
    }
    // An older instance of the container saw another file (the volume was updated meanwhile).
    mount_table::unmount(target)?;
    let parent = target.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    fs::create_dir_all(parent)?;
    let directory = wanted.st_mode & 0o170_000 == 0o040_000;
    match fs::symlink_metadata(target) {
        Ok(there) if there.is_dir() == directory => {}
        Ok(there) if there.is_dir() => fs::remove_dir(target)?,
        Ok(_) => fs::remove_file(target)?,
        Err(_) => {}
    }
    if fs::symlink_metadata(target).is_err() {
        if directory {
            fs::create_dir(target)?;
        } else {
            fs::write(target, b"")?;
        }
    }
    mount_table::bind(source.as_fd(), target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn stays_in_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("v");
        fs::create_dir(&volume).unwrap();
        fs::set_permissions(&volume, Permissions::from_mode(0o2777)).unwrap();
        fs::create_dir(volume.join("d")).unwrap();
        fs::write(volume.join("d/f"), "x").unwrap();
        fs::write(dir.path().join("secret"), "s").unwrap();
        for (link, to) in [("in", "d/f"), ("out", "../secret"), ("abs", "/etc"), ("loop", "loop"), ("up", "d/../d")] {
            symlink(to, volume.join(link)).unwrap();
        }
        let ino = |path: &Path| fs::metadata(path).unwrap().ino();
        let found = |path: &str| find(&volume, path).map(|fd| fstat(&fd).unwrap().st_ino);
        for (path, same) in [("d/f", "d/f"), ("in", "d/f"), ("./d//f", "d/f"), ("up/f", "d/f"), ("", "")] {
            assert_eq!(found(path).unwrap(), ino(&volume.join(same)), "{path}");
        }
        for path in ["out", "abs", "abs/passwd", "out/x"] {
            assert!(matches!(found(path), Err(SubPathError::Escapes)), "{path}: {:?}", found(path));
        }
        let refused = |path: &str| found(path).map(|_| String::new()).unwrap_or_else(|e| e.to_string());
        assert_eq!(refused("/etc"), "error SubPath `/etc` must not be an absolute path");
        assert_eq!(refused("d/../f"), "unable to provision SubPath `d/../f`: must not contain '..'");
        assert!(refused("loop").contains("symbolic links"), "{}", refused("loop"));
        assert!(refused("d/f/x").contains("Not a directory"), "{}", refused("d/f/x"));
        find(&volume, "new/deep").unwrap();
        for path in ["new", "new/deep"] {
            assert_eq!(fs::metadata(volume.join(path)).unwrap().mode() & 0o7777, 0o2777, "{path}");
        }
    }

    #[test]
    fn shows_files_and_directories_and_changes_its_mind() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, target) = (dir.path().join("v"), dir.path().join("t/0"));
        fs::create_dir_all(volume.join("d")).unwrap();
        fs::write(volume.join("f"), "one").unwrap();
        fs::write(volume.join("d/g"), "two").unwrap();
        show(&find(&volume, "f").unwrap(), &target).unwrap();
        show(&find(&volume, "f").unwrap(), &target).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "one");
        assert_eq!(mount_table::below(dir.path()).unwrap(), std::slice::from_ref(&target), "once");
        show(&find(&volume, "d").unwrap(), &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("g")).unwrap(), "two");
        mount_table::unmount(&target).unwrap();
        assert!(mount_table::below(dir.path()).unwrap().is_empty());
        mount_table::unmount(&target).unwrap();
    }
}

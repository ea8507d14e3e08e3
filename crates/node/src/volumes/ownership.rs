//! `fsGroup`: the pod's group may use the volume (`pkg/volume/volume_linux.go`).
//!
//! Files get the group and its read and write bits, directories also search and setgid, so that what is made later belongs to the
//! group too. Nothing is done through a symbolic link, and every file is changed by its descriptor: a container that swaps files
//! for links meanwhile gains nothing.
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Gid, fchownat};
use std::ffi::OsStr;
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const SEARCH: u32 = 0o110;
const SETGID: u32 = 0o2000;
/// Directories deeper than this are left as they are: each level holds a descriptor.
const DEEPEST: usize = 256;

/// Whom a volume is to belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ownership {
    pub group: u32,
    pub read_only: bool,
}

/// `fsGroupChangePolicy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Always,
    /// Only if the volume's root is not as it should be: then the rest is taken to be right too.
    OnRootMismatch,
}

impl Ownership {
    fn mode(self, was: u32, directory: bool) -> u32 {
        let access = if self.read_only { READ_ONLY } else { READ_WRITE };
        was | access | if directory { SETGID | SEARCH } else { 0 }
    }
}

/// The whole volume.
pub(crate) fn apply(root: &Path, owner: &Ownership, change: Change) -> io::Result<()> {
    let file = open(root, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    if change == Change::OnRootMismatch && is_right(file.as_fd(), owner)? {
        return Ok(());
    }
    // The root comes last: were we killed before, it does not pretend that all is done.
    descend(file.as_fd(), owner, 0)?;
    one(file.as_fd(), owner)
}

/// This directory alone.
pub(crate) fn apply_one(path: &Path, owner: &Ownership) -> io::Result<()> {
    let file = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    one(file.as_fd(), owner)
}

fn is_right(file: BorrowedFd<'_>, owner: &Ownership) -> io::Result<bool> {
    let stat = fstat(file)?;
    let directory = stat.st_mode & libc_mode::TYPE == libc_mode::DIRECTORY;
    Ok(stat.st_gid == owner.group && owner.mode(stat.st_mode, directory) == stat.st_mode)
}

/// The file type bits of `st_mode` (`inode(7)`).
mod libc_mode {
    pub const TYPE: u32 = 0o170_000;
    pub const DIRECTORY: u32 = 0o040_000;
    pub const LINK: u32 = 0o120_000;
}

fn through(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn one(file: BorrowedFd<'_>, owner: &Ownership) -> io::Result<()> {
    let stat = fstat(file)?;
    if stat.st_gid != owner.group {
        fchownat(file, OsStr::new(""), None, Some(Gid::from_raw(owner.group)), AtFlags::AT_EMPTY_PATH)?;
    }
    let kind = stat.st_mode & libc_mode::TYPE;
    if kind == libc_mode::LINK {
        return Ok(());
    }
    // A change of owner may have taken set-id bits away.
    let wanted = owner.mode(stat.st_mode, kind == libc_mode::DIRECTORY) & 0o7777;
    std::fs::set_permissions(through(file), Permissions::from_mode(wanted))
}

fn descend(directory: BorrowedFd<'_>, owner: &Ownership, depth: usize) -> io::Result<()> {
    if fstat(directory)?.st_mode & libc_mode::TYPE != libc_mode::DIRECTORY || depth > DEEPEST {
        return Ok(());
    }
    for entry in std::fs::read_dir(through(directory))? {
        let name = entry?.file_name();
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file: OwnedFd = match openat(directory, name.as_os_str(), flags, Mode::empty()) {
            // Somebody removed it meanwhile.
            Err(nix::errno::Errno::ENOENT) => continue,
            opened => opened?,
        };
        descend(file.as_fd(), owner, depth.saturating_add(1))?;
        one(file.as_fd(), owner)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn of(path: &Path) -> (u32, u32) {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.gid(), meta.mode() & 0o7777)
    }

    #[test]
    fn gives_the_group_its_rights_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("v"), dir.path().join("outside"));
        fs::create_dir_all(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "x").unwrap();
        fs::write(&outside, "x").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        for (path, mode) in [("d", 0o700), ("d/f", 0o600)] {
            fs::set_permissions(root.join(path), Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
        let owner = Ownership { group: 4242, read_only: false };
        apply(&root, &owner, Change::OnRootMismatch).unwrap();
        assert_eq!(of(&root.join("d")), (4242, 0o2770));
        assert_eq!(of(&root.join("d/f")), (4242, 0o660));
        assert_eq!(of(&root.join("link")).0, 4242);
        assert_eq!(of(&outside), (0, 0o600));

        // The root is right: nothing below is looked at.
        fs::write(root.join("new"), "x").unwrap();
        fs::set_permissions(root.join("new"), Permissions::from_mode(0o600)).unwrap();
        apply(&root, &owner, Change::OnRootMismatch).unwrap();
        assert_eq!(of(&root.join("new")).1, 0o600);
        apply(&root, &Ownership { group: 4242, read_only: true }, Change::Always).unwrap();
        assert_eq!(of(&root.join("new")), (4242, 0o640));
    }
}

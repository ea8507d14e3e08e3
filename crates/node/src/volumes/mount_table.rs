//! What is mounted on this machine, and mounting: tmpfs, binds, and taking them away again.
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Mount points at or below a directory, deepest and newest first: the order in which they can be taken away.
pub(crate) fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = parse(&std::fs::read("/proc/self/mountinfo")?);
    found.retain(|path| path.starts_with(directory));
    // Stacked mounts of one path are listed oldest first.
    found.reverse();
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    Ok(found)
}

/// The mount points of `proc_pid_mountinfo(5)`, in its order; spaces and the like are written as octal there.
fn parse(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|b| *b == b'\n');
    lines.filter_map(|line| line.split(|b| *b == b' ').nth(4)).map(|field| PathBuf::from(unescape(field))).collect()
}

fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(out)
}

/// Whether another file system is mounted right there (a bind mount of the same file system is not seen).
pub(crate) fn is_other_file_system(directory: &Path) -> io::Result<bool> {
    let Some(parent) = directory.parent() else { return Ok(true) };
    Ok(std::fs::symlink_metadata(directory)?.dev() != std::fs::symlink_metadata(parent)?.dev())
}

/// Memory as a file system, writable by everybody; at most `size` bytes if given.
pub(crate) fn tmpfs(directory: &Path, size: Option<u64>) -> io::Result<()> {
    let mut options = "mode=0777".to_owned();
    if let Some(size) = size {
        options.push_str(&format!(",size={size}"));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let make = |options: &str| mount(Some("tmpfs"), directory, Some("tmpfs"), flags, Some(options));
    // What is secret must not reach the swap (KEP-2400); kernels before 6.4 cannot promise that.
    match make(&format!("{options},noswap")) {
        Err(Errno::EINVAL) => make(&options).map_err(io::Error::from),
        other => other.map_err(io::Error::from),
    }
}

/// Makes what `source` is open on visible at `target`.
pub(crate) fn bind(source: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let source = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(&source), target, None::<&str>, flags, None::<&str>).map_err(io::Error::from)?;
    separate(target)
}

/// From now on what happens to this mount, or below it, does not happen to the place it was taken from: without this, taking away
/// a bind mount with a disk below would take the disk from the machine (`mount_namespaces(7)`). New mounts there still appear here.
fn separate(target: &Path) -> io::Result<()> {
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, target, None::<&str>, slave, None::<&str>).map_err(io::Error::from)
}

/// Takes a mount away, even if something still has a file of it open. What is not mounted (any more) is fine.
pub(crate) fn unmount(target: &Path) -> io::Result<()> {
    match separate(target) {
        // Not a mount point, or nothing at all.
        Err(error) if matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EINVAL | Errno::ENOENT)) => {
            return Ok(());
        }
        other => other?,
    }
    match umount2(target.as_os_str().as_bytes(), MntFlags::UMOUNT_NOFOLLOW) {
        Err(Errno::EBUSY) => {
            let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
            umount2(target.as_os_str().as_bytes(), flags).map_err(io::Error::from)
        }
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        other => other.map_err(io::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mountinfo() {
        let table =
            b"22 1 8:1 / / rw - ext4 /dev/sda rw\n30 22 0:5 / /a\\040b/c\\134d rw,nosuid shared:2 - tmpfs t rw\n";
        assert_eq!(parse(table), [PathBuf::from("/"), PathBuf::from("/a b/c\\d")]);
        assert_eq!(parse(b"short line\n\n"), Vec::<PathBuf>::new());
        assert_eq!(unescape(b"x\\09"), OsString::from("x\\09"), "not an escape");
    }
}

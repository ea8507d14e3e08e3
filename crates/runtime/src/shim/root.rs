//! A container's root file system: overlayfs over the image's layers, mounted in a mount namespace of its own, so that it
//! is nowhere in the machine's mount table and gone with the last process that uses it.
use crate::{ContainerConfig, Propagation, Result, RuntimeError, User, users, users::Identity};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::stat::{Mode, fstatat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat},
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::symlink,
    },
    path::{Component, Path},
};

/// Longest `/etc/passwd` or `/etc/group` that is read: some 100,000 users.
const MAX_ACCOUNTS: u64 = 8 << 20;

/// Where layers come from and where changes go.
#[derive(Debug, Clone, Copy)]
pub struct Stack<'a> {
    /// Lowest first.
    pub layers: &'a [std::path::PathBuf],
    /// A directory of ours: links to the layers go there.
    pub links: &'a Path,
    pub upper: &'a Path,
    pub work: &'a Path,
}

/// Enters a new mount namespace, from which nothing gets out to the machine but what is to: there the root file system will be
/// mounted on `target`.
pub fn enter_private_mounts(config: &ContainerConfig, target: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| failed("unshare mounts", error))?;
    let any = |wanted| config.mounts.iter().any(|mount| mount.propagation == wanted);
    let flags = if any(Propagation::Bidirectional) {
        // Mounts of the container are to be seen outside, but not its root: what that is mounted on becomes private. Volumes
        // that are no mounts of their own cannot be shared then; `Bidirectional` is for those that are.
        let text = fs::read_to_string("/proc/self/mountinfo").map_err(|error| io_failed("read mountinfo", &error))?;
        let below = mount_point_of(target, &text);
        return mount(None::<&str>, below, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)
            .map_err(|error| failed("make a mount private", error));
    } else if any(Propagation::HostToContainer) {
        MsFlags::MS_SLAVE
    } else {
        MsFlags::MS_PRIVATE
    };
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | flags, None::<&str>)
        .map_err(|error| failed("make mounts private", error))
}

/// The mount that a path is in, by the text of `mountinfo`.
fn mount_point_of<'a>(path: &Path, mountinfo: &'a str) -> &'a Path {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let above = points.filter(|point| path.starts_with(point));
    above.max_by_key(|point| point.components().count()).unwrap_or(Path::new("/"))
}

/// Mounts the layers with a writable one on top. Devices of the layers are dead in it.
pub fn mount_overlay(stack: &Stack<'_>, target: &Path) -> Result<()> {
    if stack.layers.is_empty() {
        return Err(RuntimeError::invalid("layers", "must not be empty"));
    }
    // The kernel takes one page of options: short links instead of long paths leave room for 500 layers.
    fs::create_dir_all(stack.links).map_err(|error| io_failed("make layer links", &error))?;
    let mut lower = String::new();
    for (index, layer) in stack.layers.iter().enumerate().rev() {
        if !layer.is_dir() {
            return Err(RuntimeError::invalid(
                format!("layers[{index}]"),
                format!("{} is not a directory", layer.display()),
            ));
        }
        match symlink(layer, stack.links.join(index.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_failed("link layer", &error)),
            _ => {}
        }
        if !lower.is_empty() {
            lower.push(':');
        }
        lower.push_str(&index.to_string());
    }
    let options = format!("lowerdir={lower},upperdir={},workdir={}", escaped(stack.upper)?, escaped(stack.work)?);
    let back = std::env::current_dir().map_err(|error| io_failed("find the working directory", &error))?;
    std::env::set_current_dir(stack.links).map_err(|error| io_failed("enter layer links", &error))?;
    let mounted = mount(Some("overlay"), target, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()));
    std::env::set_current_dir(back).map_err(|error| io_failed("go back", &error))?;
    mounted.map_err(|error| failed("mount overlay", error))
}

/// Gives the writable directory the owner and mode of the image's root: overlayfs shows those of its top.
pub fn take_over(layer: &Path, upper: &Path) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let Ok(metadata) = fs::metadata(layer) else { return Ok(()) };
    chown(upper, Some(metadata.uid()), Some(metadata.gid()))
        .and_then(|()| fs::set_permissions(upper, metadata.permissions()))
        .map_err(|error| io_failed("take the root's mode over", &error))
}

/// overlayfs' options end at a comma and its lower directories at a colon.
fn escaped(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| RuntimeError::invalid("upper", "path must be UTF-8"))?;
    Ok(text.replace('\\', "\\\\").replace(',', "\\,").replace(':', "\\:"))
}

/// Who the user is by the root's own files.
pub fn identify(root: &Path, user: &User, supplemental: &[u32]) -> Result<Identity> {
    let root = open_root(root)?;
    let passwd = read_inside(root.as_fd(), "etc/passwd")?;
    let group = read_inside(root.as_fd(), "etc/group")?;
    users::identify(user, supplemental, &passwd, &group)
}

fn open_root(root: &Path) -> Result<OwnedFd> {
    nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|error| failed("open root", error))
}

/// Opens a path as the container would see it: links in it cannot lead out (`openat2(2)`, `RESOLVE_IN_ROOT`).
fn open_inside(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
}

fn read_inside(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    // Not blocking: an image may have a FIFO there.
    let fd = match open_inside(root, Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(String::new()),
        Err(error) => return Err(failed(&format!("open /{path} of the image"), error)),
    };
    let file = File::from(fd);
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(MAX_ACCOUNTS).read_to_end(&mut bytes).map_err(|error| io_failed("read accounts", &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Makes the working directory with its parents, owned by root as runc does, if it is missing.
pub fn make_cwd(root: &Path, cwd: &Path) -> Result<()> {
    let root = open_root(root)?;
    let mut done = std::path::PathBuf::from(".");
    for component in cwd.components() {
        let Component::Normal(name) = component else { continue };
        let parent = open_inside(root.as_fd(), &done, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .map_err(|error| failed(&format!("open {}", done.display()), error))?;
        done.push(name);
        if open_inside(root.as_fd(), &done, OFlag::O_PATH).is_ok() {
            continue;
        }
        make_directory(parent.as_fd(), name).map_err(|error| failed(&format!("mkdir {}", cwd.display()), error))?;
    }
    Ok(())
}

/// Mounts a directory on another place, with its devices dead.
pub fn mount_directory(directory: &Path, target: &Path) -> Result<()> {
    mount(Some(directory), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|error| failed(&format!("mount {}", directory.display()), error))?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NODEV;
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
        .map_err(|error| failed(&format!("remount {}", directory.display()), error))
}

/// Which of these absolute paths, and of the directories above them, are not there: shallow ones first.
pub fn missing(root: &Path, targets: &[std::path::PathBuf]) -> Result<Vec<std::path::PathBuf>> {
    let root = open_root(root)?;
    let mut missing = Vec::new();
    for target in targets {
        let mut path = std::path::PathBuf::new();
        for component in target.components() {
            let Component::Normal(name) = component else { continue };
            path.push(name);
            if open_inside(root.as_fd(), &path, OFlag::O_PATH).is_err() && !missing.contains(&path) {
                missing.push(path.clone());
            }
        }
    }
    Ok(missing)
}

/// Takes away what was made only to be mounted on, if it is still empty. What a program has put there stays; links are not
/// followed.
pub fn remove_stubs(root: &Path, stubs: &[std::path::PathBuf]) -> Result<()> {
    let root = open_root(root)?;
    for stub in stubs.iter().rev() {
        let parent = stub.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let (Ok(parent), Some(name)) = (openat2(&root, parent, how), stub.file_name()) else { continue };
        let Ok(found) = fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
        let kind = found.st_mode & libc::S_IFMT;
        let _not_empty = match kind {
            libc::S_IFDIR => unlinkat(&parent, name, UnlinkatFlags::RemoveDir),
            libc::S_IFREG if found.st_size == 0 => unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir),
            _ => Ok(()),
        };
    }
    Ok(())
}

fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    nix::sys::stat::mkdirat(parent, name, Mode::from_bits_truncate(0o755))?;
    let made =
        nix::fcntl::openat(parent, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
    fchown(&made, Some(Uid::from_raw(0)), Some(Gid::from_raw(0)))
}

fn failed(what: &str, error: Errno) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("cannot {what}: {}", error.desc()) }
}

fn io_failed(what: &str, error: &io::Error) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("cannot {what}: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "web:x:33:34::/srv:/bin/sh\n").unwrap();
        root
    }

    #[test]
    fn users_come_from_the_image_and_from_nowhere_else() {
        let image = image();
        let user = User { name: "web".into(), ..Default::default() };
        assert_eq!(identify(image.path(), &user, &[]).unwrap().uid, 33);
        fs::remove_file(image.path().join("etc/passwd")).unwrap();
        symlink("/etc/passwd", image.path().join("etc/passwd")).unwrap();
        let root = User { name: "root".into(), ..Default::default() };
        assert!(
            identify(image.path(), &root, &[]).is_err(),
            "the link leads back to itself, not to the machine's file"
        );
        fs::remove_file(image.path().join("etc/passwd")).unwrap();
        nix::unistd::mkfifo(&image.path().join("etc/passwd"), Mode::S_IRWXU).unwrap();
        assert!(identify(image.path(), &user, &[]).is_err(), "a FIFO holds nobody up");
    }

    #[test]
    fn the_nearest_mount_is_found() {
        let text =
            "1 0 8:1 / / rw - ext4 a rw\n2 1 0:2 / /data rw shared:1 - tmpfs b rw\n3 1 0:3 / /dat rw - tmpfs c rw\n";
        let found = |path| mount_point_of(Path::new(path), text);
        assert_eq!((found("/data/pod/rootfs"), found("/database")), (Path::new("/data"), Path::new("/")));
    }

    #[test]
    fn only_empty_stubs_go() {
        let (image, outside) = (image(), tempfile::tempdir().unwrap());
        let targets = ["/proc".into(), "/etc/hosts".into(), "/run/secrets/key".into(), "/etc/passwd".into()];
        let stubs = missing(image.path(), &targets).unwrap();
        let names = ["proc", "etc/hosts", "run", "run/secrets", "run/secrets/key"].map(std::path::PathBuf::from);
        assert_eq!(stubs, names);
        for directory in ["proc", "run/secrets"] {
            fs::create_dir_all(image.path().join(directory)).unwrap();
        }
        fs::write(image.path().join("etc/hosts"), "").unwrap();
        fs::write(image.path().join("run/secrets/key"), "kept").unwrap();
        remove_stubs(image.path(), &stubs).unwrap();
        assert!(!image.path().join("proc").exists() && !image.path().join("etc/hosts").exists());
        assert!(image.path().join("run/secrets/key").exists() && image.path().join("etc/passwd").exists());
        fs::write(outside.path().join("hosts"), "").unwrap();
        fs::rename(image.path().join("etc"), image.path().join("etc.old")).unwrap();
        symlink(outside.path(), image.path().join("etc")).unwrap();
        remove_stubs(image.path(), &stubs).unwrap();
        assert!(outside.path().join("hosts").exists(), "a link leads nowhere");
    }

    #[test]
    fn the_working_directory_is_made_inside_the_root() {
        let (image, outside) = (image(), tempfile::tempdir().unwrap());
        make_cwd(image.path(), Path::new("/a/b/c")).unwrap();
        assert!(image.path().join("a/b/c").is_dir());
        make_cwd(image.path(), Path::new("/a/b/c")).unwrap();
        symlink(outside.path(), image.path().join("out")).unwrap();
        let _refused = make_cwd(image.path(), Path::new("/out/x"));
        assert!(!outside.path().join("x").exists());
    }
}

//! Writing a layer's directory: [`Tree`].
//!
//! A path given here is resolved as a process with the stacked layers as its root would (links in lower layers too), and a directory
//! that only a lower layer has is copied up first, as overlayfs does. The writing itself goes through file descriptors of directories
//! opened with `openat2` and `RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH`: even a mistake above could not lead it out of the layer.
use super::attributes::{self, Attributes};
use super::{EPOCH, View};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A layer being written.
pub struct Tree {
    dir: PathBuf,
    root: OwnedFd,
    /// The layers below, and this one on top.
    view: View,
    /// Whether what came out depends on the layers below.
    leaned: bool,
    /// Times of directories, to be set when nothing more is put into them.
    times: Vec<(PathBuf, i64)>,
    /// Where the last entry went: most go to the same place.
    last: Option<Place>,
    bytes: u64,
}

/// A directory of the layer.
struct Place {
    asked: PathBuf,
    real: PathBuf,
    fd: OwnedFd,
}

/// What a name shall be.
pub enum Content<'c> {
    Directory,
    File(&'c mut dyn Read),
    Symlink(&'c OsStr),
    /// Another name for a file of this tree, or of a layer below (which is then copied up).
    Hardlink(&'c Path),
    Character(u64),
    Block(u64),
    Fifo,
}

/// What a layer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Of file contents.
    pub bytes: u64,
    /// The layer is right only on top of the layers it was written over: it took over something of theirs.
    pub leaned: bool,
}

impl Tree {
    /// An empty layer in the empty or new directory `dir`, over `lower` (lowest first).
    pub fn create(dir: &Path, lower: &[PathBuf]) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        rustix::fs::chmod(dir, Mode::from_raw_mode(0o755))?;
        Self::open(dir, lower)
    }

    /// Goes on in a layer that has been begun.
    pub fn open(dir: &Path, lower: &[PathBuf]) -> io::Result<Self> {
        let root = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut layers = lower.to_vec();
        layers.push(dir.to_owned());
        let times = vec![(PathBuf::new(), EPOCH)];
        let view = View::new(layers);
        Ok(Self { dir: dir.to_owned(), root, view, leaned: false, times, last: None, bytes: 0 })
    }

    /// The layers below with what was written so far.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Puts a file at `path` (clean, not the root), in place of whatever is there. A directory over a directory stays with all it
    /// holds and gets the new attributes.
    pub fn put(&mut self, path: &Path, content: Content<'_>, attributes: &Attributes) -> io::Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        if let Content::Hardlink(target) = content {
            return self.hardlink(target, parent, name);
        }
        let before = self.entry(parent, name)?;
        if let (Content::Directory, Before::Directory) = (&content, before) {
            return self.finish_directory(name, attributes);
        }
        self.clear(before, name)?;
        let place = self.place()?;
        match content {
            Content::Directory => {
                rustix::fs::mkdirat(place.fd, name, Mode::from_raw_mode(0o700))?;
                if matches!(before, Before::Whiteout) {
                    attributes::set_opaque(&place.path(name))?;
                }
                return self.finish_directory(name, attributes);
            }
            Content::File(reader) => return self.file(name, reader, attributes),
            Content::Symlink(target) => rustix::fs::symlinkat(target, place.fd, name)?,
            Content::Character(device) => node(place, name, FileType::CharacterDevice, device)?,
            Content::Block(device) => node(place, name, FileType::BlockDevice, device)?,
            Content::Fifo => node(place, name, FileType::Fifo, 0)?,
            Content::Hardlink(_) => {}
        }
        let link = matches!(content, Content::Symlink(_));
        let place = self.place()?;
        rustix::fs::chownat(place.fd, name, uid(attributes), gid(attributes), AtFlags::SYMLINK_NOFOLLOW)?;
        if !link {
            rustix::fs::chmodat(place.fd, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty())?;
        }
        attributes::set(&place.path(name), &attributes.xattrs)?;
        rustix::fs::utimensat(place.fd, name, &times(attributes.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn file(&mut self, name: &OsStr, reader: &mut dyn Read, attributes: &Attributes) -> io::Result<()> {
        let place = self.place()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(place.fd, name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(fd);
        let written = io::copy(reader, &mut file)?;
        rustix::fs::fchown(&file, uid(attributes), gid(attributes))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode))?;
        // After chown, which takes capabilities away.
        attributes::set(&place.path(name), &attributes.xattrs)?;
        rustix::fs::futimens(&file, &times(attributes.mtime))?;
        self.bytes = self.bytes.saturating_add(written);
        Ok(())
    }

    fn finish_directory(&mut self, name: &OsStr, attributes: &Attributes) -> io::Result<()> {
        let place = self.place()?;
        rustix::fs::chownat(place.fd, name, uid(attributes), gid(attributes), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::chmodat(place.fd, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty())?;
        attributes::set(&place.path(name), &attributes.xattrs)?;
        let path = place.real.join(name);
        self.times.push((path, attributes.mtime));
        Ok(())
    }

    fn hardlink(&mut self, target: &Path, parent: &Path, name: &OsStr) -> io::Result<()> {
        let (Some(target_parent), Some(target_name)) = (target.parent(), target.file_name()) else {
            return Err(Errno::ISDIR.into());
        };
        if matches!(self.entry(target_parent, target_name)?, Before::Nothing) {
            self.copy_up(target_name)?;
        }
        let place = self.place()?;
        let from = (rustix::io::fcntl_dupfd_cloexec(place.fd, 0)?, place.real.join(target_name));
        let before = self.entry(parent, name)?;
        if self.place()?.real.join(name) == from.1 {
            return Ok(());
        }
        self.clear(before, name)?;
        Ok(rustix::fs::linkat(&from.0, target_name, self.place()?.fd, name, AtFlags::empty())?)
    }

    /// Takes a file of a lower layer over into this one, at the place last looked at.
    fn copy_up(&mut self, name: &OsStr) -> io::Result<()> {
        self.leaned = self.view.layers.len() > 1;
        let path = self.place()?.real.join(name);
        let found = self.view.lookup(&path)?.ok_or(Errno::NOENT)?;
        if !found.metadata.is_file() {
            return Err(Errno::NOENT.into());
        }
        let attributes = Attributes::read(&found.real, &found.metadata)?;
        self.put(&path, Content::File(&mut File::open(&found.real)?), &attributes)
    }

    /// Hides a name of the layers below. What this layer itself put there stays.
    pub fn hide(&mut self, path: &Path) -> io::Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let before = self.entry(parent, name)?;
        let place = self.place()?;
        match before {
            Before::Nothing => node(place, name, FileType::CharacterDevice, 0),
            Before::Directory => attributes::set_opaque(&place.path(name)),
            Before::Whiteout | Before::Other => Ok(()),
        }
    }

    /// Hides everything that the layers below have in a directory.
    pub fn hide_content(&mut self, dir: &Path) -> io::Result<()> {
        if dir.as_os_str().is_empty() {
            return attributes::set_opaque(&self.dir);
        }
        self.go(dir)?;
        let real = self.place()?.real.to_owned();
        attributes::set_opaque(&self.dir.join(real))
    }

    /// Sets the times of directories, and says what it came to. What was put is on disk when the caller synchronizes it.
    pub fn finish(self) -> io::Result<Summary> {
        for (path, mtime) in &self.times {
            match open_dir(self.root.as_fd(), path) {
                Ok(fd) => rustix::fs::futimens(&fd, &times(*mtime))?,
                // Replaced by a later entry.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Summary { bytes: self.bytes, leaned: self.leaned })
    }

    /// Goes to `parent` and tells what this layer has there under `name`.
    fn entry(&mut self, parent: &Path, name: &OsStr) -> io::Result<Before> {
        self.go(parent)?;
        match rustix::fs::statat(self.place()?.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Before::Directory,
                FileType::CharacterDevice if stat.st_rdev == 0 => Before::Whiteout,
                _ => Before::Other,
            }),
            Err(Errno::NOENT) => Ok(Before::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    fn clear(&mut self, before: Before, name: &OsStr) -> io::Result<()> {
        let place = self.place()?;
        match before {
            Before::Nothing => return Ok(()),
            Before::Directory => remove_tree(place.fd.as_fd(), name)?,
            Before::Whiteout | Before::Other => rustix::fs::unlinkat(place.fd, name, AtFlags::empty())?,
        }
        // A link or directory that went may have been part of the way to the place remembered, but only if that lies below it.
        if let Some(place) = &mut self.last {
            place.asked = PathBuf::from("/");
        }
        Ok(())
    }

    fn place(&self) -> io::Result<PlaceRef<'_>> {
        let place = self.last.as_ref().ok_or(Errno::NOENT)?;
        Ok(PlaceRef { fd: &place.fd, real: &place.real })
    }

    /// Makes `dir` the current place: exists in this layer afterwards.
    fn go(&mut self, dir: &Path) -> io::Result<()> {
        if self.last.as_ref().is_some_and(|place| place.asked == dir) {
            return Ok(());
        }
        let (real, fd) = match open_dir(self.root.as_fd(), dir) {
            Ok(fd) => (dir.to_owned(), fd),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                let real = self.make_way(dir)?;
                let fd = open_dir(self.root.as_fd(), &real)?;
                (real, fd)
            }
            Err(error) => return Err(error.into()),
        };
        self.last = Some(Place { asked: dir.to_owned(), real, fd });
        Ok(())
    }

    /// Follows links and copies up or makes the directories on the way to `dir`; returns where it really is.
    fn make_way(&mut self, dir: &Path) -> io::Result<PathBuf> {
        self.leaned |= self.view.layers.len() > 1;
        let resolved = self.view.resolve(dir, true)?;
        let mut way = PathBuf::new();
        for part in &resolved.path {
            let parent = way.clone();
            way.push(part);
            match open_dir(self.root.as_fd(), &way) {
                Ok(_) => continue,
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
            let seen = self.view.lookup(&way)?;
            let attributes = match &seen {
                Some(node) if node.metadata.is_dir() => Attributes::read(&node.real, &node.metadata)?,
                Some(_) => return Err(Errno::NOTDIR.into()),
                None => Attributes::new(0o755, EPOCH),
            };
            let fd = open_dir(self.root.as_fd(), &parent)?;
            self.last = Some(Place { asked: PathBuf::from("/"), real: parent, fd });
            let hidden = self.whiteout_here(part)?;
            rustix::fs::mkdirat(self.place()?.fd, part, Mode::from_raw_mode(0o700))?;
            if hidden {
                attributes::set_opaque(&self.place()?.path(part))?;
            }
            self.finish_directory(part, &attributes)?;
        }
        Ok(way)
    }

    /// Takes a whiteout away from where a directory shall be made.
    fn whiteout_here(&mut self, name: &OsStr) -> io::Result<bool> {
        let place = self.place()?;
        match rustix::fs::statat(place.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0 => {
                rustix::fs::unlinkat(place.fd, name, AtFlags::empty())?;
                Ok(true)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What was at a name before.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

struct PlaceRef<'p> {
    fd: &'p OwnedFd,
    real: &'p Path,
}

impl PlaceRef<'_> {
    /// For system calls that take no directory (extended attributes): the name in the directory that is held open.
    fn path(&self, name: &OsStr) -> PathBuf {
        Path::new("/proc/self/fd").join(self.fd.as_raw_fd().to_string()).join(name)
    }
}

fn open_dir(root: rustix::fd::BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    // System calls take `.` for the directory itself, not the empty path.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    rustix::fs::openat2(root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), how)
}

fn node(place: PlaceRef<'_>, name: &OsStr, kind: FileType, device: u64) -> io::Result<()> {
    Ok(rustix::fs::mknodat(place.fd, name, kind, Mode::from_raw_mode(0o600), device)?)
}

fn uid(attributes: &Attributes) -> Option<Uid> {
    Some(Uid::from_raw(attributes.uid))
}

fn gid(attributes: &Attributes) -> Option<Gid> {
    Some(Gid::from_raw(attributes.gid))
}

fn times(mtime: i64) -> Timestamps {
    let at = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: at, last_modification: at }
}

/// Removes a directory with all it holds, following nothing.
pub fn remove_tree(parent: rustix::fd::BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    // A stack instead of recursion: an archive decides how deep it goes.
    let mut path: Vec<OsString> = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut open: Vec<OwnedFd> = Vec::new();
    path.push(name.to_owned());
    open.push(rustix::fs::openat(parent, name, flags, Mode::empty())?);
    while let Some(dir) = open.last() {
        let mut deeper = None;
        for entry in rustix::fs::Dir::read_from(dir)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::ISDIR | Errno::PERM) => {
                    deeper = Some((name.to_owned(), rustix::fs::openat(dir, name, flags, Mode::empty())?));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        match deeper {
            Some((name, fd)) => {
                path.push(name);
                open.push(fd);
            }
            None => {
                open.pop();
                if let Some(name) = path.pop() {
                    let parent = open.last().map_or(parent, AsFd::as_fd);
                    rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether two names are one file.
pub(super) fn inode(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

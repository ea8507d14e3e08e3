//! From directory to tar: the same directory gives the same bytes, always.
//!
//! A layer that was built here is kept as a directory only, and its tar is made again when somebody wants it (save, push). So what this
//! writes is a format, and must not change: a change would give built images new digests, and make old ones unpushable.
use super::attributes::{Attributes, is_opaque, is_whiteout};
use super::tree::inode;
use super::{OPAQUE, WHITEOUT};
use rustix::fs::{major, minor};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Writes the layer in `dir` as a tar: names in order of their bytes, directories before what they hold.
pub fn pack(dir: &Path, out: impl Write) -> io::Result<()> {
    let mut packer = Packer { tar: Builder::new(out), links: HashMap::new() };
    if is_opaque(dir) {
        packer.marker(Path::new(OsStr::from_bytes(OPAQUE)))?;
    }
    // Depth first with a stack of our own: a layer decides how deep it goes.
    let mut todo = children(dir, Path::new(""))?;
    while let Some((path, name)) = todo.pop() {
        let real = dir.join(&path);
        let metadata = fs::symlink_metadata(&real)?;
        packer.entry(&real, &path, &name, &metadata)?;
        if metadata.is_dir() {
            todo.extend(children(&real, &path)?);
        }
    }
    packer.tar.into_inner()?.flush()
}

/// The names in a directory, last first.
fn children(real: &Path, path: &Path) -> io::Result<Vec<(PathBuf, OsString)>> {
    let mut names = fs::read_dir(real)?.map(|e| Ok(e?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort_by(|a, b| b.cmp(a));
    Ok(names.into_iter().map(|name| (path.join(&name), name)).collect())
}

struct Packer<W: Write> {
    tar: Builder<W>,
    /// First names of files that have several.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<W> {
    fn entry(&mut self, real: &Path, path: &Path, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        if is_whiteout(metadata) {
            let mut marker = OsString::from(OsStr::from_bytes(WHITEOUT));
            marker.push(name);
            return self.marker(&path.with_file_name(marker));
        }
        let kind = metadata.file_type();
        if kind.is_socket() {
            // Archives have no sockets; nobody listens on one that was found anyway.
            return Ok(());
        }
        let attributes = Attributes::read(real, metadata)?;
        if !metadata.is_dir() && metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&inode(metadata)) {
                let mut header = header(&attributes, EntryType::Link);
                return self.tar.append_link(&mut header, path, first.clone());
            }
            self.links.insert(inode(metadata), path.to_owned());
        }
        self.extended(&attributes)?;
        if metadata.is_dir() {
            let mut with_slash = path.as_os_str().to_owned();
            with_slash.push("/");
            let mut header = header(&attributes, EntryType::Directory);
            self.tar.append_data(&mut header, with_slash, io::empty())?;
            if is_opaque(real) {
                self.marker(&path.join(OsStr::from_bytes(OPAQUE)))?;
            }
        } else if metadata.is_symlink() {
            let mut header = header(&attributes, EntryType::Symlink);
            self.link(&mut header, path, &fs::read_link(real)?)?;
        } else if metadata.is_file() {
            let mut header = header(&attributes, EntryType::Regular);
            header.set_size(metadata.len());
            self.tar.append_data(&mut header, path, Exactly { file: File::open(real)?, left: metadata.len() })?;
        } else {
            let kind = match () {
                () if kind.is_char_device() => EntryType::Char,
                () if kind.is_block_device() => EntryType::Block,
                () => EntryType::Fifo,
            };
            let mut header = header(&attributes, kind);
            header.set_device_major(major(metadata.rdev()))?;
            header.set_device_minor(minor(metadata.rdev()))?;
            self.tar.append_data(&mut header, path, io::empty())?;
        }
        Ok(())
    }

    /// `append_link` would normalize the target, which for a symbolic link is a text like any other (`a//b`, `./x`).
    fn link(&mut self, header: &mut Header, path: &Path, target: &Path) -> io::Result<()> {
        if header.set_link_name_literal(target.as_os_str().as_bytes()).is_err() {
            return self.tar.append_link(header, path, target);
        }
        self.tar.append_data(header, path, io::empty())
    }

    fn marker(&mut self, path: &Path) -> io::Result<()> {
        let mut header = header(&Attributes::default(), EntryType::Regular);
        self.tar.append_data(&mut header, path, io::empty())
    }

    fn extended(&mut self, attributes: &Attributes) -> io::Result<()> {
        let mut records: Vec<(String, &[u8])> = Vec::new();
        for (name, value) in &attributes.xattrs {
            let name = name.to_str().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            records.push((format!("SCHILY.xattr.{name}"), value));
        }
        // Before 1970 the number does not fit a header.
        let mtime = attributes.mtime.to_string();
        if attributes.mtime < 0 {
            records.push(("mtime".into(), mtime.as_bytes()));
        }
        if records.is_empty() {
            return Ok(());
        }
        self.tar.append_pax_extensions(records.iter().map(|(name, value)| (name.as_str(), *value)))
    }
}

fn header(attributes: &Attributes, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(attributes.mode);
    header.set_uid(attributes.uid.into());
    header.set_gid(attributes.gid.into());
    header.set_mtime(u64::try_from(attributes.mtime).unwrap_or(0));
    header.set_size(0);
    header
}

/// A file's content with the length its header says; one that changes meanwhile is an error and no damaged archive.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read(buffer.get_mut(..most).unwrap_or_default())?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "file became shorter while it was packed"));
        }
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

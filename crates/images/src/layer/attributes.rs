//! What a file has beside its content: owner, mode, time, extended attributes.
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The attribute by which overlayfs marks a directory that hides what the layers below have in it.
const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// Owner, mode, time and extended attributes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds; what is finer does not survive every tar, so nothing keeps it.
    pub mtime: i64,
    pub xattrs: BTreeMap<CString, Vec<u8>>,
}

impl Attributes {
    /// Those of an existing file, without following a symbolic link.
    pub fn read(path: &Path, metadata: &Metadata) -> io::Result<Self> {
        Ok(Self {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
            xattrs: list(path)?,
        })
    }

    pub fn new(mode: u32, mtime: i64) -> Self {
        Self { mode, mtime, ..Self::default() }
    }
}

/// Attributes that belong to overlayfs, and would give it orders if a layer could set them.
fn is_ours(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

fn unsupported(error: rustix::io::Errno) -> bool {
    matches!(error, rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM)
}

fn list(path: &Path) -> io::Result<BTreeMap<CString, Vec<u8>>> {
    let mut names = vec![0_u8; 1024];
    let length = loop {
        match llistxattr(path, &mut names[..]) {
            Ok(length) => break length,
            Err(rustix::io::Errno::RANGE) => names.resize(names.len() * 2, 0),
            Err(error) if unsupported(error) => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        }
    };
    names.truncate(length);
    let mut found = BTreeMap::new();
    for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let name = CString::new(name)?;
        if !is_ours(&name) {
            let value = get(path, &name)?;
            found.insert(name, value);
        }
    }
    Ok(found)
}

fn get(path: &Path, name: &CStr) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; 256];
    loop {
        match lgetxattr(path, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(value);
            }
            Err(rustix::io::Errno::RANGE) => value.resize(value.len() * 2, 0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sets them on a file that is not followed if it is a link. What the file system cannot keep is left out, as by every unpacker;
/// what belongs to overlayfs is never set.
pub fn set(path: &Path, xattrs: &BTreeMap<CString, Vec<u8>>) -> io::Result<()> {
    for (name, value) in xattrs.iter().filter(|(name, _)| !is_ours(name)) {
        match lsetxattr(path, name.as_c_str(), value, XattrFlags::empty()) {
            Err(error) if !unsupported(error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

pub fn is_opaque(dir: &Path) -> bool {
    let mut value = [0_u8; 8];
    matches!(lgetxattr(dir, OPAQUE, &mut value[..]), Ok(1)) && value.first() == Some(&b'y')
}

pub fn set_opaque(dir: &Path) -> io::Result<()> {
    Ok(lsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())?)
}

/// Whether this is the mark that a name below is gone.
pub fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

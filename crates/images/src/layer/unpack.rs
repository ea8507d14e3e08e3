//! From tar to directory: [`unpack`] a layer, [`extract`] an archive that `ADD` or `import` was given.
use super::pax::{Escaped, XATTR};
use super::tree::{Content, Summary, Tree};
use super::{Attributes, OPAQUE, WHITEOUT, clean};
use std::ffi::{CString, OsStr};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tar::{Archive, Entry, EntryType};

/// Unpacks a layer (uncompressed) into `dir`, which lies over the layers `lower`.
pub fn unpack(tar: impl Read, dir: &Path, lower: &[PathBuf]) -> io::Result<Summary> {
    let mut tree = Tree::create(dir, lower)?;
    each(tar, |path, entry| {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let parent = path.parent().unwrap_or(Path::new(""));
        if name == OPAQUE {
            return tree.hide_content(parent);
        }
        match name.strip_prefix(WHITEOUT) {
            // aufs' own bookkeeping.
            Some(rest) if rest.starts_with(WHITEOUT) => Ok(()),
            Some(b"" | b"." | b"..") => Err(damaged("a whiteout of nothing")),
            Some(rest) => tree.hide(&parent.join(OsStr::from_bytes(rest))),
            None => put(&mut tree, path, entry, None),
        }
    })?;
    tree.finish()
}

/// Extracts an archive (uncompressed) into the directory `into` of a layer that is being written; `owner` replaces the archive's owners.
pub fn extract(tar: impl Read, tree: &mut Tree, into: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    each(tar, |path, entry| {
        if path.file_name().is_some_and(|name| name.as_bytes().starts_with(WHITEOUT)) {
            return Err(damaged("names that begin with .wh. have a meaning of their own in images"));
        }
        put(tree, &into.join(path), entry, owner)
    })
}

/// Calls `f` for each entry but the root itself and extensions. What goes wrong names the entry.
fn each<R: Read>(tar: R, mut f: impl FnMut(&Path, &mut Entry<'_, Escaped<R>>) -> io::Result<()>) -> io::Result<()> {
    let mut archive = Archive::new(Escaped::new(tar));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let raw = entry.path_bytes().into_owned();
        let path =
            clean(&raw).ok_or_else(|| damaged(&format!("path {:?} leads out of it", String::from_utf8_lossy(&raw))))?;
        if path.as_os_str().is_empty() || entry.header().entry_type().is_pax_global_extensions() {
            continue;
        }
        f(&path, &mut entry).map_err(|error| {
            let message = format!("{}: {error}", path.display());
            // The number stays, so that a full disk is told from damage.
            match error.raw_os_error() {
                Some(number) if is_machine(number) => error,
                _ => io::Error::new(io::ErrorKind::InvalidData, message),
            }
        })?;
    }
    // To the end: digests are taken of all bytes, padding after the last entry too.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// Errors that are not the archive's fault.
fn is_machine(number: i32) -> bool {
    use rustix::io::Errno;
    let machine = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
        Errno::ROFS,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::PERM,
        Errno::ACCESS,
    ];
    machine.iter().any(|e| e.raw_os_error() == number)
}

fn damaged(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}

fn put<R: Read>(tree: &mut Tree, path: &Path, entry: &mut Entry<'_, R>, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut attributes = attributes(entry)?;
    if let Some((uid, gid)) = owner {
        (attributes.uid, attributes.gid) = (uid, gid);
    }
    let kind = entry.header().entry_type();
    let link = entry.link_name_bytes().map(|l| l.into_owned());
    match kind {
        EntryType::Directory => tree.put(path, Content::Directory, &attributes),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            // Archives of old say directory by a slash.
            if entry.path_bytes().ends_with(b"/") {
                return tree.put(path, Content::Directory, &attributes);
            }
            tree.put(path, Content::File(entry), &attributes)
        }
        EntryType::Symlink => {
            let target = link.filter(|l| !l.is_empty()).ok_or_else(|| damaged("a symbolic link to nothing"))?;
            tree.put(path, Content::Symlink(OsStr::from_bytes(&target)), &attributes)
        }
        EntryType::Link => {
            let target = link.ok_or_else(|| damaged("a hard link to nothing"))?;
            let target = clean(&target).ok_or_else(|| damaged("a hard link that leads out of it"))?;
            tree.put(path, Content::Hardlink(&target), &attributes)
        }
        EntryType::Char => tree.put(path, Content::Character(device(entry)?), &attributes),
        EntryType::Block => tree.put(path, Content::Block(device(entry)?), &attributes),
        EntryType::Fifo => tree.put(path, Content::Fifo, &attributes),
        other => Err(damaged(&format!("entry of unknown kind {:?}", other.as_byte() as char))),
    }
}

fn device<R: Read>(entry: &Entry<'_, R>) -> io::Result<u64> {
    let header = entry.header();
    Ok(rustix::fs::makedev(header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
}

/// The header's attributes, and what PAX records say instead (`pax(1)`; extended attributes as [`Escaped`] writes them).
fn attributes<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Attributes> {
    let header = entry.header();
    let id = |id: u64| u32::try_from(id).map_err(|_| damaged("owner out of range"));
    let mut attributes = Attributes {
        // Some writers leave numbers out, which is zero; that nothing is damaged the header's checksum tells.
        mode: header.mode().unwrap_or(0) & 0o7777,
        uid: id(header.uid().unwrap_or(0))?,
        gid: id(header.gid().unwrap_or(0))?,
        mtime: i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0),
        xattrs: Default::default(),
    };
    let Some(records) = entry.pax_extensions()? else { return Ok(attributes) };
    for record in records {
        let record = record?;
        let value = record.value_bytes();
        let number = || std::str::from_utf8(value).ok().and_then(|v| v.split('.').next()?.parse::<i64>().ok());
        match record.key_bytes() {
            b"uid" => attributes.uid = number().and_then(|n| u32::try_from(n).ok()).unwrap_or(attributes.uid),
            b"gid" => attributes.gid = number().and_then(|n| u32::try_from(n).ok()).unwrap_or(attributes.gid),
            b"mtime" => attributes.mtime = number().unwrap_or(attributes.mtime),
            key => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    let value = hex::decode(value).map_err(|_| damaged("extended attribute"))?;
                    attributes.xattrs.insert(CString::new(name)?, value);
                }
            }
        }
    }
    Ok(attributes)
}

//! A tar that can be read in any order: [`Tarball`].
use crate::Result;
use crate::error::{Context, corrupt, foreign};
use crate::layer::{clean, decompress};
use crate::manifest::LARGEST_DOCUMENT;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// As many links as may lead from a name to its file.
const MOST_LINKS: usize = 8;

/// A tar with a table of contents.
pub struct Tarball {
    file: Arc<File>,
    what: String,
    entries: HashMap<PathBuf, Place>,
}

enum Place {
    File { offset: u64, size: u64 },
    Link(PathBuf),
}

impl Tarball {
    /// Reads the table of contents. A compressed archive, or one that comes through a pipe, is written down in `temporary` first.
    pub fn open(source: Source, temporary: &Path) -> Result<Self> {
        let what = source.to_string();
        let file = match source {
            Source::File(path) => {
                let file = File::open(&path).context(|| format!("cannot open {}", path.display()))?;
                if is_plain(&file) { file } else { spool(file, temporary, &what)? }
            }
            Source::Stream(stream) => spool(stream, temporary, &what)?,
        };
        let entries = contents(&file).map_err(|e| match e.raw_os_error() {
            Some(_) => foreign(&what, e),
            None => corrupt(&what, format!("this is no tar archive, or a damaged one: {e}")),
        })?;
        Ok(Self { file: Arc::new(file), what, entries })
    }

    pub fn what(&self) -> &str {
        &self.what
    }

    /// Opens a file of the archive. None if there is none of that name.
    pub fn open_file(&self, name: &str) -> Result<Option<Member>> {
        let damaged = |message: String| corrupt(&self.what, message);
        let mut path = clean(name.as_bytes()).ok_or_else(|| damaged(format!("{name:?} leads out of the archive")))?;
        for _ in 0..MOST_LINKS {
            match self.entries.get(&path) {
                None => return Ok(None),
                Some(Place::Link(target)) => path = target.clone(),
                Some(Place::File { offset, size }) => {
                    let at = At { file: self.file.clone(), position: *offset };
                    return Ok(Some(BufReader::with_capacity(128 << 10, at.take(*size))));
                }
            }
        }
        Err(damaged(format!("too many links from {name:?}")))
    }

    /// A small file's content.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(member) = self.open_file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        member.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes).map_err(|e| foreign(&self.what, e))?;
        if bytes.len() as u64 > LARGEST_DOCUMENT {
            return Err(corrupt(&self.what, format!("{name} is larger than {LARGEST_DOCUMENT} bytes")));
        }
        Ok(Some(bytes))
    }

    pub fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| corrupt(&self.what, format!("{name}: {e}")))
    }
}

/// A file of an archive.
pub type Member = BufReader<Take<At>>;

/// Where an archive comes from.
pub enum Source {
    File(PathBuf),
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stream(_) => f.write_str("standard input"),
        }
    }
}

/// Reads a shared file from a position of its own.
pub struct At {
    file: Arc<File>,
    position: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.position)?;
        self.position = self.position.saturating_add(n as u64);
        Ok(n)
    }
}

/// Whether it can be read as it lies: a regular file with a tar's mark in its first header.
fn is_plain(file: &File) -> bool {
    let mut mark = [0_u8; 5];
    let read = std::os::unix::fs::FileExt::read_exact_at(file, &mut mark, 257);
    file.metadata().is_ok_and(|m| m.is_file()) && read.is_ok() && &mark == b"ustar"
}

fn spool(stream: impl Read + Send, temporary: &Path, what: &str) -> Result<File> {
    let mut file = tempfile::tempfile_in(temporary).context(|| temporary.display())?;
    let mut plain = decompress(stream).map_err(|e| foreign(what, e))?;
    io::copy(&mut plain, &mut file).map_err(|e| foreign(what, e))?;
    file.seek(SeekFrom::Start(0)).context(|| temporary.display())?;
    Ok(file)
}

fn contents(file: &File) -> io::Result<HashMap<PathBuf, Place>> {
    let mut entries = HashMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        // A name that climbs can be asked for by nobody.
        let Some(path) = clean(&entry.path_bytes()) else { continue };
        let kind = entry.header().entry_type();
        if kind.is_file() || kind.is_contiguous() {
            entries.insert(path, Place::File { offset: entry.raw_file_position(), size: entry.size() });
        } else if let Some(target) = entry.link_name_bytes() {
            let target = match kind {
                tar::EntryType::Link => clean(&target),
                tar::EntryType::Symlink => relative(&path, &target),
                _ => None,
            };
            if let Some(target) = target {
                entries.insert(path, Place::Link(target));
            }
        }
    }
    Ok(entries)
}

/// Where a symbolic link in the archive points, within it.
fn relative(link: &Path, target: &[u8]) -> Option<PathBuf> {
    let mut path = link.parent()?.to_owned();
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                path.pop();
            }
            part => path.push(std::ffi::OsStr::from_bytes(part)),
        }
    }
    Some(path)
}

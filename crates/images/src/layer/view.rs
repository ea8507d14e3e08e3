//! Looking into stacked layers without mounting them: [`View`].
use super::attributes::{is_opaque, is_whiteout};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};

/// As many symbolic links as the kernel follows in one path (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// Layers, lowest first, seen as the one tree that overlayfs would show. Paths are relative to its root.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub layers: Vec<PathBuf>,
}

/// A file as it is seen, and where it lies.
#[derive(Debug, Clone)]
pub struct Node {
    pub real: PathBuf,
    pub metadata: Metadata,
}

/// How far a path leads.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Without symbolic links, save perhaps the last part.
    pub path: PathBuf,
    /// None if nothing is there; then `missing` says which parts, the last ones of `path`, are not.
    pub node: Option<Node>,
    pub missing: PathBuf,
}

impl View {
    pub fn new(layers: Vec<PathBuf>) -> Self {
        Self { layers }
    }

    /// What is at a path whose parents are no symbolic links; a link itself is not followed.
    pub fn lookup(&self, path: &Path) -> io::Result<Option<Node>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.root();
        };
        find(&self.directories(parent)?, name)
    }

    fn root(&self) -> io::Result<Option<Node>> {
        let Some(real) = self.layers.last().cloned() else { return Ok(None) };
        let metadata = fs::symlink_metadata(&real)?;
        Ok(Some(Node { real, metadata }))
    }

    /// The directories that make up the one at `path`, uppermost first. Empty if there is none.
    fn directories(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut current: Vec<PathBuf> = self.layers.iter().rev().cloned().collect();
        for part in path.components() {
            current = descend(&current, part.as_os_str())?;
        }
        Ok(current)
    }

    /// The names in a directory, as they are seen.
    pub fn read_dir(&self, path: &Path) -> io::Result<BTreeMap<OsString, Node>> {
        let mut seen: BTreeMap<OsString, Option<Node>> = BTreeMap::new();
        for dir in self.directories(path)? {
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                let node = (!is_whiteout(&metadata)).then(|| Node { real: entry.path(), metadata });
                seen.entry(entry.file_name()).or_insert(node);
            }
        }
        Ok(seen.into_iter().filter_map(|(name, node)| Some((name, node?))).collect())
    }

    /// Follows `path` from the root, symbolic links as a process with this root would; the last one only if told so.
    pub fn resolve(&self, path: &Path, follow_last: bool) -> io::Result<Resolved> {
        let mut todo = parts(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        let mut node = self.root()?;
        while let Some(part) = todo.pop_front() {
            if part == OsStr::new("..") {
                done.pop();
                continue;
            }
            done.push(&part);
            node = self.lookup(&done)?;
            let Some(found) = &node else {
                let missing = std::iter::once(part).chain(todo).collect::<PathBuf>();
                return Ok(self.absent(done, &missing));
            };
            if found.metadata.is_symlink() && (follow_last || !todo.is_empty()) {
                links += 1;
                if links > MOST_LINKS {
                    return Err(io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error()));
                }
                let target = fs::read_link(&found.real)?;
                done.pop();
                if target.is_absolute() {
                    done = PathBuf::new();
                }
                let mut target = parts(&target);
                target.append(&mut todo);
                todo = target;
            } else if !found.metadata.is_dir() && !todo.is_empty() {
                return Err(io::Error::from_raw_os_error(rustix::io::Errno::NOTDIR.raw_os_error()));
            }
        }
        if node.is_none() || done.as_os_str().is_empty() {
            node = self.lookup(&done)?;
        } else {
            // The last step may have been `..` or a link: look at where we really are.
            node = self.lookup(&done)?.or(node);
        }
        Ok(Resolved { path: done, node, missing: PathBuf::new() })
    }

    /// A path of which `missing` (whose first part is the last of `done`) is not there; `..` in it is taken lexically.
    fn absent(&self, mut done: PathBuf, missing: &Path) -> Resolved {
        done.pop();
        let mut absent = PathBuf::new();
        for part in missing.components() {
            match part {
                Component::ParentDir => {
                    absent.pop();
                }
                part => absent.push(part),
            }
        }
        Resolved { path: done.join(&absent), node: None, missing: absent }
    }

    /// What a regular file holds, for small ones like `/etc/passwd`. None if there is none.
    pub fn read_file(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match self.resolve(path, true)?.node {
            Some(node) if node.metadata.is_file() => fs::read(node.real).map(Some),
            _ => Ok(None),
        }
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir))
        .map(|c| c.as_os_str().to_owned())
        .collect()
}

fn stat(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

/// One step down: which of the layers' directories (uppermost first) have `name` as a directory that is seen.
fn descend(dirs: &[PathBuf], name: &OsStr) -> io::Result<Vec<PathBuf>> {
    let mut below = Vec::new();
    for dir in dirs {
        let path = dir.join(name);
        match stat(&path)? {
            None => {}
            Some(metadata) if metadata.is_dir() => {
                let opaque = is_opaque(&path);
                below.push(path);
                if opaque {
                    break;
                }
            }
            Some(_) => break,
        }
    }
    Ok(below)
}

fn find(dirs: &[PathBuf], name: &OsStr) -> io::Result<Option<Node>> {
    for dir in dirs {
        let real = dir.join(name);
        if let Some(metadata) = stat(&real)? {
            return Ok((!is_whiteout(&metadata)).then_some(Node { real, metadata }));
        }
    }
    Ok(None)
}

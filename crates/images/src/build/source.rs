//! Where `COPY` and `ADD` read from: the context, a stage, or an image. Links in it are followed within it only.
use super::cache::Cache;
use super::ignore::{self, Ignore};
use super::{Doing, StepError};
use crate::digest::Hasher;
use crate::layer::{Attributes, Node, View};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A tree to read from.
pub struct Source<'s> {
    pub view: View,
    pub ignore: &'s Ignore,
    /// Of the context only contents and modes count; of a stage, owners, times and attributes are kept too.
    pub is_context: bool,
}

/// Something that a source pattern means.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it really is.
    pub path: PathBuf,
    /// What it is called at its target if that is a directory.
    pub name: PathBuf,
    pub node: Node,
}

impl Source<'_> {
    /// What a pattern means, in order of names. A plain name must exist; a wildcard may mean nothing.
    pub fn find(&self, pattern: &str) -> Result<Vec<Found>, StepError> {
        if !ignore::is_wildcard(pattern) {
            return self.exactly(pattern).map(|found| vec![found]);
        }
        let regex = ignore::wildcard(&ignore::clean(pattern))?;
        let mut found = Vec::new();
        let mut todo = vec![PathBuf::new()];
        while let Some(dir) = todo.pop() {
            for (path, node) in self.list(&dir)? {
                if regex.is_match(path.as_os_str().as_bytes()) {
                    found.push(self.exactly(&path.to_string_lossy()).unwrap_or(Found {
                        name: base(&path),
                        path,
                        node,
                    }));
                } else if node.metadata.is_dir() {
                    todo.push(path);
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn exactly(&self, name: &str) -> Result<Found, StepError> {
        let asked = PathBuf::from(ignore::clean(name));
        let missing = || StepError::new(format!("{:?}: not found{}", format!("/{}", asked.display()), self.place()));
        if self.ignore.excludes(&asked) && !self.ignore.has_exceptions() {
            return Err(StepError::new(format!("{name:?} is excluded by .dockerignore")));
        }
        let resolved = self.view.resolve(&asked, true).doing(|| name.to_owned())?;
        let Some(node) = resolved.node else { return Err(missing()) };
        if !node.metadata.is_dir() && self.ignore.excludes(&asked) {
            return Err(StepError::new(format!("{name:?} is excluded by .dockerignore")));
        }
        Ok(Found { name: base(&asked), path: resolved.path, node })
    }

    fn place(&self) -> &'static str {
        if self.is_context { " in the build context" } else { "" }
    }

    /// What is in a directory and not ignored. A directory that is ignored stays if something in it may be taken back.
    pub fn list(&self, dir: &Path) -> Result<Vec<(PathBuf, Node)>, StepError> {
        let names = self.view.read_dir(dir).doing(|| format!("/{}", dir.display()))?;
        let all = names.into_iter().map(|(name, node)| (dir.join(name), node));
        Ok(all.filter(|(path, node)| self.keeps(path, node)).collect())
    }

    fn keeps(&self, path: &Path, node: &Node) -> bool {
        if node.metadata.file_type().is_socket() {
            return false;
        }
        if !self.ignore.excludes(path) {
            return true;
        }
        node.metadata.is_dir() && self.ignore.has_exceptions() && self.keeps_something(path)
    }

    fn keeps_something(&self, dir: &Path) -> bool {
        let Ok(names) = self.view.read_dir(dir) else { return false };
        names.into_iter().any(|(name, node)| {
            let path = dir.join(name);
            if node.metadata.is_dir() {
                self.keeps_something(&path) || !self.ignore.excludes(&path)
            } else {
                !self.ignore.excludes(&path)
            }
        })
    }

    /// Attributes to copy; `time` for files of the context.
    pub fn attributes(&self, node: &Node, time: i64) -> Result<Attributes, StepError> {
        if self.is_context {
            return Ok(Attributes::new(node.metadata.mode() & 0o7777, time));
        }
        Attributes::read(&node.real, &node.metadata).doing(|| node.real.display().to_string())
    }

    /// Adds all that a copy of this would depend on to a key. `name` is the path below the thing that is copied.
    pub fn digest(&self, cache: &Cache<'_>, key: &mut Hasher, path: &Path, node: &Node) -> Result<(), StepError> {
        let mut todo = vec![(path.to_owned(), node.clone())];
        while let Some((at, node)) = todo.pop() {
            let below = at.strip_prefix(path).unwrap_or(&at);
            key.field(below.as_os_str().as_bytes());
            let attributes = self.attributes(&node, 0)?;
            key.field(attributes.mode.to_le_bytes());
            if !self.is_context {
                key.field(format!("{}:{} {}", attributes.uid, attributes.gid, attributes.mtime));
                for (name, value) in &attributes.xattrs {
                    key.field(name.to_bytes());
                    key.field(value);
                }
            }
            let what = || node.real.display().to_string();
            let metadata = &node.metadata;
            if metadata.is_dir() {
                key.field("d");
                let mut below = self.list(&at)?;
                below.reverse();
                todo.extend(below);
            } else if metadata.is_symlink() {
                key.field("l");
                key.field(std::fs::read_link(&node.real).doing(what)?.as_os_str().as_bytes());
            } else if metadata.is_file() {
                key.field("f");
                key.field(cache.file_digest(&node.real, metadata).doing(what)?.hex());
            } else {
                key.field("n");
                key.field(metadata.mode().to_le_bytes());
                key.field(metadata.rdev().to_le_bytes());
            }
        }
        Ok(())
    }
}

fn base(path: &Path) -> PathBuf {
    path.file_name().map(PathBuf::from).unwrap_or_default()
}

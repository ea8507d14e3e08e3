//! `COPY`, `ADD` and `WORKDIR`: files into a new layer (BuildKit `solver/llbsolver/file/backend.go`, tonistiigi/fsutil `copy`).
use super::cache::Cache;
use super::download::Download;
use super::ignore::Ignore;
use super::owner::Chmod;
use super::source::{Found, Source};
use super::stage::Builder;
use super::{Doing, StepError};
use crate::digest::Hasher;
use crate::layer::{Attributes, Content, Node, Tree, decompress, extract};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// What is copied, and how it shall look.
pub struct Job<'j> {
    pub source: &'j Source<'j>,
    pub found: Vec<Found>,
    pub downloads: Vec<Download>,
    /// Files written in the Dockerfile: name and content.
    pub documents: Vec<(String, Vec<u8>)>,
    /// Absolute.
    pub target: PathBuf,
    /// The target is a directory, whatever is there now.
    pub into_directory: bool,
    /// Instead of root's (what comes from the context) or the owners in an archive, a stage or an image.
    pub owner: Option<(u32, u32)>,
    pub chmod: Option<Chmod>,
    /// Archives are extracted.
    pub unpack: bool,
    /// Downloaded ones too.
    pub unpack_downloads: bool,
    pub parents: bool,
    pub exclude: Ignore,
    pub time: i64,
}

impl Job<'_> {
    /// All that the layer depends on.
    pub fn key(&mut self, builder: &Builder<'_>, cache: &Cache<'_>, key: &mut Hasher) -> Result<(), StepError> {
        let flags = (self.into_directory, self.unpack, self.parents, self.owner, &self.chmod);
        key.field(format!("{} {flags:?} {:?}", self.target.display(), self.exclude));
        for (name, content) in &self.documents {
            key.field(name);
            key.field(content);
        }
        for download in &mut self.downloads {
            key.field(format!("{} {}", download.url, self.unpack_downloads));
            key.field(download.digest(builder)?.hex());
        }
        for found in &self.found {
            key.field(found.name.as_os_str().as_bytes());
            if self.parents {
                key.field(found.path.as_os_str().as_bytes());
            }
            self.source.digest(cache, key, &found.path, &found.node)?;
        }
        Ok(())
    }

    pub fn run(mut self, builder: &Builder<'_>, tree: &mut Tree) -> Result<(), StepError> {
        for (name, content) in &self.documents {
            let target = self.target_of(tree, Path::new(name))?;
            let mut attributes = Attributes::new(0o644, self.time);
            self.adorn(&mut attributes, false);
            self.put(tree, &target, Content::File(&mut content.as_slice()), &attributes)?;
        }
        for mut download in std::mem::take(&mut self.downloads) {
            self.download(builder, tree, &mut download)?;
        }
        for found in &self.found {
            self.one(tree, found)?;
        }
        Ok(())
    }

    fn download(&self, builder: &Builder<'_>, tree: &mut Tree, download: &mut Download) -> Result<(), StepError> {
        let path = download.path(builder)?;
        if self.unpack_downloads && is_archive(&path) {
            return self.extract(tree, &path, &download.url);
        }
        let name = if self.is_directory(tree)? { download.name(builder)? } else { PathBuf::new() };
        let target = self.target_of(tree, &name)?;
        let mut attributes = Attributes::new(0o600, self.time);
        self.adorn(&mut attributes, false);
        let mut file = File::open(&path).doing(|| download.url.clone())?;
        self.put(tree, &target, Content::File(&mut file), &attributes)
    }

    /// Whether what is copied goes into the target and not in its place.
    fn is_directory(&self, tree: &Tree) -> Result<bool, StepError> {
        let target = self.real_target(tree, &self.target)?;
        let there = tree.view().lookup(&target).doing(|| target.display().to_string())?;
        Ok(self.into_directory || there.is_some_and(|n| n.metadata.is_dir()))
    }

    fn extract(&self, tree: &mut Tree, archive: &Path, shown: &str) -> Result<(), StepError> {
        let target = self.real_target(tree, &self.target)?;
        self.make_directory(tree, &target, &Attributes::new(0o755, self.time))?;
        let file = File::open(archive).doing(|| shown.to_owned())?;
        let tar = decompress(file).doing(|| shown.to_owned())?;
        extract(tar, tree, &target, self.owner).doing(|| format!("cannot extract {shown}"))
    }

    fn one(&self, tree: &mut Tree, found: &Found) -> Result<(), StepError> {
        if self.parents {
            return self.with_parents(tree, found);
        }
        if found.node.metadata.is_dir() {
            let target = self.real_target(tree, &self.target)?;
            let attributes = self.directory_attributes(found)?;
            self.make_directory(tree, &target, &attributes)?;
            return self.contents(tree, &found.path, &target, &found.path);
        }
        if self.unpack && found.node.metadata.is_file() && is_archive(&found.node.real) {
            return self.extract(tree, &found.node.real, &found.path.display().to_string());
        }
        let target = self.target_of(tree, &found.name)?;
        self.node(tree, &found.node, &target)
    }

    /// `--parents`: the whole path below the target, its directories as they are in the source.
    fn with_parents(&self, tree: &mut Tree, found: &Found) -> Result<(), StepError> {
        let mut way = PathBuf::new();
        let base = self.real_target(tree, &self.target)?;
        for part in found.path.parent().into_iter().flat_map(Path::components) {
            way.push(part);
            let node = self.source.view.lookup(&way).doing(|| way.display().to_string())?;
            let mut attributes = match node {
                Some(node) => self.source.attributes(&node, self.time)?,
                None => Attributes::new(0o755, self.time),
            };
            self.adorn(&mut attributes, true);
            self.make_directory(tree, &base.join(&way), &attributes)?;
        }
        let target = base.join(&found.path);
        if !found.node.metadata.is_dir() {
            return self.node(tree, &found.node, &target);
        }
        self.make_directory(tree, &target, &self.directory_attributes(found)?)?;
        self.contents(tree, &found.path, &target, &found.path)
    }

    fn directory_attributes(&self, found: &Found) -> Result<Attributes, StepError> {
        let mut attributes = self.source.attributes(&found.node, self.time)?;
        self.adorn(&mut attributes, true);
        Ok(attributes)
    }

    /// What a directory holds, into another. Directories that are there already get the attributes of those that are copied.
    fn contents(&self, tree: &mut Tree, from: &Path, to: &Path, top: &Path) -> Result<(), StepError> {
        let mut todo = vec![(from.to_owned(), to.to_owned())];
        while let Some((from, to)) = todo.pop() {
            for (path, node) in self.source.list(&from)? {
                if self.exclude.excludes(path.strip_prefix(top).unwrap_or(&path)) {
                    continue;
                }
                let target = to.join(path.file_name().unwrap_or_default());
                if !node.metadata.is_dir() {
                    self.node(tree, &node, &target)?;
                    continue;
                }
                let mut attributes = self.source.attributes(&node, self.time)?;
                self.adorn(&mut attributes, true);
                if tree
                    .view()
                    .lookup(&target)
                    .doing(|| target.display().to_string())?
                    .is_some_and(|n| !n.metadata.is_dir())
                {
                    return Err(StepError::new(format!("cannot copy to non-directory: /{}", target.display())));
                }
                self.put(tree, &target, Content::Directory, &attributes)?;
                todo.push((path, target));
            }
        }
        Ok(())
    }

    /// Anything but a directory.
    fn node(&self, tree: &mut Tree, node: &Node, target: &Path) -> Result<(), StepError> {
        let what = || node.real.display().to_string();
        let mut attributes = self.source.attributes(node, self.time)?;
        let kind = node.metadata.file_type();
        self.adorn(&mut attributes, false);
        if tree.view().lookup(target).doing(|| target.display().to_string())?.is_some_and(|n| n.metadata.is_dir()) {
            return Err(StepError::new(format!("cannot replace to directory /{} with file", target.display())));
        }
        if kind.is_symlink() {
            let link = std::fs::read_link(&node.real).doing(what)?;
            return self.put(tree, target, Content::Symlink(link.as_os_str()), &attributes);
        }
        if kind.is_file() {
            let mut file = File::open(&node.real).doing(what)?;
            return self.put(tree, target, Content::File(&mut file), &attributes);
        }
        let content = match () {
            () if kind.is_char_device() => Content::Character(node.metadata.rdev()),
            () if kind.is_block_device() => Content::Block(node.metadata.rdev()),
            () => Content::Fifo,
        };
        self.put(tree, target, content, &attributes)
    }

    fn put(
        &self,
        tree: &mut Tree,
        target: &Path,
        content: Content<'_>,
        attributes: &Attributes,
    ) -> Result<(), StepError> {
        if target.file_name().is_some_and(|name| name.as_bytes().starts_with(b".wh.")) {
            let message = "names that begin with .wh. have a meaning of their own in images";
            return Err(StepError::new(format!("/{}: {message}", target.display())));
        }
        tree.put(target, content, attributes).doing(|| format!("cannot write /{}", target.display()))
    }

    fn adorn(&self, attributes: &mut Attributes, is_dir: bool) {
        if let Some((uid, gid)) = self.owner {
            (attributes.uid, attributes.gid) = (uid, gid);
        }
        if let Some(chmod) = &self.chmod {
            attributes.mode = chmod.apply(attributes.mode, is_dir);
        }
    }

    /// Where a single file goes: below the target if that is a directory, else to the target itself.
    fn target_of(&self, tree: &mut Tree, name: &Path) -> Result<PathBuf, StepError> {
        let target = self.real_target(tree, &self.target)?;
        let path = if self.is_directory(tree)? { target.join(name) } else { target };
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut attributes = Attributes::new(0o755, self.time);
        (attributes.uid, attributes.gid) = self.owner.unwrap_or((0, 0));
        self.make_directory(tree, &parent, &attributes)?;
        // The last part may be a link to somewhere else.
        self.real_target(tree, &path)
    }

    /// The target with links followed, relative to the root.
    fn real_target(&self, tree: &Tree, target: &Path) -> Result<PathBuf, StepError> {
        let clean: PathBuf =
            target.components().filter(|c| !matches!(c, Component::RootDir | Component::CurDir)).collect();
        Ok(tree.view().resolve(&clean, true).doing(|| target.display().to_string())?.path)
    }

    /// Makes a directory if it is not there; missing parents belong to the owner too.
    fn make_directory(&self, tree: &mut Tree, path: &Path, attributes: &Attributes) -> Result<(), StepError> {
        make_directory(tree, path, attributes, self.owner.unwrap_or((0, 0)), self.time)
    }
}

/// Makes a directory (whose path has no links) if it is not there, with its parents.
pub fn make_directory(
    tree: &mut Tree,
    path: &Path,
    attributes: &Attributes,
    owner: (u32, u32),
    time: i64,
) -> Result<(), StepError> {
    let mut way = PathBuf::new();
    for part in path {
        way.push(part);
        let what = || format!("/{}", way.display());
        match tree.view().lookup(&way).doing(what)? {
            Some(node) if node.metadata.is_dir() => {}
            Some(_) => return Err(StepError::new(format!("cannot copy to non-directory: /{}", way.display()))),
            None => {
                let parent = Attributes { uid: owner.0, gid: owner.1, ..Attributes::new(0o755, time) };
                let attributes = if way == path { attributes } else { &parent };
                tree.put(&way, Content::Directory, attributes).doing(what)?;
            }
        }
    }
    Ok(())
}

/// Whether a file is a tar, compressed or not (BuildKit `isArchivePath`).
fn is_archive(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    if file.metadata().is_ok_and(|m| m.size() == 0) {
        return false;
    }
    let Ok(mut plain) = decompress(file) else { return false };
    let mut header = [0_u8; 512];
    let whole = plain.read_exact(&mut header).is_ok();
    whole && tar::Header::from_byte_slice(&header).cksum().is_ok_and(|sum| sum == checksum(&header))
}

/// The sum of a tar header's bytes, its own field counted as spaces.
fn checksum(header: &[u8; 512]) -> u32 {
    header.iter().enumerate().map(|(n, b)| if (148..156).contains(&n) { 32 } else { u32::from(*b) }).sum()
}

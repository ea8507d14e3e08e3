//! Layers: tars on the way, directories at rest, in the form that overlayfs stacks.
//!
//! A layer at rest is one directory. What it takes away from the layers below is written as overlayfs writes it: a character device
//! 0:0 hides a name, the attribute `trusted.overlay.opaque` hides what a directory held before. In a tar the same is said by names
//! (`.wh.NAME`, `.wh..wh..opq`; OCI image-spec `layer.md`). [`unpack`] and [`pack`] translate.
//!
//! Nothing here trusts a layer: names cannot lead out of the directory, neither by `..` nor through symbolic links, and attributes
//! that would give orders to overlayfs are dropped.
mod attributes;
mod compression;
mod copy;
mod pack;
mod pax;
mod tree;
mod unpack;
mod view;

pub use attributes::{Attributes, is_opaque};
pub use compression::decompress;
pub use copy::copy_out;
pub use pack::pack;
pub use tree::{Content, Summary, Tree, remove_tree};
pub use unpack::{extract, unpack};
pub use view::{Node, Resolved, View};

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Modification time of what has none of its own: the first day of ZIP's calendar, which some tools cannot go below.
pub const EPOCH: i64 = 315_532_800;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The path below the root: without `/`, `.` and empty parts. None if it climbs (`..`) or cannot be a path.
pub fn clean(path: &[u8]) -> Option<PathBuf> {
    if path.contains(&0) {
        return None;
    }
    let mut cleaned = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(part) => cleaned.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(cleaned)
}

#[cfg(test)]
mod tests;

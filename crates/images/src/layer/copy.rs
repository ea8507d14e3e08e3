//! Taking a directory out of an image: [`copy_out`]. A container's anonymous volume begins as what its image has there.
use super::{Attributes, Content, Tree, View};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Makes the directory `into` with what stacked layers hold at `path`, owners, modes and extended attributes kept; empty if they hold
/// no directory there. Symbolic links to it are followed within the layers. Devices and sockets stay behind: outside of its layers,
/// which are mounted `nodev`, a device node would be alive.
pub fn copy_out(view: &View, path: &Path, into: &Path) -> io::Result<()> {
    let path: PathBuf = path.components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect();
    let mut tree = Tree::create(into, &[])?;
    let found = view.resolve(&path, true)?;
    let Some(top) = found.node.filter(|n| n.metadata.is_dir()) else {
        tree.finish()?;
        return Ok(());
    };
    let mut todo = vec![(found.path, PathBuf::new())];
    while let Some((from, to)) = todo.pop() {
        for (name, node) in view.read_dir(&from)? {
            let (from, to, kind) = (from.join(&name), to.join(&name), node.metadata.file_type());
            let attributes = Attributes::read(&node.real, &node.metadata)?;
            if kind.is_dir() {
                tree.put(&to, Content::Directory, &attributes)?;
                todo.push((from, to));
            } else if kind.is_symlink() {
                let target = fs::read_link(&node.real)?;
                tree.put(&to, Content::Symlink(target.as_os_str()), &attributes)?;
            } else if kind.is_file() {
                tree.put(&to, Content::File(&mut File::open(&node.real)?), &attributes)?;
            }
        }
    }
    tree.finish()?;
    let attributes = Attributes::read(&top.real, &top.metadata)?;
    std::os::unix::fs::chown(into, Some(attributes.uid), Some(attributes.gid))?;
    // After the owner: a change of owner clears set-id bits.
    fs::set_permissions(into, Permissions::from_mode(attributes.mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn what_the_layers_show_comes_out() {
        let tmp = tempfile::tempdir().unwrap();
        let (low, high) = (tmp.path().join("low"), tmp.path().join("high"));
        let mut tree = Tree::create(&low, &[]).unwrap();
        let owned = Attributes { uid: 999, gid: 998, ..Attributes::new(0o2770, 5) };
        tree.put(Path::new("data"), Content::Directory, &owned).unwrap();
        tree.put(Path::new("data/old"), Content::File(&mut &b"old"[..]), &Attributes::new(0o600, 5)).unwrap();
        tree.put(Path::new("data/gone"), Content::File(&mut &b"x"[..]), &Attributes::new(0o600, 5)).unwrap();
        tree.put(Path::new("data/null"), Content::Character(0x103), &Attributes::new(0o666, 5)).unwrap();
        tree.finish().unwrap();
        let mut tree = Tree::create(&high, std::slice::from_ref(&low)).unwrap();
        tree.hide(Path::new("data/gone")).unwrap();
        let inner = Attributes { uid: 7, ..Attributes::new(0o4755, 6) };
        tree.put(Path::new("data/sub"), Content::Directory, &Attributes::new(0o711, 5)).unwrap();
        tree.put(Path::new("data/sub/new"), Content::File(&mut &b"new"[..]), &inner).unwrap();
        tree.finish().unwrap();
        symlink("/data", high.join("link")).unwrap();
        symlink("old", high.join("data/way")).unwrap();

        let view = View::new(vec![low, high]);
        let out = tmp.path().join("out");
        copy_out(&view, Path::new("/link"), &out).unwrap();
        let names: Vec<_> = fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
        let mut names: Vec<_> = names.iter().filter_map(|n| n.to_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["old", "sub", "way"], "the hidden file and the device stayed behind");
        let top = fs::metadata(&out).unwrap();
        assert_eq!((top.mode() & 0o7777, top.uid(), top.gid()), (0o2770, 999, 998));
        let new = fs::metadata(out.join("sub/new")).unwrap();
        assert_eq!((new.mode() & 0o7777, new.uid()), (0o4755, 7));
        assert_eq!(fs::read_to_string(out.join("way")).unwrap(), "old");

        for (n, nothing) in ["/absent/deep", "/data/old"].into_iter().enumerate() {
            let out = tmp.path().join(format!("empty{n}"));
            copy_out(&view, Path::new(nothing), &out).unwrap();
            assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
            assert_eq!(fs::metadata(&out).unwrap().mode() & 0o7777, 0o755);
        }
    }
}

//! Files that change all at once (`pkg/volume/util/atomic_writer.go`).
//!
//! ```text
//! key     -> ..data/key
//! ..data  -> ..2026_11_23_08_40_00.1234      swapped by one rename
//! ..2026_11_23_08_40_00.1234/key
//! ```
//! A program that reads through `..data` sees the old files or the new ones, never some of each. Killed at any line, the next
//! [`write`] puts it right.
use super::ownership::{self, Ownership};
use super::payload::{File, Payload};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";
/// Attempts to find a directory name that is not taken.
const ATTEMPTS: u32 = 16;

#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// It would lead out of the volume, or into its machinery.
    #[error("invalid path {0:?}: it must be relative, without \"..\" and not begin with \"..\"")]
    Path(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Makes the directory show exactly `payload`. Says whether anything had to change.
pub(crate) fn write(directory: &Path, payload: &Payload, owner: Option<&Ownership>) -> Result<bool, WriteError> {
    payload.keys().try_for_each(|path| check(path))?;
    let current = fs::read_link(directory.join(DATA)).ok().and_then(|target| inside(directory, &target));
    if current.as_ref().is_some_and(|current| holds(current, payload)) {
        link_names(directory, payload)?;
        sweep(directory, payload, current.as_deref())?;
        return Ok(false);
    }
    let fresh = new_directory(directory)?;
    for (path, file) in payload {
        write_file(&fresh, path, file)?;
    }
    if let Some(owner) = owner {
        ownership::apply(&fresh, owner, ownership::Change::Always)?;
    }
    swap(directory, &fresh)?;
    link_names(directory, payload)?;
    sweep(directory, payload, Some(&fresh))?;
    if let Some(owner) = owner {
        ownership::apply_one(directory, owner)?;
    }
    Ok(true)
}

/// Whether the directory has been written once.
pub(crate) fn is_written(directory: &Path) -> bool {
    fs::symlink_metadata(directory.join(DATA)).is_ok_and(|m| m.is_symlink())
}

fn check(path: &str) -> Result<(), WriteError> {
    let whole = !path.is_empty() && !path.contains('\0') && !path.starts_with("..");
    let inside = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    if whole && inside { Ok(()) } else { Err(WriteError::Path(path.to_owned())) }
}

/// The link's target, if it is a directory right here.
fn inside(directory: &Path, target: &Path) -> Option<PathBuf> {
    let mut parts = target.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => Some(directory.join(name)),
        _ => None,
    }
}

/// Whether the directory has these files and no others.
fn holds(directory: &Path, payload: &Payload) -> bool {
    let mut found = BTreeSet::new();
    if list(directory, Path::new(""), &mut found).is_err() {
        return false;
    }
    found.len() == payload.len()
        && payload.iter().all(|(path, file)| {
            let clean: PathBuf = Path::new(path).components().collect();
            found.contains(&clean) && fs::read(directory.join(&clean)).is_ok_and(|data| data == file.data)
        })
}

fn list(root: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

fn new_directory(directory: &Path) -> io::Result<PathBuf> {
    let stamp = Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let mut attempt = 0;
    loop {
        let path = directory.join(format!("{stamp}.{}", rand::random::<u32>()));
        attempt += 1;
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {}
            made => {
                made?;
                // Whatever our umask is.
                fs::set_permissions(&path, Permissions::from_mode(0o755))?;
                return Ok(path);
            }
        }
    }
}

fn write_file(root: &Path, path: &str, file: &File) -> io::Result<()> {
    let path = root.join(path);
    let mut made = Vec::new();
    for parent in path.ancestors().skip(1).take_while(|p| *p != root) {
        made.push(parent);
    }
    for parent in made.into_iter().rev() {
        match fs::create_dir(parent) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.and_then(|()| fs::set_permissions(parent, Permissions::from_mode(0o755)))?,
        }
    }
    fs::write(&path, &file.data)?;
    fs::set_permissions(&path, Permissions::from_mode(file.mode))?;
    if let Some(owner) = file.owner {
        std::os::unix::fs::chown(&path, Some(owner), None)?;
    }
    Ok(())
}

fn swap(directory: &Path, fresh: &Path) -> io::Result<()> {
    let temporary = directory.join(NEW_DATA);
    remove(&temporary)?;
    symlink(fresh.file_name().unwrap_or_default(), &temporary)?;
    fs::rename(&temporary, directory.join(DATA))
}

/// First components of the payload's paths: what people see in the directory.
fn names(payload: &Payload) -> BTreeSet<&OsStr> {
    payload.keys().filter_map(|path| Path::new(path).components().next()).map(|first| first.as_os_str()).collect()
}

fn link_names(directory: &Path, payload: &Payload) -> io::Result<()> {
    for name in names(payload) {
        let (link, target) = (directory.join(name), Path::new(DATA).join(name));
        if fs::read_link(&link).is_ok_and(|to| to == target) {
            continue;
        }
        // Something else under that name, such as what a container's runtime put there.
        remove(&link)?;
        symlink(&target, &link)?;
    }
    Ok(())
}

/// Takes away names that are no longer wanted, older directories, and what a killed writer left.
fn sweep(directory: &Path, payload: &Payload, current: Option<&Path>) -> io::Result<()> {
    let wanted = names(payload);
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let path = entry.path();
        let machinery = name.to_string_lossy().starts_with("..");
        let keep = if machinery { name == DATA || current == Some(&*path) } else { wanted.contains(name.as_os_str()) };
        // A file that is no link of ours is not ours to remove.
        let ours = machinery || fs::read_link(&path).is_ok_and(|to| to.starts_with(DATA));
        if !keep && ours {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match gone {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File { data: data.into(), mode: 0o640, owner: None };
        files.iter().map(|(path, data)| ((*path).to_owned(), file(data))).collect()
    }

    /// What a container sees: every file that is not machinery, read through its names.
    fn seen(directory: &Path) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for entry in fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with("..") {
                continue;
            }
            let path = directory.join(&name);
            if path.is_dir() {
                out.extend(seen(&path).into_iter().map(|(k, v)| (format!("{name}/{k}"), v)));
            } else {
                out.insert(name, fs::read_to_string(path).unwrap());
            }
        }
        out
    }

    fn machinery(directory: &Path) -> usize {
        let names = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.starts_with("..")).count()
    }

    #[test]
    fn shows_exactly_the_payload_whatever_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let steps: [&[(&str, &str)]; 6] = [
            &[("a", "1"), ("d/e/f", "2")],
            &[("a", "1"), ("d/e/f", "3"), ("d/g", "4")],
            &[("d", "now a file")],
            &[],
            &[("a/b", "now a directory")],
            &[("a/b", "now a directory"), (".hidden", "5")],
        ];
        for step in steps {
            let wanted: BTreeMap<String, String> =
                step.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert!(write(dir.path(), &payload(step), None).unwrap());
            assert_eq!(seen(dir.path()), wanted);
            assert!(!write(dir.path(), &payload(step), None).unwrap(), "nothing to do the second time");
            assert_eq!(seen(dir.path()), wanted);
            assert_eq!(machinery(dir.path()), 2, "..data and one directory");
        }
        let mode = fs::metadata(dir.path().join("a/b")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o640);
    }

    #[test]
    fn finishes_what_a_killed_writer_began() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &payload(&[("a", "1"), ("b", "1")]), None).unwrap();
        // Killed between the swap and the names; a directory half written, a link not yet renamed.
        fs::remove_file(dir.path().join("a")).unwrap();
        fs::create_dir(dir.path().join("..2020_01_01_00_00_00.7")).unwrap();
        symlink("..2020_01_01_00_00_00.7", dir.path().join(NEW_DATA)).unwrap();
        assert!(!write(dir.path(), &payload(&[("a", "1"), ("b", "1")]), None).unwrap());
        assert_eq!(seen(dir.path()).len(), 2);
        assert_eq!(machinery(dir.path()), 2);
        // `..data` points at nothing.
        let current = fs::read_link(dir.path().join(DATA)).unwrap();
        fs::remove_dir_all(dir.path().join(current)).unwrap();
        assert!(write(dir.path(), &payload(&[("a", "2")]), None).unwrap());
        assert_eq!(seen(dir.path()), [("a".to_owned(), "2".to_owned())].into());
    }

    #[test]
    fn readers_never_see_half_an_update() {
        let dir = tempfile::tempdir().unwrap();
        let both = |n: &str| payload(&[("x", n), ("y", n)]);
        write(dir.path(), &both("0"), None).unwrap();
        let path = dir.path().to_owned();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let done = std::sync::Arc::clone(&stop);
        let reader = std::thread::spawn(move || {
            let mut reads = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || reads == 0 {
                // As a careful program does: resolve `..data` once.
                let now = path.join(fs::read_link(path.join(DATA)).unwrap());
                let pair = (fs::read_to_string(now.join("x")), fs::read_to_string(now.join("y")));
                if let (Ok(x), Ok(y)) = pair {
                    assert_eq!(x, y);
                    reads += 1;
                }
            }
        });
        for n in 1..100 {
            write(dir.path(), &both(&n.to_string()), None).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    }

    #[test]
    fn paths_cannot_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["/etc/x", "../x", "a/../../x", "..data", "..", "", "a/..", "..x/y"] {
            let error = write(dir.path(), &payload(&[(bad, "1")]), None).unwrap_err();
            assert!(matches!(error, WriteError::Path(_)), "{bad:?}: {error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing half done");
        // Nor does a link that somebody put under a key's name.
        symlink("/etc/hostname", dir.path().join("k")).unwrap();
        write(dir.path(), &payload(&[("k", "mine")]), None).unwrap();
        assert_eq!(seen(dir.path()), [("k".to_owned(), "mine".to_owned())].into());
    }
}

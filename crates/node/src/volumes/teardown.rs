//! Takes a pod's volumes away: what is mounted first, then the directories. What persists is elsewhere and stays.
use super::layout::PodDir;
use super::mount_table;
use std::fs;
use std::io;
use std::path::Path;

/// Mounts may be stacked; each round takes the topmost away.
const ROUNDS: u32 = 16;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoveError {
    /// Deleting now would delete what is mounted there, which may not be the pod's.
    #[error("{0} is still mounted")]
    StillMounted(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(crate) fn remove(pod: &PodDir) -> Result<(), RemoveError> {
    // The table of mounts knows no symbolic links: a mount below must not be overlooked.
    let path = match fs::canonicalize(pod.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for _ in 0..ROUNDS {
        let mounted = mount_table::below(&path)?;
        if mounted.is_empty() {
            break;
        }
        mounted.iter().try_for_each(|path| mount_table::unmount(path))?;
    }
    if let Some(left) = mount_table::below(&path)?.first() {
        return Err(RemoveError::StillMounted(left.display().to_string()));
    }
    for directory in [pod.subpaths(), pod.volumes(), pod.notes()] {
        absent(fs::remove_dir_all(directory))?;
    }
    // Others keep things beside the volumes.
    match fs::remove_dir(pod.path()) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => Ok(absent(other)?),
    }
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The pods that have something of volumes here.
pub(crate) fn held(pods: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(pods) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(uid) = entry.file_name().into_string() else { continue };
        let pod = PodDir::at(entry.path());
        if [pod.volumes(), pod.subpaths(), pod.notes()].iter().any(|d| d.exists()) {
            out.push(uid);
        }
    }
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::layout::Layout;
    use crate::volumes::subpath;
    use std::os::unix::fs::symlink;

    #[test]
    fn deletes_what_is_the_pods_and_nothing_that_is_mounted_there() {
        let dir = tempfile::tempdir().unwrap();
        let (data, host) = (dir.path().join("data"), dir.path().join("host"));
        fs::create_dir_all(host.join("disk")).unwrap();
        fs::write(host.join("precious"), "x").unwrap();
        mount_table::tmpfs(&host.join("disk"), Some(1 << 20)).unwrap();
        fs::write(host.join("disk/more"), "x").unwrap();
        // Reached by a link, as data directories are.
        fs::create_dir(&data).unwrap();
        symlink(&data, dir.path().join("link")).unwrap();
        let pod = Layout::new(dir.path().join("link")).pod("uid").unwrap();
        fs::create_dir_all(pod.volumes().join("kubernetes.io~empty-dir/v/deep")).unwrap();
        mount_table::tmpfs(&pod.volumes().join("kubernetes.io~empty-dir/v"), None).unwrap();
        // A part of the machine's files, twice over, with the disk that is mounted in it.
        let at = pod.subpath("v", "c", 0).unwrap();
        subpath::show(&subpath::find(dir.path(), "host").unwrap(), &at).unwrap();
        assert_eq!(fs::read_to_string(at.join("disk/more")).unwrap(), "x");
        assert_eq!(held(&data.join("pods")).unwrap(), ["uid"]);

        remove(&pod).unwrap();
        remove(&pod).unwrap();
        assert!(held(&data.join("pods")).unwrap().is_empty() && !pod.path().exists());
        assert_eq!(fs::read_to_string(host.join("precious")).unwrap(), "x");
        assert_eq!(fs::read_to_string(host.join("disk/more")).unwrap(), "x", "the machine keeps its disk");
        let path = fs::canonicalize(dir.path()).unwrap();
        assert_eq!(mount_table::below(&path).unwrap(), [path.join("host/disk")]);
        mount_table::unmount(&host.join("disk")).unwrap();
    }
}

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
    for _ in 0..ROUNDS {
        let mounted = mount_table::below(pod.path())?;
        if mounted.is_empty() {
            break;
        }
        mounted.iter().try_for_each(|path| mount_table::unmount(path))?;
    }
    if let Some(left) = mount_table::below(pod.path())?.first() {
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

//! What a demo that was killed (`kill -9`) could not remove: the next one does.
//!
//! Each of a demo's directories names the process it belongs to. Only directories of our own that nobody else may write to are believed:
//! the place they are in is everybody's.
use crate::process;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How directories of demos begin.
pub const PREFIX: &str = "isopod-demo-";

/// Where the process is named. In `run`, because a data directory that is to become a cluster may hold that.
const MARK: &str = "run/demo.json";

/// The demo that a directory belongs to.
#[derive(Serialize, Deserialize)]
struct Owner {
    pid: i32,
    /// As `/proc/PID/stat` has it.
    started: u64,
}

/// Says that a directory is this process's.
pub fn mark(dir: &Path) -> Result<()> {
    let pid = i32::try_from(std::process::id())?;
    let owner = Owner { pid, started: process::start_time(pid).context("cannot read /proc/self/stat")? };
    fs::create_dir(dir.join("run")).context("cannot make a directory")?;
    fs::write(dir.join(MARK), serde_json::to_vec(&owner)?).with_context(|| format!("cannot write in {}", dir.display()))
}

/// Says that it is nobody's, and stays.
pub fn release(dir: &Path) -> Result<()> {
    fs::remove_file(dir.join(MARK)).with_context(|| format!("cannot write in {}", dir.display()))
}

/// Directories in `place` whose demo is no more.
pub fn find(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    named.map(|entry| entry.path()).filter(|path| is_ours(path) && is_orphaned(path)).collect()
}

fn is_ours(path: &Path) -> bool {
    let me = nix::unistd::Uid::effective().as_raw();
    fs::symlink_metadata(path).is_ok_and(|m| m.is_dir() && m.uid() == me && m.mode() & 0o077 == 0)
}

fn is_orphaned(path: &Path) -> bool {
    let owner = fs::read(path.join(MARK)).ok().and_then(|bytes| serde_json::from_slice::<Owner>(&bytes).ok());
    owner.is_some_and(|owner| process::start_time(owner.pid) != Some(owner.started))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_our_own_directories_of_dead_demos_are_found() {
        let place = tempfile::tempdir().unwrap();
        let dir = |name: &str, owner: Option<&Owner>| {
            let path = place.path().join(name);
            fs::create_dir_all(path.join("run")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            if let Some(owner) = owner {
                fs::write(path.join(MARK), serde_json::to_vec(owner).unwrap()).unwrap();
            }
            path
        };
        let me = i32::try_from(std::process::id()).unwrap();
        let dead = Owner { pid: me, started: 1 };
        dir("isopod-demo-alive", Some(&Owner { pid: me, started: process::start_time(me).unwrap() }));
        dir("isopod-demo-kept", None);
        dir("other", Some(&dead));
        let open = dir("isopod-demo-open", Some(&dead));
        fs::set_permissions(open, fs::Permissions::from_mode(0o777)).unwrap();
        let left = dir("isopod-demo-left", Some(&dead));
        std::os::unix::fs::symlink(&left, place.path().join("isopod-demo-link")).unwrap();
        assert_eq!(find(place.path()), [left]);
        assert_eq!(find(Path::new("/nonexistent")), Vec::<PathBuf>::new());
    }
}

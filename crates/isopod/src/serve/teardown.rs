//! Takes away what a cluster has on this machine when its server no longer runs: containers, mounts, cgroups, links, rules, the edge
//! process. Data stay. Everything is tried, whatever fails first.
use super::node::Ground;
use crate::datadir::{Cluster, DataDir};
use crate::membership::Membership;
use anyhow::{Context, Result};
use isopod_network::pod::Links;
use isopod_runtime::cgroups::Layout;
use isopod_runtime::local::Local;
use nix::mount::{MntFlags, umount2};
use std::path::{Path, PathBuf};

/// Nothing of the cluster runs afterwards. Cheap when there was nothing.
pub fn run(cluster: &Cluster, dir: &DataDir) -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() || cluster.hollow_nodes > 0 || cluster.no_node {
        return Ok(());
    }
    clear(&Ground::of(cluster, dir)?, dir)
}

/// The same on a further machine of a cluster.
pub fn of_node(member: &Membership, dir: &DataDir) -> Result<()> {
    clear(&Ground::of_member(member, dir)?, dir)
}

fn clear(ground: &Ground, dir: &DataDir) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let containers = runtime.block_on(async {
        if !ground.runtime.state_dir.exists() {
            return Ok(());
        }
        Local::open(ground.runtime.clone()).await?.remove_all().await
    });
    let edge = runtime.block_on(isopod_network::edge::stop(&dir.run_dir()));
    let mounts = unmount_below(dir.path());
    let cgroups = remove_cgroups(&ground.network.bridge());
    let links = Links::remove_all(&ground.network);
    containers.context("cannot remove the containers")?;
    edge.context("cannot stop the edge process")?;
    mounts?;
    cgroups?;
    links.context("cannot remove the cluster's network")
}

/// Volumes in memory, and whatever a crash has left.
fn unmount_below(data: &Path) -> Result<()> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read mountinfo")?;
    let data = std::fs::canonicalize(data).unwrap_or_else(|_| data.to_path_buf());
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    let mut points: Vec<PathBuf> = points.filter(|point| point.starts_with(&data) && *point != data).collect();
    // What was mounted last, and deepest, goes first.
    points.reverse();
    for point in points {
        match umount2(&point, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot unmount {}", point.display())),
        }
    }
    Ok(())
}

/// `mountinfo` writes space, tab, line feed and backslash as three octal digits.
fn unescape(point: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(point.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// The cluster's own cgroup with those below it. One that still holds a process stays, and is an error.
fn remove_cgroups(root: &str) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read mountinfo")?;
    let Some(layout) = Layout::from_mountinfo(&mounts) else { return Ok(()) };
    for directory in layout.directories(root)? {
        remove_tree(&directory).with_context(|| format!("cannot remove cgroup {}", directory.display()))?;
    }
    Ok(())
}

fn remove_tree(directory: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match std::fs::remove_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

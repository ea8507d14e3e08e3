//! `isopod delete`: stops the cluster, removes its data directory and its context. With arguments it is kubectl's: objects.
use crate::command::down;
use crate::datadir::Location;
use crate::serve::teardown;
use crate::{kubeconfig, process};
use anyhow::{Context, Result};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
#[group(skip)] // the flattened one has its name, and clap wants names of groups to be unique
pub struct Args {
    #[command(flatten)]
    location: Location,
    #[command(flatten)]
    objects: isopod_cli::DeleteArgs,
}

pub fn run(args: &Args, global: &isopod_cli::Global) -> Result<ExitCode> {
    if args.objects.names_any() {
        return super::verb::in_thread(isopod_cli::run_delete(&args.objects, global));
    }
    let dir = args.location.resolve()?;
    // Only a directory with our settings in it is ever removed.
    if let Some(member) = dir.member()? {
        let lock = process::lifecycle_lock(&dir)?;
        down::stop(&dir)?;
        teardown::of_node(&member, &dir)?;
        remove(dir.path())?;
        drop(lock);
        println!("node {} of cluster {:?} is taken off this machine", member.node, member.cluster);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(cluster) = dir.cluster()? else {
        println!("no cluster at {}", dir.path().display());
        return Ok(ExitCode::SUCCESS);
    };
    let lock = process::lifecycle_lock(&dir)?;
    down::stop(&dir)?;
    teardown::run(&cluster, &dir)?;
    for file in &cluster.kubeconfigs {
        if let Err(error) = kubeconfig::remove(file, &cluster.name, &cluster.endpoint()) {
            eprintln!("warning: the context {:?} stays in {}: {error:#}", cluster.name, file.display());
        }
    }
    remove(dir.path())?;
    drop(lock);
    println!("cluster {:?} is deleted", cluster.name);
    Ok(ExitCode::SUCCESS)
}

/// Removes the data: what the cluster knows first, its settings last. Whoever interrupts this is left with an empty cluster that can be
/// deleted again or started anew, not with one that has lost its volumes and images and knows nothing of it.
fn remove(data: &Path) -> Result<()> {
    let cannot = || format!("cannot remove {}", data.display());
    if std::io::stdout().is_terminal() {
        // Disks that discard blocks at once take seconds for an image.
        println!("removing {}", data.display());
    }
    let entries = std::fs::read_dir(data).with_context(cannot)?.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = entries.collect::<std::io::Result<_>>().with_context(cannot)?;
    paths.sort_by_key(|path| path.file_name() != Some("store".as_ref()));
    for path in paths {
        // A link is no directory of ours.
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(&path).with_context(cannot)?;
        }
    }
    std::fs::remove_dir_all(data).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left() {
        let parent = tempfile::tempdir().unwrap();
        let data = parent.path().join("data");
        std::fs::create_dir_all(data.join("store/wal")).unwrap();
        std::fs::create_dir_all(data.join("images")).unwrap();
        std::fs::write(data.join("cluster.json"), "{}").unwrap();
        remove(&data).unwrap();
        assert!(!data.exists());
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("cluster.json"), "{}").unwrap();
        remove(&data).unwrap();
        assert!(!data.exists(), "a directory without a store is removed as well");
    }
}

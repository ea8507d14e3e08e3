//! `isopod delete`: stops the cluster, removes its data directory and its context. With arguments it is kubectl's: objects.
use crate::command::down;
use crate::datadir::Location;
use crate::serve::teardown;
use crate::{kubeconfig, process};
use anyhow::{Context, Result};
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
        std::fs::remove_dir_all(dir.path()).with_context(|| format!("cannot remove {}", dir.path().display()))?;
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
    std::fs::remove_dir_all(dir.path()).with_context(|| format!("cannot remove {}", dir.path().display()))?;
    drop(lock);
    println!("cluster {:?} is deleted", cluster.name);
    Ok(ExitCode::SUCCESS)
}

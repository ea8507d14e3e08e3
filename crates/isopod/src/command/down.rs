//! `isopod down`: stops the cluster, its containers too, and keeps its data.
use crate::datadir::{DataDir, Location};
use crate::process;
use crate::serve::teardown;
use anyhow::{Result, bail};
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    location: Location,
    /// Stop only the control plane: containers go on, and the next isopod up finds them (for an upgrade).
    #[arg(long)]
    leave_pods: bool,
}

/// The server closes its watches and flushes within a fraction of a second; pods get their own time on top.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(args: &Args) -> Result<ExitCode> {
    let dir = args.location.resolve()?;
    if let Some(member) = dir.member()? {
        let _lock = process::lifecycle_lock(&dir)?;
        stop(&dir)?;
        if !args.leave_pods {
            teardown::of_node(&member, &dir)?;
        }
        println!("node {} of cluster {:?} is stopped", member.node, member.cluster);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(cluster) = dir.cluster()? else {
        bail!("no cluster at {}: start one with isopod up", dir.path().display());
    };
    let _lock = process::lifecycle_lock(&dir)?;
    let ran = stop(&dir)?;
    if !args.leave_pods {
        teardown::run(&cluster, &dir)?;
    }
    if ran {
        println!("cluster {:?} is stopped; its data stays in {}", cluster.name, dir.path().display());
    } else {
        println!("cluster {:?} does not run", cluster.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops the server if it runs; says whether it did.
pub fn stop(dir: &DataDir) -> Result<bool> {
    let Some(running) = process::find(dir)? else {
        dir.forget_running()?;
        return Ok(false);
    };
    if process::stop(&running, PATIENCE)? {
        eprintln!(
            "warning: the server did not end within {} s and was killed; nothing acknowledged is lost",
            PATIENCE.as_secs()
        );
    }
    dir.forget_running()?;
    Ok(true)
}

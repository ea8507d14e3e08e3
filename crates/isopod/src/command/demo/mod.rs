//! `isopod demo`: the whole point in under a minute. An application under load is rolled to a new version and back, and no request fails.
//!
//! It is told with the commands that a person would type; each is a process of this binary on a throwaway cluster ([`ground`]),
//! but for the live picture of the rollouts, which has the load's figures under it ([`story`]). The load ([`load`]) is strict; what it came to
//! is the receipt ([`receipt`]). Ctrl-C, an error or a panic end it at any point,
//! and the cluster is removed all the same; after `kill -9` by the next demo ([`leftovers`]).
mod ground;
mod leftovers;
mod load;
mod receipt;
mod story;

use anyhow::{Context, Result, bail};
use ground::Ground;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;
use story::{Ending, Story, line};
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args)]
pub struct Args {
    /// Leave the cluster running at the end.
    #[arg(long)]
    keep: bool,
    /// Simulate nodes and pods instead of running containers: needs no root, and there is nobody to answer requests.
    #[arg(long)]
    hollow: bool,
}

/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

pub fn run(args: &Args) -> Result<ExitCode> {
    let begun = Instant::now();
    // First of all, because threads started earlier would stay in the machine's own network.
    let mut ground = Ground::prepare(args.hollow)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let told = runtime.block_on(tell(args, &ground));
    if let Ok(Some(Ending { address, .. })) = &told
        && args.keep
    {
        ground.keep()?;
        line(&next(&ground, *address)?)?;
    }
    let kept = ground.is_kept();
    drop(ground);
    let Some(Ending { failed, .. }) = told? else {
        // The terminal may be what is gone.
        drop(writeln!(std::io::stderr(), "interrupted: the cluster is removed"));
        return Ok(ExitCode::from(INTERRUPTED));
    };
    if !kept {
        let took = begun.elapsed().as_secs_f64();
        line(&format!("The cluster is removed, and the machine is as it was. All of it took {took:.0} s."))?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tells the story to its end, or until somebody has heard enough (`None`).
async fn tell(args: &Args, ground: &Ground) -> Result<Option<Ending>> {
    // Before anything is started, so that nothing is left behind. SIGHUP: the terminal was closed.
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        signals.push(signal(kind)?);
    }
    let [interrupt, terminate, hangup] = signals.as_mut_slice() else { bail!("no signals") };
    let story = Story { ground, hollow: args.hollow };
    story.up().await?;
    tokio::select! {
        told = story.after_up() => told,
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
        _ = hangup.recv() => Ok(None),
    }
}

/// What to try in a cluster that was left running.
fn next(ground: &Ground, address: Option<SocketAddr>) -> Result<String> {
    let pid = ground.data_dir()?.running()?.context("the server has ended")?.pid;
    let bin = ground.binary().parent().unwrap_or(ground.binary()).display();
    let (me, kubeconfig, data) = (ground.binary().display(), ground.kubeconfig(), ground.data.display());
    let environment = format!("KUBECONFIG={} ISOPOD_DATA_DIR={data} PATH={bin}:$PATH", kubeconfig.display());
    let (enter, curl) = match address {
        Some(address) => (
            format!(
                "It is in a network namespace of its own. A shell in there:\n\n  {environment} nsenter --target {pid} --net bash"
            ),
            format!("  curl http://{address}/\n"),
        ),
        None => (format!("A shell that knows it:\n\n  {environment} bash"), String::new()),
    };
    Ok(format!(
        "The cluster goes on. {enter}\n\nTry in it:\n\n  isopod get pods\n{curl}  isopod set image deployment/hello hello=hello:v2\n  isopod rollout status deployment/hello\n  \
         isopod rollout history deployment/hello\n\nTo remove it, from anywhere:\n\n  {me} delete --data-dir {data}\n"
    ))
}

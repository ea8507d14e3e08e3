//! `isopod demo`: the whole point in under a minute. An application under load is rolled to a new version and back, and no request fails.
//!
//! It is told with the commands that a person would type; each is a process of this binary on a throwaway cluster ([`ground`]). The load
//! ([`load`]) runs in this process, strict; what it came to is the receipt ([`receipt`]). Ctrl-C, an error or a panic end it at any point,
//! and the cluster is removed all the same.
mod ground;
mod load;
mod receipt;

use anyhow::{Context, Result, bail};
use ground::Ground;
use load::Load;
use receipt::{Figures, Receipt};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
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

/// Who ask. More would only measure this machine.
const CLIENTS: usize = 8;
/// Traffic before, between and after the rollouts.
const CALM: Duration = Duration::from_secs(2);
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
        ground.kept = true;
        line(&next(&ground, *address)?)?;
    }
    let kept = ground.kept;
    drop(ground);
    let Some(Ending { failed, .. }) = told? else {
        eprintln!("interrupted: the cluster is removed");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    if !kept {
        println!(
            "The cluster is removed, and the machine is as it was. All of it took {:.0} s.",
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How the story ended.
struct Ending {
    failed: u64,
    /// Where the Service is; nowhere on hollow nodes.
    address: Option<SocketAddr>,
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
    // A cluster that is half started is hard to remove: this is a fraction of a second.
    story.up().await?;
    tokio::select! {
        told = story.after_up() => told,
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
        _ = hangup.recv() => Ok(None),
    }
}

struct Story<'a> {
    ground: &'a Ground,
    hollow: bool,
}

impl Story<'_> {
    async fn up(&self) -> Result<()> {
        if self.hollow {
            say("A cluster of its own, on three nodes that are simulated:")?;
            return self.command(&["up", "--hollow-nodes", "3"]).await;
        }
        say("A cluster of its own, in a network namespace of its own:")?;
        self.command(&["up"]).await
    }

    async fn after_up(&self) -> Result<Option<Ending>> {
        if !self.hollow {
            say("Two versions of a small web server, built from examples/hello:")?;
            self.command(&["example-server", "--rootfs", "program"]).await?;
            for version in ["v1", "v2"] {
                let (value, name) = (format!("VERSION={version}"), format!("hello:{version}"));
                self.command(&[
                    "build",
                    "--progress=quiet",
                    "--build-context",
                    "program=program",
                    "--build-arg",
                    &value,
                    "-t",
                    &name,
                    "hello",
                ])
                .await?;
            }
            self.command(&["image", "ls"]).await?;
        }
        say("Four copies of v1 behind a Service:")?;
        self.command(&["create", "-f", "hello/hello.yaml"]).await?;
        self.command(&["rollout", "status", "deployment/hello"]).await?;
        if self.hollow {
            say("Nobody asks them anything: hollow pods have no server in them.")?;
            return self.rollouts(None).await;
        }
        let address = self.address().await?;
        let expected = ["v1", "v2"].map(|v| (format!("hello from {v}\n"), v.to_owned()));
        say(&format!(
            "{CLIENTS} clients ask http://{address}/ without a pause, on a new connection each time. One request that is refused, cut, wrong or late, and this demo has failed:"
        ))?;
        let load = Load::start(address, CLIENTS, &BTreeMap::from(expected));
        self.calm(&load).await?;
        self.rollouts(Some((load, address))).await
    }

    async fn rollouts(&self, load: Option<(Load, SocketAddr)>) -> Result<Option<Ending>> {
        let mut rollouts = Vec::new();
        for (what, name, command) in [
            ("To v2:", "v1 to v2", ["set", "image", "deployment/hello", "hello=hello:v2"].as_slice()),
            ("And back:", "back to v1", ["rollout", "undo", "deployment/hello"].as_slice()),
        ] {
            say(what)?;
            let (before, begun) = (load.as_ref().map(|(l, _)| l.figures()), Instant::now());
            self.command(command).await?;
            self.command(&["rollout", "status", "deployment/hello"]).await?;
            rollouts.push((name.to_owned(), begun.elapsed()));
            if let (Some((load, _)), Some(before)) = (&load, before) {
                line(&format!("  {}", load.figures().since(&before)))?;
                self.calm(load).await?;
            }
        }
        self.command(&["rollout", "history", "deployment/hello"]).await?;
        let address = load.as_ref().map(|(_, address)| *address);
        let figures = match load {
            Some((load, _)) => Some(load.stop().await),
            None => None,
        };
        let failed = figures.as_ref().map_or(0, Figures::failed);
        say("The receipt:")?;
        line(&Receipt { figures, rollouts }.text())?;
        Ok(Some(Ending { failed, address }))
    }

    /// A while without changes.
    async fn calm(&self, load: &Load) -> Result<()> {
        let before = load.figures();
        tokio::time::sleep(CALM).await;
        line(&format!("  {} s without a change: {}", CALM.as_secs(), load.figures().since(&before)))
    }

    /// Shows a command and carries it out; one that fails ends the story. It is killed when nobody waits for it any more.
    async fn command(&self, words: &[&str]) -> Result<()> {
        line(&format!("$ isopod {}", words.join(" ")))?;
        let mut command = tokio::process::Command::from(self.ground.isopod(words));
        let status = command.kill_on_drop(true).status().await.context("cannot run my own binary")?;
        if !status.success() {
            bail!("isopod {}: {status}", words.join(" "));
        }
        Ok(())
    }

    /// Where the Service is.
    async fn address(&self) -> Result<SocketAddr> {
        let words = ["get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"];
        let mut command = tokio::process::Command::from(self.ground.isopod(&words));
        let out =
            command.kill_on_drop(true).stderr(Stdio::inherit()).output().await.context("cannot run my own binary")?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.trim().parse().with_context(|| format!("{text:?} is not where a Service can be"))
    }
}

/// A sentence of the story.
fn say(text: &str) -> Result<()> {
    line(&format!("\n{text}\n"))
}

/// Nobody who listens any more is a reason to end.
fn line(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write")
}

/// What to try in a cluster that was left running.
fn next(ground: &Ground, address: Option<SocketAddr>) -> Result<String> {
    let data = crate::datadir::Location { data_dir: Some(ground.data.clone()) }.resolve()?;
    let pid = data.running()?.context("the server has ended")?.pid;
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

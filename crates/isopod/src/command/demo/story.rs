//! The demo's story, told with the commands that a person would type.
use super::ground::Ground;
use super::load::Load;
use super::receipt::{Figures, Receipt};
use anyhow::{Context, Result, bail};
use isopod_cli::live::{self, Live, LiveError, Outcome};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::sync::watch;

/// Who ask. More would only measure this machine.
const CLIENTS: usize = 8;
/// Traffic before, between and after the rollouts.
const CALM: Duration = Duration::from_secs(2);
/// The line under the live picture is written anew this often.
const TICK: Duration = Duration::from_millis(200);

pub struct Story<'a> {
    pub ground: &'a Ground,
    pub hollow: bool,
}

/// How the story ended.
pub struct Ending {
    /// Requests.
    pub failed: u64,
    /// Where the Service is; nowhere on hollow nodes.
    pub address: Option<SocketAddr>,
}

/// A load, and where it goes.
type Traffic = (Load, SocketAddr);

impl Story<'_> {
    /// The beginning, which is not to be interrupted: a cluster that is half started is hard to remove.
    pub async fn up(&self) -> Result<()> {
        let words: &[&str] = if self.hollow {
            say("A cluster of its own, on three nodes that are simulated:")?;
            &["up", "--hollow-nodes", "3"]
        } else {
            say("A cluster of its own, in a network namespace of its own:")?;
            &["up"]
        };
        let said = self.output(words).await?;
        // The rest of what it says is about what to do next, and we know.
        line(said.lines().next().unwrap_or_default())
    }

    /// The rest. `None`: somebody has seen enough.
    pub async fn after_up(&self) -> Result<Option<Ending>> {
        if !self.hollow {
            self.build().await?;
        }
        say("Four copies of v1 behind a Service:")?;
        self.command(&["create", "-f", "hello/hello.yaml"]).await?;
        if !self.watch(None).await? {
            return Ok(None);
        }
        if self.hollow {
            say("Nobody asks them anything: hollow pods have no server in them.")?;
            return self.rollouts(None).await;
        }
        let address = self.address().await?;
        say(&format!(
            "{CLIENTS} clients ask them at http://{address}/, without a pause, on a new\n\
             connection each time. One request that is refused, cut, wrong or late, and\n\
             this demo has failed:"
        ))?;
        let expected = ["v1", "v2"].map(|v| (format!("hello from {v}\n"), v.to_owned()));
        let load = Load::start(address, CLIENTS, &BTreeMap::from(expected));
        self.calm(&load).await?;
        self.rollouts(Some((load, address))).await
    }

    async fn build(&self) -> Result<()> {
        say("Two versions of a small web server, built from examples/hello:")?;
        self.command(&["example-server", "--rootfs", "program"]).await?;
        for version in ["v1", "v2"] {
            let (value, name) = (format!("VERSION={version}"), format!("hello:{version}"));
            let given =
                ["build", "-q", "--build-context", "program=program", "--build-arg", &value, "-t", &name, "hello"];
            self.command(&given).await?;
        }
        self.command(&["image", "ls"]).await
    }

    async fn rollouts(&self, traffic: Option<Traffic>) -> Result<Option<Ending>> {
        let mut rollouts = Vec::new();
        for (what, name, command) in [
            ("To v2:", "v1 to v2", ["set", "image", "deployment/hello", "hello=hello:v2"].as_slice()),
            ("And back:", "back to v1", ["rollout", "undo", "deployment/hello"].as_slice()),
        ] {
            say(what)?;
            let (before, begun) = (traffic.as_ref().map(|(load, _)| load.figures()), Instant::now());
            self.command(command).await?;
            if !self.watch(traffic.as_ref().map(|(load, _)| load)).await? {
                return Ok(None);
            }
            rollouts.push((name.to_owned(), begun.elapsed()));
            if let (Some((load, _)), Some(before)) = (&traffic, before) {
                line(&format!("  {}", load.figures().since(&before)))?;
                self.calm(load).await?;
            }
        }
        line("")?;
        self.command(&["rollout", "history", "deployment/hello"]).await?;
        let address = traffic.as_ref().map(|(_, address)| *address);
        let figures = match traffic {
            Some((load, _)) => Some(load.stop().await),
            None => None,
        };
        let failed = figures.as_ref().map_or(0, Figures::failed);
        say("The receipt:")?;
        line(&Receipt { figures, rollouts }.text())?;
        Ok(Some(Ending { failed, address }))
    }

    /// Looks on until the rollout has ended: at the live picture with the load's figures under it, or at lines where there is no terminal.
    /// False: somebody has seen enough.
    async fn watch(&self, load: Option<&Load>) -> Result<bool> {
        const WORDS: [&str; 3] = ["rollout", "status", "deployment/hello"];
        if !live::is_possible() {
            self.command(&WORDS).await?;
            return Ok(true);
        }
        line(&format!("$ isopod {}", WORDS.join(" ")))?;
        let (figures, footer) = watch::channel(String::new());
        let picture = Live::new(self.client()?, "default", "hello").with_footer(footer).until_old_pods_are_gone();
        let counting = async {
            loop {
                if let Some(load) = load {
                    figures.send_replace(format!("so far {}", load.figures().total()));
                }
                tokio::time::sleep(TICK).await;
            }
        };
        let outcome = tokio::select! {
            outcome = picture.run() => outcome,
            () = counting => return Ok(false),
        };
        match outcome {
            Ok(Outcome::RolledOut) => Ok(true),
            Ok(Outcome::Interrupted) => Ok(false),
            Ok(Outcome::Failed(why)) => bail!("the rollout failed: {why}"),
            Ok(other) => bail!("the rollout did not end: {other:?}"),
            Err(LiveError::Api(error)) => Err(error).context("the rollout cannot be watched"),
            // A terminal that cannot be drawn on still shows lines.
            Err(LiveError::Terminal(_)) => self.command(&WORDS).await.map(|()| true),
        }
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
        let mut command = Command::from(self.ground.isopod(words));
        let status = command.kill_on_drop(true).status().await.context("cannot run my own binary")?;
        if status.success() { Ok(()) } else { bail!("isopod {}: {status}", words.join(" ")) }
    }

    /// The same, but what it says is for us.
    async fn output(&self, words: &[&str]) -> Result<String> {
        line(&format!("$ isopod {}", words.join(" ")))?;
        let mut command = Command::from(self.ground.isopod(words));
        let out =
            command.kill_on_drop(true).stderr(Stdio::inherit()).output().await.context("cannot run my own binary")?;
        if !out.status.success() {
            bail!("isopod {}: {}", words.join(" "), out.status);
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    fn client(&self) -> Result<kube::Client> {
        let dir = self.ground.data_dir()?;
        let cluster = dir.cluster()?.context("the cluster's settings are gone")?;
        crate::serve::admin_client(&cluster.endpoint(), &cluster.pki(&dir)?)
    }

    /// Where the Service is.
    async fn address(&self) -> Result<SocketAddr> {
        let text =
            self.output(&["get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"]).await?;
        line(&text)?;
        text.trim().parse().with_context(|| format!("{text:?} is not where a Service can be"))
    }
}

/// A sentence of the story.
fn say(text: &str) -> Result<()> {
    line(&format!("\n{text}\n"))
}

/// Nobody who listens any more is a reason to end.
pub fn line(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write")
}

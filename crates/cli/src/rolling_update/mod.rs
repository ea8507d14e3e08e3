//! `rolling-update`: from one ReplicationController to the next, pod by pod, from the client, as kubectl had it up to 1.17
//! (`pkg/kubectl/cmd/rollingupdate.go`, `pkg/kubectl/rolling_updater.go`).
//!
//! Everything that must be remembered is in annotations ([`controllers`]), so the same command goes on with an update that was broken
//! off, and `--rollback` takes it back. How far to go next is decided in [`plan`].
mod controllers;
mod next;
mod plan;

use crate::connect::Session;
use crate::dry_run::{DryRun, Mode};
use crate::duration;
use crate::error::{CliError, Result};
use crate::manifest::Files;
use crate::output::{self, Output};
use controllers::{Controllers, DESIRED, NEXT, ORIGINAL, SOURCE, annotation, name, replicas};
use plan::Sizes;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The old ReplicationController, and the name of the new one if the old name is not to be kept.
    #[arg(value_name = "OLD [NEW]")]
    names: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    /// The new image.
    #[arg(long, default_value = "")]
    image: String,
    /// Which container gets it, if there are several.
    #[arg(long, default_value = "")]
    container: String,
    /// Always, Never or IfNotPresent; needed if the image stays the same.
    #[arg(long, default_value = "")]
    image_pull_policy: String,
    /// Go back from an update that is under way.
    #[arg(long)]
    rollback: bool,
    /// Between two steps.
    #[arg(long, default_value = "1m0s", value_name = "TIME")]
    update_period: String,
    /// Between two looks at the controllers.
    #[arg(long, default_value = "3s", value_name = "TIME")]
    poll_interval: String,
    /// Give up when nothing moves for this long.
    #[arg(long, default_value = "5m0s", value_name = "TIME")]
    timeout: String,
    /// The label that tells old pods from new ones.
    #[arg(long, default_value = "deployment")]
    deployment_label_key: String,
}

fn check(args: &Args) -> Result<()> {
    let files = args.files.filename.len();
    let (file, image) = (files > 0, !args.image.is_empty());
    let wrong = [
        (args.deployment_label_key.is_empty(), "--deployment-label-key can not be empty"),
        (files > 1, "May only specify a single filename for new controller"),
        (!args.rollback && !file && !image, "Must specify --filename or --image for new controller"),
        (!args.rollback && file && image, "--filename and --image can not both be specified"),
        (args.rollback && (file || image), "Don't specify --filename or --image on rollback"),
        (args.names.is_empty(), "Must specify the controller to update"),
        (args.names.len() > 2, "Only the old and the new controller can be named"),
    ];
    let errors: Vec<CliError> = wrong.iter().filter(|(is, _)| *is).map(|(_, text)| CliError::usage(*text)).collect();
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

fn time(text: &str, flag: &str) -> Result<Duration> {
    duration::parse(text).ok_or_else(|| CliError::usage(format!("invalid argument {text:?} for \"--{flag}\" flag")))
}

/// One update, ready to go.
struct Update<'a> {
    controllers: Controllers<'a>,
    period: Duration,
    old: Value,
    new: Value,
    /// The new one takes the old one's name in the end.
    keep_name: bool,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    check(args)?;
    let controllers = Controllers {
        session,
        poll: time(&args.poll_interval, "poll-interval")?,
        timeout: time(&args.timeout, "timeout")?,
    };
    let period = time(&args.update_period, "update-period")?;
    let mode = args.dry_run.mode()?;
    let [old_name, ..] = args.names.as_slice() else {
        return Err(CliError::usage("Must specify the controller to update"));
    };
    let keep_name = args.names.len() == 1;
    let old = match controllers.get(old_name).await {
        Err(error) if error.is_not_found() && !args.image.is_empty() && keep_name && mode == Mode::Real => {
            // The old one is gone already: what was broken off is the renaming.
            let new = controllers.begun_from(old_name).await?;
            let renamed = controllers.rename(&new, old_name).await?;
            return args.output.result(&format!("replicationcontroller/{old_name}"), "rolling updated", &renamed);
        }
        other => other?,
    };
    let (old, new) = next::choose(args, &controllers, old, mode).await?;
    if mode != Mode::Real {
        return output::say(&format!("Rolling from:\n{}\nTo:\n{}", name(&old), name(&new)));
    }
    let mut update = Update { controllers, period, old, new, keep_name };
    if args.rollback {
        update.turn_round().await?;
    }
    // Until everything is done Ctrl-C ends between two steps: a renaming is never broken off in the middle.
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let done = tokio::select! {
        done = update.roll() => done,
        _ = interrupt.recv() => {
            eprintln!("Interrupted. The same command goes on with it; with --rollback it goes back.");
            return Err(CliError::Exit(1));
        }
    };
    done?;
    update.conclude().await?;
    let shown = if update.keep_name || args.rollback { old_name.as_str() } else { name(&update.new) };
    let message = if keep_name { "rolling updated".to_owned() } else { format!("rolling updated to {shown:?}") };
    let after = update.controllers.get(shown).await?;
    args.output.result(&format!("replicationcontroller/{shown}"), &message, &after)
}

impl Update<'_> {
    /// Old and new change places (`AbortRollingUpdate`).
    async fn turn_round(&mut self) -> Result<()> {
        let Some(original) = annotation(&self.old, ORIGINAL).map(str::to_owned) else {
            return Err(CliError::usage(format!("couldn't find original replica count of {:?}", name(&self.old))));
        };
        std::mem::swap(&mut self.old, &mut self.new);
        output::say(&format!("Setting {:?} replicas to {original}", name(&self.new)))?;
        let marks = json!({SOURCE: source(&self.old), DESIRED: original});
        self.new = self.controllers.annotate(name(&self.new), &marks).await?;
        self.keep_name = false;
        Ok(())
    }

    /// Until the new controller has all pods and the old one none.
    async fn roll(&mut self) -> Result<()> {
        self.begin().await?;
        let desired = annotation(&self.new, DESIRED).and_then(|n| n.parse().ok()).ok_or_else(|| {
            let said = annotation(&self.new, DESIRED).unwrap_or_default();
            CliError::usage(format!("Unable to parse annotation for {}: {DESIRED}={said}", name(&self.new)))
        })?;
        if annotation(&self.old, ORIGINAL).is_none() {
            let count = replicas(&self.old).to_string();
            self.old = self.controllers.annotate(name(&self.old), &json!({ ORIGINAL: count })).await?;
        }
        let mut at = Sizes { old: replicas(&self.old), new: replicas(&self.new), new_ready: 0, desired };
        output::say(&format!(
            "Scaling up {} from {} to {desired}, scaling down {} from {} to 0 (keep {} pods available, don't exceed {} pods)",
            name(&self.new),
            at.new,
            name(&self.old),
            at.old,
            at.least(),
            at.most()
        ))?;
        let mut deadline = Instant::now() + self.controllers.timeout;
        while !at.is_done() {
            let before = at;
            if let Some(to) = at.scale_up() {
                output::say(&format!("Scaling {} up to {to}", name(&self.new)))?;
                self.new = self.controllers.scale(name(&self.new), to).await?;
                at.new = replicas(&self.new);
            }
            tokio::time::sleep(self.period).await;
            at.new_ready = self.controllers.ready(&self.new).await?;
            if let Some(to) = at.scale_down() {
                output::say(&format!("Scaling {} down to {to}", name(&self.old)))?;
                self.old = self.controllers.scale(name(&self.old), to).await?;
                at.old = replicas(&self.old);
            }
            if (at.old, at.new) != (before.old, before.new) {
                deadline = Instant::now() + self.controllers.timeout;
            } else if Instant::now() > deadline {
                return Err(CliError::usage("timed out waiting for any update progress to be made"));
            } else if self.period.is_zero() {
                // Without a period of its own it looks again as often as at controllers.
                tokio::time::sleep(self.controllers.poll.clamp(Duration::from_millis(50), Duration::from_secs(1)))
                    .await;
            }
        }
        Ok(())
    }

    /// Makes the new controller, empty, or goes on with the one that is there.
    async fn begin(&mut self) -> Result<()> {
        let Some(existing) = self.controllers.find(name(&self.new)).await? else {
            let wanted = replicas(&self.new);
            if wanted <= 0 {
                return Err(CliError::usage(format!(
                    "Invalid controller spec for {}; required: > 0 replicas, actual: {wanted}",
                    name(&self.new)
                )));
            }
            self.new["metadata"]["annotations"][DESIRED] = wanted.to_string().into();
            self.new["metadata"]["annotations"][SOURCE] = source(&self.old).into();
            self.new["spec"]["replicas"] = 0.into();
            self.new = self.controllers.create(&self.new).await?;
            return output::say(&format!("Created {}", name(&self.new)));
        };
        if annotation(&existing, SOURCE) != Some(&source(&self.old)) || annotation(&existing, DESIRED).is_none() {
            return Err(CliError::usage(format!(
                "Missing/unexpected annotations for controller {}, expected {} : {}",
                name(&existing),
                source(&self.old),
                existing["metadata"]["annotations"]
            )));
        }
        output::say(&format!("Continuing update with existing controller {}.", name(&existing)))?;
        self.new = existing;
        Ok(())
    }

    /// Takes the old controller away, and its name if that is to stay.
    async fn conclude(&mut self) -> Result<()> {
        self.new = self.controllers.settled(name(&self.new)).await?;
        if !self.keep_name {
            let marks = json!({SOURCE: null, DESIRED: null, NEXT: null, ORIGINAL: null});
            self.new = self.controllers.annotate(name(&self.new), &marks).await?;
            output::say(&format!("Update succeeded. Deleting {}", name(&self.old)))?;
            return self.controllers.delete(name(&self.old)).await;
        }
        output::say(&format!("Update succeeded. Deleting old controller: {}", name(&self.old)))?;
        self.controllers.delete(name(&self.old)).await?;
        output::say(&format!("Renaming {} to {}", name(&self.new), name(&self.old)))?;
        // Its marks go with the renaming: until then they tell where it comes from.
        self.controllers.rename(&self.new, name(&self.old)).await.map(drop)
    }
}

fn source(old: &Value) -> String {
    format!("{}:{}", name(old), old["metadata"]["uid"].as_str().unwrap_or_default())
}

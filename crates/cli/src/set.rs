//! `set image`: other images for the containers of workloads.
use crate::connect::Session;
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::manifest::Files;
use crate::output::Output;
use crate::target::{self, Selection, Target};
use serde_json::{Value, json};

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Other images: CONTAINER=IMAGE, or *=IMAGE for all.
    Image(Args),
}

#[derive(clap::Args, Debug)]
pub struct Args {
    /// TYPE NAME… or TYPE/NAME…, then CONTAINER=IMAGE….
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    /// Every object of the type.
    #[arg(long)]
    all: bool,
    /// Whose the changed fields are.
    #[arg(long, default_value = "kubectl-set")]
    field_manager: String,
}

pub async fn run(command: &Command, session: &Session) -> Result<()> {
    let Command::Image(args) = command;
    let (pairs, words): (Vec<&String>, Vec<&String>) = args.words.iter().partition(|w| w.contains('='));
    let words: Vec<String> = words.into_iter().cloned().collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().filter_map(|p| p.split_once('=')).collect();
    if pairs.is_empty() {
        return Err(CliError::usage("at least one image update is required"));
    }
    let mode = args.dry_run.mode()?;
    let (targets, mut errors) = target::fetch(session, &words, &args.selection, &args.files, args.all).await?;
    for target in targets {
        if let Err(error) = one(args, session, mode, &pairs, &target).await {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

/// Where a kind has its pod spec.
fn spec_path(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Pod" => Some(&["spec"]),
        "CronJob" => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            Some(&["spec", "template", "spec"])
        }
        _ => None,
    }
}

async fn one(args: &Args, session: &Session, mode: Mode, pairs: &[(&str, &str)], target: &Target) -> Result<()> {
    let Some(path) = spec_path(&target.resource.kind) else {
        return Err(CliError::usage(format!("{} does not have a pod template", target.label())));
    };
    let spec = path.iter().fold(&target.object, |at, step| &at[*step]);
    let mut lists: [Vec<Value>; 2] = [Vec::new(), Vec::new()];
    let mut changed = false;
    for (container, image) in pairs {
        let mut found = false;
        for (list, field) in lists.iter_mut().zip(["containers", "initContainers"]) {
            for known in spec[field].as_array().into_iter().flatten() {
                let name = known["name"].as_str().unwrap_or_default();
                if *container == "*" || name == *container {
                    found = true;
                    changed |= known["image"] != *image;
                    list.push(json!({"name": name, "image": image}));
                }
            }
        }
        if !found {
            return Err(CliError::usage(format!("unable to find container named {container:?}")));
        }
    }
    if !changed {
        return Ok(());
    }
    let [containers, init] = lists;
    let mut inner = json!({});
    for (field, list) in [("containers", containers), ("initContainers", init)] {
        if !list.is_empty() {
            inner[field] = list.into();
        }
    }
    let patch = path.iter().rev().fold(inner, |inner, step| json!({*step: inner}));
    let after = if mode == Mode::Client {
        target.object.clone()
    } else {
        let path = format!("{}{}", target.path(), mode.query_as(&args.field_manager));
        session.patch(&path, "application/strategic-merge-patch+json", &patch).await?
    };
    args.output.result(&target.label(), &format!("image updated{}", mode.suffix()), &after)
}

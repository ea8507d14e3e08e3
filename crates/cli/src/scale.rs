//! `scale`: how many replicas there shall be.
use crate::connect::Session;
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::manifest::Files;
use crate::output::Output;
use crate::target::{self, Selection};
use serde_json::json;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// TYPE NAME… or TYPE/NAME….
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    /// How many.
    #[arg(long)]
    replicas: Option<i64>,
    /// Only if there are this many now.
    #[arg(long, default_value_t = -1)]
    current_replicas: i64,
    /// Only if the object has this version.
    #[arg(long)]
    resource_version: Option<String>,
    /// Every object of the type.
    #[arg(long)]
    all: bool,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let Some(replicas) = args.replicas else {
        return Err(CliError::usage("required flag(s) \"replicas\" not set"));
    };
    if replicas < 0 {
        return Err(CliError::usage(
            "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0",
        ));
    }
    let mode = args.dry_run.mode()?;
    let (targets, mut errors) = target::fetch(session, &args.words, &args.selection, &args.files, args.all).await?;
    for target in targets {
        let current = target.object["spec"]["replicas"].as_i64().unwrap_or(1);
        let version = target.object["metadata"]["resourceVersion"].as_str();
        if args.current_replicas >= 0 && current != args.current_replicas {
            errors.push(CliError::usage(format!("Expected replicas to be {}, was {current}", args.current_replicas)));
            continue;
        }
        if args.resource_version.as_deref().is_some_and(|wanted| version != Some(wanted)) {
            errors.push(CliError::usage(format!(
                "Expected resource version to be {}, was {}",
                args.resource_version.as_deref().unwrap_or_default(),
                version.unwrap_or_default()
            )));
            continue;
        }
        if mode != Mode::Client {
            let mut patch = json!({"spec": {"replicas": replicas}});
            if args.current_replicas >= 0 || args.resource_version.is_some() {
                // What was looked at is what is changed.
                patch["metadata"]["resourceVersion"] = version.unwrap_or_default().into();
            }
            let path = format!("{}/scale{}", target.path(), mode.query());
            if let Err(error) = session.patch(&path, "application/merge-patch+json", &patch).await {
                errors.push(error);
                continue;
            }
        }
        args.output.result(&target.label(), &format!("scaled{}", mode.suffix()), &target.object)?;
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

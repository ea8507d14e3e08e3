//! `cordon` and `uncordon`: no new pods on a node, and new ones again.
use crate::connect::Session;
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::output;
use crate::target::{self, Selection, Target};
use serde_json::{Value, json};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Names of nodes.
    nodes: Vec<String>,
    /// Nodes with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    #[command(flatten)]
    pub dry_run: DryRun,
}

pub async fn nodes(args: &Args, session: &Session, command: &str) -> Result<Vec<Target>> {
    if args.nodes.is_empty() && args.selector.is_none() {
        return Err(CliError::usage(format!(
            "USAGE: {command} NODE [flags]\nSee '{} {command} -h' for help and examples",
            session.program
        )));
    }
    if !args.nodes.is_empty() && args.selector.is_some() {
        return Err(CliError::usage(
            "error: cannot specify both a node name and a --selector option".trim_start_matches("error: "),
        ));
    }
    let words: Vec<String> = std::iter::once("nodes".to_owned())
        .chain(args.nodes.iter().map(|n| n.rsplit('/').next().unwrap_or(n).to_owned()))
        .collect();
    let selection = Selection { selector: args.selector.clone(), ..Selection::default() };
    let (found, mut errors) = target::fetch(session, &words, &selection, &Default::default(), false).await?;
    match errors.pop() {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

pub async fn run(args: &Args, session: &Session, close: bool) -> Result<()> {
    let command = if close { "cordon" } else { "uncordon" };
    for node in nodes(args, session, command).await? {
        mark(session, &node, close, args.dry_run.mode()?).await?;
    }
    Ok(())
}

pub async fn mark(session: &Session, node: &Target, close: bool, mode: Mode) -> Result<()> {
    let done = if close { "cordoned" } else { "uncordoned" };
    if (node.object["spec"]["unschedulable"] == true) == close {
        return output::say(&format!("{} already {done}{}", node.label(), mode.suffix()));
    }
    if mode != Mode::Client {
        let value = if close { Value::Bool(true) } else { Value::Null };
        let patch = json!({"spec": {"unschedulable": value}});
        let path = format!("{}{}", node.path(), mode.query());
        session.patch(&path, "application/strategic-merge-patch+json", &patch).await?;
    }
    output::say(&format!("{} {done}{}", node.label(), mode.suffix()))
}

//! `taint`: what keeps pods away from nodes: `KEY=VALUE:EFFECT` sets, `KEY:EFFECT-` and `KEY-` take away.
use crate::connect::Session;
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::output::Output;
use crate::target::{self, Selection, Target};
use serde_json::{Value, json};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

#[derive(clap::Args, Debug)]
pub struct Args {
    /// node NAME…, then KEY[=VALUE]:EFFECT or KEY[:EFFECT]-.
    words: Vec<String>,
    /// Nodes with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    /// Every node.
    #[arg(long)]
    all: bool,
    /// A taint that is there may be replaced.
    #[arg(long)]
    overwrite: bool,
    /// Whose the changed fields are.
    #[arg(long, default_value = "kubectl-taint")]
    field_manager: String,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let (specs, words): (Vec<&String>, Vec<&String>) =
        args.words.iter().partition(|w| w.contains(':') || w.contains('=') || w.ends_with('-'));
    let words: Vec<String> = words.into_iter().cloned().collect();
    if words.is_empty() {
        return Err(CliError::usage("one or more resources must be specified as <resource> <name>"));
    }
    if specs.is_empty() {
        return Err(CliError::usage("at least one taint update is required"));
    }
    let changes = specs.into_iter().map(|s| Change::parse(s)).collect::<Result<Vec<_>>>()?;
    let mode = args.dry_run.mode()?;
    let selection = Selection { selector: args.selector.clone(), ..Selection::default() };
    let (nodes, mut errors) = target::fetch(session, &words, &selection, &Default::default(), args.all).await?;
    for node in nodes {
        if let Err(error) = one(args, session, mode, &changes, &node).await {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

enum Change {
    Set { key: String, value: String, effect: String },
    Remove { key: String, effect: String },
}

impl Change {
    fn parse(spec: &str) -> Result<Self> {
        let bad = || CliError::usage(format!("invalid taint spec: {spec}"));
        let effect = |text: &str| -> Result<String> {
            if EFFECTS.contains(&text) {
                Ok(text.to_owned())
            } else {
                Err(CliError::usage(format!("invalid taint effect: {text}, unsupported taint effect")))
            }
        };
        if let Some(spec) = spec.strip_suffix('-') {
            let (key, rest) = spec.split_once(':').unwrap_or((spec, ""));
            let key = key.split('=').next().unwrap_or(key).to_owned();
            return Ok(Self::Remove { key, effect: if rest.is_empty() { String::new() } else { effect(rest)? } });
        }
        let (pair, rest) = spec.split_once(':').ok_or_else(bad)?;
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key.is_empty() {
            return Err(bad());
        }
        Ok(Self::Set { key: key.to_owned(), value: value.to_owned(), effect: effect(rest)? })
    }
}

async fn one(args: &Args, session: &Session, mode: Mode, changes: &[Change], node: &Target) -> Result<()> {
    let mut taints = node.object["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let (mut set, mut removed) = (false, false);
    for change in changes {
        match change {
            Change::Set { key, value, effect } => {
                let is = |t: &&mut Value| t["key"] == *key && t["effect"] == *effect;
                if let Some(known) = taints.iter_mut().find(is) {
                    if !args.overwrite {
                        return Err(CliError::usage(format!(
                            "node {} already has {key} taint(s) with same effect(s) and --overwrite is false",
                            node.name
                        )));
                    }
                    known["value"] = value.clone().into();
                } else {
                    let mut taint = json!({"key": key, "effect": effect});
                    if !value.is_empty() {
                        taint["value"] = value.clone().into();
                    }
                    taints.push(taint);
                }
                set = true;
            }
            Change::Remove { key, effect } => {
                let before = taints.len();
                taints.retain(|t| t["key"] != *key || (!effect.is_empty() && t["effect"] != *effect));
                if taints.len() == before {
                    let effect = if effect.is_empty() { String::new() } else { format!(":{effect}") };
                    return Err(CliError::usage(format!("taint {:?} not found", format!("{key}{effect}"))));
                }
                removed = true;
            }
        }
    }
    let done = match (set, removed) {
        (true, true) => "modified",
        (false, true) => "untainted",
        _ => "tainted",
    };
    let mut after = node.object.clone();
    after["spec"]["taints"] = taints.clone().into();
    if mode != Mode::Client {
        let patch = json!({"metadata": {"resourceVersion": node.object["metadata"]["resourceVersion"]}, "spec": {"taints": taints}});
        let path = format!("{}{}", node.path(), mode.query_as(&args.field_manager));
        after = session.patch(&path, "application/merge-patch+json", &patch).await?;
    }
    args.output.result(&node.label(), &format!("{done}{}", mode.suffix()), &after)
}

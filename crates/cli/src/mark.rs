//! `label` and `annotate`: `KEY=VALUE` sets, `KEY-` takes away.
use crate::connect::Session;
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::manifest::Files;
use crate::output::{self, Output};
use crate::target::{self, Selection, Target};
use serde_json::{Map, Value, json};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// TYPE NAME… or TYPE/NAME…, then KEY=VALUE or KEY-.
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    /// Values that are there may be replaced.
    #[arg(long)]
    overwrite: bool,
    /// Every object of the type.
    #[arg(long)]
    all: bool,
    /// Show what is there after the change.
    #[arg(long)]
    list: bool,
    /// Whose the changed fields are [default: kubectl-label, kubectl-annotate].
    #[arg(long)]
    field_manager: Option<String>,
}

/// Which of the two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Labels,
    Annotations,
}

impl Kind {
    fn field(self) -> &'static str {
        if self == Self::Labels { "labels" } else { "annotations" }
    }
    fn manager(self) -> &'static str {
        if self == Self::Labels { "kubectl-label" } else { "kubectl-annotate" }
    }
}

pub async fn run(args: &Args, session: &Session, kind: Kind) -> Result<()> {
    // `app-` and `example.com/app-` are keys to take away; `deploy/web` names an object.
    let is_removal = |word: &str| {
        word.strip_suffix('-').is_some_and(|key| key.split_once('/').is_none_or(|(prefix, _)| prefix.contains('.')))
    };
    let is_change = |word: &&String| word.contains('=') || is_removal(word);
    let (changes, words): (Vec<&String>, Vec<&String>) = args.words.iter().partition(is_change);
    let words: Vec<String> = words.into_iter().cloned().collect();
    if changes.is_empty() && !args.list {
        return Err(CliError::usage(format!(
            "at least one {} update is required",
            if kind == Kind::Labels { "label" } else { "annotation" }
        )));
    }
    let mut wanted: Map<String, Value> = Map::new();
    for change in changes {
        match change.split_once('=') {
            Some((key, value)) => wanted.insert(key.to_owned(), value.into()),
            None => wanted.insert(change.trim_end_matches('-').to_owned(), Value::Null),
        };
    }
    let mode = args.dry_run.mode()?;
    let (targets, mut errors) = target::fetch(session, &words, &args.selection, &args.files, args.all).await?;
    for target in targets {
        if let Err(error) = one(args, session, kind, mode, &wanted, target).await {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

async fn one(
    args: &Args,
    session: &Session,
    kind: Kind,
    mode: Mode,
    wanted: &Map<String, Value>,
    target: Target,
) -> Result<()> {
    let current = target.object["metadata"][kind.field()].clone();
    if !args.overwrite {
        // Why a change was made may always be said anew.
        let guarded = wanted.iter().filter(|(k, v)| !v.is_null() && *k != "kubernetes.io/change-cause");
        for (key, value) in guarded {
            if let Some(old) = current.get(key).filter(|old| *old != value) {
                let old = old.as_str().unwrap_or_default();
                return Err(if kind == Kind::Labels {
                    CliError::usage(format!("'{key}' already has a value ({old}), and --overwrite is false"))
                } else {
                    CliError::usage(format!(
                        "--overwrite is false but found the following declared annotation(s): '{key}' already has a value ({old})"
                    ))
                });
            }
        }
    }
    if kind == Kind::Labels {
        for (key, _) in wanted.iter().filter(|(key, value)| value.is_null() && current.get(key).is_none()) {
            output::say(&format!("label {key:?} not found."))?;
        }
    }
    let changed = wanted.iter().any(|(key, value)| current.get(key).unwrap_or(&Value::Null) != value);
    let done = match (kind, changed) {
        (Kind::Annotations, _) => "annotated",
        (Kind::Labels, false) => "not labeled",
        (Kind::Labels, true) if wanted.values().all(Value::is_null) => "unlabeled",
        (Kind::Labels, true) => "labeled",
    };
    let mut after = target.object.clone();
    if changed && mode != Mode::Client {
        let patch = json!({"metadata": {kind.field(): wanted}});
        let manager = args.field_manager.as_deref().unwrap_or(kind.manager());
        let path = format!("{}{}", target.path(), mode.query_as(manager));
        after = session.patch(&path, "application/merge-patch+json", &patch).await?;
    }
    if args.list {
        output::say(&format!(
            "Listing {} for {}.{}/{}:",
            kind.field(),
            target.resource.kind,
            target.resource.version,
            target.name
        ))?;
        for (key, value) in after["metadata"][kind.field()].as_object().into_iter().flatten() {
            output::say(&format!(" {key}={}", value.as_str().unwrap_or_default()))?;
        }
        return Ok(());
    }
    args.output.result(&target.label(), &format!("{done}{}", mode.suffix()), &after)
}

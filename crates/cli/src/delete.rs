//! `delete`: objects by name, selector or file, and waiting until they are gone.
use crate::connect::Session;
use crate::dry_run::{DryRun, Mode};
use crate::duration;
use crate::error::{CliError, Result};
use crate::manifest::{self, Files};
use crate::output;
use crate::resource::Resources;
use crate::target::{self, Named, Selection, Target};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(clap::Args, Debug, Default)]
#[group(skip)]
pub struct Args {
    /// TYPE NAME…, TYPE/NAME…, or TYPE with -l or --all.
    pub words: Vec<String>,
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    dry_run: DryRun,
    /// Every object of the type.
    #[arg(long)]
    all: bool,
    /// Nothing there is no error.
    #[arg(long)]
    ignore_not_found: bool,
    /// Return when it is gone.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: bool,
    /// Wait at most this long; 0 as long as it takes.
    #[arg(long, default_value = "0s")]
    timeout: String,
    /// Seconds that it has to stop by itself; -1 is its own.
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    grace_period: i64,
    /// One second to stop.
    #[arg(long)]
    now: bool,
    /// Forget it at once, without knowing that it has stopped.
    #[arg(long)]
    force: bool,
    /// What becomes of what it owns: background, foreground or orphan.
    #[arg(long, default_value = "background", num_args = 0..=1, require_equals = true, default_missing_value = "background")]
    cascade: String,
    /// -o name prints only names.
    #[arg(short, long)]
    output: Option<String>,
}

impl Args {
    /// Whether the command line says what to delete at all.
    pub fn names_any(&self) -> bool {
        !self.words.is_empty()
            || !self.files.is_empty()
            || !self.selection.is_empty()
            || self.selection.all_namespaces
            || self.all
    }
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let limit = duration::parse(&args.timeout)
        .ok_or_else(|| CliError::usage(format!("invalid argument {:?} for \"--timeout\" flag", args.timeout)))?;
    let options = options(args)?;
    let mode = args.dry_run.mode()?;
    let (targets, mut errors) = choose(args, session).await?;
    if targets.is_empty() && errors.is_empty() {
        output::say("No resources found")?;
        return Ok(());
    }
    if args.force && args.grace_period <= 0 {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
        );
    }
    let mut leaving = Vec::new();
    for target in targets {
        match delete(args, session, mode, &options, &target).await {
            Ok(uid) => leaving.push((target, uid)),
            Err(error) if error.is_not_found() && (args.ignore_not_found || args.all) => {}
            Err(error) => errors.push(error),
        }
    }
    if args.wait && mode == Mode::Real && !args.force {
        let all = async {
            for (target, uid) in &leaving {
                gone(session, target, uid.as_deref()).await?;
            }
            Ok::<(), CliError>(())
        };
        let limit = if limit.is_zero() { Duration::MAX } else { limit };
        match tokio::time::timeout(limit, all).await {
            Ok(done) => done?,
            Err(_) => errors.push(CliError::usage("timed out waiting for the condition")),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

fn options(args: &Args) -> Result<Value> {
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    options["propagationPolicy"] = match args.cascade.as_str() {
        "background" | "true" => "Background",
        "foreground" => "Foreground",
        "orphan" | "false" => "Orphan",
        other => {
            return Err(CliError::usage(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    }
    .into();
    let grace = match (args.now, args.force, args.grace_period) {
        (true, _, _) => 1,
        (_, true, -1) => 0,
        // Without --force an immediate deletion still waits for the node.
        (_, false, 0) => 1,
        (_, _, given) => given,
    };
    if grace >= 0 {
        options["gracePeriodSeconds"] = grace.into();
    }
    Ok(options)
}

async fn choose(args: &Args, session: &Session) -> Result<(Vec<Target>, Vec<CliError>)> {
    let resources = Resources::new(session);
    if !args.files.is_empty() {
        let mut targets = Vec::new();
        for object in manifest::read(&args.files)? {
            targets.push(manifest::target(&object, session, &resources).await?);
        }
        return Ok((targets, Vec::new()));
    }
    match target::parse(&args.words, &resources).await? {
        Named::Objects(objects) => {
            let target =
                |(resource, name)| Target { resource, name, namespace: session.namespace.clone(), object: Value::Null };
            Ok((objects.into_iter().map(target).collect(), Vec::new()))
        }
        Named::Types(_) if args.selection.is_empty() && !args.all => {
            Err(CliError::usage("resource(s) were provided, but no name was specified"))
        }
        Named::Types(types) => {
            let mut targets = Vec::new();
            for resource in types {
                targets.extend(target::list(session, &resource, &args.selection).await?);
            }
            Ok((targets, Vec::new()))
        }
    }
}

/// Asks for the deletion; what is waited for is the object with this uid.
async fn delete(
    args: &Args,
    session: &Session,
    mode: Mode,
    options: &Value,
    target: &Target,
) -> Result<Option<String>> {
    let answer = if mode == Mode::Client {
        Value::Null
    } else {
        session.delete(&format!("{}{}", target.path(), mode.query()), options).await?
    };
    if args.output.as_deref() == Some("name") {
        output::say(&target.label())?;
    } else {
        let group =
            if target.resource.group.is_empty() { String::new() } else { format!(".{}", target.resource.group) };
        let place =
            if target.resource.namespaced { format!(" from {} namespace", target.namespace) } else { String::new() };
        let how = if args.force && args.grace_period <= 0 { "force deleted" } else { "deleted" };
        output::say(&format!("{}{group} {:?} {how}{place}{}", target.resource.singular, target.name, mode.suffix()))?;
    }
    let uid = answer["metadata"]["uid"].as_str().or(answer["details"]["uid"].as_str());
    Ok(uid.map(str::to_owned))
}

/// Looks until there is none of this name, or another one.
pub async fn gone(session: &Session, target: &Target, uid: Option<&str>) -> Result<()> {
    let mut pause = Duration::from_millis(20);
    loop {
        match session.get(&target.path()).await {
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
            Ok(object) if uid.is_some_and(|uid| object["metadata"]["uid"] != uid) => return Ok(()),
            Ok(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(500));
    }
}

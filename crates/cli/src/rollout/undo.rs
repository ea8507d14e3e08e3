//! `rollout undo`: the pod template of an earlier revision becomes the current one again.
use super::Which;
use super::revisions::{self, Revision};
use crate::connect::Session;
use crate::describe;
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::output::Output;
use crate::target::Target;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The revision to go back to; 0 is the one before the current one.
    #[arg(long, default_value_t = 0)]
    to_revision: i64,
    #[command(flatten)]
    dry_run: DryRun,
    #[command(flatten)]
    output: Output,
}

/// Annotations of a ReplicaSet that are its own and not the Deployment's (`polymorphichelpers/rollback.go`).
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let (targets, mut errors) = args.which.fetch(session).await?;
    for target in targets {
        if let Err(error) = one(args, session, &target).await {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

async fn one(args: &Args, session: &Session, target: &Target) -> Result<()> {
    warn_of_apply(target);
    let is_deployment = target.resource.kind == "Deployment";
    let all = revisions::of(session, target, "rollbacker").await?;
    let revision = choose(args, &all, target)?;
    let mode = args.dry_run.mode()?;
    if mode == Mode::Client && is_deployment {
        return args.say(target, &describe::template(&revision.template), mode, &revision.shown(target));
    }
    if is_deployment && target.object["spec"]["paused"] == true {
        return Err(CliError::usage(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again",
        ));
    }
    let mut template = revision.template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove("pod-template-hash");
    }
    if mode == Mode::Client {
        let text = format!("will roll back to {}", describe::template(&template));
        return args.say(target, &text, mode, &revision.shown(target));
    }
    if template == target.object["spec"]["template"] {
        let text = format!("skipped rollback (current template already matches revision {})", args.to_revision);
        return args.say(target, &text, Mode::Real, &target.object);
    }
    let path = format!("{}{}", target.path(), mode.query());
    let after = if is_deployment {
        let patch = patch(&target.object, template, &revision.carrier["metadata"]["annotations"]);
        session.patch(&path, "application/json-patch+json", &patch).await?
    } else {
        // A ControllerRevision holds the patch that makes the workload what it was.
        session.patch(&path, "application/strategic-merge-patch+json", &revision.carrier["data"]).await?
    };
    args.say(target, "rolled back", mode, &after)
}

impl Args {
    fn say(&self, target: &Target, done: &str, mode: Mode, object: &Value) -> Result<()> {
        self.output.result(&target.label(), &format!("{done}{}", mode.suffix()), object)
    }
}

fn choose<'a>(args: &Args, all: &'a BTreeMap<i64, Revision>, target: &Target) -> Result<&'a Revision> {
    if args.to_revision > 0 {
        let missing = || CliError::usage(format!("unable to find specified revision {} in history", args.to_revision));
        return all.get(&args.to_revision).ok_or_else(missing);
    }
    all.values().rev().nth(1).ok_or_else(|| {
        CliError::usage(match target.resource.kind.as_str() {
            "Deployment" => format!("no rollout history found for deployment {:?}", target.name),
            _ => "no last revision to roll back to".to_owned(),
        })
    })
}

fn warn_of_apply(target: &Target) {
    if target.object["metadata"]["annotations"].get(OWN[0]).is_some() {
        eprintln!(
            "Warning: resource {}/{} was previously managed with 'kubectl apply'. Rolling back will not update the {} annotation, which may cause unexpected behavior on future 'kubectl apply' operations. Consider using 'kubectl apply' with your previous configuration file instead.",
            target.resource.plural, target.name, OWN[0]
        );
    }
}

/// Template and annotations of the revision; what is the Deployment's own stays.
fn patch(object: &Value, template: Value, of_revision: &Value) -> Value {
    let kept = object["metadata"]["annotations"].as_object().into_iter().flatten();
    let mut annotations: serde_json::Map<String, Value> =
        kept.filter(|(k, _)| OWN.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    let theirs = of_revision.as_object().into_iter().flatten();
    annotations.extend(theirs.filter(|(k, _)| !OWN.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())));
    json!([
        {"op": "replace", "path": "/spec/template", "value": template},
        {"op": "replace", "path": "/metadata/annotations", "value": annotations},
    ])
}

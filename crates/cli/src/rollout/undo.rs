//! `rollout undo`: the pod template of an earlier revision becomes the current one again.
use super::{Which, revisions};
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::output;
use crate::template;
use serde_json::{Value, json};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The revision to go back to; 0 is the one before the current one.
    #[arg(long, default_value_t = 0)]
    to_revision: i64,
    /// client or server: only say what would be done.
    #[arg(long, default_value = "none", num_args = 0..=1, default_missing_value = "client")]
    dry_run: String,
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
        let name = target.name.clone();
        let all = revisions::of(session, &target).await?;
        let wanted =
            if args.to_revision == 0 { all.iter().rev().nth(1).map(|(_, r)| r) } else { all.get(&args.to_revision) };
        let Some(revision) = wanted else {
            errors.push(CliError::usage(if args.to_revision > 0 {
                format!("unable to find specified revision {} in history", args.to_revision)
            } else {
                format!("no rollout history found for deployment {name:?}")
            }));
            continue;
        };
        if target.object["spec"]["paused"] == true {
            errors.push(CliError::usage(
                "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again",
            ));
            continue;
        }
        let mut template = revision.template.clone();
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.remove("pod-template-hash");
        }
        if args.dry_run == "client" {
            output::write(&format!("{} {}\n", target.label(), template::describe(&template)))?;
            continue;
        }
        if template == target.object["spec"]["template"] {
            output::say(&format!(
                "{} skipped rollback (current template already matches revision {})",
                target.label(),
                args.to_revision
            ))?;
            continue;
        }
        if target.object["metadata"]["annotations"].get(OWN[0]).is_some() {
            eprintln!(
                "Warning: resource {}/{name} was previously managed with 'kubectl apply'. Rolling back will not update the {} annotation, which may cause unexpected behavior on future 'kubectl apply' operations. Consider using 'kubectl apply' with your previous configuration file instead.",
                target.resource.plural, OWN[0]
            );
        }
        let patch = patch(&target.object, template, &revision.annotations);
        let dry = if args.dry_run == "server" { "?dryRun=All" } else { "" };
        session.patch(&format!("{}{dry}", target.path()), "application/json-patch+json", &patch).await?;
        let suffix = if dry.is_empty() { "" } else { " (server dry run)" };
        output::say(&format!("{} rolled back{suffix}", target.label()))?;
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
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

//! The revisions of a workload: ReplicaSets of a Deployment, ControllerRevisions of the others.
use crate::connect::{Session, with_query};
use crate::error::{CliError, Result};
use crate::target::Target;
use serde_json::Value;
use std::collections::BTreeMap;

/// By number: what carries the revision, and its pod template.
pub struct Revision {
    pub cause: String,
    pub template: Value,
    /// The ReplicaSet or ControllerRevision that carries it.
    pub carrier: Value,
}

impl Revision {
    /// The workload as this revision has it; of a Deployment the ReplicaSet. What `history -o` prints.
    pub fn shown(&self, target: &Target) -> Value {
        if target.resource.kind == "Deployment" {
            let mut set = self.carrier.clone();
            set["apiVersion"] = "apps/v1".into();
            set["kind"] = "ReplicaSet".into();
            return set;
        }
        let mut workload = target.object.clone();
        workload["spec"]["template"] = self.template.clone();
        workload
    }
}

/// The annotation that counts a Deployment's revisions.
const NUMBER: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";

/// All revisions that are kept. `what` is asked for: `history` or `rollbacker`.
pub async fn of(session: &Session, target: &Target, what: &str) -> Result<BTreeMap<i64, Revision>> {
    let is_deployment = target.resource.kind == "Deployment";
    let plural = if is_deployment { "replicasets" } else { "controllerrevisions" };
    if !is_deployment && !matches!(target.resource.kind.as_str(), "DaemonSet" | "StatefulSet") {
        return Err(CliError::usage(format!(
            "error retrieving {what} for {kind:?}, no visitor method exists for {{{} {kind}}}",
            target.resource.group,
            kind = target.resource.kind
        )));
    }
    let path = format!("/apis/apps/v1/namespaces/{}/{plural}", target.namespace);
    let selector = selector_text(&target.object["spec"]["selector"]);
    let list = session.get(&with_query(&path, &[("labelSelector", &selector)])).await?;
    let owner = &target.object["metadata"]["uid"];
    let owned = |o: &&Value| {
        let owners = o["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.into_iter().any(|r| r["controller"] == true && r["uid"] == *owner)
    };
    let mut revisions = BTreeMap::new();
    for object in list["items"].as_array().into_iter().flatten().filter(owned) {
        let annotations = &object["metadata"]["annotations"];
        let number = if is_deployment {
            annotations[NUMBER].as_str().and_then(|n| n.parse().ok())
        } else {
            object["revision"].as_i64()
        };
        let Some(number) = number else { continue };
        let template = if is_deployment { &object["spec"]["template"] } else { &object["data"]["spec"]["template"] };
        let cause = annotations[CAUSE].as_str().unwrap_or_default().to_owned();
        let mut template = template.clone();
        if let Some(template) = template.as_object_mut() {
            // A ControllerRevision is a patch that replaces the template.
            template.remove("$patch");
        }
        revisions.insert(number, Revision { cause, template, carrier: object.clone() });
    }
    Ok(revisions)
}

/// A LabelSelector as a query.
pub fn selector_text(selector: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<String> = labels.map(|(k, v)| format!("{k}={}", text(v))).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = text(&expression["key"]);
        let values: Vec<String> = expression["values"].as_array().into_iter().flatten().map(text).collect();
        parts.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key,
        });
    }
    parts.join(",")
}

//! `pods/binding`: the scheduler's decision (`pkg/registry/core/pod/storage`).
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{Binding, Pod, PodCondition};
use crate::k8s::apimachinery::pkg::apis::meta::v1::Time;
use crate::kinds::rules::text;

/// `ValidatePodBinding`
pub fn validate(binding: &Binding) -> Errors {
    let mut out = Errors::new();
    let target = Path::new("target");
    let kind = text(&binding.target.kind);
    if !kind.is_empty() && kind != "Node" {
        out.push(Error::not_supported(&target.child("kind"), kind, &["Node", "<empty>"]));
    }
    if text(&binding.target.name).is_empty() {
        out.push(Error::required(&target.child("name"), ""));
    }
    out
}

/// Why a pod cannot be given to a node; a Conflict to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    #[error("pod {0} is being deleted, cannot be assigned to a host")]
    Deleting(String),
    #[error("pod {0} is already assigned to node \"{1}\"")]
    Assigned(String, String),
    #[error("pod {0} has non-empty .spec.schedulingGates")]
    Gated(String),
}

/// Gives the pod to the node: its name, the binding's annotations and labels, and the condition `PodScheduled`.
/// Preconditions (uid, resourceVersion of the binding's metadata) are the API server's.
pub fn assign(pod: &mut Pod, binding: &Binding, now: &Time) -> Result<(), AssignError> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    if pod.metadata.deletion_timestamp.is_some() {
        return Err(AssignError::Deleting(name));
    }
    let spec = pod.spec.get_or_insert_default();
    if let Some(node) = spec.node_name.as_ref().filter(|n| !n.is_empty()) {
        return Err(AssignError::Assigned(name, node.clone()));
    }
    if spec.scheduling_gates.is_some() {
        return Err(AssignError::Gated(name));
    }
    spec.node_name.clone_from(&binding.target.name);
    for (key, value) in binding.metadata.annotations.iter().flatten() {
        pod.metadata.annotations.get_or_insert_default().insert(key.clone(), value.clone());
    }
    for (key, value) in binding.metadata.labels.iter().flatten() {
        pod.metadata.labels.get_or_insert_default().insert(key.clone(), value.clone());
    }
    // The proposal has been carried out or overtaken (`ClearingNominatedNodeNameAfterBinding`, on since v1.35).
    if let Some(status) = &mut pod.status {
        status.nominated_node_name = None;
    }
    scheduled(pod, now);
    Ok(())
}

fn scheduled(pod: &mut Pod, now: &Time) {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(now.clone()),
        ..PodCondition::default()
    };
    match conditions.iter_mut().find(|c| c.type_ == condition.type_) {
        Some(before) if before.status == condition.status => {}
        Some(before) => *before = condition,
        None => conditions.push(condition),
    }
}

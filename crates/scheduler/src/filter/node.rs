//! Filters on what the Node object says: cordoned, named, tainted, labelled.
use super::{Plugin, Rejection};
use crate::cluster::NodeInfo;
use crate::pod::PodInfo;
use crate::taint;
use isopod_api::k8s::api::core::v1::Taint;

/// The taint that stands for `spec.unschedulable`.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A cordoned node takes only pods that tolerate it (`nodeunschedulable/node_unschedulable.go`).
pub(super) fn unschedulable(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if !node.facts.unschedulable {
        return Ok(());
    }
    let taint = Taint { key: UNSCHEDULABLE.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    if pod.tolerations.iter().any(|t| taint::tolerates(t, &taint)) {
        return Ok(());
    }
    Err(Rejection::final_(Plugin::NodeUnschedulable, "node(s) were unschedulable"))
}

pub(super) fn name(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if pod.node.is_empty() || *pod.node == *node.name {
        return Ok(());
    }
    Err(Rejection::final_(Plugin::NodeName, "node(s) didn't match the requested node name"))
}

/// Since v1.35 the reason does not name the taint.
pub(super) fn taints(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if taint::any_untolerated(&node.facts.taints, &pod.tolerations) {
        return Err(Rejection::final_(Plugin::TaintToleration, "node(s) had untolerated taint(s)"));
    }
    Ok(())
}

pub(super) fn affinity(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if pod.demand.matches(&node.name, &node.facts.labels) {
        return Ok(());
    }
    Err(Rejection::final_(Plugin::NodeAffinity, "node(s) didn't match Pod's node affinity/selector"))
}

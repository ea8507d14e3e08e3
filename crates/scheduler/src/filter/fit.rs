//! Filters on room: host ports and resources (`nodeports/node_ports.go`, `noderesources/fit.go`).
use super::{Plugin, Rejection};
use crate::cluster::NodeInfo;
use crate::pod::PodInfo;
use std::borrow::Cow;

pub(super) fn ports(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if pod.ports.iter().any(|wanted| node.ports.iter().any(|taken| wanted.conflicts(taken))) {
        let reason = "node(s) didn't have free ports for the requested pod ports";
        return Err(Rejection::resolvable(Plugin::NodePorts, reason));
    }
    Ok(())
}

/// Every resource that is short is named. A request above what the node has when empty cannot be met by removing pods.
pub(super) fn resources(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    if i64::try_from(node.pods.len()).is_ok_and(|pods| pods >= node.facts.slots) {
        reasons.push("Too many pods".into());
    }
    let mut resolvable = true;
    let mut short = |wanted: i64, has: i64, used: i64, reason: Cow<'static, str>| {
        if wanted > 0 && wanted > has.saturating_sub(used) {
            resolvable &= wanted <= has;
            reasons.push(reason);
        }
    };
    let (want, has, used) = (&pod.requests, &node.facts.allocatable, &node.requested);
    short(want.milli_cpu, has.milli_cpu, used.milli_cpu, "Insufficient cpu".into());
    short(want.memory, has.memory, used.memory, "Insufficient memory".into());
    let storage = (want.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage);
    short(storage.0, storage.1, storage.2, "Insufficient ephemeral-storage".into());
    for (name, &wanted) in &want.scalar {
        let amount = |of: &std::collections::BTreeMap<String, i64>| of.get(name).copied().unwrap_or(0);
        let (has, used) = (amount(&has.scalar), amount(&used.scalar));
        if wanted > has.saturating_sub(used) {
            short(wanted, has, used, format!("Insufficient {name}").into());
        }
    }
    if reasons.is_empty() { Ok(()) } else { Err(Rejection { plugin: Plugin::NodeResourcesFit, resolvable, reasons }) }
}

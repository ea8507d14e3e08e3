//! Required topology spread (`podtopologyspread/filtering.go`, KEP-895, KEP-3022, KEP-3094).
//!
//! A node is refused when placing the pod there would put its domain more than `maxSkew` above the emptiest domain:
//! `count(domain) + (1 if the pod matches its own selector) - min(count of all eligible domains) > maxSkew`.
use super::{Plugin, Rejection};
use crate::cluster::{Cluster, NodeInfo};
use crate::pod::{PodInfo, Spread};
use crate::taint;
use std::collections::HashMap;

/// One constraint with its counts.
struct Constraint<'a> {
    spread: &'a Spread,
    /// Matching pods by domain, over the eligible nodes.
    domains: HashMap<&'a str, i64>,
    least: i64,
    /// 1 if the pod itself would be counted.
    own: i64,
}

pub(super) struct State<'a> {
    constraints: Vec<Constraint<'a>>,
}

/// How many pods of the namespace that `spread` selects are on each node, by index; terminating ones do not count.
pub(crate) fn counts_by_node(cluster: &Cluster, namespace: &str, spread: &Spread) -> Vec<i64> {
    let mut counts = vec![0_i64; cluster.width()];
    // An empty selector counts nobody (`countPodsMatchSelector`).
    if spread.selector.is_empty() {
        return counts;
    }
    let classes = cluster.classes.in_namespace(namespace).filter(|c| !c.is_terminating());
    for class in classes.filter(|c| spread.selector.matches(c.labels())) {
        for (at, pods) in class.nodes() {
            if let Some(count) = counts.get_mut(at) {
                *count = count.saturating_add(i64::from(pods));
            }
        }
    }
    counts
}

/// Whether the pods on a node are counted at all.
pub(crate) fn includes(spread: &Spread, pod: &PodInfo, node: &NodeInfo) -> bool {
    (!spread.honor_affinity || pod.demand.is_empty() || pod.demand.matches(&node.name, &node.facts.labels))
        && !(spread.honor_taints && taint::any_untolerated(&node.facts.taints, &pod.tolerations))
}

/// Whether a node has every topology key.
pub(crate) fn has_all_keys(constraints: &[Spread], node: &NodeInfo) -> bool {
    constraints.iter().all(|c| node.label(&c.key).is_some())
}

impl<'a> State<'a> {
    pub(super) fn new(cluster: &'a Cluster, pod: &'a PodInfo) -> Self {
        let constraints = pod.hard_spread.iter().map(|spread| Constraint::new(cluster, pod, spread)).collect();
        Self { constraints }
    }

    pub(super) fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        for constraint in &self.constraints {
            let Some(domain) = node.label(&constraint.spread.key) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Rejection::final_(Plugin::PodTopologySpread, reason));
            };
            let count = constraint.domains.get(domain).copied().unwrap_or(0);
            let skew = count.saturating_add(constraint.own).saturating_sub(constraint.least);
            if skew > constraint.spread.max_skew {
                let reason = "node(s) didn't match pod topology spread constraints";
                return Err(Rejection::resolvable(Plugin::PodTopologySpread, reason));
            }
        }
        Ok(())
    }
}

impl<'a> Constraint<'a> {
    fn new(cluster: &'a Cluster, pod: &'a PodInfo, spread: &'a Spread) -> Self {
        let counts = counts_by_node(cluster, &pod.key.namespace, spread);
        let mut domains: HashMap<&str, i64> = HashMap::new();
        for (at, node) in cluster.nodes() {
            if !has_all_keys(&pod.hard_spread, node) || !includes(spread, pod, node) {
                continue;
            }
            if let Some(domain) = node.label(&spread.key) {
                let total = domains.entry(domain).or_default();
                *total = total.saturating_add(counts.get(at).copied().unwrap_or(0));
            }
        }
        // With fewer domains than `minDomains` the emptiest is one that does not exist yet.
        let enough = i64::try_from(domains.len()).is_ok_and(|n| n >= spread.min_domains);
        let least = if enough { domains.values().copied().min().unwrap_or(0) } else { 0 };
        let own = i64::from(spread.selector.matches(&pod.labels));
        Self { spread, domains, least, own }
    }
}

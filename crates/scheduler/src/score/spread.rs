//! Preferred topology spread (`podtopologyspread/scoring.go`): the fewer matching pods in a domain, the better.
//!
//! A pod without constraints of its own is spread by the cluster's defaults over hosts and zones, counting the pods that its
//! Services and its controller select.
use super::{Feasible, MAX};
use crate::cluster::{Cluster, NodeInfo};
use crate::filter::spread::{counts_by_node, has_all_keys, includes};
use crate::pod::{PodInfo, Spread};
use crate::requirement::Selector;
use std::borrow::Cow;
use std::collections::HashMap;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// `systemDefaultConstraints` (`podtopologyspread/plugin.go`).
fn defaults(siblings: &Selector) -> Vec<Spread> {
    let constraint = |key: &str, max_skew| Spread {
        max_skew,
        key: key.to_owned(),
        selector: siblings.clone(),
        min_domains: 1,
        honor_affinity: true,
        honor_taints: false,
    };
    vec![constraint(HOSTNAME, 3), constraint(ZONE, 5)]
}

/// One constraint, counted.
struct Counted<'a> {
    spread: &'a Spread,
    by_node: Vec<i64>,
    /// By domain, of the domains that have a candidate; unused for hosts, which are counted one by one.
    domains: HashMap<Option<&'a str>, i64>,
    /// Small topologies are not watered down by large ones.
    weight: f64,
}

#[expect(clippy::cast_precision_loss, reason = "numbers of nodes and pods")]
impl<'a> Counted<'a> {
    fn new(
        cluster: &'a Cluster,
        pod: &PodInfo,
        all: &[Spread],
        spread: &'a Spread,
        eligible: &[&'a NodeInfo],
        strict: bool,
    ) -> Self {
        let by_node = counts_by_node(cluster, &pod.key.namespace, spread);
        let mut domains: HashMap<Option<&str>, i64> = HashMap::new();
        let mut size = eligible.len();
        if spread.key != HOSTNAME {
            domains.extend(eligible.iter().map(|n| (n.label(&spread.key), 0)));
            size = domains.len();
            for (at, node) in cluster.nodes() {
                if strict && !has_all_keys(all, node) || !includes(spread, pod, node) {
                    continue;
                }
                if let Some(total) = domains.get_mut(&node.label(&spread.key)) {
                    *total = total.saturating_add(by_node.get(at).copied().unwrap_or(0));
                }
            }
        }
        Self { spread, by_node, domains, weight: ((size as f64) + 2.0).ln() }
    }

    fn score(&self, at: usize, node: &NodeInfo) -> f64 {
        let Some(domain) = node.label(&self.spread.key) else { return 0.0 };
        let count = if self.spread.key == HOSTNAME {
            self.by_node.get(at).copied().unwrap_or(0)
        } else {
            self.domains.get(&Some(domain)).copied().unwrap_or(0)
        };
        count as f64 * self.weight + self.spread.max_skew.saturating_sub(1) as f64
    }
}

#[expect(clippy::cast_possible_truncation, reason = "scores are small, computed as upstream")]
pub(super) fn scores(
    cluster: &Cluster,
    pod: &PodInfo,
    siblings: Option<&Selector>,
    nodes: &[Feasible<'_>],
) -> Vec<i64> {
    let constraints: Cow<'_, [Spread]> = if pod.own_spread {
        Cow::Borrowed(&pod.soft_spread)
    } else {
        siblings.filter(|s| !s.is_empty()).map_or_else(Vec::new, defaults).into()
    };
    if constraints.is_empty() {
        return vec![0; nodes.len()];
    }
    // Nodes without a zone are still spread by host when the defaults apply.
    let strict = pod.own_spread;
    let is_scored = |node: &NodeInfo| !strict || has_all_keys(&constraints, node);
    let eligible: Vec<&NodeInfo> = nodes.iter().map(|(_, n)| *n).filter(|n| is_scored(n)).collect();
    let counted: Vec<Counted<'_>> =
        constraints.iter().map(|c| Counted::new(cluster, pod, &constraints, c, &eligible, strict)).collect();
    let raw = nodes.iter().map(|(at, node)| {
        let sum = || counted.iter().map(|c| c.score(*at, node)).sum::<f64>().round() as i64;
        is_scored(node).then(sum)
    });
    invert(&raw.collect::<Vec<_>>())
}

/// `100 * (max + min - score) / max`; nodes that were not scored get 0.
fn invert(raw: &[Option<i64>]) -> Vec<i64> {
    let min = raw.iter().flatten().copied().min().unwrap_or(0);
    let max = raw.iter().flatten().copied().max().unwrap_or(0);
    let score = |score: i64| match max {
        0 => MAX,
        max => MAX.saturating_mul(max.saturating_add(min).saturating_sub(score)) / max,
    };
    raw.iter().map(|s| s.map_or(0, score)).collect()
}

//! The decision: which node a pod goes to, or why it goes nowhere. No clock, no I/O.
//!
//! ```text
//! place:   refuse the whole cluster (volumes, conflicting terms) → nominated node first → filter → score → best, ties by lot
//! preempt: (see `preempt`) which pods would have to leave which node
//! ```
use crate::cluster::{Cluster, NodeInfo};
use crate::filter::{Cycle, Plugin, Rejection};
use crate::pod::PodInfo;
use crate::report::Diagnosis;
use crate::requirement::Selector;
use crate::score;
use crate::volumes::VolumeNeeds;
use std::collections::HashMap;
use std::sync::Arc;

/// Up to this many nodes all are tried; beyond, enough to choose from (`minFeasibleNodesToFind`).
const ENOUGH: usize = 100;

/// What is to be decided.
pub struct Request<'a> {
    pub pod: &'a PodInfo,
    pub volumes: &'a VolumeNeeds,
    /// Selects the pods this one is spread among by default: what its Services and its controller select.
    pub siblings: Option<Selector>,
}

/// Lots for ties, reproducible from a seed (xorshift64).
#[derive(Clone, Debug)]
pub struct Lots(u64);

impl Lots {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }
    /// A number below `bound`.
    pub fn draw(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bound = u64::try_from(bound.max(1)).unwrap_or(1);
        usize::try_from(self.0 % bound).unwrap_or(0)
    }
}

/// Pods that a node was promised to while their victims leave, by node.
#[derive(Debug, Default)]
pub struct Nominations {
    by_node: HashMap<String, Vec<Arc<PodInfo>>>,
    of_pod: HashMap<String, String>,
}

impl Nominations {
    /// `node` as in the pod's `status.nominatedNodeName`; `None` withdraws.
    pub fn set(&mut self, pod: &Arc<PodInfo>, node: Option<&str>) {
        self.remove(&pod.uid);
        if let Some(node) = node {
            self.of_pod.insert(pod.uid.clone(), node.to_owned());
            self.by_node.entry(node.to_owned()).or_default().push(Arc::new(pod.bound_to(node)));
        }
    }

    pub fn remove(&mut self, uid: &str) {
        let Some(node) = self.of_pod.remove(uid) else { return };
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.retain(|p| p.uid != uid);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    pub fn node_of(&self, uid: &str) -> Option<&str> {
        self.of_pod.get(uid).map(String::as_str)
    }

    /// Those who must be assumed there when `pod` is considered: as important or more, and not itself.
    pub(crate) fn ahead_of(&self, pod: &PodInfo, node: &str) -> Vec<Arc<PodInfo>> {
        let all = self.by_node.get(node).into_iter().flatten();
        all.filter(|p| p.priority >= pod.priority && p.uid != pod.uid).cloned().collect()
    }

    /// Those whose nomination `pod` overrules.
    pub fn below(&self, pod: &PodInfo, node: &str) -> Vec<Arc<PodInfo>> {
        let all = self.by_node.get(node).into_iter().flatten();
        all.filter(|p| p.priority < pod.priority).cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.of_pod.is_empty()
    }
}

/// A node was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub node: Arc<str>,
    pub at: usize,
}

/// No node was found.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    pub diagnosis: Diagnosis,
    /// Where removing pods might help, by index.
    pub resolvable: Vec<usize>,
    /// The pod's nominated node cannot be had even by removing pods.
    pub nomination_lost: bool,
}

/// Decides and remembers where the last search ended, so that large clusters are searched evenly.
#[derive(Debug)]
pub struct Planner {
    lots: Lots,
    start: usize,
}

/// `numFeasibleNodesToFind`: half of the nodes, less in larger clusters, never under [`ENOUGH`].
fn enough(nodes: usize) -> usize {
    if nodes < ENOUGH {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(5);
    (nodes.saturating_mul(percent) / 100).max(ENOUGH)
}

impl Planner {
    pub fn new(seed: u64) -> Self {
        Self { lots: Lots::new(seed), start: 0 }
    }

    pub(crate) fn lots(&mut self) -> &mut Lots {
        &mut self.lots
    }

    /// Finds the pod a node. The cluster is as before when this returns.
    pub fn place(
        &mut self,
        cluster: &mut Cluster,
        request: &Request<'_>,
        nominated: &Nominations,
    ) -> Result<Placement, Refusal> {
        let mut refusal = Refusal::default();
        refusal.diagnosis.nodes = cluster.node_count();
        if cluster.node_count() == 0 {
            return Err(refusal);
        }
        if let Some(no) = refuse_all(request) {
            refusal.diagnosis.refused = Some(no.reasons.join(", "));
            refusal.diagnosis.plugins.insert(no.plugin);
            return Err(refusal);
        }
        if let Some(promised) = self.promised(cluster, request, nominated) {
            return Ok(promised);
        }
        let order = self.candidates(cluster, request, &mut refusal);
        let limit = enough(order.len());
        let mut feasible = filter(cluster, request, &order, limit, &mut refusal);
        if !nominated.is_empty() {
            feasible.retain(|&at| still_fits(cluster, request, nominated, at, &mut refusal));
        }
        self.start = self.start.wrapping_add(feasible.len());
        match feasible.as_slice() {
            [] => Err(refusal),
            [only] => placement(cluster, *only).ok_or(refusal),
            many => {
                let best = self.best(cluster, request, many);
                placement(cluster, best).ok_or(refusal)
            }
        }
    }

    /// The node nominated for the pod, if it fits there by now.
    fn promised(&self, cluster: &mut Cluster, request: &Request<'_>, nominated: &Nominations) -> Option<Placement> {
        let name = nominated.node_of(&request.pod.uid).or(request.pod.nominated.as_deref())?;
        let (at, _) = cluster.node_named(name)?;
        let mut unused = Refusal::default();
        let fits = filter(cluster, request, &[at], 1, &mut unused) == [at]
            && still_fits(cluster, request, nominated, at, &mut unused);
        fits.then(|| placement(cluster, at)).flatten()
    }

    /// The nodes to look at, beginning where the last search ended. The others are refused right away.
    fn candidates(&self, cluster: &Cluster, request: &Request<'_>, refusal: &mut Refusal) -> Vec<usize> {
        if let Some(names) = request.pod.demand.pinned() {
            let found: Vec<usize> = names.iter().filter_map(|n| cluster.node_named(n)).map(|(at, _)| at).collect();
            let absent = cluster.node_count().saturating_sub(found.len());
            refusal.diagnosis.reasons.add_many("node(s) didn't satisfy plugin(s) [NodeAffinity]", absent);
            if absent > 0 {
                refusal.diagnosis.plugins.insert(Plugin::NodeAffinity);
            }
            return found;
        }
        let order = cluster.order();
        let (before, after) = order.split_at(self.start % order.len().max(1));
        after.iter().chain(before).copied().collect()
    }

    fn best(&mut self, cluster: &Cluster, request: &Request<'_>, feasible: &[usize]) -> usize {
        let nodes: Vec<(usize, &NodeInfo)> = feasible.iter().filter_map(|&at| Some((at, cluster.node(at)?))).collect();
        let scores = score::score(cluster, request.pod, request.siblings.as_ref(), &nodes);
        let top = scores.iter().copied().max().unwrap_or(0);
        let best: Vec<usize> =
            nodes.iter().zip(&scores).filter(|(_, score)| **score == top).map(|((at, _), _)| *at).collect();
        best.get(self.lots.draw(best.len())).copied().unwrap_or_default()
    }
}

fn placement(cluster: &Cluster, at: usize) -> Option<Placement> {
    cluster.node(at).map(|node| Placement { node: Arc::clone(&node.name), at })
}

/// What no node could help with (PreFilter).
fn refuse_all(request: &Request<'_>) -> Option<Rejection> {
    if request.pod.demand.pinned().is_some_and(|names| names.is_empty()) {
        return Some(Rejection::final_(Plugin::NodeAffinity, "pod affinity terms conflict"));
    }
    request.volumes.refused.clone()
}

/// The first `limit` nodes of `order` that can take the pod.
fn filter(
    cluster: &Cluster,
    request: &Request<'_>,
    order: &[usize],
    limit: usize,
    refusal: &mut Refusal,
) -> Vec<usize> {
    let cycle = Cycle::new(cluster, request.pod, request.volumes);
    let mut feasible = Vec::new();
    for &at in order {
        let Some(node) = cluster.node(at) else { continue };
        match cycle.check(node) {
            Ok(()) => feasible.push(at),
            Err(no) => note(refusal, request.pod, node, at, &no),
        }
        if feasible.len() >= limit {
            break;
        }
    }
    feasible
}

fn note(refusal: &mut Refusal, pod: &PodInfo, node: &NodeInfo, at: usize, no: &Rejection) {
    refusal.diagnosis.note(no);
    if no.resolvable {
        refusal.resolvable.push(at);
    } else if pod.nominated.as_deref() == Some(&*node.name) {
        refusal.nomination_lost = true;
    }
}

/// Whether the pod also fits once those ahead of it, nominated to the node, are there.
fn still_fits(
    cluster: &mut Cluster,
    request: &Request<'_>,
    nominated: &Nominations,
    at: usize,
    refusal: &mut Refusal,
) -> bool {
    let Some(name) = cluster.node(at).map(|n| Arc::clone(&n.name)) else { return false };
    let mut ahead = nominated.ahead_of(request.pod, &name);
    ahead.retain(|p| cluster.pod(&p.uid).is_none());
    if ahead.is_empty() {
        return true;
    }
    ahead.iter().for_each(|p| cluster.set_pod(p));
    let answer = cluster.node(at).map(|node| Cycle::new(cluster, request.pod, request.volumes).check(node));
    for pod in &ahead {
        cluster.remove_pod(&pod.uid);
    }
    match (answer, cluster.node(at)) {
        (Some(Err(no)), Some(node)) => {
            note(refusal, request.pod, node, at, &no);
            false
        }
        (answer, _) => matches!(answer, Some(Ok(()))),
    }
}

/// Both checks for one node, as preemption asks them: `Err` says why not.
pub(crate) fn fits(
    cluster: &mut Cluster,
    request: &Request<'_>,
    nominated: &Nominations,
    at: usize,
) -> Result<(), Refusal> {
    let mut refusal = Refusal::default();
    let fits = filter(cluster, request, &[at], 1, &mut refusal) == [at]
        && still_fits(cluster, request, nominated, at, &mut refusal);
    if fits { Ok(()) } else { Err(refusal) }
}

#[cfg(test)]
mod tests {
    use super::enough;

    #[test]
    fn larger_clusters_are_searched_in_part() {
        for (nodes, searched) in
            [(0, 0), (99, 99), (100, 100), (250, 120), (1000, 420), (5000, 500), (6000, 300), (60000, 3000)]
        {
            assert_eq!(enough(nodes), searched, "{nodes}");
        }
    }
}

//! Scores: which of the nodes that can take a pod is best. Each plugin's scores are normalised to 0…100, then weighted.
//!
//! Weights are those of `pkg/scheduler/apis/config/v1/default_plugins.go`: TaintToleration 3; NodeAffinity, PodTopologySpread and
//! InterPodAffinity 2; NodeResourcesFit (least allocated), NodeResourcesBalancedAllocation and ImageLocality 1.
mod affinity;
mod image;
mod resources;
mod spread;

use crate::cluster::{Cluster, NodeInfo};
use crate::pod::PodInfo;
use crate::requirement::Selector;
use crate::taint;

/// The highest score of a plugin for a node.
pub(crate) const MAX: i64 = 100;

/// A node that passed the filters.
pub type Feasible<'a> = (usize, &'a NodeInfo);

/// Scaled so that the largest is [`MAX`] (`helper.DefaultNormalizeScore`).
fn normalize(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if max == 0 { 0 } else { MAX.saturating_mul(*score) / max };
        *score = if reverse { MAX.saturating_sub(scaled) } else { scaled };
    }
}

fn taints(pod: &PodInfo, nodes: &[Feasible<'_>]) -> Vec<i64> {
    // Only tolerations without an effect, or with this one, are asked (`getAllTolerationPreferNoSchedule`): tolerates() does.
    let mut scores: Vec<i64> = nodes.iter().map(|(_, n)| taint::disliked(&n.facts.taints, &pod.tolerations)).collect();
    normalize(&mut scores, true);
    scores
}

fn preferred_nodes(pod: &PodInfo, nodes: &[Feasible<'_>]) -> Vec<i64> {
    let score = |node: &NodeInfo| {
        let matching = pod.preferred_nodes.iter().filter(|(_, t)| t.matches(&node.name, &node.facts.labels));
        matching.fold(0_i64, |sum, (weight, _)| sum.saturating_add(*weight))
    };
    let mut scores: Vec<i64> = nodes.iter().map(|(_, n)| score(n)).collect();
    normalize(&mut scores, false);
    scores
}

/// The weighted sum for each of `nodes`. `siblings` selects the pods that the cluster's default spreading counts.
pub fn score(cluster: &Cluster, pod: &PodInfo, siblings: Option<&Selector>, nodes: &[Feasible<'_>]) -> Vec<i64> {
    let mut totals = vec![0_i64; nodes.len()];
    let mut weigh = |weight: i64, scores: Vec<i64>| {
        for (total, score) in totals.iter_mut().zip(scores) {
            *total = total.saturating_add(weight.saturating_mul(score));
        }
    };
    if nodes.iter().any(|(_, n)| !n.facts.taints.is_empty()) {
        weigh(3, taints(pod, nodes));
    }
    if !pod.preferred_nodes.is_empty() {
        weigh(2, preferred_nodes(pod, nodes));
    }
    weigh(2, spread::scores(cluster, pod, siblings, nodes));
    weigh(2, affinity::scores(cluster, pod, nodes));
    weigh(1, nodes.iter().map(|(_, n)| resources::least_allocated(pod, n)).collect());
    weigh(1, nodes.iter().map(|(_, n)| resources::balanced(pod, n)).collect());
    weigh(1, image::scores(cluster, pod, nodes));
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_as_upstream() {
        for (mut scores, reverse, expected) in [
            (vec![1, 2, 3, 4], false, vec![25, 50, 75, 100]),
            (vec![1, 2, 3, 4], true, vec![75, 50, 25, 0]),
            (vec![0, 0], true, vec![100, 100]),
            (vec![0, 0], false, vec![0, 0]),
            (vec![1000, 10, 20, 30], false, vec![100, 1, 2, 3]),
        ] {
            normalize(&mut scores, reverse);
            assert_eq!(scores, expected);
        }
    }
}

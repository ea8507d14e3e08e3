//! Preferred affinity between pods (`interpodaffinity/scoring.go`).
//!
//! Terms of the pod that match pods there, terms of pods there that match the pod, and (with weight 1) required affinity of pods
//! there that match the pod: all draw, or for anti-affinity repel, within the topology they name.
use super::{Feasible, MAX};
use crate::affinity::AffinityTerm;
use crate::classes::Class;
use crate::cluster::Cluster;
use crate::pod::PodInfo;
use std::collections::HashMap;

/// `hardPodAffinityWeight`, by default.
const REQUIRED_WEIGHT: i64 = 1;

#[derive(Default)]
struct Pull<'a>(HashMap<(&'a str, &'a str), i64>);

impl<'a> Pull<'a> {
    fn add(&mut self, cluster: &'a Cluster, class: &Class, term: &'a AffinityTerm, weight: i64) {
        for (at, pods) in class.nodes() {
            if let Some(node) = cluster.node(at).filter(|n| n.exists)
                && let Some(value) = node.label(&term.key)
            {
                let total = self.0.entry((&term.key, value)).or_default();
                *total = total.saturating_add(weight.saturating_mul(i64::from(pods)));
            }
        }
    }
}

pub(super) fn scores(cluster: &Cluster, pod: &PodInfo, nodes: &[Feasible<'_>]) -> Vec<i64> {
    let mut pull = Pull::default();
    let mine = &*pod.affinity;
    let all = &cluster.namespaces;
    let wanted = mine.rather_near.iter().map(|w| (w, 1)).chain(mine.rather_far.iter().map(|w| (w, -1)));
    for (weighted, sign) in wanted {
        for class in cluster.classes.iter() {
            if weighted.term.matches(class.namespace(), class.labels(), all) {
                pull.add(cluster, class, &weighted.term, weighted.weight.saturating_mul(sign));
            }
        }
    }
    for class in cluster.classes.with_affinity() {
        let theirs = class.affinity();
        let required = theirs.near.iter().map(|term| (term, REQUIRED_WEIGHT));
        let near = theirs.rather_near.iter().map(|w| (&w.term, w.weight));
        let far = theirs.rather_far.iter().map(|w| (&w.term, w.weight.saturating_neg()));
        for (term, weight) in required.chain(near).chain(far) {
            if term.matches(&pod.key.namespace, &pod.labels, all) {
                pull.add(cluster, class, term, weight);
            }
        }
    }
    if pull.0.is_empty() {
        return vec![0; nodes.len()];
    }
    let mut scores: Vec<i64> = nodes
        .iter()
        .map(|(_, node)| {
            let drawn = pull.0.iter().filter(|((key, value), _)| node.label(key) == Some(*value));
            drawn.fold(0_i64, |sum, (_, weight)| sum.saturating_add(*weight))
        })
        .collect();
    spread_out(&mut scores);
    scores
}

/// From the lowest at 0 to the highest at [`MAX`]; all the same: 0.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "scores are 0…100, computed as upstream"
)]
fn spread_out(scores: &mut [i64]) {
    let min = scores.iter().copied().min().unwrap_or(0);
    let range = scores.iter().copied().max().unwrap_or(0).saturating_sub(min);
    for score in scores {
        let above = score.saturating_sub(min);
        *score = if range > 0 { (MAX as f64 * (above as f64 / range as f64)) as i64 } else { 0 };
    }
}

//! Required affinity and anti-affinity between pods (`interpodaffinity/filtering.go`).
use super::{Plugin, Rejection};
use crate::affinity::AffinityTerm;
use crate::cluster::{Cluster, NodeInfo};
use crate::pod::PodInfo;
use std::collections::HashMap;

/// How many pods matter to each topology, by its key and value; none of them zero.
type Counts<'a> = HashMap<(&'a str, &'a str), i64>;

pub(super) struct State<'a> {
    pod: &'a PodInfo,
    /// Pods that all required affinity terms of this pod match.
    near: Counts<'a>,
    /// Pods that an anti-affinity term of this pod matches.
    far: Counts<'a>,
    /// Pods that have an anti-affinity term matching this pod.
    shunned: Counts<'a>,
    /// The pod satisfies its own affinity, so that the first of a group can be placed.
    likes_itself: bool,
}

fn count<'a>(counts: &mut Counts<'a>, cluster: &'a Cluster, term: &'a AffinityTerm, at: usize, pods: u32) {
    if let Some(node) = cluster.node(at).filter(|n| n.exists)
        && let Some(value) = node.label(&term.key)
    {
        let total = counts.entry((&term.key, value)).or_default();
        *total = total.saturating_add(i64::from(pods));
    }
}

impl<'a> State<'a> {
    pub(super) fn new(cluster: &'a Cluster, pod: &'a PodInfo) -> Self {
        let (mut near, mut far, mut shunned) = (Counts::new(), Counts::new(), Counts::new());
        let mine = &*pod.affinity;
        let all = &cluster.namespaces;
        let matches = |term: &AffinityTerm, namespace: &str, labels| term.matches(namespace, labels, all);
        if !mine.near.is_empty() || !mine.far.is_empty() {
            for class in cluster.classes.iter() {
                let is_match = |term: &&AffinityTerm| matches(term, class.namespace(), class.labels());
                if !mine.near.is_empty() && mine.near.iter().all(|t| is_match(&t)) {
                    for term in &mine.near {
                        class.nodes().for_each(|(at, pods)| count(&mut near, cluster, term, at, pods));
                    }
                }
                for term in mine.far.iter().filter(is_match) {
                    class.nodes().for_each(|(at, pods)| count(&mut far, cluster, term, at, pods));
                }
            }
        }
        for class in cluster.classes.with_affinity() {
            for term in class.affinity().far.iter().filter(|t| matches(t, &pod.key.namespace, &pod.labels)) {
                class.nodes().for_each(|(at, pods)| count(&mut shunned, cluster, term, at, pods));
            }
        }
        let likes_itself = mine.near.iter().all(|t| matches(t, &pod.key.namespace, &pod.labels));
        Self { pod, near, far, shunned, likes_itself }
    }

    pub(super) fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if !self.near_enough(node) {
            return Err(Rejection::final_(Plugin::InterPodAffinity, "node(s) didn't match pod affinity rules"));
        }
        let matters = |counts: &Counts<'_>, key: &str| {
            node.label(key).is_some_and(|value| counts.get(&(key, value)).is_some_and(|pods| *pods > 0))
        };
        if !self.far.is_empty() && self.pod.affinity.far.iter().any(|t| matters(&self.far, &t.key)) {
            let reason = "node(s) didn't match pod anti-affinity rules";
            return Err(Rejection::resolvable(Plugin::InterPodAffinity, reason));
        }
        if !self.shunned.is_empty() && node.facts.labels.keys().any(|key| matters(&self.shunned, key)) {
            let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
            return Err(Rejection::resolvable(Plugin::InterPodAffinity, reason));
        }
        Ok(())
    }

    fn near_enough(&self, node: &NodeInfo) -> bool {
        let mut exist = true;
        for term in &self.pod.affinity.near {
            let Some(value) = node.label(&term.key) else { return false };
            exist &= self.near.get(&(&*term.key, value)).is_some_and(|pods| *pods > 0);
        }
        exist || self.near.is_empty() && self.likes_itself
    }
}

//! Affinity and anti-affinity terms between pods (`pkg/scheduler/framework/types.go`, `AffinityTerm`).
use crate::requirement::{Labels, Requirement, Selector};
use isopod_api::k8s::api::core::v1::{PodAffinityTerm, WeightedPodAffinityTerm};
use std::collections::{BTreeSet, HashMap};

/// The labels of namespaces, by name: what namespace selectors select by.
pub type Namespaces = HashMap<String, Labels>;

/// Which pods a term means, and within which topology.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityTerm {
    namespaces: BTreeSet<String>,
    namespace_selector: Selector,
    selector: Selector,
    pub key: String,
}

impl AffinityTerm {
    /// `namespace` and `labels` are those of the pod that has the term. `matchLabelKeys` and `mismatchLabelKeys` (KEP-3633)
    /// narrow the selector by them; the API server may have merged them already, and a second time changes nothing.
    pub fn new(term: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        let mut selector = Selector::new(term.label_selector.as_ref());
        for key in term.match_label_keys.iter().flatten() {
            if let Some(value) = labels.get(key) {
                selector.and(Requirement::equals(key, value));
            }
        }
        for key in term.mismatch_label_keys.iter().flatten() {
            if let Some(value) = labels.get(key) {
                selector.and(Requirement::differs(key, value));
            }
        }
        let namespace_selector = Selector::new(term.namespace_selector.as_ref());
        Self { namespaces, namespace_selector, selector, key: term.topology_key.clone() }
    }

    pub fn matches(&self, namespace: &str, labels: &Labels, all: &Namespaces) -> bool {
        (self.namespaces.contains(namespace) || self.selects_namespace(namespace, all)) && self.selector.matches(labels)
    }

    fn selects_namespace(&self, namespace: &str, all: &Namespaces) -> bool {
        match &self.namespace_selector {
            Selector::Nothing => false,
            selector if selector.is_empty() => true,
            selector => all.get(namespace).is_some_and(|labels| selector.matches(labels)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weighted {
    pub weight: i64,
    pub term: AffinityTerm,
}

impl Weighted {
    pub fn new(weighted: &WeightedPodAffinityTerm, namespace: &str, labels: &Labels) -> Self {
        let term = AffinityTerm::new(&weighted.pod_affinity_term, namespace, labels);
        Self { weight: i64::from(weighted.weight), term }
    }
}

/// All terms of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Affinities {
    /// Required affinity.
    pub near: Vec<AffinityTerm>,
    /// Required anti-affinity.
    pub far: Vec<AffinityTerm>,
    pub rather_near: Vec<Weighted>,
    pub rather_far: Vec<Weighted>,
}

impl Affinities {
    pub fn is_empty(&self) -> bool {
        self.near.is_empty() && self.far.is_empty() && self.rather_near.is_empty() && self.rather_far.is_empty()
    }
}

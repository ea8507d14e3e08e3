//! Classes: pods that no selector can tell apart, counted by node.
//!
//! All pods of a ReplicaSet share namespace, labels and affinity terms. Topology spread and inter-pod affinity only ever ask
//! "how many pods that match this selector are on that node": asked of classes, that costs one match a class instead of one a pod,
//! and counts are kept with every pod that comes and goes.
use crate::affinity::Affinities;
use crate::pod::PodInfo;
use crate::requirement::Labels;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClassKey {
    namespace: Arc<str>,
    labels: Arc<Labels>,
    terminating: bool,
    affinity: Arc<Affinities>,
}

#[derive(Debug)]
pub struct Class {
    key: ClassKey,
    /// How many pods of this class are on which node (by index), none of them zero.
    nodes: HashMap<usize, u32>,
}

impl Class {
    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }
    pub fn labels(&self) -> &Labels {
        &self.key.labels
    }
    pub fn is_terminating(&self) -> bool {
        self.key.terminating
    }
    pub fn affinity(&self) -> &Affinities {
        &self.key.affinity
    }
    pub fn nodes(&self) -> impl Iterator<Item = (usize, u32)> {
        self.nodes.iter().map(|(node, count)| (*node, *count))
    }
}

#[derive(Debug, Default)]
pub struct Classes {
    ids: HashMap<ClassKey, usize>,
    all: HashMap<usize, Class>,
    next: usize,
    by_namespace: HashMap<Arc<str>, BTreeSet<usize>>,
    /// Those with any affinity term.
    choosy: BTreeSet<usize>,
}

fn key_of(pod: &PodInfo) -> ClassKey {
    ClassKey {
        namespace: Arc::clone(&pod.key.namespace),
        labels: Arc::clone(&pod.labels),
        terminating: pod.terminating,
        affinity: Arc::clone(&pod.affinity),
    }
}

impl Classes {
    pub fn add(&mut self, pod: &PodInfo, node: usize) {
        let key = key_of(pod);
        let id = match self.ids.get(&key) {
            Some(id) => *id,
            None => self.insert(key),
        };
        if let Some(class) = self.all.get_mut(&id) {
            let count = class.nodes.entry(node).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn insert(&mut self, key: ClassKey) -> usize {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.ids.insert(key.clone(), id);
        self.by_namespace.entry(Arc::clone(&key.namespace)).or_default().insert(id);
        if !key.affinity.is_empty() {
            self.choosy.insert(id);
        }
        self.all.insert(id, Class { key, nodes: HashMap::new() });
        id
    }

    pub fn remove(&mut self, pod: &PodInfo, node: usize) {
        let key = key_of(pod);
        let Some(&id) = self.ids.get(&key) else { return };
        let Some(class) = self.all.get_mut(&id) else { return };
        if let Some(count) = class.nodes.get_mut(&node) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                class.nodes.remove(&node);
            }
        }
        if class.nodes.is_empty() {
            self.all.remove(&id);
            self.ids.remove(&key);
            self.choosy.remove(&id);
            if let Some(ids) = self.by_namespace.get_mut(&key.namespace) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_namespace.remove(&key.namespace);
                }
            }
        }
    }

    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Class> {
        self.by_namespace.get(namespace).into_iter().flatten().filter_map(|id| self.all.get(id))
    }

    pub fn with_affinity(&self) -> impl Iterator<Item = &Class> {
        self.choosy.iter().filter_map(|id| self.all.get(id))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Class> {
        self.all.values()
    }
}

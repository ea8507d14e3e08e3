//! What the scheduler knows of nodes and of the pods on them. Sums are kept with every change, never recomputed.
//!
//! A pod counts on its node from the moment it is *assumed* there, that is, before its binding is written, so that the next
//! decision sees it. Pods may be known before their node is.
use crate::affinity::Namespaces;
use crate::classes::Classes;
use crate::pod::{HostPort, PodInfo};
use crate::requirement::Labels;
use crate::resources::{self, Resources, Weight};
use isopod_api::k8s::api::core::v1::{Node, Taint};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a Node object says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    pub labels: Labels,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    /// How many pods it takes.
    pub slots: i64,
    /// Sizes of the images it holds, by each of their names.
    pub images: HashMap<String, i64>,
}

impl NodeFacts {
    pub fn new(node: &Node) -> Self {
        let status = node.status.as_ref();
        let allocatable = status.and_then(|s| s.allocatable.as_ref());
        let images = status.and_then(|s| s.images.as_deref()).unwrap_or_default().iter();
        Self {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default(),
            unschedulable: node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false),
            allocatable: Resources::of(allocatable),
            slots: resources::pod_slots(allocatable),
            images: images
                .flat_map(|i| i.names.iter().flatten().map(move |n| (n.clone(), i.size_bytes.unwrap_or(0))))
                .collect(),
        }
    }
}

/// A node and what is on it.
#[derive(Debug, Default)]
pub struct NodeInfo {
    pub name: Arc<str>,
    pub facts: NodeFacts,
    /// Whether the Node object exists; without it, only pods that name it are known.
    pub exists: bool,
    /// By uid.
    pub pods: BTreeMap<String, Arc<PodInfo>>,
    pub requested: Resources,
    pub weight: Weight,
    pub ports: Vec<HostPort>,
}

impl NodeInfo {
    pub fn label(&self, key: &str) -> Option<&str> {
        self.facts.labels.get(key).map(String::as_str)
    }

    fn add(&mut self, pod: &Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.weight.add(pod.weight);
        self.ports.extend(pod.ports.iter().cloned());
        self.pods.insert(pod.uid.clone(), Arc::clone(pod));
    }

    fn remove(&mut self, pod: &PodInfo) {
        self.pods.remove(&pod.uid);
        self.requested.subtract(&pod.requests);
        self.weight.subtract(pod.weight);
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
    }
}

/// All nodes, the pods on them and the namespaces they are in.
#[derive(Debug, Default)]
pub struct Cluster {
    slots: Vec<Option<NodeInfo>>,
    free: Vec<usize>,
    by_name: HashMap<Arc<str>, usize>,
    /// The indices of nodes that exist, in the order they came.
    order: Vec<usize>,
    /// Where each placed pod is, by uid.
    placed: HashMap<String, usize>,
    /// On how many nodes an image is, by each of its names.
    image_nodes: HashMap<String, i64>,
    pub classes: Classes,
    pub namespaces: Namespaces,
}

impl Cluster {
    /// The nodes that exist.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &NodeInfo)> {
        self.order.iter().filter_map(|&at| Some((at, self.node(at)?)))
    }

    pub fn order(&self) -> &[usize] {
        &self.order
    }

    pub fn node(&self, at: usize) -> Option<&NodeInfo> {
        self.slots.get(at)?.as_ref()
    }

    pub fn node_named(&self, name: &str) -> Option<(usize, &NodeInfo)> {
        let at = *self.by_name.get(name)?;
        self.node(at).filter(|n| n.exists).map(|n| (at, n))
    }

    pub fn node_count(&self) -> usize {
        self.order.len()
    }

    /// One more than the largest index of a node: how long a table by index must be.
    pub fn width(&self) -> usize {
        self.slots.len()
    }

    /// The size of an image, scaled by how many of the nodes have it.
    pub fn nodes_with_image(&self, name: &str) -> i64 {
        self.image_nodes.get(name).copied().unwrap_or(0)
    }

    fn slot(&mut self, name: &str) -> usize {
        if let Some(&at) = self.by_name.get(name) {
            return at;
        }
        let name: Arc<str> = name.into();
        let node = Some(NodeInfo { name: Arc::clone(&name), ..NodeInfo::default() });
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.slots.push(None);
                self.slots.len().saturating_sub(1)
            }
        };
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = node;
        }
        self.by_name.insert(name, at);
        at
    }

    fn release(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        if slot.as_ref().is_some_and(|n| !n.exists && n.pods.is_empty())
            && let Some(node) = slot.take()
        {
            self.by_name.remove(&node.name);
            self.free.push(at);
        }
    }

    fn count_images(&mut self, facts: &NodeFacts, by: i64) {
        for name in facts.images.keys() {
            let count = self.image_nodes.entry(name.clone()).or_default();
            *count = count.saturating_add(by);
            if *count <= 0 {
                self.image_nodes.remove(name);
            }
        }
    }

    /// A Node was made or changed.
    pub fn set_node(&mut self, name: &str, facts: NodeFacts) {
        let at = self.slot(name);
        let Some(node) = self.slots.get_mut(at).and_then(Option::as_mut) else { return };
        let known = std::mem::replace(&mut node.exists, true);
        let before = std::mem::replace(&mut node.facts, facts.clone());
        self.count_images(&before, -1);
        self.count_images(&facts, 1);
        if !known {
            self.order.push(at);
        }
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(&at) = self.by_name.get(name) else { return };
        let Some(node) = self.slots.get_mut(at).and_then(Option::as_mut) else { return };
        node.exists = false;
        let facts = std::mem::take(&mut node.facts);
        self.count_images(&facts, -1);
        self.order.retain(|&i| i != at);
        self.release(at);
    }

    /// A pod is on a node, or has changed, or has moved: what was known under its uid is replaced.
    pub fn set_pod(&mut self, pod: &Arc<PodInfo>) {
        self.remove_pod(&pod.uid);
        if !pod.is_placed() {
            return;
        }
        let at = self.slot(&pod.node);
        if let Some(node) = self.slots.get_mut(at).and_then(Option::as_mut) {
            node.add(pod);
            self.classes.add(pod, at);
            self.placed.insert(pod.uid.clone(), at);
        }
    }

    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.placed.remove(uid)?;
        let node = self.slots.get_mut(at).and_then(Option::as_mut)?;
        let pod = node.pods.get(uid).cloned()?;
        node.remove(&pod);
        self.classes.remove(&pod, at);
        self.release(at);
        Some(pod)
    }

    pub fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.node(*self.placed.get(uid)?)?.pods.get(uid)
    }

    pub fn pod_count(&self) -> usize {
        self.placed.len()
    }
}

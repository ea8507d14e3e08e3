//! From watched changes to what the planner knows, and to the events that wake sleeping pods. No I/O.
use crate::cluster::{Cluster, NodeFacts};
use crate::plan::Nominations;
use crate::pod::PodInfo;
use crate::queue::{Event, Moment, Queue};
use isopod_api::k8s::api::core::v1::{Namespace, Node, Pod};
use isopod_reflect::{Change, Key};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The scheduler that pods name unless they name another.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// All the state of the scheduler. Nothing of it need outlive the process: the API holds the truth.
#[derive(Debug, Default)]
pub struct Known {
    pub cluster: Cluster,
    pub queue: Queue,
    pub nominations: Nominations,
    /// Pods without a node that are ours to place.
    pub pending: HashMap<Key, Arc<PodInfo>>,
    /// Uids of pods placed by us whose binding the watch has not shown yet.
    pub assumed: HashMap<String, Key>,
    /// What happened since the queue was last told.
    pub events: BTreeSet<Event>,
}

impl Known {
    pub fn observe_pod(&mut self, change: &Change<Pod>, now: Moment) {
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        let replaced = change.old.as_ref().filter(|old| change.new.as_ref().is_none_or(|new| uid(new) != uid(old)));
        if let Some(old) = replaced {
            self.forget(&change.key, &uid(old));
        }
        let Some(pod) = &change.new else {
            self.forget(&change.key, &uid(&change.latest));
            return;
        };
        let pod = Arc::new(PodInfo::new(pod));
        if pod.node.is_empty() {
            self.observe_waiting(pod, now);
        } else {
            self.observe_placed(&pod);
        }
    }

    fn forget(&mut self, key: &Key, uid: &str) {
        if self.cluster.remove_pod(uid).is_some() {
            self.events.insert(Event::PodLeft);
        }
        self.leave_queue(key, uid);
    }

    /// It is not ours to place any more.
    fn leave_queue(&mut self, key: &Key, uid: &str) {
        self.queue.remove(key);
        self.pending.remove(key);
        self.nominations.remove(uid);
        self.assumed.remove(uid);
    }

    fn observe_placed(&mut self, pod: &Arc<PodInfo>) {
        self.leave_queue(&pod.key, &pod.uid);
        match self.cluster.pod(&pod.uid).cloned() {
            None if pod.is_placed() => {
                self.events.insert(Event::PodPlaced);
            }
            None => {}
            Some(before) => {
                if before.labels != pod.labels {
                    self.events.insert(Event::PodPlaced);
                }
                let leaves = pod.terminal || pod.terminating && !before.terminating || before.requests != pod.requests;
                if leaves {
                    self.events.insert(Event::PodLeft);
                }
            }
        }
        self.cluster.set_pod(pod);
    }

    fn observe_waiting(&mut self, pod: Arc<PodInfo>, now: Moment) {
        if self.assumed.contains_key(&pod.uid) {
            return;
        }
        if pod.terminating || pod.terminal || pod.scheduler != DEFAULT_SCHEDULER {
            self.leave_queue(&pod.key, &pod.uid);
            return;
        }
        let before = self.pending.insert(pod.key.clone(), Arc::clone(&pod));
        let useful = before.is_some_and(|b| b.generation != pod.generation || b.labels != pod.labels);
        self.queue.set(&pod, useful, now);
        if pod.nominated.is_some() && self.nominations.node_of(&pod.uid) != pod.nominated.as_deref() {
            self.nominations.set(&pod, pod.nominated.as_deref());
        }
    }

    pub fn observe_node(&mut self, change: &Change<Node>) {
        let name = &*change.key.name;
        let Some(node) = &change.new else {
            self.cluster.remove_node(name);
            self.events.insert(Event::NodeRemoved);
            return;
        };
        let facts = NodeFacts::new(node);
        match self.cluster.node_named(name) {
            None => {
                self.events.insert(Event::NodeAdded);
            }
            // Heartbeats change nothing that matters here.
            Some((_, before)) if before.facts == facts => return,
            Some((_, before)) => {
                let before = &before.facts;
                if before.labels != facts.labels {
                    self.events.insert(Event::NodeLabels);
                }
                if before.taints != facts.taints || before.unschedulable != facts.unschedulable {
                    self.events.insert(Event::NodeTaints);
                }
                if before.allocatable != facts.allocatable || before.slots != facts.slots {
                    self.events.insert(Event::NodeRoom);
                }
            }
        }
        self.cluster.set_node(name, facts);
    }

    pub fn observe_namespace(&mut self, change: &Change<Namespace>) {
        let name = change.key.name.to_string();
        match &change.new {
            Some(namespace) => {
                let labels = namespace.metadata.labels.clone().unwrap_or_default();
                if self.cluster.namespaces.insert(name, labels.clone()).is_some_and(|before| before != labels) {
                    self.events.insert(Event::Namespaces);
                }
            }
            None => {
                self.cluster.namespaces.remove(&name);
            }
        }
    }

    /// The pod is on the node from now on, though nobody else knows yet.
    pub fn assume(&mut self, pod: &PodInfo, node: &str) {
        self.cluster.set_pod(&Arc::new(pod.bound_to(node)));
        self.nominations.remove(&pod.uid);
        self.assumed.insert(pod.uid.clone(), pod.key.clone());
        self.events.insert(Event::PodPlaced);
    }

    /// The binding failed: the room is free again. False if the watch has overtaken us and there is nothing to undo.
    pub fn unassume(&mut self, uid: &str) -> bool {
        if self.assumed.remove(uid).is_none() {
            return false;
        }
        self.cluster.remove_pod(uid);
        self.events.insert(Event::PodLeft);
        true
    }

    /// Tells the queue what has happened.
    pub fn wake(&mut self, now: Moment) {
        let events = std::mem::take(&mut self.events);
        self.queue.happened(&events, now);
    }
}

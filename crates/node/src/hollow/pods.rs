//! All hollow pods of this process: their states, timers and the writes under way. No I/O: [`Pods::due`] says what to write.
//!
//! One table and one timer queue serve every pod of every node; a pod costs no task. At most one write a pod is under way.
use super::address::{self, Pool};
use super::orders::Orders;
use super::plan::{Next, State};
use super::status::{self, Addresses};
use isopod_api::k8s::api::core::v1::{Pod, PodStatus};
use isopod_reflect::Key;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How long a status just written is believed while the watch does not show it yet.
const BELIEF: SignedDuration = SignedDuration::from_secs(5);
/// After a failed write.
const RETRY: SignedDuration = SignedDuration::from_millis(500);

/// What is to be written for a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Status(Box<PodStatus>),
    Delete,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub key: Key,
    pub uid: String,
    pub node: String,
    pub action: Action,
}

struct Tracked {
    pod: Arc<Pod>,
    uid: String,
    node: u32,
    orders: Orders,
    state: State,
    /// The last status written, and when.
    written: Option<(PodStatus, Timestamp)>,
    writing: bool,
    wake: Option<Timestamp>,
}

pub struct Pods {
    /// Index by name.
    nodes: HashMap<String, u32>,
    names: Vec<String>,
    pools: Vec<Pool>,
    tracked: HashMap<Key, Tracked>,
    timers: BTreeSet<(Timestamp, Key)>,
    /// To be looked at now.
    dirty: BTreeSet<Key>,
}

impl Pods {
    pub fn new(names: Vec<String>) -> Self {
        let indexed = || names.iter().zip(0_u32..);
        Self {
            nodes: indexed().map(|(name, i)| (name.clone(), i)).collect(),
            pools: indexed().map(|(_, i)| Pool::new(i)).collect(),
            names,
            tracked: HashMap::new(),
            timers: BTreeSet::new(),
            dirty: BTreeSet::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.tracked.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tracked.is_empty()
    }

    /// A pod is there, or has changed, or (`None`) is gone.
    pub fn observe(&mut self, key: &Key, pod: Option<&Arc<Pod>>, now: Timestamp) {
        let node = pod.and_then(|p| p.spec.as_ref()?.node_name.as_ref()).and_then(|name| self.nodes.get(name)).copied();
        let (Some(pod), Some(node)) = (pod, node) else {
            self.forget(key);
            return;
        };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if self.tracked.get(key).is_some_and(|t| t.uid != uid) {
            self.forget(key);
        }
        match self.tracked.get_mut(key) {
            Some(tracked) => tracked.pod = Arc::clone(pod),
            None => {
                // What it has is its own before any other pod is given one: this agent may have just been started.
                let has_one = pod.status.as_ref().is_some_and(|s| s.pod_ip.is_some());
                let pool = usize::try_from(node).ok().and_then(|i| self.pools.get_mut(i));
                if let Some(pool) = pool.filter(|_| has_one) {
                    addresses(pod, &uid, node, pool);
                }
                let orders = Orders::of(pod);
                let state = State::first(pod, &orders, now);
                let pod = Arc::clone(pod);
                let fresh = Tracked { pod, uid, node, orders, state, written: None, writing: false, wake: None };
                self.tracked.insert(key.clone(), fresh);
            }
        }
        self.dirty.insert(key.clone());
    }

    fn forget(&mut self, key: &Key) {
        self.dirty.remove(key);
        let Some(tracked) = self.tracked.remove(key) else { return };
        if let Some(at) = tracked.wake {
            self.timers.remove(&(at, key.clone()));
        }
        if let Some(pool) = usize::try_from(tracked.node).ok().and_then(|i| self.pools.get_mut(i)) {
            pool.release(&tracked.uid);
        }
    }

    /// A write came back.
    pub fn written(&mut self, key: &Key, uid: &str, ok: bool, now: Timestamp) {
        let Some(tracked) = self.tracked.get_mut(key).filter(|t| t.uid == uid) else { return };
        tracked.writing = false;
        if ok {
            self.dirty.insert(key.clone());
        } else {
            tracked.written = None;
            self.set_timer(key, Some(now.saturating_add(RETRY).unwrap_or(now)));
        }
    }

    fn set_timer(&mut self, key: &Key, at: Option<Timestamp>) {
        let Some(tracked) = self.tracked.get_mut(key) else { return };
        if let Some(old) = std::mem::replace(&mut tracked.wake, at) {
            self.timers.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.timers.insert((at, key.clone()));
        }
    }

    /// When [`Pods::due`] has something to look at without anything happening.
    pub fn next(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// What to write now, at most `limit` of it.
    pub fn due(&mut self, now: Timestamp, limit: usize) -> Vec<Write> {
        while let Some((_, key)) = self.timers.first().filter(|(at, _)| *at <= now).cloned() {
            self.set_timer(&key, None);
            self.dirty.insert(key);
        }
        let mut writes = Vec::new();
        while writes.len() < limit {
            let Some(key) = self.dirty.pop_first() else { break };
            let Some((write, wake)) = self.look(&key, now) else { continue };
            self.set_timer(&key, wake);
            writes.extend(write);
        }
        writes
    }

    /// Advances one pod. What to write, and when to look again; `None` while a write is under way.
    fn look(&mut self, key: &Key, now: Timestamp) -> Option<(Option<Write>, Option<Timestamp>)> {
        let tracked = self.tracked.get_mut(key).filter(|t| !t.writing)?;
        tracked.state = tracked.state.advance(&tracked.pod, &tracked.orders, now);
        let next = tracked.state.next(&tracked.pod, now);
        let node = self.names.get(usize::try_from(tracked.node).ok()?)?.clone();
        let uid = tracked.uid.clone();
        let write = |action| Write { key: key.clone(), uid, node, action };
        if tracked.state == State::Gone {
            tracked.writing = true;
            return Some((Some(write(Action::Delete)), None));
        }
        let wake = if let Next::At(at) = next { Some(at) } else { None };
        let (pod, doubt) = tracked.believed(now);
        let pool = self.pools.get_mut(usize::try_from(tracked.node).ok()?)?;
        let Some(addresses) = addresses(&pod, &tracked.uid, tracked.node, pool) else {
            // All addresses are taken: the pod waits for one, as it would for a real network.
            return Some((None, now.checked_add(SignedDuration::from_secs(1)).ok()));
        };
        let wanted = status::render(&pod, tracked.state, &tracked.orders, &addresses, now);
        let wanted = wanted.filter(|w| !status::is_shown(w, pod.status.as_ref()));
        let Some(wanted) = wanted.filter(|w| tracked.written.as_ref().is_none_or(|(before, _)| before != w)) else {
            if next == Next::Delete {
                tracked.writing = true;
                return Some((Some(write(Action::Delete)), None));
            }
            return Some((None, wake.into_iter().chain(doubt).min()));
        };
        tracked.written = Some((wanted.clone(), now));
        tracked.writing = true;
        Some((Some(write(Action::Status(Box::new(wanted)))), wake))
    }
}

/// The pod's own address, or its node's if it shares the node's network.
fn addresses(pod: &Pod, uid: &str, node: u32, pool: &mut Pool) -> Option<Addresses> {
    let host = address::of_node(node).to_string();
    if pod.spec.as_ref().and_then(|s| s.host_network) == Some(true) {
        return Some(Addresses { pod: host.clone(), host });
    }
    let had = pod.status.as_ref().and_then(|s| s.pod_ip.as_deref());
    Some(Addresses { host, pod: pool.address(uid, had)?.to_string() })
}

impl Tracked {
    /// The pod as the API should hold it: with the status just written, until the watch shows it. That may never be, because
    /// somebody has overwritten it meanwhile and that was seen before: so also when to doubt it.
    fn believed(&mut self, now: Timestamp) -> (Arc<Pod>, Option<Timestamp>) {
        let Some((status, at)) = &self.written else { return (Arc::clone(&self.pod), None) };
        let doubt = at.saturating_add(BELIEF).unwrap_or(now);
        let is_old = doubt <= now;
        if is_old || status::is_shown(status, self.pod.status.as_ref()) {
            self.written = if is_old { None } else { self.written.take() };
            return (Arc::clone(&self.pod), None);
        }
        let mut pod = Pod::clone(&self.pod);
        status::overlay(&mut pod, status);
        (Arc::new(pod), Some(doubt))
    }
}

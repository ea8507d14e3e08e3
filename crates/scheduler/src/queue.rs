//! Pods that wait for a node. Time is given, not read.
//!
//! ```text
//! ## Active                   will be tried as soon as possible: highest priority first, then first come
//! ## Active => InFlight       taken for a decision
//! ## InFlight => Unschedulable  no node: waits for an event that whoever refused it cares about, at most five minutes
//! ## InFlight => Backoff      a write failed: waits for its back-off
//! ## Unschedulable => (Active | Backoff)  woken by an event; tried again at once unless tried a moment ago
//! ## Backoff => Active        the back-off is over (1 s, doubled with every attempt, at most 10 s)
//! ## Gated => Active          the last scheduling gate is removed
//! ```
//! A pod in back-off after being *unschedulable* is tried early if nothing else is to do (KEP-5142).
use crate::filter::Plugin;
use crate::pod::PodInfo;
use isopod_reflect::Key;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// `podInitialBackoffSeconds`, `podMaxBackoffSeconds`.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// `podMaxInUnschedulablePodsDuration`: a safety net for events that nobody thought of.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Time since some fixed moment.
pub type Moment = Duration;

/// What happened that may help pods that were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    NodeAdded,
    NodeRemoved,
    NodeRoom,
    NodeLabels,
    /// Taints, or being cordoned.
    NodeTaints,
    /// A placed pod is gone, or takes less, or begins to leave.
    PodLeft,
    /// A pod was placed, or a placed pod's labels changed.
    PodPlaced,
    /// A claim, volume or storage class.
    Volumes,
    Namespaces,
}

/// Whether an event may change a plugin's mind (`EventsToRegister` of each plugin).
fn concerns(event: Event, plugin: Plugin) -> bool {
    match plugin {
        Plugin::NodeUnschedulable | Plugin::TaintToleration => matches!(event, Event::NodeAdded | Event::NodeTaints),
        Plugin::NodeName => event == Event::NodeAdded,
        Plugin::NodeAffinity => matches!(event, Event::NodeAdded | Event::NodeLabels),
        Plugin::NodePorts => matches!(event, Event::NodeAdded | Event::PodLeft),
        Plugin::NodeResourcesFit => matches!(event, Event::NodeAdded | Event::NodeRoom | Event::PodLeft),
        Plugin::VolumeRestrictions => matches!(event, Event::PodLeft | Event::Volumes),
        Plugin::VolumeBinding => matches!(event, Event::NodeAdded | Event::NodeLabels | Event::Volumes),
        Plugin::PodTopologySpread => matches!(
            event,
            Event::NodeAdded
                | Event::NodeRemoved
                | Event::NodeLabels
                | Event::NodeTaints
                | Event::PodLeft
                | Event::PodPlaced
        ),
        Plugin::InterPodAffinity => matches!(
            event,
            Event::NodeAdded | Event::NodeLabels | Event::PodLeft | Event::PodPlaced | Event::Namespaces
        ),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    InFlight,
    Unschedulable,
    Backoff,
    Gated,
}

/// The order of the active queue (`PrioritySort`).
type Rank = (Reverse<i32>, u64, Key);

#[derive(Debug)]
struct Entry {
    uid: String,
    priority: i32,
    state: State,
    turn: u64,
    attempts: u32,
    /// When it was last found unschedulable or failed.
    last: Moment,
    /// Who refused it; none: nothing but time or its own change helps.
    plugins: BTreeSet<Plugin>,
    /// Its back-off came from an error: no early try.
    failed: bool,
}

impl Entry {
    fn ready_at(&self) -> Moment {
        let doublings = self.attempts.saturating_sub(1).min(10);
        self.last.saturating_add(FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF))
    }
}

#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<Key, Entry>,
    active: BTreeSet<Rank>,
    backoff: BTreeSet<(Moment, Key)>,
    /// By the time they went to sleep.
    unschedulable: BTreeSet<(Moment, Key)>,
    turns: u64,
}

impl Queue {
    /// A pod without a node was made or changed. `useful`: the change may help it (anything but its status).
    pub fn set(&mut self, pod: &PodInfo, useful: bool, now: Moment) {
        if self.entries.get(&pod.key).is_some_and(|e| e.uid != pod.uid) {
            self.remove(&pod.key);
        }
        let Some(entry) = self.entries.get_mut(&pod.key) else {
            self.insert(pod);
            return;
        };
        let reprioritised = std::mem::replace(&mut entry.priority, pod.priority) != pod.priority;
        match entry.state {
            State::Gated if !pod.gated => self.activate(&pod.key),
            State::Unschedulable if useful => self.wake(&pod.key, now),
            State::Active if reprioritised => {
                self.active.retain(|(_, _, key)| *key != pod.key);
                self.activate(&pod.key);
            }
            _ => {}
        }
    }

    fn insert(&mut self, pod: &PodInfo) {
        let entry = Entry {
            uid: pod.uid.clone(),
            priority: pod.priority,
            state: State::Gated,
            turn: 0,
            attempts: 0,
            last: Moment::ZERO,
            plugins: BTreeSet::new(),
            failed: false,
        };
        self.entries.insert(pod.key.clone(), entry);
        if !pod.gated {
            self.activate(&pod.key);
        }
    }

    /// It is placed, deleted, or no longer ours.
    pub fn remove(&mut self, key: &Key) {
        self.withdraw(key);
        self.entries.remove(key);
    }

    /// Takes it out of whatever it waits in.
    fn withdraw(&mut self, key: &Key) {
        let Some(entry) = self.entries.get(key) else { return };
        match entry.state {
            State::Active => {
                self.active.remove(&(Reverse(entry.priority), entry.turn, key.clone()));
            }
            State::Backoff => {
                self.backoff.remove(&(entry.ready_at(), key.clone()));
            }
            State::Unschedulable => {
                self.unschedulable.remove(&(entry.last, key.clone()));
            }
            State::InFlight | State::Gated => {}
        }
    }

    fn activate(&mut self, key: &Key) {
        self.withdraw(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.state = State::Active;
        entry.turn = self.turns;
        self.turns = self.turns.wrapping_add(1);
        self.active.insert((Reverse(entry.priority), entry.turn, key.clone()));
    }

    fn wake(&mut self, key: &Key, now: Moment) {
        let Some(entry) = self.entries.get(key) else { return };
        if entry.ready_at() <= now {
            self.activate(key);
        } else {
            self.back_off(key);
        }
    }

    fn back_off(&mut self, key: &Key) {
        self.withdraw(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.state = State::Backoff;
        self.backoff.insert((entry.ready_at(), key.clone()));
    }

    /// The next pod to decide on; it stays in flight until it is parked, retried or removed.
    pub fn pop(&mut self, now: Moment) -> Option<Key> {
        self.ripen(now);
        let key = match self.active.pop_first() {
            Some((_, _, key)) => key,
            None => self.early()?,
        };
        let entry = self.entries.get_mut(&key)?;
        entry.state = State::InFlight;
        entry.attempts = entry.attempts.saturating_add(1);
        Some(key)
    }

    /// Somebody in back-off for being unschedulable, if nobody else is to be tried.
    fn early(&mut self) -> Option<Key> {
        let found = self.backoff.iter().find(|(_, key)| self.entries.get(key).is_some_and(|e| !e.failed))?.clone();
        self.backoff.remove(&found);
        Some(found.1)
    }

    /// Moves on those whose time has come.
    fn ripen(&mut self, now: Moment) {
        while let Some((_, key)) = self.backoff.first().filter(|(at, _)| *at <= now).cloned() {
            self.activate(&key);
        }
        let overdue = |at: &Moment| at.saturating_add(LONGEST_WAIT) <= now;
        while let Some((_, key)) = self.unschedulable.first().filter(|(at, _)| overdue(at)).cloned() {
            self.activate(&key);
        }
    }

    /// No node for it: it sleeps until one of `plugins` may think otherwise.
    pub fn park(&mut self, key: &Key, plugins: BTreeSet<Plugin>, now: Moment) {
        self.withdraw(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.state = State::Unschedulable;
        entry.plugins = plugins;
        entry.last = now;
        entry.failed = false;
        self.unschedulable.insert((now, key.clone()));
    }

    /// Something failed that has nothing to do with the pod.
    pub fn retry(&mut self, key: &Key, now: Moment) {
        self.withdraw(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.last = now;
        entry.failed = true;
        // It is in no set while its state says so.
        entry.state = State::InFlight;
        self.back_off(key);
    }

    /// Wakes those whom one of the events may help.
    pub fn happened(&mut self, events: &BTreeSet<Event>, now: Moment) {
        if events.is_empty() {
            return;
        }
        let may_help = |e: &Entry| {
            e.plugins.is_empty() || e.plugins.iter().any(|p| events.iter().any(|event| concerns(*event, *p)))
        };
        let keys: Vec<Key> = self
            .unschedulable
            .iter()
            .filter(|(_, key)| self.entries.get(key).is_some_and(may_help))
            .map(|(_, key)| key.clone())
            .collect();
        for key in keys {
            self.wake(&key, now);
        }
    }

    /// When to look again though nothing happens.
    pub fn next(&self) -> Option<Moment> {
        let backoff = self.backoff.first().map(|(at, _)| *at);
        let overdue = self.unschedulable.first().map(|(at, _)| at.saturating_add(LONGEST_WAIT));
        backoff.into_iter().chain(overdue).min()
    }

    pub fn state(&self, key: &Key) -> Option<State> {
        self.entries.get(key).map(|e| e.state)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

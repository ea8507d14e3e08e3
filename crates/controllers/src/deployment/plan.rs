//! What one Deployment should do next. Pure: no clock, no I/O (`deployment_controller.go`: `syncDeployment`; `sync.go`).
use super::automatic::{self, Refusal};
use super::failure::Failing;
use super::sets::{Scaled, Set, Sets};
use super::{annotations, cause, cleanup, recreate, rollback, rolling, scaling, status, strategy, template};
use crate::mutant::{self, Mutant};
use crate::owner::{Claim, claim, controller_ref};
use isopod_api::selector::Selector;
use isopod_reflect::EventType;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a pass sees.
pub struct View<'a> {
    pub deployment: &'a Deployment,
    /// ReplicaSets it owns and ReplicaSets that nobody owns, in its namespace.
    pub replica_sets: &'a [Arc<ReplicaSet>],
    /// Pods that are not terminal, those on their way out included, by the uid of their ReplicaSet. Only Recreate reads it.
    pub running: &'a BTreeMap<String, usize>,
    /// What keeps pods from starting, by the uid of their ReplicaSet.
    pub failing: &'a BTreeMap<String, Failing>,
    pub now: Timestamp,
}

/// Why nothing (more) happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// New pods that are not available yet.
    NewPods {
        unavailable: i64,
    },
    /// Old pods must be gone first (Recreate).
    OldPods {
        pods: i64,
    },
    /// There is no room for new pods until old ones are known to be gone.
    Room {
        held_back: i64,
    },
    Paused,
    Deletion,
    /// The template has failed before and is not rolled out again.
    Refused,
    /// The new pods cannot start.
    Failure(Failing),
    /// The selector is unreadable or selects everything.
    Selector(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventType,
    pub reason: &'static str,
    pub message: String,
}

/// One write, in the order given.
#[derive(Clone, Debug)]
pub enum Action {
    Adopt(Arc<ReplicaSet>),
    Release(Arc<ReplicaSet>),
    Create(Box<ReplicaSet>, Option<Event>),
    Update(Box<ReplicaSet>, Option<Event>),
    Delete(Arc<ReplicaSet>),
    /// The Deployment itself, not its status (rollback, by annotation or by itself).
    UpdateDeployment(Box<Deployment>, Event),
}

#[derive(Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// The status to write after the actions, if it differs.
    pub status: DeploymentStatus,
    /// `deployment.kubernetes.io/revision`, written along with the status.
    pub revision: Option<String>,
    /// When the progress deadline passes.
    pub look_again: Option<Timestamp>,
    pub waiting_on: Vec<WaitingOn>,
    pub events: Vec<Event>,
}

/// A plan in the making.
pub struct Pass<'a> {
    /// As it is in the API.
    pub asked: &'a Deployment,
    /// As it is to be carried out: with another template while its own is refused.
    pub deployment: &'a Deployment,
    pub refused: Option<Refusal>,
    /// What keeps the new set's pods from starting.
    pub failing: Option<Failing>,
    pub now: Timestamp,
    pub running: &'a BTreeMap<String, usize>,
    pub sets: Sets,
    /// The Deployment's status as found, with what this pass noted on the way.
    pub status: DeploymentStatus,
    pub revision: Option<String>,
    pub actions: Vec<Action>,
    pub waiting_on: Vec<WaitingOn>,
    pub events: Vec<Event>,
}

pub fn plan(view: &View<'_>) -> Plan {
    let d = view.deployment;
    let found = d.status.clone().unwrap_or_default();
    let selector = match Selector::from_label_selector(Some(&d.spec.selector)) {
        Ok(s) if s.is_everything() => return selects_all(d, found),
        Ok(s) => s,
        Err(e) => {
            return Plan { status: found, waiting_on: vec![WaitingOn::Selector(e.to_string())], ..Plan::default() };
        }
    };
    let (sets, actions) = claim_sets(view, &selector);
    let refused = automatic::refusal(d, &sets);
    let instead = refused.as_ref().map(|r| r.instead(d));
    let deployment = instead.as_ref().unwrap_or(d);
    let sets = Sets::of(deployment, &sets);
    let mut pass = Pass {
        asked: d,
        deployment,
        refused,
        failing: sets.new_set().and_then(|s| view.failing.get(s.uid())).cloned(),
        now: view.now,
        running: view.running,
        sets,
        status: found,
        revision: None,
        actions,
        waiting_on: Vec::new(),
        events: Vec::new(),
    };
    let look_again = pass.decide();
    pass.finish(look_again)
}

/// A selector that selects everything is refused by doing nothing (`SelectingAll`).
fn selects_all(d: &Deployment, found: DeploymentStatus) -> Plan {
    let message = "This deployment is selecting all pods. A non-empty selector is required.".to_owned();
    let event = Event { kind: EventType::Warning, reason: "SelectingAll", message: message.clone() };
    let seen = found.observed_generation.unwrap_or(0) >= d.metadata.generation.unwrap_or(0);
    let observed_generation = found.observed_generation.max(d.metadata.generation);
    Plan {
        status: DeploymentStatus { observed_generation, ..found },
        events: if seen { Vec::new() } else { vec![event] },
        waiting_on: vec![WaitingOn::Selector(message)],
        ..Plan::default()
    }
}

fn claim_sets(view: &View<'_>, selector: &Selector) -> (Vec<Arc<ReplicaSet>>, Vec<Action>) {
    let meta = &view.deployment.metadata;
    let leaving = meta.deletion_timestamp.is_some();
    let uid = meta.uid.as_deref().unwrap_or("");
    let (mut sets, mut actions) = (Vec::new(), Vec::new());
    for rs in view.replica_sets {
        match claim(uid, meta.namespace.as_deref().unwrap_or(""), leaving, selector, &rs.metadata) {
            Claim::Keep => sets.push(Arc::clone(rs)),
            // Adopted first, counted when it is seen to be ours.
            Claim::Adopt => actions.push(Action::Adopt(Arc::clone(rs))),
            Claim::Release => actions.push(Action::Release(Arc::clone(rs))),
            Claim::Ignore => {}
        }
    }
    (sets, actions)
}

impl Pass<'_> {
    /// Fills the pass; says when to look again.
    fn decide(&mut self) -> Option<Timestamp> {
        let d = self.deployment;
        if d.metadata.deletion_timestamp.is_some() {
            self.waiting_on.push(WaitingOn::Deletion);
            self.status = status::calculate(self);
            return None;
        }
        // What was adopted or let go changes everything below: first things first.
        if !self.actions.is_empty() {
            return None;
        }
        status::note_pause(d, &mut self.status, self.now);
        if d.spec.paused.unwrap_or(false) {
            self.waiting_on.push(WaitingOn::Paused);
            self.sync_new_set();
            scaling::scale(self);
            // A rollback in flight still needs the old sets.
            if rollback::wanted(d).is_none() {
                cleanup::clean_up(self);
            }
            self.status = status::calculate(self);
            return None;
        }
        if let Some(revision) = rollback::wanted(d) {
            self.sync_new_set();
            rollback::roll_back(self, revision);
            return None;
        }
        if let Some(good) = automatic::due(self) {
            automatic::roll_back(self, good);
            return None;
        }
        if scaling::is_due(self) {
            self.sync_new_set();
            scaling::scale(self);
            cleanup::clean_up(self);
            self.status = status::calculate(self);
            return None;
        }
        if strategy::is_rolling(d) {
            rolling::roll(self);
        } else {
            self.sync_new_set();
            recreate::recreate(self);
        }
        self.conclude()
    }

    /// What a rollout has come to, after its step.
    fn conclude(&mut self) -> Option<Timestamp> {
        let (status, look_again) = status::of_rollout(self);
        if status::is_complete(self.deployment, &status) || mutant::on(Mutant::UnfinishedCountsAsRolledOut) {
            automatic::note_rolled_out(self);
        }
        if self.refused.is_some() {
            self.waiting_on.push(WaitingOn::Refused);
        } else if let Some(failing) = &self.failing {
            self.waiting_on.push(WaitingOn::Failure(failing.clone()));
        }
        let event = status::failure_event(self, &status);
        self.events.extend(event);
        self.status = status;
        look_again
    }

    /// New pods cannot start, and waiting does not mend it: at least as many as are available. (One of many may be its node's fault.)
    pub fn certain_failure(&self) -> Option<&Failing> {
        let available = self.sets.new_set().map_or(0, |s| super::sets::available(&s.now));
        self.failing.as_ref().filter(|f| f.certain > 0 && f.certain >= available)
    }

    /// Gives an existing set of the current template its revision, annotations and `minReadySeconds` (`getNewReplicaSet`).
    pub fn sync_new_set(&mut self) {
        // What runs in place of a refused template is no new revision.
        if self.refused.is_some() {
            return;
        }
        let revision = self.sets.max_old_revision().saturating_add(1);
        let Some(mut rs) = self.sets.new_set().map(|s| (*s.now).clone()) else { return };
        let had = annotations::revision(&rs);
        let annotations::Synced { mut changed, new_revision } = annotations::sync(self.deployment, &mut rs, revision);
        if new_revision {
            cause::fill(self.deployment, &self.sets, &mut rs, Some(had));
        }
        let min_ready = self.deployment.spec.min_ready_seconds.filter(|s| *s != 0);
        if rs.spec.min_ready_seconds.filter(|s| *s != 0) != min_ready {
            rs.spec.min_ready_seconds = min_ready;
            changed = true;
        }
        let Some(set) = self.sets.new.and_then(|i| self.sets.all.get_mut(i)) else { return };
        if changed {
            set.now = Arc::new(rs);
        }
        let name = set.name().to_owned();
        let rolled_out = automatic::is_rolled_out(&set.now);
        self.revision = set.now.metadata.annotations.as_ref().and_then(|a| a.get(annotations::REVISION)).cloned();
        // A Deployment that only now cares about progress starts from here.
        let started = status::condition(&self.status, status::PROGRESSING).is_some();
        let stale = status::is_stale(self.asked, &self.status, self.revision.as_deref(), rolled_out);
        if strategy::progress_deadline(self.deployment).is_some() && (!started || stale) {
            let message = format!("Found new replica set \"{name}\"");
            let found = status::make(status::PROGRESSING, "True", "FoundNewReplicaSet", message, self.now);
            status::set(&mut self.status, found);
        }
    }

    /// The set of the current template, made if there is none.
    pub fn ensure_new_set(&mut self) {
        if self.sets.new.is_some() {
            self.sync_new_set();
            return;
        }
        let rs = self.new_set();
        let message = format!("Created new replica set \"{}\"", rs.metadata.name.as_deref().unwrap_or(""));
        self.revision = rs.metadata.annotations.as_ref().and_then(|a| a.get(annotations::REVISION)).cloned();
        self.sets.all.push(Set { found: None, now: Arc::new(rs) });
        self.sets.new = Some(self.sets.all.len() - 1);
        if strategy::progress_deadline(self.deployment).is_some() {
            let made = status::make(status::PROGRESSING, "True", "NewReplicaSetCreated", message, self.now);
            status::set(&mut self.status, made);
        }
        // It is made with as many pods as there is room for.
        if strategy::is_rolling(self.deployment) {
            rolling::grow_new(self);
        }
    }

    fn new_set(&self) -> ReplicaSet {
        let d = self.deployment;
        let hash = template::hash(&d.spec.template, self.status.collision_count);
        let mut template = d.spec.template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(template::HASH_LABEL.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = d.spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(template::HASH_LABEL.to_owned(), hash.clone());
        let mut rs = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", d.metadata.name.as_deref().unwrap_or(""))),
                namespace: d.metadata.namespace.clone(),
                labels: Some(labels),
                owner_references: Some(vec![controller_ref("apps/v1", "Deployment", &d.metadata)]),
                ..ObjectMeta::default()
            },
            spec: ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: d.spec.min_ready_seconds.filter(|s| *s != 0),
                selector,
                template: Some(template),
            },
            status: None,
        };
        annotations::sync(d, &mut rs, self.sets.max_old_revision().saturating_add(1));
        cause::fill(d, &self.sets, &mut rs, None);
        annotations::set_sizes(&mut rs, d);
        rs
    }

    /// Sets a set's size; whether it changed.
    pub fn scale(&mut self, index: usize, to: i64) -> bool {
        let Scaled { changed, held_back } = self.sets.scale(self.deployment, index, to);
        if held_back > 0 {
            self.waiting_on.push(WaitingOn::Room { held_back });
        }
        changed
    }

    /// Old revisions are only forgotten when nothing is under way.
    pub fn clean_up_when_complete(&mut self) {
        let found = self.deployment.status.clone().unwrap_or_default();
        if status::is_complete(self.deployment, &found) {
            cleanup::clean_up(self);
        }
    }

    fn finish(mut self, look_again: Option<Timestamp>) -> Plan {
        let mut writes = Vec::new();
        for set in self.sets.all.iter().filter(|s| s.changed()) {
            let event = scaled_event(set);
            let rs = Box::new((*set.now).clone());
            writes.push(if set.found.is_some() { Action::Update(rs, event) } else { Action::Create(rs, event) });
        }
        // Claims come first, deletions of old revisions last.
        let at = self.actions.iter().position(|a| matches!(a, Action::Delete(_))).unwrap_or(self.actions.len());
        self.actions.splice(at..at, writes);
        Plan {
            actions: self.actions,
            status: self.status,
            revision: self.revision,
            look_again,
            waiting_on: self.waiting_on,
            events: self.events,
        }
    }
}

fn scaled_event(set: &Set) -> Option<Event> {
    let (from, to) = (set.found_size(), set.size());
    if from == to {
        return None;
    }
    let way = if to > from { "up" } else { "down" };
    let message = format!("Scaled {way} replica set {} from {from} to {to}", set.name());
    Some(Event { kind: EventType::Normal, reason: "ScalingReplicaSet", message })
}

/// What a taken name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the set that was to be made: an answer got lost.
    ByItself,
    /// Another template has the same hash: `collisionCount` grows.
    Collision,
}

/// The name of the set to be made exists already (`getNewReplicaSet`, `IsAlreadyExists`).
pub fn name_taken(d: &Deployment, existing: &ReplicaSet) -> Taken {
    let ours = crate::pod::controller_of(&existing.metadata).is_some_and(|o| Some(&o.uid) == d.metadata.uid.as_ref());
    let same = existing.spec.template.as_ref().is_some_and(|t| template::same(t, &d.spec.template));
    if ours && same { Taken::ByItself } else { Taken::Collision }
}

/// The status and event after the new set could not be made.
pub fn create_failed(
    d: &Deployment,
    status: &DeploymentStatus,
    name: &str,
    error: &str,
    now: Timestamp,
) -> (DeploymentStatus, Event) {
    let message = format!("Failed to create new replica set \"{name}\": {error}");
    let mut status = status.clone();
    if strategy::progress_deadline(d).is_some() {
        let failed = status::make(status::PROGRESSING, "False", "ReplicaSetCreateError", message.clone(), now);
        status::set(&mut status, failed);
    }
    (status, Event { kind: EventType::Warning, reason: "ReplicaSetCreateError", message })
}

//! What one ReplicaSet or ReplicationController should do next. Pure: no clock, no I/O.
use super::rank;
use super::subject::{Condition, Status, Subject};
use crate::owner::{Claim, claim};
use crate::pod::{self, Availability};
use isopod_api::selector::Selector;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most pods made or deleted in one pass (`BurstReplicas`).
pub const BURST: usize = 500;
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What a pass sees.
pub struct View<'a, S> {
    pub subject: &'a S,
    /// Pods it owns and pods that nobody owns, in its namespace.
    pub pods: &'a [Arc<Pod>],
    /// Active pods of all sets with the same owner (a Deployment's other revisions): they rank who is deleted first.
    pub related: &'a [Arc<Pod>],
    pub now: Timestamp,
}

/// Why nothing (more) happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// Its selector cannot be understood.
    Selector(String),
    /// It is being deleted.
    Deletion,
    /// Pods are ready but not for `minReadySeconds` yet.
    MinReadySeconds { pods: usize },
    /// Pods are not ready.
    Readiness { pods: usize },
}

#[derive(Debug, Default)]
pub struct Plan {
    pub adopt: Vec<Arc<Pod>>,
    pub release: Vec<Arc<Pod>>,
    /// How many pods to make.
    pub create: usize,
    /// In the order they go.
    pub delete: Vec<Arc<Pod>>,
    /// As of before `create` and `delete`; `failed` and `succeeded` complete it.
    pub status: Status,
    /// The instant at which a ready pod becomes available.
    pub look_again: Option<Timestamp>,
    pub waiting_on: Vec<WaitingOn>,
    /// Active pods less replicas asked for: negative when too few.
    pub surplus: i64,
}

impl Plan {
    /// Pods will change by what this pass does: their events bring the next pass, which writes the status.
    pub fn acts(&self) -> bool {
        self.create > 0 || !self.delete.is_empty() || !self.adopt.is_empty() || !self.release.is_empty()
    }
}

pub fn plan<S: Subject>(view: &View<'_, S>) -> Plan {
    let meta = view.subject.metadata();
    let selector = match view.subject.selector() {
        Ok(selector) => selector,
        Err(error) => return stuck(view.subject, WaitingOn::Selector(error.to_string())),
    };
    let leaving = meta.deletion_timestamp.is_some();
    let mut plan = Plan::default();
    let (mut active, mut terminating) = (Vec::new(), 0);
    for p in view.pods {
        // Terminal pods are neither adopted nor released: they are history.
        let claim = claim(view.subject.uid(), meta.namespace.as_deref().unwrap_or(""), leaving, &selector, &p.metadata);
        match claim {
            Claim::Keep if pod::is_active(p) => active.push(Arc::clone(p)),
            Claim::Keep if pod::is_terminating(p) => terminating += 1,
            Claim::Adopt if pod::is_active(p) => {
                plan.adopt.push(Arc::clone(p));
                active.push(Arc::clone(p));
            }
            Claim::Release if pod::is_active(p) => plan.release.push(Arc::clone(p)),
            _ => {}
        }
    }
    plan.surplus = to_i64(active.len()) - i64::from(view.subject.replicas());
    status(view, &active, terminating, &mut plan);
    if leaving {
        plan.waiting_on.push(WaitingOn::Deletion);
        return plan;
    }
    if plan.surplus < 0 {
        plan.create = usize::try_from(-plan.surplus).unwrap_or(0).min(BURST);
    } else if plan.surplus > 0 {
        let surplus = usize::try_from(plan.surplus).unwrap_or(0).min(BURST);
        // With everything to go, who goes first does not matter.
        if surplus < active.len() {
            rank::sort(&mut active, view.related, view.subject.min_ready_seconds(), view.now);
        }
        active.truncate(surplus);
        plan.delete = active;
    }
    plan
}

fn stuck<S: Subject>(subject: &S, why: WaitingOn) -> Plan {
    Plan { status: subject.status(), waiting_on: vec![why], ..Plan::default() }
}

/// `calculateStatus`: counts of the active pods as they are now.
fn status<S: Subject>(view: &View<'_, S>, active: &[Arc<Pod>], terminating: i32, plan: &mut Plan) {
    let old = view.subject.status();
    let labels = view.subject.template().and_then(|t| t.metadata.as_ref()?.labels.as_ref());
    let none = BTreeMap::new();
    let template = Selector::from_map(labels.unwrap_or(&none));
    let (mut status, mut soon, mut unready) = (Status::default(), 0, 0);
    for p in active {
        status.replicas += 1;
        if template.matches(p.metadata.labels.as_ref().unwrap_or(&none)) {
            status.fully_labeled += 1;
        }
        let availability = pod::availability(p, view.subject.min_ready_seconds(), view.now);
        if pod::is_ready(p) {
            status.ready += 1;
        }
        match availability {
            Availability::Available => status.available += 1,
            Availability::From(at) => {
                soon += 1;
                plan.look_again = Some(plan.look_again.map_or(at, |known| known.min(at)));
            }
            Availability::No => unready += 1,
        }
    }
    status.terminating = S::REPORTS_TERMINATING.then_some(terminating);
    status.observed_generation = view.subject.metadata().generation.unwrap_or(0);
    status.conditions = old.conditions;
    plan.status = status;
    if soon > 0 {
        plan.waiting_on.push(WaitingOn::MinReadySeconds { pods: soon });
    }
    if unready > 0 {
        plan.waiting_on.push(WaitingOn::Readiness { pods: unready });
    }
}

/// The status after making or deleting pods failed with `error`: a failure already told of stays as it was told.
#[must_use]
pub fn failed(status: &Status, surplus: i64, error: &str, now: Timestamp) -> Status {
    let mut status = status.clone();
    if status.conditions.iter().any(|c| c.kind == REPLICA_FAILURE) {
        return status;
    }
    let reason = if surplus < 0 { "FailedCreate" } else { "FailedDelete" };
    status.conditions.push(Condition {
        kind: REPLICA_FAILURE.into(),
        status: "True".into(),
        reason: reason.into(),
        message: error.into(),
        since: Some(whole_seconds(now)),
    });
    status
}

/// The status after all went well: nothing fails any more.
#[must_use]
pub fn succeeded(status: &Status) -> Status {
    let mut status = status.clone();
    status.conditions.retain(|c| c.kind != REPLICA_FAILURE);
    status
}

/// API times have whole seconds.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// How long until `at`, rounded up so that the timer never fires early.
pub fn until(at: Timestamp, now: Timestamp) -> std::time::Duration {
    let wait = at.duration_since(now) + SignedDuration::from_millis(1);
    std::time::Duration::try_from(wait).unwrap_or_default()
}

/// The sizes of the batches in which `count` pods are made: 1, 2, 4 … so that a refusal of all of them is noticed after one
/// (`slowStartBatch`).
pub fn slow_start(count: usize) -> impl Iterator<Item = usize> {
    let (mut left, mut size) = (count, 1usize);
    std::iter::from_fn(move || {
        let batch = size.min(left);
        left -= batch;
        size = size.saturating_mul(2);
        (batch > 0).then_some(batch)
    })
}

fn to_i64(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

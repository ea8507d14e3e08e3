//! Rollback by itself: a Deployment with `isopod.dev/auto-rollback: "true"` goes back to the last revision that was completely rolled
//! out when a rollout fails, and refuses the template that failed until it is another or somebody says `isopod.dev/retry`.
//!
//! ```text
//! rolling  ── fails ──▶ failed (condition written) ── next pass ──▶ the old template is written back, with a note: rolling (back)
//!    ▲                                                                                        │
//!    └── another template, a new `retry` ── refused: the spec stands, the good revision runs ◀┘ the same template again
//! ```
//!
//! What must hold, and how:
//! - *It survives a restart at any line.* All is in the API: each ReplicaSet says at which revision it was completely rolled out
//!   ([`ROLLED_OUT`]), the Deployment what was rolled back and why ([`ROLLED_BACK`], written together with the template).
//! - *It ends.* A rollback is itself never rolled back ([`RolledBack::is_under_way`]); a template is refused once for each value of `retry`;
//!   and in refusal nothing is written to the spec. So whoever applies the bad template a thousand times makes no second rollout.
//! - *It never acts on an old failure.* The condition that calls a rollout failed must be of the revision the Deployment says it has: condition
//!   and revision are written in one write.
//! - *Watchers see it.* The failure is written as a condition before it is undone, so that a `kubectl rollout status` that follows fails.
//! - *Bounds hold.* Refusal rolls towards the good template by the same steps as any rollout ([`Refusal::instead`]).
use super::plan::{Action, Event, Pass};
use super::sets::Set;
use super::{annotations, status, strategy, template};
use crate::mutant::{self, Mutant};
use isopod_api::change::{CHANGE_CAUSE, ROLLED_BACK, ROLLED_OUT};
use isopod_reflect::EventType;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// On a Deployment: `"true"` switches it on.
pub const AUTO_ROLLBACK: &str = "isopod.dev/auto-rollback";
/// On a Deployment: a value it did not have when the template failed lets the template be tried again.
pub const RETRY: &str = "isopod.dev/retry";
/// The condition of a Deployment whose last change was rolled back or is refused. Not one of Kubernetes' own.
pub const CONDITION: &str = "RolledBack";

fn annotation<'a>(d: &'a Deployment, key: &str) -> Option<&'a str> {
    d.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub fn is_on(d: &Deployment) -> bool {
    annotation(d, AUTO_ROLLBACK) == Some("true")
}

/// The note of the last rollback ([`ROLLED_BACK`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    /// Hash of the template that failed.
    pub template: String,
    /// The revision it was.
    pub revision: i64,
    /// Hash of the template that was gone back to.
    pub to: String,
    pub to_revision: i64,
    /// `ErrImagePull`, `CrashLoopBackOff`, `ProgressDeadlineExceeded`, …
    pub reason: String,
    pub message: String,
    /// [`RETRY`] as it was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<String>,
}

impl RolledBack {
    pub fn of(d: &Deployment) -> Option<Self> {
        serde_json::from_str(annotation(d, ROLLED_BACK)?).ok()
    }

    pub fn went_to(&self, template: &PodTemplateSpec) -> bool {
        self.to == template::hash(template, None)
    }

    fn refuses(&self, d: &Deployment) -> bool {
        let asked_again = annotation(d, RETRY).is_some_and(|value| Some(value) != self.retry.as_deref());
        !asked_again && self.template == template::hash(&d.spec.template, None)
    }

    /// The new set is the one gone back to and is not completely there yet: there is nothing better to go to.
    fn is_under_way(&self, new: &ReplicaSet) -> bool {
        new.spec.template.as_ref().is_some_and(|t| self.went_to(t)) && annotations::revision(new) > self.revision
    }

    pub fn cause(&self) -> String {
        isopod_api::change::cut(&format!(
            "automatic rollback of revision {} to {}: {}",
            self.revision, self.to_revision, self.message
        ))
    }
}

/// A template that is not rolled out, and what runs in its place.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub note: RolledBack,
    good: Arc<ReplicaSet>,
}

/// Whether the Deployment's template has failed before, and there is something to run instead.
pub fn refusal(d: &Deployment, sets: &[Arc<ReplicaSet>]) -> Option<Refusal> {
    if !is_on(d) || mutant::on(Mutant::RefusalForgotten) {
        return None;
    }
    let note = RolledBack::of(d).filter(|n| n.refuses(d))?;
    let others =
        sets.iter().filter(|rs| rs.spec.template.as_ref().is_some_and(|t| !template::same(t, &d.spec.template)));
    let good = others.filter(|rs| rolled_out(rs) > 0).max_by_key(|rs| rolled_out(rs))?;
    Some(Refusal { note, good: Arc::clone(good) })
}

impl Refusal {
    /// The Deployment as if the last good template were its own.
    pub fn instead(&self, d: &Deployment) -> Deployment {
        let mut d = d.clone();
        if let Some(template) = &self.good.spec.template {
            d.spec.template = template::without_hash(template);
        }
        d
    }

    pub fn message(&self) -> String {
        let note = &self.note;
        format!(
            "this template failed as revision {} and is not rolled out again; revision {} runs. Change the template, or give the \
             annotation {RETRY} a new value: {}",
            note.revision,
            annotations::revision(&self.good),
            note.message
        )
    }
}

/// The revision a set was when it was last completely rolled out; 0: never.
pub fn rolled_out(rs: &ReplicaSet) -> i64 {
    rs.metadata.annotations.as_ref().and_then(|a| a.get(ROLLED_OUT)?.parse().ok()).unwrap_or(0)
}

/// Whether the new set, as the revision it is now, has been completely rolled out.
pub fn is_rolled_out(rs: &ReplicaSet) -> bool {
    annotations::revision(rs) > 0 && rolled_out(rs) == annotations::revision(rs)
}

/// The last revision that was completely rolled out, beside the new one.
fn last_good(pass: &Pass<'_>) -> Option<usize> {
    let known = |i: &usize| pass.sets.all.get(*i).filter(|s| s.found.is_some()).map_or(0, |s| rolled_out(&s.now));
    let leaves = |i: &usize| pass.sets.all.get(*i).is_none_or(|s| s.now.metadata.deletion_timestamp.is_some());
    let old = pass.sets.old_indexes().into_iter().filter(|i| !leaves(i));
    if mutant::on(Mutant::RollsBackToAnything) {
        return old.into_iter().max_by_key(|i| pass.sets.all.get(*i).map_or(0, |s| annotations::revision(&s.now)));
    }
    old.into_iter().filter(|i| known(i) > 0).max_by_key(known)
}

/// The set that must be kept, however short the history, because a rollout is under way that may have to go back to it.
pub fn to_keep(pass: &Pass<'_>) -> Option<usize> {
    let done = pass.sets.new_set().is_some_and(|s| is_rolled_out(&s.now));
    if done || !is_on(pass.deployment) { None } else { last_good(pass) }
}

/// Notes on the new set that all of it has been there.
pub fn note_rolled_out(pass: &mut Pass<'_>) {
    // Nothing at all is no proof that it works.
    if pass.refused.is_some() || strategy::replicas(pass.deployment) == 0 {
        return;
    }
    let Some(set) = pass.sets.new.and_then(|i| pass.sets.all.get_mut(i)) else { return };
    let revision = annotations::revision(&set.now);
    if revision == 0 || is_rolled_out(&set.now) {
        return;
    }
    let annotations = set.edit().metadata.annotations.get_or_insert_default();
    annotations.insert(ROLLED_OUT.to_owned(), revision.to_string());
}

/// Where to go back to, if this pass is to do so.
pub fn due(pass: &Pass<'_>) -> Option<usize> {
    let d = pass.deployment;
    if !is_on(d) || pass.refused.is_some() {
        return None;
    }
    let new = &pass.sets.new_set().filter(|s| s.found.is_some())?.now;
    let revision = annotations::revision(new);
    let of_this_revision = annotation(d, annotations::REVISION).and_then(|r| r.parse().ok()) == Some(revision)
        && revision > pass.sets.max_old_revision()
        && d.status.as_ref().and_then(|s| s.observed_generation) == d.metadata.generation;
    if !of_this_revision || is_rolled_out(new) {
        return None;
    }
    if RolledBack::of(d).is_some_and(|note| note.is_under_way(new)) && !mutant::on(Mutant::RollbackRolledBack) {
        return None;
    }
    let told = d.status.as_ref().is_some_and(has_failed);
    let untold = strategy::progress_deadline(d).is_none() && pass.certain_failure().is_some();
    if told || untold { last_good(pass) } else { None }
}

fn has_failed(found: &DeploymentStatus) -> bool {
    status::condition(found, status::PROGRESSING)
        .is_some_and(|c| c.status.as_deref() == Some("False") && c.reason.as_deref() == Some(status::TIMED_OUT))
}

/// Writes the good template back, with the note that refuses the bad one.
pub fn roll_back(pass: &mut Pass<'_>, to: usize) {
    let Some(good) = pass.sets.all.get(to).map(|s| Arc::clone(&s.now)) else { return };
    let (Some(template), Some(bad)) = (good.spec.template.as_ref(), pass.sets.new_set()) else { return };
    let mut d = pass.deployment.clone();
    let (reason, message) = why(pass, bad);
    let note = RolledBack {
        template: template::hash(&d.spec.template, None),
        revision: annotations::revision(&bad.now),
        to: template::hash(template, None),
        to_revision: annotations::revision(&good),
        reason,
        message,
        retry: annotation(&d, RETRY).map(str::to_owned),
    };
    let name = d.metadata.name.clone().unwrap_or_default();
    let message = format!(
        "Rolled back deployment \"{name}\" from revision {} to revision {}: {}",
        note.revision, note.to_revision, note.message
    );
    d.spec.template = template::without_hash(template);
    let annotations = d.metadata.annotations.get_or_insert_default();
    // It told why the revision was made that is given up; that one's ReplicaSet has a copy.
    annotations.remove(CHANGE_CAUSE);
    annotations.insert(ROLLED_BACK.to_owned(), serde_json::to_string(&note).unwrap_or_default());
    let event = Event { kind: EventType::Warning, reason: "DeploymentRollback", message };
    pass.actions.push(Action::UpdateDeployment(Box::new(d), event));
}

/// What the failure is called and how it is told.
fn why(pass: &Pass<'_>, bad: &Set) -> (String, String) {
    match &pass.failing {
        Some(failing) => (failing.trouble.reason.clone(), failing.trouble.text.clone()),
        None => {
            let message = format!("ReplicaSet \"{}\" made no progress within its deadline", bad.name());
            (status::TIMED_OUT.to_owned(), message)
        }
    }
}

/// The note as a condition: while what it is about is what runs.
pub fn condition(pass: &Pass<'_>, status: &mut DeploymentStatus) {
    let note = match &pass.refused {
        Some(refusal) => Some(refusal.note.clone()),
        None => RolledBack::of(pass.deployment)
            .filter(|n| is_on(pass.deployment) && n.went_to(&pass.deployment.spec.template)),
    };
    match note {
        Some(note) => {
            let told = status::make(CONDITION, "True", &note.reason, note.cause(), pass.now);
            status::tell(status, told);
        }
        None => status::remove(status, CONDITION),
    }
}

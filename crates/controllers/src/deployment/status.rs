//! What a Deployment says about itself (`sync.go`: `calculateStatus`; `progress.go`; conditions of `util/deployment_util.go`).
use super::automatic::{self, RolledBack};
use super::plan::{Event, Pass};
use super::sets::{Set, actual, ready, reported_available};
use super::strategy::{min_available, progress_deadline, replicas};
use super::{annotations, template};
use crate::mutant::{self, Mutant};
use crate::replicaset::plan::whole_seconds;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSetCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub const AVAILABLE: &str = "Available";
pub const PROGRESSING: &str = "Progressing";
pub const REPLICA_FAILURE: &str = "ReplicaFailure";
pub const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const UPDATED: &str = "ReplicaSetUpdated";

/// The last reported answer of a Deployment about one thing.
pub fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|c| c.type_.as_deref() == Some(kind))
}

pub fn make(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    let now = Some(Time(whole_seconds(now)));
    DeploymentCondition {
        type_: Some(kind.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: now.clone(),
        last_transition_time: now,
    }
}

pub fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_.as_deref() != Some(kind));
        if conditions.is_empty() {
            status.conditions = None;
        }
    }
}

/// The same status and reason again change nothing; the same status keeps its transition time (`SetDeploymentCondition`).
pub fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    let kind = new.type_.clone().unwrap_or_default();
    if let Some(current) = condition(status, &kind)
        && !mutant::on(Mutant::ConditionAlwaysNew)
    {
        if current.status == new.status && current.reason == new.reason {
            return;
        }
        if current.status == new.status {
            new.last_transition_time.clone_from(&current.last_transition_time);
        }
    }
    remove(status, &kind);
    status.conditions.get_or_insert_default().push(new);
}

/// Says something that may have to be said in other words later, for the same reason. Times change with the status and the words.
pub fn tell(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    let kind = new.type_.clone().unwrap_or_default();
    if let Some(current) = condition(status, &kind) {
        if current.status == new.status && current.reason == new.reason && current.message == new.message {
            return;
        }
        if current.status == new.status {
            new.last_transition_time.clone_from(&current.last_transition_time);
        }
    }
    remove(status, &kind);
    status.conditions.get_or_insert_default().push(new);
}

/// Other words for the same answer; its times stay: the deadline counts from them.
fn reword(status: &mut DeploymentStatus, kind: &str, message: String) {
    let mut all = status.conditions.iter_mut().flatten();
    if let Some(condition) = all.find(|c| c.type_.as_deref() == Some(kind)) {
        condition.message = Some(message);
    }
}

/// Whether the Deployment's failure is that of another revision than the one that is rolled out now. Condition and revision are written
/// together, so a Deployment of another revision tells of another rollout. (Kubernetes lets the old failure stand until something moves.)
pub fn is_stale(d: &Deployment, status: &DeploymentStatus, revision: Option<&str>, rolled_out: bool) -> bool {
    let failed = condition(status, PROGRESSING).is_some_and(|c| c.reason.as_deref() == Some(TIMED_OUT));
    let annotated = d.metadata.annotations.as_ref().and_then(|a| a.get(annotations::REVISION)).map(String::as_str);
    let another = annotated != revision;
    // A template that was refused has been taken back.
    let taken_back = rolled_out && RolledBack::of(d).is_some();
    failed && (another || taken_back) && !mutant::on(Mutant::StaleFailureBelieved)
}

/// Zero is left out, as Go's `omitempty` does.
fn count(n: i64) -> Option<i32> {
    i32::try_from(n).ok().filter(|n| *n != 0)
}

fn number(n: Option<i32>) -> i64 {
    i64::from(n.unwrap_or(0))
}

/// Counts over all sets as they report them, and whether the Deployment is available.
pub fn calculate(pass: &Pass<'_>) -> DeploymentStatus {
    let d = pass.deployment;
    let sum = |f: fn(&Set) -> i64| -> i64 { pass.sets.all.iter().map(f).sum() };
    let available = sum(|s| reported_available(&s.now));
    let terminating = pass
        .sets
        .all
        .iter()
        .filter(|s| s.found.is_some())
        .try_fold(0, |total: i32, s| Some(total.saturating_add(s.now.status.as_ref()?.terminating_replicas?)));
    let asked = |s: &&Set| s.now.spec.template.as_ref().is_some_and(|t| template::same(t, &pass.asked.spec.template));
    let updated = if pass.refused.is_some() { pass.sets.all.iter().find(asked) } else { pass.sets.new_set() };
    let mut status = DeploymentStatus {
        observed_generation: d.metadata.generation.filter(|g| *g != 0),
        replicas: count(sum(|s| actual(&s.now))),
        updated_replicas: count(updated.map_or(0, |s| actual(&s.now))),
        ready_replicas: count(sum(|s| ready(&s.now))),
        available_replicas: count(available),
        unavailable_replicas: count((sum(Set::size) - available).max(0)),
        terminating_replicas: terminating,
        collision_count: pass.status.collision_count,
        conditions: pass.status.conditions.clone(),
    };
    let (state, reason, message) = if available >= min_available(d) {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, make(AVAILABLE, state, reason, message.to_owned(), pass.now));
    status
}

/// `DeploymentComplete`
pub fn is_complete(d: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = i64::from(replicas(d));
    number(status.updated_replicas) == wanted
        && number(status.replicas) == wanted
        && number(status.available_replicas) == wanted
        && status.observed_generation.unwrap_or(0) >= d.metadata.generation.unwrap_or(0)
}

/// More new pods, fewer old ones, more ready or more available ones (`DeploymentProgressing`).
fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let outdated = |s: &DeploymentStatus| number(s.replicas) - number(s.updated_replicas);
    number(new.updated_replicas) > number(old.updated_replicas)
        || outdated(new) < outdated(old)
        || number(new.ready_replicas) > number(old.ready_replicas)
        || number(new.available_replicas) > number(old.available_replicas)
}

/// When the deadline passes, counted from the last progress; `None`: nothing is under way.
fn deadline(d: &Deployment, status: &DeploymentStatus) -> Option<Timestamp> {
    let seconds = progress_deadline(d)?;
    let current = condition(status, PROGRESSING)?;
    if matches!(current.reason.as_deref(), Some(NEW_SET_AVAILABLE | TIMED_OUT)) {
        return None;
    }
    let mut from = current.last_update_time.as_ref()?.0;
    if mutant::on(Mutant::DeadlineFromCreation)
        && let Some(created) = &d.metadata.creation_timestamp
    {
        from = created.0;
    }
    Some(from.checked_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX))
}

/// The status of a rollout: counts, conditions, progress (`syncRolloutStatus`); and when to look whether its deadline has passed.
pub fn of_rollout(pass: &Pass<'_>) -> (DeploymentStatus, Option<Timestamp>) {
    let d = pass.deployment;
    let mut status = calculate(pass);
    if progress_deadline(d).is_none() {
        remove(&mut status, PROGRESSING);
    }
    if let Some(refusal) = &pass.refused {
        tell(&mut status, make(PROGRESSING, "False", TIMED_OUT, refusal.message(), pass.now));
    }
    automatic::condition(pass, &mut status);
    let current = condition(&pass.status, PROGRESSING).cloned();
    let settled = status.replicas == status.updated_replicas
        && current.as_ref().is_some_and(|c| c.reason.as_deref() == Some(NEW_SET_AVAILABLE))
        && is_proven(pass);
    if progress_deadline(d).is_some() && !settled && pass.refused.is_none() {
        judge_progress(pass, &mut status, current.as_ref());
    }
    match replica_failure(pass) {
        Some(failure) => set(&mut status, failure),
        None => remove(&mut status, REPLICA_FAILURE),
    }
    // The deadline is judged by what was written before: what is new will bring a pass of its own.
    let complete = is_complete(d, &status) || pass.refused.is_some();
    let surer = pass.failing.as_ref().and_then(|f| f.look_again);
    let look_again = if complete { None } else { deadline(d, &status).into_iter().chain(surer).min() };
    (status, look_again)
}

fn judge_progress(pass: &Pass<'_>, status: &mut DeploymentStatus, current: Option<&DeploymentCondition>) {
    let d = pass.deployment;
    let name = match pass.sets.new_set() {
        Some(set) => format!("ReplicaSet \"{}\"", set.name()),
        None => format!("Deployment \"{}\"", d.metadata.name.as_deref().unwrap_or("")),
    };
    if is_complete(d, status) {
        let message = format!("{name} has successfully progressed.");
        set(status, make(PROGRESSING, "True", NEW_SET_AVAILABLE, message, pass.now));
    } else if let Some(failing) = pass.certain_failure() {
        // In the one word that makes `kubectl rollout status` give up: waiting for the deadline would tell nothing new.
        let message = format!("{name} has failed: {}", failing.trouble.text);
        tell(status, make(PROGRESSING, "False", TIMED_OUT, message, pass.now));
    } else if has_progressed(&pass.status, status) {
        let mut condition = make(PROGRESSING, "True", UPDATED, format!("{name} is progressing."), pass.now);
        if let Some(current) = current {
            // Progress renews the update time even for the same reason; the deadline counts from it.
            if current.status.as_deref() == Some("True") {
                condition.last_transition_time.clone_from(&current.last_transition_time);
            }
            remove(status, PROGRESSING);
        }
        set(status, condition);
    } else if deadline(d, status).is_some_and(|at| at < pass.now) {
        let message = format!("{name} has timed out progressing.");
        set(status, make(PROGRESSING, "False", TIMED_OUT, message, pass.now));
    }
    let goes_on = condition(status, PROGRESSING).is_some_and(|c| c.status.as_deref() == Some("True"));
    if let Some(failing) = pass.failing.as_ref().filter(|_| goes_on && !is_complete(d, status)) {
        reword(status, PROGRESSING, format!("{name} is progressing, but {}", failing.trouble.text));
    }
}

/// The event for a failure or refusal that is told for the first time.
pub fn failure_event(pass: &Pass<'_>, status: &DeploymentStatus) -> Option<Event> {
    let reason = if pass.refused.is_some() { "RolloutRefused" } else { "RolloutFailed" };
    if pass.refused.is_none() && pass.certain_failure().is_none() {
        return None;
    }
    let new = condition(status, PROGRESSING).filter(|c| c.reason.as_deref() == Some(TIMED_OUT))?;
    let known = pass.asked.status.as_ref().and_then(|s| condition(s, PROGRESSING));
    let message = new.message.clone().filter(|m| known.and_then(|k| k.message.as_ref()) != Some(m))?;
    Some(Event { kind: isopod_reflect::EventType::Warning, reason, message })
}

/// Where nobody goes back by himself, a rollout is done for good when all its pods have been there, be it none at all. A template that has
/// never had a pod proves nothing to go back to, or to stay at.
fn is_proven(pass: &Pass<'_>) -> bool {
    !automatic::is_on(pass.deployment) || pass.sets.new_set().is_none_or(|s| automatic::is_rolled_out(&s.now))
}

/// What keeps a set from making or deleting pods, the new one's before an old one's (`getReplicaFailures`).
fn replica_failure(pass: &Pass<'_>) -> Option<DeploymentCondition> {
    let of = |s: &Set| -> Option<ReplicaSetCondition> {
        let conditions = s.now.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|c| c.type_.as_deref() == Some(REPLICA_FAILURE)).cloned()
    };
    let failure = pass.sets.new_set().and_then(of).or_else(|| pass.sets.all.iter().find_map(of))?;
    Some(DeploymentCondition {
        type_: failure.type_,
        status: failure.status,
        reason: failure.reason,
        message: failure.message,
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time,
    })
}

/// A paused rollout does not run against its deadline; one that already failed stays failed (`checkPausedConditions`).
pub fn note_pause(d: &Deployment, status: &mut DeploymentStatus, now: Timestamp) {
    if progress_deadline(d).is_none() {
        return;
    }
    let reason = condition(status, PROGRESSING).and_then(|c| c.reason.clone());
    if reason.as_deref() == Some(TIMED_OUT) {
        return;
    }
    let paused = d.spec.paused.unwrap_or(false);
    let told = reason.as_deref() == Some("DeploymentPaused");
    if paused && !told {
        set(status, make(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused".into(), now));
    } else if !paused && told {
        set(status, make(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed".into(), now));
    }
}

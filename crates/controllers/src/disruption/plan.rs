//! The status of one budget. Pure.
use crate::pod::is_ready;
use crate::replicaset::plan::whole_seconds;
use isopod_api::intstr::{self, Round};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;

/// An eviction that did not lead to a deletion within this time did not happen (`DeletionTimeout`).
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);
const ALLOWED: &str = "DisruptionAllowed";

/// How many pods the owners of the pods want, all together; or why that cannot be told.
pub type Scale = Result<i64, String>;

pub struct View<'a> {
    pub budget: &'a PodDisruptionBudget,
    /// Pods that its selector selects.
    pub pods: &'a [Arc<Pod>],
    pub scale: &'a Scale,
    pub now: Timestamp,
}

/// The status, and when an eviction expires.
pub fn plan(view: &View<'_>) -> (PodDisruptionBudgetStatus, Option<Timestamp>) {
    let old = view.budget.status.clone().unwrap_or_default();
    let (expected, desired) = match counts(view) {
        Ok(counts) => counts,
        Err(message) => {
            // Rather none than one too many.
            let mut status = PodDisruptionBudgetStatus { disruptions_allowed: Some(0), ..old };
            status.observed_generation = view.budget.metadata.generation;
            set(&mut status, "False", "SyncFailed", message, view);
            return (status, None);
        }
    };
    let mut disrupted = old.disrupted_pods.clone().unwrap_or_default();
    let expires = |since: &Time| since.0.checked_add(DELETION_TIMEOUT).unwrap_or(Timestamp::MAX);
    disrupted.retain(|name, since| {
        let waits = |p: &&Arc<Pod>| p.metadata.name.as_ref() == Some(name) && p.metadata.deletion_timestamp.is_none();
        expires(since) > view.now && view.pods.iter().any(|p| waits(&p))
    });
    let healthy = view.pods.iter().filter(|p| {
        let leaving = p.metadata.deletion_timestamp.is_some();
        let evicted = p.metadata.name.as_ref().is_some_and(|n| disrupted.contains_key(n));
        !leaving && !evicted && is_ready(p)
    });
    let healthy = i64::try_from(healthy.count()).unwrap_or(i64::MAX);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let look_again = disrupted.values().map(expires).min();
    let count = |n: i64| Some(i32::try_from(n).unwrap_or(i32::MAX));
    let mut status = PodDisruptionBudgetStatus {
        conditions: old.conditions,
        current_healthy: count(healthy),
        desired_healthy: count(desired),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: count(allowed),
        expected_pods: count(expected),
        observed_generation: view.budget.metadata.generation,
    };
    let (state, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    set(&mut status, state, reason, String::new(), view);
    (status, look_again)
}

/// Pods expected, and healthy ones wanted (`getExpectedPodCount`). Percentages are of what the owners want.
fn counts(view: &View<'_>) -> Result<(i64, i64), String> {
    let spec = view.budget.spec.as_ref();
    let scale = || view.scale.clone();
    if let Some(unavailable) = spec.and_then(|s| s.max_unavailable.as_ref()) {
        let expected = scale()?;
        return Ok((expected, (expected - scaled(unavailable, expected)?).max(0)));
    }
    match spec.and_then(|s| s.min_available.as_ref()) {
        None => Ok((0, 0)),
        Some(IntOrString::Int(n)) => Ok((i64::try_from(view.pods.len()).unwrap_or(i64::MAX), i64::from(*n))),
        Some(percent) => {
            let expected = scale()?;
            Ok((expected, scaled(percent, expected)?))
        }
    }
}

/// Rounded up.
fn scaled(value: &IntOrString, total: i64) -> Result<i64, String> {
    intstr::scaled(value, total, Round::Up).ok_or_else(|| {
        let IntOrString::String(text) = value else { return String::new() };
        format!("invalid value for IntOrString: {text}")
    })
}

fn set(status: &mut PodDisruptionBudgetStatus, state: &str, reason: &str, message: String, view: &View<'_>) {
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().find(|c| c.type_ == ALLOWED && c.status == state);
    let since = known.map_or_else(|| Time(whole_seconds(view.now)), |c| c.last_transition_time.clone());
    conditions.retain(|c| c.type_ != ALLOWED);
    conditions.push(Condition {
        type_: ALLOWED.into(),
        status: state.into(),
        reason: reason.into(),
        message,
        observed_generation: view.budget.metadata.generation,
        last_transition_time: since,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(n: usize, ready: bool) -> Arc<Pod> {
        let state = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": format!("p{n}")},
                "status": {"conditions": [{"type": "Ready", "status": state}]}}))
            .unwrap(),
        )
    }

    #[test]
    fn counts_as_kubernetes_does() {
        // (spec, pods ready, pods unready, scale) → (healthy, desired, expected, allowed)
        type Row = (Value, usize, usize, i64, (i32, i32, i32, i32));
        let table: [Row; 7] = [
            (json!({"minAvailable": 3}), 4, 0, 9, (4, 3, 4, 1)),
            (json!({"minAvailable": 3}), 2, 1, 9, (2, 3, 3, 0)),
            (json!({"minAvailable": "28%"}), 2, 0, 5, (2, 2, 5, 0)),
            (json!({"maxUnavailable": 1}), 4, 0, 4, (4, 3, 4, 1)),
            (json!({"maxUnavailable": "30%"}), 9, 1, 10, (9, 7, 10, 2)),
            (json!({"maxUnavailable": 5}), 2, 0, 2, (2, 0, 2, 2)),
            (json!({"minAvailable": 0}), 0, 0, 0, (0, 0, 0, 0)),
        ];
        for (spec, ready, unready, scale, want) in table {
            let budget: PodDisruptionBudget = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            let pods: Vec<_> =
                (0..ready).map(|n| pod(n, true)).chain((0..unready).map(|n| pod(100 + n, false))).collect();
            let (s, _) = plan(&View { budget: &budget, pods: &pods, scale: &Ok(scale), now: Timestamp::UNIX_EPOCH });
            let got = (s.current_healthy, s.desired_healthy, s.expected_pods, s.disruptions_allowed);
            assert_eq!(got, (Some(want.0), Some(want.1), Some(want.2), Some(want.3)), "{:?}", budget.spec);
            assert_eq!(s.conditions.unwrap()[0].status, if want.3 > 0 { "True" } else { "False" });
        }
    }

    #[test]
    fn evicted_pods_do_not_count_until_their_eviction_expires() {
        let t = |s: i64| Timestamp::from_second(s).unwrap();
        let budget: PodDisruptionBudget = serde_json::from_value(json!({"metadata": {}, "spec": {"minAvailable": 1},
            "status": {"disruptedPods": {"p0": "1970-01-01T00:00:00Z", "gone": "1970-01-01T00:00:00Z"}}}))
        .unwrap();
        let pods = [pod(0, true), pod(1, true)];
        let at = |now: i64| plan(&View { budget: &budget, pods: &pods, scale: &Err("?".into()), now: t(now) });
        let (s, again) = at(60);
        assert_eq!((s.current_healthy, s.disruptions_allowed, again), (Some(1), Some(0), Some(t(120))));
        let (s, again) = at(120);
        assert_eq!((s.current_healthy, s.disruptions_allowed, again, s.disrupted_pods), (Some(2), Some(1), None, None));
    }
}

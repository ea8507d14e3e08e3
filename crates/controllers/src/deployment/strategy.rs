//! How far a rollout may go at once (`util/deployment_util.go`: `ResolveFenceposts`, `MaxSurge`, `MaxUnavailable`).
use crate::mutant::{self, Mutant};
use isopod_api::intstr::{self, Round};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What stands in `progressDeadlineSeconds` and `revisionHistoryLimit` for "none".
const NONE: i32 = i32::MAX;

pub fn replicas(d: &Deployment) -> i32 {
    d.spec.replicas.unwrap_or(1)
}

pub fn is_rolling(d: &Deployment) -> bool {
    d.spec.strategy.as_ref().and_then(|s| s.type_.as_deref()).is_none_or(|t| t == "RollingUpdate")
}

pub fn progress_deadline(d: &Deployment) -> Option<i32> {
    d.spec.progress_deadline_seconds.filter(|s| *s != NONE)
}

pub fn history_limit(d: &Deployment) -> Option<i32> {
    d.spec.revision_history_limit.filter(|l| *l != NONE)
}

/// What is neither a number nor a percentage counts as 0: the API server refuses it.
fn scaled(value: Option<&IntOrString>, total: i32, round: Round) -> i64 {
    value.and_then(|v| intstr::scaled(v, total.into(), round)).unwrap_or(0)
}

/// Surge is rounded up, unavailable down; both 0 would stand still, so then one pod may be unavailable.
fn fenceposts(d: &Deployment) -> (i64, i64) {
    let rolling = d.spec.strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
    let surge_round = if mutant::on(Mutant::SurgeRoundsDown) { Round::Down } else { Round::Up };
    let unavailable_round = if mutant::on(Mutant::UnavailableRoundsUp) { Round::Up } else { Round::Down };
    let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), replicas(d), surge_round);
    let unavailable = scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), replicas(d), unavailable_round);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

pub fn max_surge(d: &Deployment) -> i64 {
    if is_rolling(d) { fenceposts(d).0 } else { 0 }
}

pub fn max_unavailable(d: &Deployment) -> i64 {
    let replicas = i64::from(replicas(d));
    if !is_rolling(d) || replicas == 0 { 0 } else { fenceposts(d).1.min(replicas) }
}

/// The most pods there may be: `replicas + maxSurge`.
pub fn max_total(d: &Deployment) -> i64 {
    let total = i64::from(replicas(d)).saturating_add(max_surge(d));
    if mutant::on(Mutant::SurgeOffByOne) && is_rolling(d) { total.saturating_add(1) } else { total }
}

/// The fewest available pods there may be: `replicas − maxUnavailable`.
pub fn min_available(d: &Deployment) -> i64 {
    let least = i64::from(replicas(d)).saturating_sub(max_unavailable(d));
    if mutant::on(Mutant::AvailableOffByOne) { least.saturating_sub(1) } else { least }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn deployment(replicas: i32, surge: &Value, unavailable: &Value) -> Deployment {
        serde_json::from_value(json!({"metadata": {}, "spec": {"replicas": replicas, "selector": {}, "template": {},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}))
        .unwrap()
    }

    /// Facts of `TestResolveFenceposts`, `TestMaxUnavailable` and `TestMaxSurge`.
    #[test]
    fn rounds_as_kubernetes_does() {
        // (replicas, maxSurge, maxUnavailable) → (surge, unavailable)
        let table = [
            (0, json!("0%"), json!("0%"), (0, 0)),
            (10, json!("39%"), json!("39%"), (4, 3)),
            (10, json!(0), json!(0), (0, 1)),
            (10, json!("0%"), json!("9%"), (0, 1)),
            (4, json!("25%"), json!("25%"), (1, 1)),
            (7, json!("25%"), json!("25%"), (2, 1)),
            (1, json!("25%"), json!("25%"), (1, 0)),
            (3, json!("25%"), json!("25%"), (1, 0)),
            (2, json!(5), json!(5), (5, 2)),
            (10, json!("oops"), json!("2"), (0, 1)),
            (i32::MAX, json!("100%"), json!("50%"), (2_147_483_647, 1_073_741_823)),
        ];
        for (replicas, surge, unavailable, want) in table {
            let d = deployment(replicas, &surge, &unavailable);
            assert_eq!((max_surge(&d), max_unavailable(&d)), want, "{replicas} {surge} {unavailable}");
        }
    }
}

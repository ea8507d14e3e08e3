//! Which pods to delete first (`ActivePodsWithRanks` in `pkg/controller/controller_utils.go`).
//!
//! One criterion is ours: of two ready pods, one that is not yet *available* (`minReadySeconds`) goes first. A Deployment scales an
//! old ReplicaSet down by its unavailable pods; without it an available pod could be taken in their place.
use crate::pod;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// `controller.kubernetes.io/pod-deletion-cost`: pods that cost less go first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Smaller goes first.
type Rank<'a> = (bool, u8, bool, bool, i32, Reverse<usize>, Age, Reverse<i32>, Reverse<i32>, Age, &'a str);

/// How long something has been so, on a logarithmic scale: unknown first, then younger before older. Pods of about the same age are
/// in effect chosen at random, by uid (KEP-2185).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Unknown,
    /// Binary logarithm of nanoseconds, -1 for none.
    Log(i32),
}

fn age(since: Option<Timestamp>, now: Timestamp) -> Age {
    let Some(since) = since else { return Age::Unknown };
    let nanos = now.duration_since(since).as_nanos();
    Age::Log(
        u128::try_from(nanos).ok().and_then(u128::checked_ilog2).map_or(-1, |l| i32::try_from(l).unwrap_or(i32::MAX)),
    )
}

/// Orders `pods` by who goes first. `related`: active pods of all sets of the same owner; pods that share their node with more of
/// them go first.
pub fn sort(pods: &mut [Arc<Pod>], related: &[Arc<Pod>], min_ready_seconds: i32, now: Timestamp) {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for p in related.iter().filter(|p| pod::is_active(p)) {
        *on_node.entry(pod::node(p)).or_default() += 1;
    }
    let mut ranked: Vec<(Rank<'_>, &Arc<Pod>)> = pods
        .iter()
        .map(|p| (rank(p, on_node.get(pod::node(p)).copied().unwrap_or(0), min_ready_seconds, now), p))
        .collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0));
    let sorted: Vec<Arc<Pod>> = ranked.into_iter().map(|(_, p)| Arc::clone(p)).collect();
    pods.clone_from_slice(&sorted);
}

fn rank(p: &Pod, neighbours: usize, min_ready_seconds: i32, now: Timestamp) -> Rank<'_> {
    let phase = match pod::phase(p) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    };
    let ready = pod::is_ready(p);
    let (regular, sidecar) = pod::restarts(p);
    let ready_age = if ready { age(pod::ready_since(p), now) } else { Age::Unknown };
    (
        !pod::node(p).is_empty(),
        phase,
        ready,
        pod::is_available(p, min_ready_seconds, now),
        cost(p),
        Reverse(neighbours),
        ready_age,
        Reverse(regular),
        Reverse(sidecar),
        age(p.metadata.creation_timestamp.as_ref().map(|t| t.0), now),
        p.metadata.uid.as_deref().unwrap_or(""),
    )
}

/// An annotation that is not a number counts as none (the API server refuses those that it can).
fn cost(p: &Pod) -> i32 {
    p.metadata.annotations.as_ref().and_then(|a| a.get(DELETION_COST)).and_then(|c| c.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn ago(seconds: i64) -> String {
        (now() - SignedDuration::from_secs(seconds)).to_string()
    }

    fn pod_of(v: Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(v).unwrap())
    }

    fn ready(seconds: i64) -> Value {
        json!([{"type": "Ready", "status": "True", "lastTransitionTime": ago(seconds)}])
    }

    /// Each pod must go before the next one.
    #[test]
    fn goes_in_kubernetes_order() {
        let long = 1 << 20;
        let order = [
            json!({"metadata": {"name": "unassigned"}, "status": {"phase": "Running", "conditions": ready(long)}}),
            json!({"metadata": {"name": "pending"}, "spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Pending"}}),
            json!({"metadata": {"name": "unknown"}, "spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Unknown"}}),
            json!({"metadata": {"name": "unready"}, "spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Running"}}),
            json!({"metadata": {"name": "not-yet-available"}, "spec": {"nodeName": "a", "containers": []},
                "status": {"phase": "Running", "conditions": ready(5)}}),
            json!({"metadata": {"name": "cheap", "annotations": {DELETION_COST: "-1"}}, "spec": {"nodeName": "b", "containers": []},
                "status": {"phase": "Running", "conditions": ready(long)}}),
            json!({"metadata": {"name": "doubled-up"}, "spec": {"nodeName": "a", "containers": []},
                "status": {"phase": "Running", "conditions": ready(long)}}),
            json!({"metadata": {"name": "ready-later"}, "spec": {"nodeName": "b", "containers": []},
                "status": {"phase": "Running", "conditions": ready(100)}}),
            json!({"metadata": {"name": "restarted", "creationTimestamp": ago(long)}, "spec": {"nodeName": "b", "containers": []},
                "status": {"phase": "Running", "conditions": ready(long),
                    "containerStatuses": [{"name": "c", "restartCount": 3, "ready": true, "image": "", "imageID": ""}]}}),
            json!({"metadata": {"name": "younger", "creationTimestamp": ago(100)}, "spec": {"nodeName": "b", "containers": []},
                "status": {"phase": "Running", "conditions": ready(long)}}),
            json!({"metadata": {"name": "uid-1", "uid": "1", "creationTimestamp": ago(long)}, "spec": {"nodeName": "b", "containers": []},
                "status": {"phase": "Running", "conditions": ready(long)}}),
            json!({"metadata": {"name": "uid-2", "uid": "2", "creationTimestamp": ago(long + 1)}, "spec": {"nodeName": "b", "containers": []},
                "status": {"phase": "Running", "conditions": ready(long + 1)}}),
        ];
        let names: Vec<String> = order.iter().map(|v| v["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        let mut pods: Vec<Arc<Pod>> = order.into_iter().map(pod_of).collect();
        // Node a must be the fuller one.
        let mut related = pods.clone();
        for _ in 0..10 {
            related.push(pod_of(json!({"metadata": {}, "spec": {"nodeName": "a", "containers": []}})));
        }
        pods.reverse();
        sort(&mut pods, &related, 10, now());
        let got: Vec<String> = pods.iter().map(|p| p.metadata.name.clone().unwrap()).collect();
        assert_eq!(got, names);
    }
}

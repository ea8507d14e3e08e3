//! Which pods a tainted node drives out, and when (`NoExecute`; KEP-166). Pure.
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

/// What becomes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    /// It goes now.
    Goes,
    /// It goes then, if the taint is still there.
    GoesAt(Timestamp),
}

/// `Toleration.ToleratesTaint`
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = toleration.key.as_deref().unwrap_or("");
    if !key.is_empty() && key != taint.key {
        return false;
    }
    let value = toleration.value.as_deref().unwrap_or("");
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => value == taint.value.as_deref().unwrap_or(""),
        "Exists" => true,
        _ => false,
    }
}

/// The shortest `tolerationSeconds` of the tolerations used counts from when the taint was added.
pub fn fate(pod: &Pod, node: &Node, now: Timestamp) -> Fate {
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten()).filter(|t| t.effect == "NoExecute");
    let tolerations: Vec<&Toleration> = pod.spec.iter().flat_map(|s| s.tolerations.iter().flatten()).collect();
    let (mut since, mut shortest): (Option<Timestamp>, Option<i64>) = (None, None);
    for taint in taints {
        let using: Vec<_> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        if using.is_empty() {
            return Fate::Goes;
        }
        let added = taint.time_added.as_ref().map_or(now, |t| t.0);
        // Any one that tolerates for ever does so; else the shortest one counts, as upstream counts it: over all of them.
        for seconds in using.iter().filter_map(|t| t.toleration_seconds) {
            shortest = Some(shortest.map_or(seconds, |s| s.min(seconds)));
            since = Some(since.map_or(added, |s| s.min(added)));
        }
    }
    let (Some(since), Some(seconds)) = (since, shortest) else { return Fate::Stays };
    let at = since.checked_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX);
    if at <= now { Fate::Goes } else { Fate::GoesAt(at) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn tolerations_decide() {
        let now = Timestamp::from_second(1000).unwrap();
        let at = |s: i64| Fate::GoesAt(Timestamp::from_second(s).unwrap());
        let taint = json!({"key": "k", "effect": "NoExecute", "timeAdded": "1970-01-01T00:15:00Z"});
        // (taints, tolerations) → fate; the taint was added at second 900.
        let table: [(Value, Value, Fate); 8] = [
            (json!([]), json!([]), Fate::Stays),
            (json!([{"key": "k", "effect": "NoSchedule"}]), json!([]), Fate::Stays),
            (json!([taint]), json!([]), Fate::Goes),
            (json!([taint]), json!([{"operator": "Exists"}]), Fate::Stays),
            (
                json!([taint]),
                json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
                at(1200),
            ),
            (json!([taint]), json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 100}]), Fate::Goes),
            (json!([taint]), json!([{"key": "k", "operator": "Equal", "value": "x"}]), Fate::Goes),
            (
                json!([taint]),
                json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}, {"operator": "Exists", "tolerationSeconds": 200}]),
                at(1100),
            ),
        ];
        for (taints, tolerations, want) in table {
            let node: Node = serde_json::from_value(json!({"metadata": {}, "spec": {"taints": taints}})).unwrap();
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}}))
                    .unwrap();
            assert_eq!(fate(&pod, &node, now), want, "{taints} {tolerations}");
        }
    }
}

//! What to write on a node. Pure.
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How long a node may be silent (`--node-monitor-grace-period`).
pub const GRACE: SignedDuration = SignedDuration::from_secs(50);
/// How long a node may take to say anything at all (`--node-startup-grace-period`).
pub const STARTUP_GRACE: SignedDuration = SignedDuration::from_secs(60);

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that go Unknown with silence.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Conditions that keep pods away while True.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

fn state<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind).map(|c| c.status.as_str())
}

/// When silence becomes too long. `heard`: when we last heard the node; `None`: it never spoke.
pub fn deadline(node: &Node, heard: Option<Timestamp>) -> Timestamp {
    let created = node.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |t| t.0);
    let (from, grace) = match heard {
        Some(heard) if state(node, "Ready").is_some() => (heard, GRACE),
        Some(heard) => (heard, STARTUP_GRACE),
        None => (created, STARTUP_GRACE),
    };
    from.checked_add(grace).unwrap_or(Timestamp::MAX)
}

/// The conditions of a node that has been silent too long; `None`: they say so already.
pub fn silent(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let mut conditions = node.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let now = Some(Time(crate::replicaset::plan::whole_seconds(now)));
    let mut changed = false;
    for kind in REPORTED {
        let Some(known) = conditions.iter_mut().find(|c| c.type_ == kind) else {
            changed = true;
            conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: now.clone(),
            });
            continue;
        };
        if known.status != "Unknown" {
            changed = true;
            known.status = "Unknown".to_owned();
            known.reason = Some("NodeStatusUnknown".to_owned());
            known.message = Some("Kubelet stopped posting node status.".to_owned());
            known.last_transition_time.clone_from(&now);
        }
    }
    changed.then_some(conditions)
}

/// Taints by which this controller keeps pods away (`NoSchedule`) and drives them out (`NoExecute`).
fn is_ours(taint: &Taint) -> bool {
    let by_condition = PRESSURES.iter().any(|(_, key)| taint.key == *key) || taint.key == UNSCHEDULABLE;
    match taint.effect.as_str() {
        "NoSchedule" => by_condition || taint.key == NOT_READY || taint.key == UNREACHABLE,
        "NoExecute" => taint.key == NOT_READY || taint.key == UNREACHABLE,
        _ => false,
    }
}

/// The node's taints as they should be; `None`: they are. A taint that stays keeps the time it was added.
pub fn taints(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match state(node, "Ready") {
        Some("True") => {}
        Some("Unknown") => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        // A node that never said a word is treated as one that says no.
        Some(_) => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        None => wanted.push((NOT_READY, "NoSchedule")),
    }
    wanted.extend(
        PRESSURES.iter().filter(|(kind, _)| state(node, kind) == Some("True")).map(|(_, key)| (*key, "NoSchedule")),
    );
    if node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let found = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
    let mut taints = found.clone();
    taints.retain(|t| !is_ours(t) || wanted.contains(&(t.key.as_str(), t.effect.as_str())));
    for (key, effect) in wanted {
        if !taints.iter().any(|t| t.key == key && t.effect == effect) {
            let time_added = Some(Time(crate::replicaset::plan::whole_seconds(now)));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), time_added, value: None });
        }
    }
    (taints != found).then_some(taints)
}

/// Whether pods on the node cannot be called ready any more.
pub fn pods_unready(node: &Node) -> bool {
    state(node, "Ready").is_some_and(|s| s != "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn t(s: i64) -> Timestamp {
        Timestamp::from_second(s).unwrap()
    }

    fn node(ready: &str, extra: &Value) -> Node {
        let mut v = json!({"metadata": {"name": "n", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": extra,
            "status": {"conditions": [{"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "False"}]}});
        if ready.is_empty() {
            v["status"] = json!({});
        }
        serde_json::from_value(v).unwrap()
    }

    fn keys(taints: Option<Vec<Taint>>) -> String {
        let Some(taints) = taints else { return "as it is".to_owned() };
        let key = |t: &Taint| format!("{}:{}", t.key.trim_start_matches("node.kubernetes.io/"), t.effect);
        taints.iter().map(key).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn taints_follow_conditions() {
        let table = [
            ("True", json!({}), "as it is"),
            ("False", json!({}), "not-ready:NoSchedule not-ready:NoExecute"),
            ("Unknown", json!({}), "unreachable:NoSchedule unreachable:NoExecute"),
            ("", json!({}), "not-ready:NoSchedule"),
            ("True", json!({"unschedulable": true}), "unschedulable:NoSchedule"),
            (
                "True",
                json!({"taints": [{"key": NOT_READY, "effect": "NoExecute"}, {"key": "mine", "effect": "NoExecute"}]}),
                "mine:NoExecute",
            ),
            (
                "Unknown",
                json!({"taints": [{"key": UNREACHABLE, "effect": "NoExecute"}, {"key": UNREACHABLE, "effect": "NoSchedule"}]}),
                "as it is",
            ),
            ("True", json!({"taints": [{"key": UNREACHABLE, "effect": "NoExecute"}]}), ""),
        ];
        for (ready, spec, want) in table {
            assert_eq!(keys(taints(&node(ready, &spec), t(1))), want, "{ready} {spec}");
        }
    }

    #[test]
    fn silence_becomes_unknown_once() {
        let mut n = node("True", &json!({}));
        assert_eq!(deadline(&n, Some(t(100))), t(150));
        assert_eq!(deadline(&node("", &json!({})), None), t(60));
        let conditions = silent(&n, t(200)).unwrap();
        let told: Vec<_> =
            conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_deref().unwrap())).collect();
        assert_eq!(
            told,
            [
                ("Ready", "Unknown", "NodeStatusUnknown"),
                ("DiskPressure", "Unknown", "NodeStatusUnknown"),
                ("MemoryPressure", "Unknown", "NodeStatusNeverUpdated"),
                ("PIDPressure", "Unknown", "NodeStatusNeverUpdated")
            ]
        );
        n.status.as_mut().unwrap().conditions = Some(conditions);
        assert!(silent(&n, t(300)).is_none());
        assert!(pods_unready(&n));
    }
}

//! Which pods go. Pure.
use crate::pod::{is_terminal, node};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// How long a node may be missing: it may be registering anew (`quarantineTime`).
pub const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
/// Pods that have ended and are kept (`--terminated-pod-gc-threshold`).
pub const KEPT: usize = 12_500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    /// Nobody will ever stop it: its node does not exist, or it has none.
    Goes,
    /// Its node is missing; ask whether it is gone, then.
    AskAt(Timestamp),
}

/// `missing`: since when we know that the pod's node does not exist.
pub fn fate(pod: &Pod, missing: Option<Timestamp>, now: Timestamp) -> Fate {
    if node(pod).is_empty() {
        return if pod.metadata.deletion_timestamp.is_some() { Fate::Goes } else { Fate::Stays };
    }
    let Some(since) = missing else { return Fate::Stays };
    let at = since.checked_add(QUARANTINE).unwrap_or(Timestamp::MAX);
    if at <= now { Fate::Goes } else { Fate::AskAt(at) }
}

/// Ended pods beyond the number kept, evicted ones and older ones first.
pub fn excess(pods: &[Arc<Pod>], kept: usize) -> Vec<Arc<Pod>> {
    let mut ended: Vec<&Arc<Pod>> = pods.iter().filter(|p| is_terminal(p)).collect();
    let count = ended.len().saturating_sub(kept);
    let evicted = |p: &Pod| p.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Evicted");
    ended.sort_by(|a, b| {
        let age = |p: &Pod| (!evicted(p), p.metadata.creation_timestamp.clone(), p.metadata.name.clone());
        age(a).cmp(&age(b))
    });
    ended.into_iter().take(count).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fates() {
        let t = |s: i64| Timestamp::from_second(s).unwrap();
        let pod = |node: &str, leaving: bool| -> Pod {
            let mut v = json!({"metadata": {"name": "p"}, "spec": {"containers": [], "nodeName": node}});
            if leaving {
                v["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
            }
            serde_json::from_value(v).unwrap()
        };
        assert_eq!(fate(&pod("", false), None, t(0)), Fate::Stays);
        assert_eq!(fate(&pod("", true), None, t(0)), Fate::Goes);
        assert_eq!(fate(&pod("n", true), None, t(0)), Fate::Stays);
        assert_eq!(fate(&pod("n", false), Some(t(0)), t(39)), Fate::AskAt(t(40)));
        assert_eq!(fate(&pod("n", false), Some(t(0)), t(40)), Fate::Goes);
    }

    #[test]
    fn the_oldest_ended_pods_go() {
        let pod = |name: &str, phase: &str, second: i64, reason: &str| -> Arc<Pod> {
            let created = Timestamp::from_second(second).unwrap().to_string();
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": name, "creationTimestamp": created},
                    "status": {"phase": phase, "reason": reason}}))
                .unwrap(),
            )
        };
        let pods = [
            pod("young", "Succeeded", 9, ""),
            pod("old", "Failed", 1, ""),
            pod("runs", "Running", 0, ""),
            pod("evicted", "Failed", 5, "Evicted"),
        ];
        let names: Vec<_> = excess(&pods, 1).iter().map(|p| p.metadata.name.clone().unwrap()).collect();
        assert_eq!(names, ["evicted", "old"]);
        assert!(excess(&pods, 3).is_empty());
    }
}

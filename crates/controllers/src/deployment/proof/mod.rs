//! Proof of the rollout plan: Kubernetes' own tables, a simulated cluster in random order, crashes after every write, an exhaustive
//! model, and seeded faults that all of these together must catch.
mod automatic;
mod crash;
mod model;
mod mutants;
mod random;
mod tables;
mod world;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Value, json};
use std::sync::Arc;

/// A Deployment of one small container.
fn deployment(replicas: i32, surge: &Value, unavailable: &Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 1, "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}}
    }))
    .unwrap()
}

/// A ReplicaSet of that Deployment for `image`, `age` seconds old, with so many replicas, so many of them available.
fn set(name: &str, image: &str, age: i64, replicas: i64, available: i64) -> ReplicaSet {
    let created = jiff::Timestamp::from_second(1_700_000_000 - age).unwrap().to_string();
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "creationTimestamp": created, "labels": {"app": "web"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "pod-template-hash": name}},
                "spec": {"containers": [{"name": "c", "image": image}]}}},
        "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}
    }))
    .unwrap()
}

fn annotate(mut rs: ReplicaSet, pairs: &[(&str, String)]) -> Arc<ReplicaSet> {
    let annotations = rs.metadata.annotations.get_or_insert_default();
    annotations.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
    Arc::new(rs)
}

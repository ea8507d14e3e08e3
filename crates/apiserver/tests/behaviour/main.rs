//! What clients rely on beyond single answers: versions, pages, watches, deletion, ownership. Semantics from the Kubernetes API
//! concepts page and `k8s.io/apiserver`'s own tests.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#[path = "../support/mod.rs"]
mod support;

mod admission;
mod changes;
mod deletes;
mod hostile;
mod lists;
mod sockets;
mod values;
mod watches;
mod writes;

use serde_json::{Value, json};
use support::Api;

const CMS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// With the namespace `default`.
async fn api() -> Api {
    let api = Api::new().await;
    api.made("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
    api.made("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    api
}

fn cm(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"t": label}}, "data": {"k": "v"}})
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
}

fn deployment(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}})
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}

//! A thousand pods, from outside: a Deployment from nothing to 1,000 available pods and a rolling update of these, on 12 and on 100
//! hollow nodes. A real control plane with 12 hollow nodes on a machine of this size takes 49.8 s and 102.5 s.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]
#[path = "../tests/support/mod.rs"]
mod support;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use std::time::{Duration, Instant};
use support::Cluster;

const PODS: i32 = 1000;

async fn settled(deployments: &Api<Deployment>) {
    let done = |d: &Deployment| {
        let all = Some(PODS);
        d.status.as_ref().is_some_and(|s| {
            s.observed_generation == d.metadata.generation
                && s.updated_replicas == all
                && s.available_replicas == all
                && s.replicas == all
        })
    };
    let end = Instant::now() + Duration::from_secs(180);
    while !done(&deployments.get("web").await.expect("the deployment")) {
        assert!(Instant::now() < end, "the rollout does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The store's revision: the difference of two is how many writes there were between them.
async fn revision(nodes: &Api<Node>) -> u64 {
    let list = nodes.list(&ListParams::default().limit(1)).await.expect("a list");
    list.metadata.resource_version.and_then(|v| v.parse().ok()).expect("a version")
}

async fn measure(count: &str) {
    let cluster = Cluster::new(&["--hollow-nodes", count]);
    cluster.up();
    let (client, pid) = (cluster.client().await, cluster.pid());
    let nodes: Api<Node> = Api::all(client.clone());
    while nodes.list(&ListParams::default()).await.expect("nodes").items.len() < count.parse().expect("a number") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = support::cpu_seconds(pid);
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!(
        "{count} hollow nodes, nothing to do: CPU over 10 s {:>38.2} % of a core",
        (support::cpu_seconds(pid) - before) * 10.0
    );
    let deployments: Api<Deployment> = Api::namespaced(client, "default");
    let web = json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": PODS, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "web:v1"}]}
        }}
    });
    let web = serde_json::from_value(web).expect("a Deployment");
    let (begun, first) = (Instant::now(), revision(&nodes).await);
    deployments.create(&PostParams::default(), &web).await.expect("created");
    settled(&deployments).await;
    let writes = revision(&nodes).await - first;
    println!(
        "{count} hollow nodes, 0 to {PODS} available pods (aim: 2.5 s) {:>27.2} s, {writes} writes",
        begun.elapsed().as_secs_f64()
    );
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:v2"}]}}}});
    let (begun, first) = (Instant::now(), revision(&nodes).await);
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.expect("patched");
    settled(&deployments).await;
    let writes = revision(&nodes).await - first;
    println!(
        "{count} hollow nodes, rolling update of {PODS} pods (aim: 5 s) {:>27.2} s, {writes} writes",
        begun.elapsed().as_secs_f64()
    );
    println!(
        "{count} hollow nodes, memory afterwards and at most (aim: 150 MB) {:>20.0} MB, {:.0} MB",
        support::memory_mb(pid, "VmRSS:"),
        support::memory_mb(pid, "VmHWM:")
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    for count in ["12", "100"] {
        measure(count).await;
    }
}

//! A thousand pods, from outside: a Deployment from nothing to 1,000 available pods and a rolling update of these, on 12 and on 100
//! hollow nodes. A real control plane with 12 hollow nodes on a machine of this size takes 49.8 s and 102.5 s.
//!
//! Each rollout's writes are counted by kind, from the watches' own history. A pod that comes is made, bound, and told of once by its node
//! (running and ready in one status); one that goes is marked, told of as ended, and removed. Of one pod that is replaced that is six
//! writes, and they are nearly all there are: what the controllers add must not grow with the number of pods. A ReplicaSet is written when it is
//! given another size, and says what it has once for all pods that changed meanwhile; the Deployment once for what its sets said; an
//! EndpointSlice only if there is a Service. Events are cut off per object (`reflect::events`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]
#[path = "../tests/support/mod.rs"]
mod support;

use futures::{AsyncBufReadExt as _, StreamExt as _};
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

/// What was written of a kind after a revision: made, changed, removed.
async fn writes_of(client: &kube::Client, path: &str, since: u64) -> [usize; 3] {
    let uri = format!("{path}?watch=true&resourceVersion={since}&timeoutSeconds=1");
    let request = http::Request::get(uri).body(Vec::new()).expect("a request");
    let stream = client.request_stream(request).await.expect("a watch");
    let mut lines = Box::pin(stream.lines());
    let mut counts = [0; 3];
    while let Some(Ok(line)) = lines.next().await {
        let kinds = ["{\"type\":\"ADDED\"", "{\"type\":\"MODIFIED\"", "{\"type\":\"DELETED\""];
        for (count, _) in counts.iter_mut().zip(kinds).filter(|(_, kind)| line.starts_with(kind)) {
            *count += 1;
        }
    }
    counts
}

async fn print_writes(client: &kube::Client, count: &str, since: u64) {
    for (kind, path) in [
        ("pods", "/api/v1/namespaces/default/pods"),
        ("replicasets", "/apis/apps/v1/namespaces/default/replicasets"),
        ("deployments", "/apis/apps/v1/namespaces/default/deployments"),
        ("events", "/api/v1/namespaces/default/events"),
        ("node leases", "/apis/coordination.k8s.io/v1/leases"),
    ] {
        let [made, changed, removed] = writes_of(client, path, since).await;
        println!("{count} hollow nodes, of these {kind}: {made} made, {changed} changed, {removed} removed");
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
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
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
    print_writes(&client, count, first).await;
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

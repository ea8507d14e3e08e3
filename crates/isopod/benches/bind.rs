//! Pods bound per second: the scheduler over a real API server and store in one process, with 100 nodes and thousands of pods that
//! wait for it. Nothing else runs, so this is what the scheduler, the API and the disk can do (aim: 5,000 a second).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]
use futures::StreamExt as _;
use isopod_api::k8s::api::core::v1::{Namespace, Node, Pod};
use isopod_apiserver::{ApiServer, UserInfo};
use isopod_reflect::Reflectors;
use isopod_store::embedded::{Embedded, Options};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const NODES: usize = 100;
const PODS: usize = 10_000;
/// Requests under way at once while the pods are made.
const PARALLEL: usize = 64;

fn node(name: &str) -> Node {
    let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "500"},
            "conditions": [{"type": "Ready", "status": "True"}]}});
    serde_json::from_value(node).expect("a node")
}

fn pod(name: &str) -> Pod {
    let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c",
        "image": "app:v1", "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}]}});
    serde_json::from_value(pod).expect("a pod")
}

/// Waits for as many pods as that to have a node; when the first had one.
async fn bound(pods: &isopod_reflect::Reflector<Pod>, count: usize, begun: Instant) -> Duration {
    let mut changes = pods.subscribe();
    let (mut have, mut first) = (std::collections::HashSet::new(), None);
    while have.len() < count {
        let batch = changes.next_batch().await.expect("the watch lives");
        for change in batch.into_iter().filter_map(|c| c.new) {
            if change.spec.as_ref().is_some_and(|s| s.node_name.is_some()) {
                first.get_or_insert_with(|| begun.elapsed());
                have.insert(change.metadata.name.clone());
            }
        }
    }
    first.unwrap_or_default()
}

async fn measure() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), &Options::default()).expect("a store");
    let server = ApiServer::new(isopod_apiserver::Config::default(), Arc::new(store));
    server.ready().await.expect("ready");
    let client = server.client(UserInfo::admin());
    let namespace: Value = json!({"metadata": {"name": "default"}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let _there = namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).expect("one")).await;
    let nodes: Api<Node> = Api::all(client.clone());
    for n in 0..NODES {
        nodes.create(&PostParams::default(), &node(&format!("node-{n}"))).await.expect("a node");
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let begun = Instant::now();
    let all = futures::stream::iter(0..PODS).map(|n| {
        let pods = &pods;
        async move { pods.create(&PostParams::default(), &pod(&format!("p{n}"))).await.map(drop) }
    });
    let made: Vec<_> = all.buffer_unordered(PARALLEL).collect().await;
    assert!(made.iter().all(Result::is_ok), "{:?}", made.iter().find(|m| m.is_err()));
    let rate = |count: usize, took: Duration| f64::from(u32::try_from(count).expect("few")) / took.as_secs_f64();
    println!("{PODS} pods made, {PARALLEL} requests at once {:>44.0} a second", rate(PODS, begun.elapsed()));
    let reflectors = Reflectors::new(client.clone());
    let mirror = reflectors.of::<Pod>();
    mirror.synced().await;
    let shutdown = CancellationToken::new();
    let begun = Instant::now();
    let scheduler = tokio::spawn(isopod_scheduler::run(client, reflectors, shutdown.clone()));
    let first = bound(&mirror, PODS, begun).await;
    let took = begun.elapsed();
    println!(
        "{PODS} pods bound to {NODES} nodes (aim: 5,000 a second) {:>37.0} a second, the first after {first:.0?}",
        rate(PODS, took)
    );
    shutdown.cancel();
    scheduler.await.expect("the scheduler ends");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    measure().await;
}

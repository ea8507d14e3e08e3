//! What one decision costs: a Deployment's pods onto 100 nodes that hold 50 pods each, spread by default as a Service's are.
//!
//! `cargo bench -p isopod-scheduler`. No API server: this is the planner alone, on one core.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test may stop at what it did not expect"
)]
use isopod_api::k8s::api::core::v1::{Node, Pod};
use isopod_scheduler::cluster::{Cluster, NodeFacts};
use isopod_scheduler::plan::{Nominations, Planner, Request};
use isopod_scheduler::pod::PodInfo;
use isopod_scheduler::requirement::Selector;
use isopod_scheduler::volumes::VolumeNeeds;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

const NODES: usize = 100;
const THERE: usize = 50;
const PLACED: u32 = 5_000;

fn node(name: &str) -> Result<Node, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "500"}},
    }))
}

fn pod(name: &str, app: &str, node: Option<&str>) -> Result<Pod, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": app, "pod-template-hash": "abc"}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "app:v1", "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}]},
    }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut cluster = Cluster::default();
    for n in 0..NODES {
        let name = format!("node-{n}");
        cluster.set_node(&name, NodeFacts::new(&node(&name)?));
        for p in 0..THERE {
            let there = pod(&format!("there-{n}-{p}"), &format!("app-{}", p % 20), Some(&name))?;
            cluster.set_pod(&Arc::new(PodInfo::new(&there)));
        }
    }
    let siblings = Selector::new(Some(&serde_json::from_value(json!({"matchLabels": {"app": "web"}}))?));
    let pods: Vec<Pod> = (0..PLACED).map(|i| pod(&format!("new-{i}"), "web", None)).collect::<Result<_, _>>()?;
    let (mut planner, nominated, volumes) = (Planner::new(1), Nominations::default(), VolumeNeeds::default());
    let start = Instant::now();
    for pod in &pods {
        let info = PodInfo::new(pod);
        let request = Request { pod: &info, volumes: &volumes, siblings: Some(siblings.clone()) };
        let placed = planner.place(&mut cluster, &request, &nominated).map_err(|r| r.diagnosis.message())?;
        cluster.set_pod(&Arc::new(info.bound_to(&placed.node)));
    }
    let each = start.elapsed() / PLACED;
    println!("place: {NODES} nodes, {THERE} pods on each, {PLACED} placed: {each:?} a pod");
    Ok(())
}

//! `kill -9` in the middle of rollouts: after `isopod up` each goes on and ends right. One round here, as many as `ISOPOD_SOAK` says
//! under `cargo xtask soak`.
#![allow(
    clippy::type_complexity,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at what it did not expect"
)]

mod support;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use std::time::{Duration, Instant};
use support::Cluster;

const REPLICAS: i32 = 12;

fn rounds() -> u64 {
    std::env::var("ISOPOD_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

fn done(d: &Deployment) -> bool {
    let Some(status) = &d.status else { return false };
    let all = Some(REPLICAS);
    status.observed_generation == d.metadata.generation
        && status.updated_replicas == all
        && status.available_replicas == all
        && status.replicas == all
}

/// What the pods that are not ready look like, and what the server last said: why a rollout stands still.
async fn diagnosis(cluster: &Cluster) -> String {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client().await);
    let ready = |pod: &Pod| {
        let conditions = pod.status.iter().filter_map(|s| s.conditions.as_ref()).flatten();
        conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
    };
    let unready: Vec<_> = match pods.list(&ListParams::default()).await {
        Ok(all) => all.items.iter().filter(|p| !ready(p)).map(|p| serde_json::to_string(p).unwrap()).collect(),
        Err(error) => vec![error.to_string()],
    };
    let log = std::fs::read_to_string(cluster.data().join("log/server.log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().rev().take(40).collect();
    format!("not ready: {unready:#?}\nlog, newest first: {lines:#?}")
}

async fn rolled(cluster: &Cluster, deployments: &Api<Deployment>, round: u64) -> Deployment {
    let end = Instant::now() + Duration::from_secs(60);
    let mut last = None;
    while Instant::now() < end {
        match deployments.get("web").await {
            Ok(d) if done(&d) => return d,
            seen => last = Some(seen),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("round {round}: the rollout did not end; last seen {last:?}\n{}", diagnosis(cluster).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_killed_rollout_goes_on() {
    let cluster = Cluster::new(&["--hollow-nodes", "3"]);
    cluster.up();
    let client = cluster.client().await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let web = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {"isopod.dev/hollow-ready-delay": "50ms"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "web:v0"}]}
            }
        }
    });
    let web = serde_json::from_value(web).unwrap();
    deployments.create(&PostParams::default(), &web).await.unwrap();
    rolled(&cluster, &deployments, 0).await;
    for round in 1..=rounds() {
        let image = format!("web:v{round}");
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
        deployments.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
        // A different moment in each round.
        tokio::time::sleep(Duration::from_millis(round * 37 % 400)).await;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(cluster.pid()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        cluster.up();
        rolled(&cluster, &deployments, round).await;
        let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), "default");
        let scaled = sets.list(&ListParams::default()).await.unwrap().items;
        let scaled: Vec<_> = scaled.iter().filter(|s| s.spec.replicas != Some(0)).collect();
        assert_eq!(scaled.len(), 1, "round {round}: one ReplicaSet has all pods");
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        let running = pods.list(&ListParams::default()).await.unwrap().items;
        let leaving = running.iter().filter(|p| p.metadata.deletion_timestamp.is_some()).count();
        assert_eq!(running.len() - leaving, usize::try_from(REPLICAS).unwrap(), "round {round}: no pod too many");
    }
}

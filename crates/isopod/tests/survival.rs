//! `kill -9` of the whole control plane while real pods start, run and stop: no container is restarted that should not be, none is
//! orphaned, nothing leaks. Two rounds here, as many as `ISOPOD_SOAK` says under `cargo xtask soak`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]

mod support;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::Cluster;
use support::machine::{build_image, left_of, own_network};

fn rounds() -> u64 {
    std::env::var("ISOPOD_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> Result<(), String>) {
    let start = Instant::now();
    while let Err(last) = condition().await {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}: {last}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The container of each pod that is there to stay, by pod uid.
async fn containers(pods: &Api<Pod>) -> BTreeMap<String, (String, i32)> {
    let all = pods.list(&ListParams::default()).await.unwrap().items;
    let staying = all.into_iter().filter(|p| p.metadata.deletion_timestamp.is_none());
    let one = |p: Pod| {
        let status = p.status?.container_statuses?.into_iter().next()?;
        Some((p.metadata.uid?, (status.container_id?, status.restart_count)))
    };
    staying.filter_map(one).collect()
}

async fn settled(deployments: &Api<Deployment>, pods: &Api<Pod>, replicas: i32) {
    until("the rollout ends", async || {
        let web = deployments.get("web").await.map_err(|e| e.to_string())?;
        let status = web.status.clone().unwrap_or_default();
        let all = Some(replicas);
        let there = pods.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items.len();
        let done = status.observed_generation == web.metadata.generation
            && (status.updated_replicas, status.available_replicas, status.replicas) == (all, all, all)
            && i32::try_from(there) == Ok(replicas);
        if done { Ok(()) } else { Err(format!("{there} pods, {status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn soak_killed_while_containers_come_and_go() {
    own_network();
    let cluster = Cluster::new(&[]);
    cluster.up();
    build_image(&cluster);
    let client = cluster.client().await;
    let (deployments, pods): (Api<Deployment>, Api<Pod>) =
        (Api::namespaced(client.clone(), "default"), Api::namespaced(client, "default"));
    let web = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 2, "containers": [{"name": "web", "image": "web:v1"}]}
            }
        }
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(web).unwrap()).await.unwrap();
    settled(&deployments, &pods, 4).await;
    for round in 1..=rounds() {
        // New pods come and old ones go, or only some of each.
        let replicas = if round % 2 == 0 { 4 } else { 6 };
        let rolled = round % 3 != 1;
        let mut patch = json!({"spec": {"replicas": replicas}});
        if rolled {
            patch["spec"]["template"]["metadata"]["annotations"]["round"] = round.to_string().into();
        }
        let before = containers(&pods).await;
        deployments.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(round * 137 % 1500)).await;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(cluster.pid()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        // A process that is still dying would be taken for a running server.
        until("the killed server is gone", async || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") { Ok(()) } else { Err(state) }
        })
        .await;
        cluster.up();
        settled(&deployments, &pods, replicas).await;
        let after = containers(&pods).await;
        for (uid, (id, restarts)) in &after {
            assert_eq!(*restarts, 0, "round {round}: a container was restarted");
            assert!(before.get(uid).is_none_or(|(known, _)| known == id), "round {round}: a pod has another container");
        }
        if !rolled && replicas == 6 {
            assert!(before.keys().all(|uid| after.contains_key(uid)), "round {round}: a pod was replaced");
        }
        until("one sandbox a pod", async || {
            let sandboxes = std::fs::read_dir(cluster.data().join("runtime/sandboxes")).map_or(0, Iterator::count);
            if sandboxes == after.len() { Ok(()) } else { Err(format!("{sandboxes} sandboxes, {} pods", after.len())) }
        })
        .await;
    }
    deployments.delete("web", &DeleteParams::default()).await.unwrap();
    until("all pods are gone", async || {
        let left = pods.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
    })
    .await;
    cluster.isopod(&["delete"]);
    until("nothing is left on the machine", async || {
        let left = left_of(&cluster);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
    })
    .await;
}

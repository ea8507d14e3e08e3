//! Pods of real containers, measured from outside through HTTPS: how soon one runs and is ready, fifty at once, what each costs beside its
//! program, and the rebuild of an unchanged image. As root, in a network namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench may stop at what it did not expect"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::Cluster;
use support::figures::{ms, percentile, say};
use support::machine::{build_image, own_network};

/// One after the other.
const SINGLE: usize = 40;
/// At once.
const MANY: usize = 50;
/// A run with more than this is broken.
const PATIENCE: Duration = Duration::from_secs(120);

fn pod(name: &str) -> Pod {
    let container = json!({"name": "c", "image": "web:v1", "command": ["sleep", "1000000"]});
    let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container]});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running")
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Creates pods together; for each, the time until a watcher sees it running, and ready.
async fn start(pods: &Api<Pod>, names: &[String]) -> (Vec<Duration>, Vec<Duration>) {
    let version = pods.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = pods.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    let begun = Instant::now();
    let creates = names.iter().map(|name| async move {
        let at = Instant::now();
        pods.create(&PostParams::default(), &pod(name)).await.unwrap();
        (name.clone(), at)
    });
    let created = futures::future::join_all(creates);
    let seen = async {
        let (mut running, mut ready) = (BTreeMap::new(), BTreeMap::new());
        while ready.len() < names.len() {
            let event = tokio::time::timeout(PATIENCE, events.next()).await.expect("pods become ready");
            let Some(Ok(WatchEvent::Modified(pod))) = event else { continue };
            let name = pod.metadata.name.clone().unwrap();
            if is_running(&pod) {
                running.entry(name.clone()).or_insert_with(Instant::now);
            }
            if is_ready(&pod) {
                ready.entry(name).or_insert_with(Instant::now);
            }
        }
        (running, ready)
    };
    let (created, (running, ready)) = tokio::join!(created, seen);
    assert!(begun.elapsed() < PATIENCE);
    let since = |at: &BTreeMap<String, Instant>| {
        created.iter().map(|(name, from)| at[name].duration_since(*from)).collect::<Vec<_>>()
    };
    (since(&running), since(&ready))
}

async fn remove(pods: &Api<Pod>) {
    pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let begun = Instant::now();
    while !pods.list(&ListParams::default()).await.unwrap().items.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "pods go");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn one_by_one(pods: &Api<Pod>) {
    let (mut running, mut ready) = (Vec::new(), Vec::new());
    for i in 0..SINGLE {
        let (one, two) = start(pods, &[format!("single-{i}")]).await;
        running.extend(one);
        ready.extend(two);
        remove(pods).await;
    }
    for (what, mut times) in [("Running", running), ("Ready (aim: p50 under 150 ms)", ready)] {
        times.sort();
        let figure = format!(
            "{}, {}, {}",
            ms(percentile(&times, 0.5)),
            ms(percentile(&times, 0.9)),
            ms(percentile(&times, 1.0))
        );
        say(&format!("create to {what}, image present, {SINGLE} times: p50, p90, worst"), &figure);
    }
}

/// Proportional set size of the pods' supervisors, in MB: what is shared among them counts once. Those of another cluster of the same
/// binary would count as well: that is why their number is checked.
fn supervisors() -> (usize, f64) {
    let own = std::fs::canonicalize(env!("CARGO_BIN_EXE_isopod")).expect("the binary");
    let (mut count, mut kilobytes) = (0, 0.0);
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let program = std::fs::read_link(entry.path().join("exe")).ok();
        if !command.contains(" shim supervise") || program.as_ref() != Some(&own) {
            continue;
        }
        let rollup = std::fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|l| l.strip_prefix("Pss:")).unwrap_or_default();
        kilobytes += line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or_default();
        count += 1;
    }
    (count, kilobytes / 1024.0)
}

async fn together(cluster: &Cluster, pods: &Api<Pod>) {
    let before = support::memory_mb(cluster.pid(), "RssAnon:");
    let names: Vec<String> = (0..MANY).map(|i| format!("many-{i}")).collect();
    let (_, mut ready) = start(pods, &names).await;
    ready.sort();
    say(
        &format!("{MANY} pods created together, Ready: p50, all"),
        &format!("{}, {}", ms(percentile(&ready, 0.5)), ms(percentile(&ready, 1.0))),
    );
    let asked = Instant::now();
    let (count, megabytes) = loop {
        match supervisors() {
            // One that is just starting a program looks like two.
            (count, _) if count != MANY => assert!(asked.elapsed() < PATIENCE, "{count} supervisors of {MANY} pods"),
            one_each => break one_each,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let server = support::memory_mb(cluster.pid(), "RssAnon:") - before;
    let each = (megabytes + server) / MANY as f64;
    say(
        "memory per running pod beside its program (aim: under 4 MB)",
        &format!("{each:.2} MB ({count} supervisors {megabytes:.0} MB, server {server:+.0} MB)"),
    );
    let begun = Instant::now();
    remove(pods).await;
    say(&format!("{MANY} pods deleted with no grace, all gone"), &ms(begun.elapsed()));
}

fn rebuild(cluster: &Cluster) {
    let context = cluster.dir.path().join("web");
    let mut times: Vec<Duration> = (0..7)
        .map(|_| {
            let begun = Instant::now();
            cluster.isopod(&["build", "-t", "web:v1", context.to_str().unwrap()]);
            begun.elapsed()
        })
        .collect();
    times.sort();
    say(
        "rebuild of an unchanged image, 7 times: median, worst",
        &format!("{}, {}", ms(percentile(&times, 0.5)), ms(percentile(&times, 1.0))),
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    own_network();
    let cluster = Cluster::new(&[]);
    cluster.up();
    build_image(&cluster);
    let client = cluster.client().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    while accounts.get_opt("default").await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pods: Api<Pod> = Api::namespaced(client, "default");
    one_by_one(&pods).await;
    together(&cluster, &pods).await;
    rebuild(&cluster);
}

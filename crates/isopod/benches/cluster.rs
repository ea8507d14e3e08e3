//! The whole binary, measured from outside through HTTPS: start, memory, CPU, writes, reads, watches.
//!
//! Every figure is printed with its conditions; what a disk or a core can do at all is measured in the same run, so that
//! figures of different machines can be compared as ratios.
#![allow(
    clippy::type_complexity,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at what it did not expect"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::Cluster;
use support::figures::{ms, percentile, say};

const PODS: usize = 10_000;

fn fresh() -> (Cluster, Duration) {
    let cluster = Cluster::new(&[]);
    let took = cluster.up();
    (cluster, took)
}

fn start_up() {
    let mut times: Vec<Duration> = (0..7).map(|_| fresh().1).collect();
    times.sort();
    say(
        "isopod up to ready, fresh data directory, 7 times: median, worst",
        &format!("{}, {}", ms(percentile(&times, 0.5)), ms(percentile(&times, 1.0))),
    );
}

/// One writer, 1 KB a write, one fdatasync each: what the disk can do.
fn bare_disk(dir: &Path) -> f64 {
    let mut file = std::fs::File::create(dir.join("bare")).expect("a file");
    let begun = Instant::now();
    let mut writes = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        file.write_all(&[7; 1024]).and_then(|()| file.sync_data()).expect("the disk writes");
        writes += 1;
    }
    f64::from(writes) / begun.elapsed().as_secs_f64()
}

async fn creates(client: &kube::Client, disk: f64) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    for clients in [1usize, 16, 64] {
        let begun = Instant::now();
        let end = begun + Duration::from_secs(3);
        let done: usize = stream::iter(0..clients)
            .map(|c| {
                let maps = maps.clone();
                async move {
                    let mut n = 0;
                    while Instant::now() < end {
                        let map = json!({"metadata": {"name": format!("b-{clients}-{c}-{n}")}, "data": {"k": "x".repeat(600)}});
                        let map = serde_json::from_value(map).expect("a ConfigMap");
                        maps.create(&PostParams::default(), &map).await.expect("created");
                        n += 1;
                    }
                    n
                }
            })
            .buffer_unordered(clients)
            .fold(0, |sum, n| async move { sum + n })
            .await;
        let rate = done as f64 / begun.elapsed().as_secs_f64();
        say(
            &format!(
                "durable creates (1 KB ConfigMap, HTTPS), {clients} clients; ratio to bare fdatasync ({disk:.0}/s)"
            ),
            &format!("{rate:.0}/s, {:.2}", rate / disk),
        );
    }
}

fn pod(n: usize) -> Pod {
    let value = json!({
        "metadata": {"name": format!("pod-{n}"), "labels": {"app": format!("a{}", n % 10)}, "annotations": {"filler": "x".repeat(1500)}},
        // Nobody schedules them: only the store and the API are measured.
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "x", "env": [{"name": "E", "value": "y".repeat(300)}]}]}
    });
    serde_json::from_value(value).expect("a Pod")
}

async fn reads(client: &kube::Client, pid: u64) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let begun = Instant::now();
    stream::iter(0..PODS)
        .map(|n| {
            let pods = pods.clone();
            async move { pods.create(&PostParams::default(), &pod(n)).await.map(drop) }
        })
        .buffer_unordered(64)
        .try_collect::<()>()
        .await
        .expect("pods are created");
    say(&format!("{PODS} pods of 3 KB created by 64 clients"), &format!("{:.1} s", begun.elapsed().as_secs_f64()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    say(
        &format!("memory with {PODS} pods of 3 KB (aim: under 200 MB)"),
        &format!("{:.0} MB", support::memory_mb(pid, "VmRSS:")),
    );
    for (form, accept) in [("JSON", "application/json"), ("Table", "application/json;as=Table;g=meta.k8s.io;v=v1")] {
        let mut times = Vec::new();
        let mut size = 0;
        for _ in 0..5 {
            let request = http::Request::get("/api/v1/namespaces/default/pods")
                .header("accept", accept)
                .body(Vec::new())
                .expect("a request");
            let begun = Instant::now();
            size = client.request_text(request).await.expect("a list").len();
            times.push(begun.elapsed());
        }
        times.sort();
        say(
            &format!("list of {PODS} pods, {form}, {:.1} MB: median of 5", size as f64 / 1e6),
            &ms(percentile(&times, 0.5)),
        );
    }
    let mut times = Vec::new();
    for n in 0..500 {
        let begun = Instant::now();
        pods.get(&format!("pod-{n}")).await.expect("a pod");
        times.push(begun.elapsed());
    }
    times.sort();
    say(
        "get of one pod: p50, p99 of 500",
        &format!("{}, {}", ms(percentile(&times, 0.5)), ms(percentile(&times, 0.99))),
    );
    let few = pods.list(&ListParams::default().labels("app=a3")).await.expect("a list");
    assert_eq!(few.items.len(), PODS / 10);
}

/// From the request of a write to its event at the first of the watchers.
async fn watches(cluster: &Cluster, watchers: usize, slow: bool) {
    let client = cluster.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    let since = maps.list(&ListParams::default()).await.expect("a list").metadata.resource_version.expect("a version");
    let (send, mut seen) = tokio::sync::mpsc::channel::<(String, Instant)>(1024);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..watchers {
        let (maps, since, send) = (maps.clone(), since.clone(), send.clone());
        tasks.spawn(async move {
            let mut events = maps.watch(&WatchParams::default(), &since).await.expect("a watch").boxed();
            while let Some(Ok(event)) = events.next().await {
                if let (0, WatchEvent::Added(map)) = (n, event) {
                    let name = map.metadata.name.unwrap_or_default();
                    if send.send((name, Instant::now())).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
    let stuck = if slow { Some(maps.watch(&WatchParams::default(), &since).await.expect("a watch")) } else { None };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut times = Vec::new();
    for n in 0..200 {
        let name = format!("w-{watchers}-{slow}-{n}");
        let map = serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "x".repeat(2000)}}))
            .expect("a map");
        let begun = Instant::now();
        maps.create(&PostParams::default(), &map).await.expect("created");
        let (got, at) = seen.recv().await.expect("an event");
        assert_eq!(got, name);
        times.push(at.duration_since(begun));
    }
    times.sort();
    drop(stuck);
    let beside = if slow { " and one that never reads" } else { "" };
    say(
        &format!("write to its event, {watchers} watchers{beside}: p50, p99 of 200"),
        &format!("{}, {}", ms(percentile(&times, 0.5)), ms(percentile(&times, 0.99))),
    );
}

/// How long a program runs, whole: `get pods` of a cluster that has none.
fn command_times(program: &OsStr, cluster: &Cluster) -> Vec<Duration> {
    let run = || {
        let begun = Instant::now();
        let out = Command::new(program).args(["get", "pods"]).env("KUBECONFIG", cluster.kubeconfig()).output();
        let out = out.expect("it can be run");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        begun.elapsed()
    };
    run(); // reads the program from the disk, and fills kubectl's cache of what the server has
    let mut times: Vec<Duration> = (0..20).map(|_| run()).collect();
    times.sort();
    times
}

/// `KUBECTL` names the real one (`cargo xtask bench` fetches it).
fn commands(cluster: &Cluster) {
    let isopod = Path::new(env!("CARGO_BIN_EXE_isopod"));
    let size = isopod.metadata().expect("the binary").len() as f64 / 1e6;
    say("size of the stripped binary (aim: under 40 MB)", &format!("{size:.1} MB"));
    let ours = percentile(&command_times(isopod.as_os_str(), cluster), 0.5);
    say("isopod get pods, whole: median of 20", &ms(ours));
    match std::env::var_os("KUBECTL") {
        Some(kubectl) => {
            let theirs = percentile(&command_times(&kubectl, cluster), 0.5);
            let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
            say(
                "kubectl get pods, whole: median of 20; ratio (aim: under 0.3)",
                &format!("{}, {ratio:.2}", ms(theirs)),
            );
        }
        None => say("kubectl get pods, whole", "not compared: KUBECTL names none"),
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    println!(
        "isopod, release build, {} cores, this process and the server side by side",
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    start_up();
    let (cluster, _) = fresh();
    commands(&cluster);
    let pid = cluster.pid();
    tokio::time::sleep(Duration::from_secs(3)).await;
    say("memory idle (aim: under 60 MB)", &format!("{:.0} MB", support::memory_mb(pid, "VmRSS:")));
    let before = support::cpu_seconds(pid);
    tokio::time::sleep(Duration::from_secs(10)).await;
    say(
        "CPU idle over 10 s (aim: under 0.5 % of a core)",
        &format!("{:.2} %", (support::cpu_seconds(pid) - before) * 10.0),
    );
    let client = cluster.client().await;
    creates(&client, bare_disk(cluster.dir.path())).await;
    for (watchers, slow) in [(1, false), (1000, false), (1000, true)] {
        watches(&cluster, watchers, slow).await;
    }
    let (full, _) = fresh();
    reads(&full.client().await, full.pid()).await;
}

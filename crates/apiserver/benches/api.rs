//! What the API costs, in-process: `cargo bench -p isopod-apiserver`. `ISOPOD_BENCH_DIR` chooses the disk.
//!
//! CPU time of one write, all in (request, decoding, ownership, validation, store, watch cache); get and list of 10,000 pods of 3 KB
//! as JSON and as Table; memory with them; the time from a write to its event with 1 and 1,000 watchers, and with one beside
//! them that never reads.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "bench")]

use bytes::Bytes;
use futures::StreamExt;
use http::Request;
use http_body_util::{BodyExt, Full};
use isopod_apiserver::admission::Chain;
use isopod_apiserver::{ApiServer, Body, Config, UserInfo};
use isopod_store::embedded::{Embedded, Options};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::ServiceExt;

const PODS: usize = 10_000;
const CLIENTS: usize = 64;
const ROUNDS: usize = 200;

fn main() {
    // `cargo test` runs benches too, to see that they work; this one takes too long for that.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let at = match std::env::var_os("ISOPOD_BENCH_DIR") {
        Some(directory) => tempfile::tempdir_in(directory).unwrap(),
        None => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    };
    runtime.block_on(run(at.path()));
}

async fn run(at: &std::path::Path) {
    let store = Embedded::open(at, &Options::default()).unwrap();
    let config = Config { admission: Chain::default(), ..Config::default() };
    let server = ApiServer::new(config, Arc::new(store));
    let idle = resident();
    println!("{PODS} pods of {} bytes as sent, {CLIENTS} clients, on {}", pod(0).to_string().len(), at.display());

    measure("create", &server, |server, i| async move {
        send(&server, "POST", "/api/v1/namespaces/default/pods", "application/json", pod(i).to_string()).await;
    })
    .await;
    measure("bind", &server, |server, i| async move {
        let body = json!({"metadata": {"name": name(i)}, "target": {"kind": "Node", "name": "n"}}).to_string();
        let path = format!("/api/v1/namespaces/default/pods/{}/binding", name(i));
        send(&server, "POST", &path, "application/json", body).await;
    })
    .await;
    measure("patch status", &server, |server, i| async move {
        let path = format!("/api/v1/namespaces/default/pods/{}/status", name(i));
        send(&server, "PATCH", &path, "application/strategic-merge-patch+json", status().to_string()).await;
    })
    .await;
    println!("memory: {:.0} MB idle, {:.0} MB with the pods and their history", mb(idle), mb(resident()));

    let timed = |accept: &'static str, path: &'static str| {
        let server = Arc::clone(&server);
        async move {
            let start = Instant::now();
            let bytes = get(&server, path, accept).await;
            (start.elapsed(), bytes)
        }
    };
    for (what, accept) in [("JSON", "application/json"), ("Table", "application/json;as=Table;v=v1;g=meta.k8s.io")] {
        let (took, bytes) = timed(accept, "/api/v1/pods").await;
        println!("list of {PODS} pods as {what}: {} for {:.0} MB", show(took), mb(bytes));
    }
    let (took, _) = timed("application/json", "/api/v1/namespaces/default/pods/pod-00042").await;
    println!("get of one pod: {}", show(took));
    println!("memory after the lists: {:.0} MB", mb(resident()));

    let mut watchers = vec![];
    latency(&server, "1 watcher", &mut watchers, 1).await;
    latency(&server, "1,000 watchers", &mut watchers, 1000).await;
    let idle_watch = open(&server, "/api/v1/pods?watch=1&resourceVersion=0").await;
    latency(&server, "1,000 watchers and one that never reads", &mut watchers, 1000).await;
    drop(idle_watch);
}

/// The whole text of an answer, as it comes; its length.
async fn get(server: &Arc<ApiServer>, path: &str, accept: &str) -> usize {
    let mut request = Request::builder().uri(path).header("accept", accept).body(Full::<Bytes>::default()).unwrap();
    request.extensions_mut().insert(UserInfo::admin());
    let mut body = server.service().oneshot(request).await.unwrap().into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    bytes
}

async fn send(server: &Arc<ApiServer>, method: &str, path: &str, content_type: &str, body: String) {
    let request = Request::builder().method(method).uri(path).header("content-type", content_type);
    let mut request = request.header("user-agent", "bench/1").body(Full::new(Bytes::from(body))).unwrap();
    request.extensions_mut().insert(UserInfo::admin());
    let response = server.service().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{method} {path}: {}", String::from_utf8_lossy(&body));
}

async fn measure<F>(what: &str, server: &Arc<ApiServer>, write: impl Fn(Arc<ApiServer>, usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (start, cpu) = (Instant::now(), cpu());
    let writes = futures::stream::iter((0..PODS).map(|i| tokio::spawn(write(Arc::clone(server), i))));
    writes.buffer_unordered(CLIENTS).for_each(|done| async { done.unwrap() }).await;
    let (took, cpu) = (start.elapsed(), self::cpu() - cpu);
    let each = cpu / u32::try_from(PODS).unwrap();
    println!("{what}: {} of CPU each, {:.0}/s", show(each), PODS as f64 / took.as_secs_f64());
}

/// From the moment a write is sent to the moment its event is read, by the watcher opened last.
async fn latency(server: &Arc<ApiServer>, what: &str, watchers: &mut Vec<tokio::task::JoinHandle<()>>, count: usize) {
    while watchers.len() + 1 < count {
        let mut body = open(server, "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0").await;
        watchers.push(tokio::spawn(async move { while body.frame().await.is_some() {} }));
    }
    let mut body = open(server, "/api/v1/namespaces/default/configmaps?watch=1").await;
    let mut times = Vec::with_capacity(ROUNDS);
    for i in 0..ROUNDS {
        let map = json!({"metadata": {"generateName": "m-"}, "data": {"i": i.to_string()}}).to_string();
        let start = Instant::now();
        let sent = Arc::clone(server);
        let path = "/api/v1/namespaces/default/configmaps";
        let write = tokio::spawn(async move { send(&sent, "POST", path, "application/json", map).await });
        let mark = format!("\"i\":\"{i}\"");
        loop {
            let frame = body.frame().await.unwrap().unwrap();
            if String::from_utf8_lossy(frame.data_ref().unwrap()).contains(&mark) {
                break;
            }
        }
        times.push(start.elapsed());
        write.await.unwrap();
    }
    times.sort();
    println!("write to event, {what}: p50 {}, p99 {}", show(times[ROUNDS / 2]), show(times[ROUNDS * 99 / 100]));
    for _ in 0..1 {
        let path = "/api/v1/namespaces/default/configmaps";
        send(server, "DELETE", path, "application/json", String::new()).await;
    }
}

async fn open(server: &Arc<ApiServer>, path: &str) -> Body {
    let mut request = Request::builder().uri(path).body(Full::<Bytes>::default()).unwrap();
    request.extensions_mut().insert(UserInfo::admin());
    server.service().oneshot(request).await.unwrap().into_body()
}

fn name(i: usize) -> String {
    format!("pod-{i:05}")
}

/// As a ReplicaSet makes it: about 3 KB.
fn pod(i: usize) -> Value {
    let env: Vec<Value> = (0..25).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "x".repeat(40)})).collect();
    json!({"metadata": {"name": name(i), "labels": {"app": "web", "pod-template-hash": "6864657c7c"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6864657c7c",
                "uid": "2c399f0a-bd3e-4593-81ae-87e2a492c61a", "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"containers": [{"name": "web", "image": "registry.example/web:v4", "env": env,
            "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": 80, "path": "/healthz"}},
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}})
}

fn status() -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-11-23T01:29:51Z"});
    let conditions: Vec<Value> = ["Initialized", "Ready", "ContainersReady"].into_iter().map(condition).collect();
    json!({"status": {"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}], "hostIP": "10.0.0.1",
        "conditions": conditions,
        "containerStatuses": [{"name": "web", "ready": true, "restartCount": 0, "image": "registry.example/web:v4",
            "imageID": "sha256:00", "state": {"running": {"startedAt": "2026-11-23T01:29:51Z"}}}]}})
}

/// CPU time of this process so far, in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|i| fields[*i].parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

fn show(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

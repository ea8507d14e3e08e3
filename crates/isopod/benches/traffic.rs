//! How soon a pod gets connections once it is `Ready`, and how soon none any more once it is deleted: real containers behind a Service,
//! seen by a client that connects through the cluster IP without a pause. Needs root; everything is in a network namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench may stop at what it did not expect"
)]
#[path = "../tests/support/mod.rs"]
mod support;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Cluster, machine};

/// When a pod's first and last answered connections began.
type Seen = HashMap<String, (Instant, Instant)>;

/// Connects without a pause and writes down who answers.
struct Client {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Client {
    fn start(at: SocketAddr) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::new())), Arc::new(AtomicBool::new(false)));
        let (all, end) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !end.load(Ordering::Relaxed) {
                let began = Instant::now();
                let name = ask(at).expect("no request may fail");
                all.lock().unwrap().entry(name).and_modify(|(_, last)| *last = began).or_insert((began, began));
                count += 1;
            }
            count
        });
        Self { seen, stop, thread }
    }

    async fn seen(&self, name: &str) -> (Instant, Instant) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(seen) = self.seen.lock().unwrap().get(name) {
                return *seen;
            }
            assert!(Instant::now() < end, "{name} never answers");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The name of the pod that answers.
fn ask(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
    stream.write_all(b"GET /etc/hostname HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let name = answer.rsplit("\r\n\r\n").next().map(str::trim).filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| std::io::Error::other(format!("answered {answer:?}")))
}

/// Waits for a watch to show the pod as wanted; when it did.
async fn until(pods: &Api<Pod>, name: &str, wanted: impl Fn(&WatchEvent<Pod>) -> bool) -> Instant {
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = Box::pin(pods.watch(&params, "0").await.unwrap());
    while let Some(event) = events.try_next().await.unwrap() {
        if wanted(&event) {
            return Instant::now();
        }
    }
    panic!("the watch of {name} ended");
}

fn is_ready(event: &WatchEvent<Pod>) -> bool {
    let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { return false };
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": [{"name": "web", "image": "web:v1",
            "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}]}
    }))
    .unwrap()
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!("{what:<28} p50 {:>9.3?}  p99 {:>9.3?}  max {:>9.3?}  ({} pods)", at(50), at(99), at(100), times.len());
}

async fn measure(rounds: usize) {
    let cluster = Cluster::new(&[]);
    cluster.up();
    machine::build_image(&cluster);
    let client = cluster.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    let services: Api<Service> = Api::default_namespaced(client);
    let service = services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
    let address: IpAddr = service.spec.unwrap().cluster_ip.unwrap().parse().unwrap();
    pods.create(&PostParams::default(), &pod("stays")).await.unwrap();
    until(&pods, "stays", is_ready).await;
    let asking = Client::start(SocketAddr::new(address, 80));
    let (mut routable, mut unroutable) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let name = format!("comes-{round}");
        pods.create(&PostParams::default(), &pod(&name)).await.unwrap();
        let ready = until(&pods, &name, is_ready).await;
        let (first, _) = asking.seen(&name).await;
        // Before it was ready: it had to be, for the node to post it.
        routable.push(first.saturating_duration_since(ready));
        pods.delete(&name, &DeleteParams::default()).await.unwrap();
        let deleted = Instant::now();
        until(&pods, &name, |event| matches!(event, WatchEvent::Deleted(_))).await;
        let (_, last) = asking.seen(&name).await;
        unroutable.push(last.saturating_duration_since(deleted));
    }
    asking.stop.store(true, Ordering::Relaxed);
    let count = asking.thread.join().unwrap();
    print("Ready → first connection", routable);
    print("deleted → last connection", unroutable);
    println!("{count} connections by one client meanwhile, none failed");
}

fn main() {
    // `cargo test --benches` only looks whether it runs.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 50 } else { 1 };
    if !nix::unistd::Uid::effective().is_root() {
        return println!("needs root");
    }
    machine::own_network();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(rounds));
}

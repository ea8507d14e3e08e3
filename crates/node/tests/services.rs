//! The programmer against a real API server in this process and a kernel that is only written down: what is programmed when, how far
//! the node says it has come, and what it tells other nodes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]
use async_trait::async_trait;
use isopod_api::k8s::api::coordination::v1::Lease;
use isopod_api::k8s::api::core::v1::{Namespace, Node as Machine, Service};
use isopod_api::k8s::api::discovery::v1::EndpointSlice;
use isopod_apiserver::{ApiServer, Config, UserInfo};
use isopod_network::contract::{NetworkError, PortName, Protocol, Result, ServicePath, ServiceTable};
use isopod_node::drain::watermark::{LEASES, PROGRAMMED};
use isopod_node::services::{Listeners, Programmer, publish};
use isopod_reflect::Reflectors;
use isopod_store::embedded::{Embedded, Options};
use kube::api::{Api, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

const PATIENCE: Duration = Duration::from_secs(60);

/// Takes a table when it is allowed to, or refuses it.
struct Kernel {
    allowed: Semaphore,
    refusals: Mutex<usize>,
    table: Mutex<ServiceTable>,
}

#[async_trait]
impl ServicePath for Kernel {
    async fn program(&self, table: &ServiceTable) -> Result<()> {
        self.allowed.acquire().await.unwrap().forget();
        let mut refusals = self.refusals.lock();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(NetworkError::Invalid { context: "test".into(), message: "refused".into() });
        }
        *self.table.lock() = table.clone();
        Ok(())
    }
}

struct Node {
    client: kube::Client,
    reflectors: Reflectors,
    kernel: Arc<Kernel>,
    listeners: watch::Sender<Arc<Listeners>>,
    programmed: watch::Receiver<u64>,
    _directory: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path(), &Options::default()).unwrap();
        let api = ApiServer::new(Config::default(), Arc::new(store));
        let client = api.client(UserInfo::component("system:test"));
        for name in ["default", LEASES] {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        }
        let reflectors = Reflectors::new(client.clone());
        let kernel = Kernel { allowed: Semaphore::new(0), refusals: Mutex::new(0), table: Mutex::default() };
        let kernel = Arc::new(kernel);
        let (listeners, told) = watch::channel(Arc::default());
        let (tell, programmed) = watch::channel(0);
        let path: Arc<dyn ServicePath> = kernel.clone();
        tokio::spawn(Programmer::new("here", &reflectors, path, told).run(tell));
        Self { client, reflectors, kernel, listeners, programmed, _directory: directory }
    }

    async fn service(&self, name: &str, cluster_ip: &str) {
        let spec =
            json!({"selector": {"app": name}, "clusterIP": cluster_ip, "ports": [{"port": 80, "targetPort": 8080}]});
        let service = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        let api: Api<Service> = Api::namespaced(self.client.clone(), "default");
        api.create(&PostParams::default(), &service).await.unwrap();
    }

    /// Creates or replaces a slice; its version.
    async fn slice(&self, service: &str, addresses: &[&str]) -> u64 {
        let endpoints: Vec<Value> = addresses.iter().map(|a| json!({"addresses": [a], "nodeName": "here"})).collect();
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{service}-1"), "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": [{"name": "", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints});
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), "default");
        let patch = Patch::Apply(slice);
        let done = api.patch(&format!("{service}-1"), &PatchParams::apply("test").force(), &patch).await.unwrap();
        done.metadata.resource_version.unwrap().parse().unwrap()
    }

    fn allow(&self, tables: usize) {
        self.kernel.allowed.add_permits(tables);
    }

    async fn reached(&self, version: u64) {
        let mut programmed = self.programmed.clone();
        let reached = programmed.wait_for(|held| *held >= version);
        tokio::time::timeout(PATIENCE, reached).await.expect("not programmed").unwrap();
    }

    fn endpoints(&self, service: &str) -> Option<Vec<String>> {
        let table = self.kernel.table.lock();
        let port = table.ports.get(&name(service))?;
        Some(port.endpoints.iter().map(|e| e.address.to_string()).collect())
    }
}

fn name(service: &str) -> PortName {
    PortName { namespace: "default".into(), service: service.into(), port: String::new(), protocol: Protocol::Tcp }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watermark_rises_when_the_kernel_has_answered() {
    let node = Node::start().await;
    node.service("web", "10.0.0.20").await;
    let first = node.slice("web", &["10.1.0.2", "10.1.0.3"]).await;
    assert_eq!(*node.programmed.borrow(), 0, "the kernel has said nothing yet");
    node.allow(1000);
    node.reached(first).await;
    assert_eq!(node.endpoints("web").unwrap(), ["10.1.0.2:8080", "10.1.0.3:8080"]);

    // Each change is in the kernel when its version is reached; a refusal is tried again and acknowledges nothing.
    *node.kernel.refusals.lock() = 1;
    let second = node.slice("web", &["10.1.0.3"]).await;
    node.reached(second).await;
    assert_eq!(*node.kernel.refusals.lock(), 0);
    assert_eq!(node.endpoints("web").unwrap(), ["10.1.0.3:8080"]);

    // Another Service changes; a Service goes although its slice is still there.
    let other = node.slice("other", &["10.1.0.4"]).await;
    node.reached(other).await;
    assert_eq!(node.endpoints("other"), None, "no such Service yet");
    node.service("other", "10.0.0.21").await;
    let last = node.slice("web", &["10.1.0.5"]).await;
    node.reached(last).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while node.endpoints("other").is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the Service does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.endpoints("other").unwrap(), ["10.1.0.4:8080"]);
    let services: Api<Service> = Api::namespaced(node.client.clone(), "default");
    services.delete("other", &Default::default()).await.unwrap();
    while node.endpoints("other").is_some() {
        assert!(tokio::time::Instant::now() < deadline, "the Service does not go");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.endpoints("web").unwrap(), ["10.1.0.5:8080"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_of_the_proxy_is_used_as_long_as_it_is_there() {
    let node = Node::start().await;
    node.allow(1000);
    node.service("web", "10.0.0.20").await;
    let version = node.slice("web", &["10.1.0.2"]).await;
    node.reached(version).await;
    let proxy = "10.1.0.1:40000".parse().unwrap();
    for listeners in [Listeners::from([(name("web"), proxy)]), Listeners::new()] {
        let wanted = listeners.get(&name("web")).copied();
        node.listeners.send(Arc::new(listeners)).unwrap();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while node.kernel.table.lock().ports.get(&name("web")).unwrap().proxy != wanted {
            assert!(tokio::time::Instant::now() < deadline, "not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_for_the_nodes_zone_are_preferred_from_when_it_has_one() {
    let node = Node::start().await;
    node.allow(1000);
    node.service("web", "10.0.0.20").await;
    let machines: Api<Machine> = Api::all(node.client.clone());
    let machine = serde_json::from_value(json!({"metadata": {"name": "here"}})).unwrap();
    machines.create(&PostParams::default(), &machine).await.unwrap();
    let endpoints: Vec<Value> = [("10.1.0.2", "a"), ("10.1.1.3", "b")]
        .map(|(address, zone)| json!({"addresses": [address], "hints": {"forZones": [{"name": zone}]}}))
        .into();
    let slice = json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints});
    let slices: Api<EndpointSlice> = Api::namespaced(node.client.clone(), "default");
    let made = slices.create(&PostParams::default(), &serde_json::from_value(slice).unwrap()).await.unwrap();
    node.reached(made.metadata.resource_version.unwrap().parse().unwrap()).await;
    assert_eq!(node.endpoints("web").unwrap(), ["10.1.0.2:8080", "10.1.1.3:8080"], "its zone is not known");
    for (zone, expected) in [(json!("b"), vec!["10.1.1.3:8080"]), (json!("a"), vec!["10.1.0.2:8080"])] {
        let label = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
        machines.patch("here", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while node.endpoints("web").unwrap() != expected {
            assert!(tokio::time::Instant::now() < deadline, "not {expected:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_nodes_are_told_while_there_are_any() {
    let node = Node::start().await;
    let leases: Api<Lease> = Api::namespaced(node.client.clone(), LEASES);
    let lease = |name: &str, annotations: Value| {
        serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}})).unwrap()
    };
    let told = async |value: u64| {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let lease = leases.get("here").await.unwrap();
            let held = lease.metadata.annotations.unwrap_or_default().get(PROGRAMMED).cloned();
            if held == Some(value.to_string()) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{held:?} instead of {value}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (tell, programmed) = watch::channel(0);
    let (client, reflectors) = (node.client.clone(), node.reflectors.clone());
    let publisher = tokio::spawn(async move { publish("here", client, &reflectors, programmed).await });
    // the Lease comes later than the first value
    tell.send(5).unwrap();
    leases.create(&PostParams::default(), &lease("here", json!({}))).await.unwrap();
    told(5).await;
    // alone: the next value is kept back until somebody could wait for it
    leases.create(&PostParams::default(), &lease("hollow", json!({}))).await.unwrap();
    tell.send(6).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    told(5).await;
    leases.create(&PostParams::default(), &lease("there", json!({PROGRAMMED: "3"}))).await.unwrap();
    told(6).await;
    tell.send(7).unwrap();
    told(7).await;
    drop(tell);
    tokio::time::timeout(PATIENCE, publisher).await.unwrap().unwrap();
}

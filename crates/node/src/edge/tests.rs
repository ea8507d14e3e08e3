//! The feeds against a real API server in this process: what the edge process would know.
use super::{Told, feed_dns, feed_proxy};
use async_trait::async_trait;
use isopod_apiserver::{ApiServer, Config, UserInfo};
use isopod_network::contract::{NetworkError, PortName};
use isopod_network::dns::Change;
use isopod_network::dns::zone::{Record, Zone};
use isopod_network::proxy::Backends;
use isopod_reflect::Reflectors;
use isopod_store::embedded::{Embedded, Options};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// An edge process in miniature. Takes nothing while it `fails`.
#[derive(Default)]
struct Edge {
    zone: Mutex<Zone>,
    ports: Mutex<BTreeMap<PortName, Backends>>,
    fails: Mutex<bool>,
}

impl Edge {
    fn refuse(&self) -> Result<(), NetworkError> {
        let message = "not now".to_owned();
        if *self.fails.lock() { Err(NetworkError::Invalid { context: "edge".into(), message }) } else { Ok(()) }
    }
}

#[async_trait]
impl Told for Edge {
    async fn dns(&self, replace: bool, changes: Vec<Change>) -> Result<(), NetworkError> {
        self.refuse()?;
        let mut zone = self.zone.lock();
        if replace {
            *zone = Zone::default();
        }
        changes.into_iter().for_each(|c| zone.apply(c));
        Ok(())
    }

    async fn proxy(&self, replace: bool, changes: Vec<(PortName, Option<Backends>)>) -> Result<(), NetworkError> {
        self.refuse()?;
        let mut ports = self.ports.lock();
        if replace {
            ports.clear();
        }
        for (name, backends) in changes {
            match backends {
                Some(backends) => drop(ports.insert(name, backends)),
                None => drop(ports.remove(&name)),
            }
        }
        Ok(())
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn made<T: serde::de::DeserializeOwned>(object: serde_json::Value) -> T {
    serde_json::from_value(object).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_is_told_and_what_was_refused_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path(), &Options::default()).unwrap();
    let client = ApiServer::new(Config::default(), Arc::new(store)).client(UserInfo::component("system:test"));
    let create = PostParams::default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&create, &made(json!({"metadata": {"name": "ns"}}))).await.unwrap();
    let (services, slices): (Api<Service>, Api<EndpointSlice>) =
        (Api::namespaced(client.clone(), "ns"), Api::namespaced(client.clone(), "ns"));
    let headless = json!({"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "ports": [{"port": 3306}]}});
    services.create(&create, &made(headless)).await.unwrap();

    let (edge, reflectors) = (Arc::new(Edge::default()), Reflectors::new(client));
    let (tell, programmed) = watch::channel(0);
    let feeds = {
        let (edge, reflectors) = (Arc::clone(&edge), reflectors.clone());
        tokio::spawn(async move {
            tokio::join!(
                feed_dns(&reflectors, Arc::clone(&edge) as _),
                feed_proxy("here", &reflectors, Arc::clone(&edge) as _, tell)
            )
        })
    };
    until("known from before", || edge.zone.lock().get("ns", "db").is_some()).await;
    assert!(edge.zone.lock().has_namespace("ns"));

    let external = json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80, "appProtocol": "http"}]}});
    services.create(&create, &made(external)).await.unwrap();
    let slice = |endpoints: &[&str]| {
        let endpoints: Vec<_> =
            endpoints.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "db-1", "labels": {"kubernetes.io/service-name": "db"}}, "addressType": "IPv4",
            "ports": [{"name": "", "port": 3306, "protocol": "TCP"}], "endpoints": endpoints})
    };
    let addresses = || match edge.zone.lock().get("ns", "db") {
        Some(Record::Headless { endpoints }) => endpoints.iter().map(|e| e.address.to_string()).collect(),
        other => vec![format!("{other:?}")],
    };
    let first = slices.create(&create, &made(slice(&["10.1.0.2"]))).await.unwrap();
    until("its first endpoint", || addresses() == ["10.1.0.2"]).await;
    let version = first.metadata.resource_version.unwrap().parse::<u64>().unwrap();
    until("the watermark", || *programmed.borrow() >= version).await;

    *edge.fails.lock() = true;
    let apply = PatchParams::apply("test").force();
    slices.patch("db-1", &apply, &Patch::Apply(slice(&["10.1.0.2", "10.1.0.3"]))).await.unwrap();
    services.delete("web", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(addresses(), ["10.1.0.2"]);
    *edge.fails.lock() = false;
    until("what was refused", || addresses() == ["10.1.0.2", "10.1.0.3"]).await;
    until("what is gone", || edge.zone.lock().get("ns", "web").is_none()).await;
    feeds.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watermark_waits_for_the_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path(), &Options::default()).unwrap();
    let client = ApiServer::new(Config::default(), Arc::new(store)).client(UserInfo::component("system:test"));
    let create = PostParams::default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&create, &made(json!({"metadata": {"name": "ns"}}))).await.unwrap();
    let (services, slices): (Api<Service>, Api<EndpointSlice>) =
        (Api::namespaced(client.clone(), "ns"), Api::namespaced(client.clone(), "ns"));
    let web = json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80, "appProtocol": "http"}]}});
    services.create(&create, &made(web)).await.unwrap();
    let slice = json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": [{"addresses": ["10.1.0.2"]}]});
    let slice = slices.create(&create, &made(slice)).await.unwrap();
    let version = slice.metadata.resource_version.unwrap().parse::<u64>().unwrap();

    let edge = Arc::new(Edge::default());
    *edge.fails.lock() = true;
    let (tell, programmed) = watch::channel(0);
    let (reflectors, told) = (Reflectors::new(client), Arc::clone(&edge));
    let feed = tokio::spawn(async move { feed_proxy("here", &reflectors, told, tell).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(*programmed.borrow(), 0, "nothing is acknowledged that is not so");
    *edge.fails.lock() = false;
    until("the watermark", || *programmed.borrow() >= version).await;
    let ports = edge.ports.lock();
    let (name, backends) = ports.iter().next().unwrap();
    assert_eq!((name.service.as_str(), backends.endpoints[0].address), ("web", "10.1.0.2:8080".parse().unwrap()));
    drop(ports);
    feed.abort();
}

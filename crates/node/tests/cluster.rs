//! Scheduler and hollow nodes against a real API server in this process: pods go all the way, and say why when they do not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test may stop at what it did not expect"
)]
use isopod_api::k8s::api::core::v1::{Event, Namespace, Node, Pod};
use isopod_apiserver::{ApiServer, Config, UserInfo};
use isopod_node::hollow::{self, HollowConfig};
use isopod_reflect::Reflectors;
use isopod_store::embedded::{Embedded, Options};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

struct Cluster {
    api: Arc<ApiServer>,
    pods: Api<Pod>,
    shutdown: CancellationToken,
    parts: Vec<tokio::task::JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Cluster {
    async fn start(config: HollowConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path(), &Options::default()).unwrap();
        let api = ApiServer::new(Config::default(), Arc::new(store));
        let client = api.client(UserInfo::component("system:test"));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for name in ["default", "kube-node-lease"] {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        }
        let shutdown = CancellationToken::new();
        let reflectors = Reflectors::new(client.clone());
        let of_node = Arc::clone(&api);
        let clients = move |name: &str| of_node.client(UserInfo::node(name));
        let nodes = tokio::spawn(hollow::run(clients, reflectors.clone(), config, shutdown.clone()));
        let scheduler = api.client(UserInfo::component("system:kube-scheduler"));
        let scheduler = tokio::spawn(isopod_scheduler::run(scheduler, reflectors, shutdown.clone()));
        let pods = Api::namespaced(client, "default");
        Self { api, pods, shutdown, parts: vec![nodes, scheduler], _directory: directory }
    }

    fn client(&self) -> kube::Client {
        self.api.client(UserInfo::component("system:test"))
    }

    async fn create(&self, name: &str, with: Value) {
        let mut pod = json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "web:v1"}]}});
        merge(&mut pod, &with);
        self.pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    /// Waits until the pods are as wanted; tells the last it saw if that takes too long.
    async fn until(&self, what: &str, wanted: impl Fn(&[Pod]) -> bool) -> Vec<Pod> {
        let start = Instant::now();
        loop {
            let seen = self.pods.list(&ListParams::default()).await.unwrap().items;
            if wanted(&seen) {
                return seen;
            }
            if start.elapsed() > Duration::from_secs(60) {
                let status: Vec<_> = seen.iter().take(3).map(|p| serde_json::to_string(&p.status).unwrap()).collect();
                panic!("{what}: {} pods, the first {status:#?}", seen.len());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for part in self.parts {
            part.await.unwrap();
        }
    }
}

fn merge(to: &mut Value, with: &Value) {
    match (to, with) {
        (Value::Object(to), Value::Object(with)) => {
            for (key, value) in with {
                merge(to.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (to, with) => *to = with.clone(),
    }
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a isopod_api::k8s::api::core::v1::PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

fn named<'a>(pods: &'a [Pod], name: &str) -> Option<&'a Pod> {
    pods.iter().find(|p| p.metadata.name.as_deref() == Some(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_become_ready_and_go() {
    const PODS: usize = 200;
    let cluster = Cluster::start(HollowConfig { count: 5, ..HollowConfig::default() }).await;
    let start = Instant::now();
    for i in 0..PODS {
        cluster.create(&format!("web-{i}"), json!({})).await;
    }
    let pods = cluster.until("all ready", |pods| pods.len() == PODS && pods.iter().all(is_ready)).await;
    println!("{PODS} pods made and ready in {:?}", start.elapsed());
    let mut addresses = std::collections::HashSet::new();
    for pod in &pods {
        let status = pod.status.as_ref().unwrap();
        // Some were refused first, for want of nodes: that must not be said after they were bound.
        assert_eq!(condition(pod, "PodScheduled").unwrap().status, "True");
        assert_eq!((status.phase.as_deref(), status.qos_class.as_deref()), (Some("Running"), Some("BestEffort")));
        assert!(addresses.insert(status.pod_ip.clone().unwrap()), "an address twice");
    }
    let nodes: Api<Node> = Api::all(cluster.client());
    for node in nodes.list(&ListParams::default()).await.unwrap() {
        let name = node.metadata.name.unwrap();
        let there = pods.iter().filter(|p| p.spec.as_ref().unwrap().node_name.as_ref() == Some(&name)).count();
        // Whoever registers first is a few pods ahead, and nodes of equal score are chosen between by lot.
        assert!(there.abs_diff(PODS / 5) <= PODS / 20, "evenly spread: {name} has {there} of {PODS}");
    }
    cluster.pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    cluster.until("all gone", <[Pod]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_says_why_and_is_placed_when_it_fits() {
    let cluster = Cluster::start(HollowConfig { count: 1, cpu: "2".into(), ..HollowConfig::default() }).await;
    let asks = |cpu: &str, priority: i32| json!({"spec": {"priority": priority, "containers": [{"name": "c", "image": "web:v1", "resources": {"requests": {"cpu": cpu}}}]}});
    cluster.create("first", asks("2", 0)).await;
    cluster.until("first ready", |pods| named(pods, "first").is_some_and(is_ready)).await;
    cluster.create("second", asks("1", 0)).await;
    let refused = |pods: &[Pod]| {
        named(pods, "second").and_then(|p| condition(p, "PodScheduled")).is_some_and(|c| c.status == "False")
    };
    let pods = cluster.until("second refused", refused).await;
    let told = condition(named(&pods, "second").unwrap(), "PodScheduled").unwrap();
    let message = "0/1 nodes are available: 1 Insufficient cpu. \
                   no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    assert_eq!((told.reason.as_deref(), told.message.as_deref()), (Some("Unschedulable"), Some(message)));
    let events: Api<Event> = Api::namespaced(cluster.client(), "default");
    let start = Instant::now();
    loop {
        let all = events.list(&ListParams::default()).await.unwrap().items;
        let said = |reason: &str, text: &str| {
            all.iter().any(|e| e.reason.as_deref() == Some(reason) && e.message.as_deref() == Some(text))
        };
        if said("FailedScheduling", message) && said("Scheduled", "Successfully assigned default/first to hollow-0") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{all:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.pods.delete("first", &DeleteParams::default()).await.unwrap();
    cluster.until("second ready", |pods| named(pods, "second").is_some_and(is_ready)).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_important_pod_takes_the_room_of_others() {
    let cluster = Cluster::start(HollowConfig { count: 2, cpu: "2".into(), ..HollowConfig::default() }).await;
    let asks = |cpu: &str| json!({"spec": {"containers": [{"name": "c", "image": "web:v1", "resources": {"requests": {"cpu": cpu}}}]}});
    let classes: Api<isopod_api::k8s::api::scheduling::v1::PriorityClass> = Api::all(cluster.client());
    let class = serde_json::from_value(json!({"metadata": {"name": "high"}, "value": 1000})).unwrap();
    classes.create(&PostParams::default(), &class).await.unwrap();
    for name in ["a", "b"] {
        cluster.create(name, asks("2")).await;
    }
    cluster.until("a and b ready", |pods| pods.len() == 2 && pods.iter().all(is_ready)).await;
    let mut vip = asks("1500m");
    // Priority admission fills this in from the class; this API server runs without it.
    merge(&mut vip, &json!({"spec": {"priority": 1000, "priorityClassName": "high"}}));
    cluster.create("vip", vip).await;
    let pods = cluster.until("vip ready", |pods| named(pods, "vip").is_some_and(is_ready)).await;
    assert_eq!(pods.len(), 2, "one of the others is gone");
    let events: Api<Event> = Api::namespaced(cluster.client(), "default");
    let preempted = || async {
        events
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .into_iter()
            .any(|e| e.reason.as_deref() == Some("Preempted"))
    };
    let start = Instant::now();
    while !preempted().await {
        assert!(start.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.stop().await;
}

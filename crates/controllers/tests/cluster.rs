//! All controllers together over a real API server in this process, with a node that starts and stops pods at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test may stop at what it did not expect"
)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]
use isopod_apiserver::endpoints::Discovery;
use isopod_apiserver::{ApiServer, UserInfo};
use isopod_reflect::{Reflector, Reflectors};
use isopod_store::embedded::{Embedded, Options};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, Pod, ReplicationController, ResourceQuota, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

struct Cluster {
    client: kube::Client,
    reflectors: Reflectors,
    shutdown: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Cluster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path(), &Options::default()).unwrap();
        let mut config = isopod_apiserver::Config::default();
        config.endpoints = vec![Arc::new(Discovery::new(&config.kinds))];
        let server = ApiServer::new(config, Arc::new(store));
        server.ready().await.unwrap();
        let client = server.client(UserInfo::admin());
        let reflectors = Reflectors::new(client.clone());
        let shutdown = CancellationToken::new();
        let config = isopod_controllers::Config { root_ca: Some("PEM".into()) };
        let clients = move |name: &str| {
            let user = format!("system:serviceaccount:kube-system:{name}");
            server.client(UserInfo::new(user, &["system:masters", "system:authenticated"]))
        };
        tokio::spawn(isopod_controllers::run_all(clients, reflectors.clone(), config, shutdown.clone()));
        tokio::spawn(kubelet(client.clone(), reflectors.clone()));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for name in ["kube-system", "ns"] {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            let made = namespaces.create(&PostParams::default(), &namespace).await;
            assert!(made.is_ok() || matches!(&made, Err(kube::Error::Api(s)) if s.code == 409), "{made:?}");
        }
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "node"},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": jiff::Timestamp::now()}]}}))
        .unwrap();
        Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await.unwrap();
        Self { client, reflectors, shutdown, _directory: directory }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "ns")
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + serde::Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    fn mirror<K>(&self) -> Reflector<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        self.reflectors.of()
    }

    async fn set_image(&self, image: &str) {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
        self.api::<Deployment>().patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    }

    async fn rolled_out(&self, replicas: i32) {
        let deployments = self.mirror::<Deployment>();
        let generation = self.api::<Deployment>().get("web").await.unwrap().metadata.generation;
        wait("rollout", || {
            let d = deployments.get("ns", "web");
            let Some(d) = d else { return Err("no deployment".into()) };
            let s = d.status.clone().unwrap_or_default();
            let done = s.observed_generation == generation
                && [s.replicas, s.updated_replicas, s.available_replicas] == [Some(replicas); 3];
            if done { Ok(()) } else { Err(format!("{s:?}")) }
        })
        .await;
    }
}

/// Waits for a condition; prints the last state seen when it does not come.
async fn wait(what: &str, check: impl Fn() -> Result<(), String>) {
    let start = Instant::now();
    loop {
        match check() {
            Ok(()) => return,
            Err(state) if start.elapsed() > Duration::from_secs(30) => panic!("{what}: still {state}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Binds, starts and stops pods.
async fn kubelet(client: kube::Client, reflectors: Reflectors) {
    let pods = reflectors.of::<Pod>();
    let mut changes = pods.subscribe();
    let mut address = 0u32;
    while let Some(batch) = changes.next_batch().await {
        for pod in batch.into_iter().filter_map(|c| c.new) {
            address += 1;
            let ip = format!("10.{}.{}.{}", address >> 16 & 255, address >> 8 & 255, address & 255);
            // Conflicts and absences bring another event.
            tokio::spawn(tend(client.clone(), pod, ip));
        }
    }
}

async fn tend(client: kube::Client, pod: Arc<Pod>, ip: String) {
    let name = pod.metadata.name.as_deref().unwrap();
    let api: Api<Pod> = Api::namespaced(client, pod.metadata.namespace.as_deref().unwrap());
    let status = pod.status.clone().unwrap_or_default();
    if pod.spec.as_ref().unwrap().node_name.is_none() {
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": "node"}});
        let binding = serde_json::to_vec(&binding).unwrap();
        let _raced = api
            .create_subresource::<Value, Value>(
                "binding",
                name,
                &PostParams::default(),
                &serde_json::from_slice(&binding).unwrap(),
            )
            .await;
    } else if pod.metadata.deletion_timestamp.is_some() {
        let _raced = api.delete(name, &DeleteParams::default().grace_period(0)).await;
    } else if status.phase.as_deref() == Some("Pending") {
        let mut new = (*pod).clone();
        let ready = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": jiff::Timestamp::now()});
        new.status = serde_json::from_value(json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [ready("Ready"), ready("ContainersReady")]}))
        .unwrap();
        let _raced = api.replace_status(name, &PostParams::default(), &new).await;
    }
}

fn web(replicas: i32) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "v1", "ports": [{"containerPort": 80, "name": "http"}]}]}}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_lives() {
    let c = Cluster::start().await;
    c.create::<Deployment>(web(4)).await;
    c.create::<Service>(json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "clusterIP": "None",
        "ports": [{"port": 80, "targetPort": "http"}]}}))
        .await;
    c.rolled_out(4).await;
    let slices = c.mirror::<EndpointSlice>();
    let endpoints = c.mirror::<Endpoints>();
    let ready = || {
        let all = slices.list_in("ns");
        all.iter()
            .flat_map(|s| s.endpoints.iter().flatten())
            .filter(|e| e.conditions.as_ref().unwrap().ready == Some(true))
            .count()
    };
    wait("four endpoints", || if ready() == 4 { Ok(()) } else { Err(format!("{:?}", slices.list_in("ns"))) }).await;
    wait("four addresses", || {
        let e = endpoints.get("ns", "web");
        let n = e.iter().flat_map(|e| e.subsets.iter().flatten()).flat_map(|s| s.addresses.iter().flatten()).count();
        if n == 4 { Ok(()) } else { Err(format!("{e:?}")) }
    })
    .await;

    c.set_image("v2").await;
    c.rolled_out(4).await;
    let sets = c.mirror::<ReplicaSet>();
    assert_eq!(sets.list_in("ns").len(), 2);
    let revision = || {
        c.mirror::<Deployment>().get("ns", "web").unwrap().metadata.annotations.clone().unwrap()["deployment.kubernetes.io/revision"].clone()
    };
    assert_eq!(revision(), "2");
    c.set_image("v1").await;
    c.rolled_out(4).await;
    wait("revision 3", || if revision() == "3" { Ok(()) } else { Err(revision()) }).await;
    assert_eq!(sets.list_in("ns").len(), 2, "the old set is used again");
    let conditions: Vec<String> = c
        .mirror::<Deployment>()
        .get("ns", "web")
        .unwrap()
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .map(|c| format!("{} {}", c.type_.as_deref().unwrap(), c.reason.as_deref().unwrap()))
        .collect();
    assert_eq!(conditions, ["Available MinimumReplicasAvailable", "Progressing NewReplicaSetAvailable"]);

    // At rest nobody writes. Pods on their way out are still told of (`terminatingReplicas`).
    let leaving =
        || c.mirror::<Deployment>().get("ns", "web").unwrap().status.as_ref().and_then(|s| s.terminating_replicas);
    wait("no pod leaves", || if leaving() == Some(0) { Ok(()) } else { Err(format!("{:?}", leaving())) }).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let version = |c: &Cluster| c.mirror::<Deployment>().get("ns", "web").unwrap().metadata.resource_version.clone();
    let before = version(&c);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(before, version(&c));

    c.api::<Deployment>().delete("web", &DeleteParams::background()).await.unwrap();
    let pods = c.mirror::<Pod>();
    wait("all gone", || {
        let left = (sets.list_in("ns").len(), pods.list_in("ns").len(), ready());
        if left == (0, 0, 0) { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_in_all_three_ways() {
    let c = Cluster::start().await;
    let (sets, pods) = (c.mirror::<ReplicaSet>(), c.mirror::<Pod>());
    for policy in [PropagationPolicy::Foreground, PropagationPolicy::Background] {
        c.create::<Deployment>(web(3)).await;
        c.rolled_out(3).await;
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        c.api::<Deployment>().delete("web", &params).await.unwrap();
        let deployments = c.mirror::<Deployment>();
        wait("all gone", || {
            let left = (deployments.len(), sets.list_in("ns").len(), pods.list_in("ns").len());
            if left == (0, 0, 0) { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }
    c.create::<Deployment>(web(3)).await;
    c.rolled_out(3).await;
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    c.api::<Deployment>().delete("web", &orphan).await.unwrap();
    let deployments = c.mirror::<Deployment>();
    wait("orphans", || {
        let free = sets.list_in("ns").iter().all(|rs| rs.metadata.owner_references.iter().flatten().count() == 0);
        if deployments.is_empty() && free { Ok(()) } else { Err(format!("{} {free}", deployments.len())) }
    })
    .await;
    assert_eq!((sets.list_in("ns").len(), pods.list_in("ns").len()), (1, 3));
    // A Deployment of the same template takes them over again, without a new pod.
    let before: Vec<_> = pods.list_in("ns").iter().map(|p| p.metadata.uid.clone()).collect();
    c.create::<Deployment>(web(3)).await;
    c.rolled_out(3).await;
    assert!(pods.list_in("ns").iter().all(|p| before.contains(&p.metadata.uid)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_has_what_it_needs_and_goes_whole() {
    let c = Cluster::start().await;
    let (accounts, maps) = (c.mirror::<ServiceAccount>(), c.mirror::<ConfigMap>());
    wait("account and CA", || {
        let there = (accounts.get("ns", "default").is_some(), maps.get("ns", "kube-root-ca.crt").is_some());
        if there == (true, true) { Ok(()) } else { Err(format!("{there:?}")) }
    })
    .await;
    c.create::<Deployment>(web(3)).await;
    c.create::<ReplicationController>(
        json!({"metadata": {"name": "old"}, "spec": {"replicas": 2, "selector": {"app": "old"},
        "template": {"metadata": {"labels": {"app": "old"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}}}),
    )
    .await;
    c.rolled_out(3).await;
    let pods = c.mirror::<Pod>();
    wait("five pods", || if pods.list_in("ns").len() == 5 { Ok(()) } else { Err(pods.len().to_string()) }).await;
    Api::<Namespace>::all(c.client.clone()).delete("ns", &DeleteParams::default()).await.unwrap();
    let namespaces = c.mirror::<Namespace>();
    let deployments = c.mirror::<Deployment>();
    wait("the namespace is gone", || {
        let left = (namespaces.get("", "ns").map(|n| n.status.clone()), deployments.len(), pods.list_in("ns").len());
        if left == (None, 0, 0) { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_follow_their_pods() {
    let c = Cluster::start().await;
    c.create::<PodDisruptionBudget>(json!({"metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}}))
        .await;
    let budgets = c.mirror::<PodDisruptionBudget>();
    let counted = |expected: [i32; 4]| {
        let status = budgets.get("ns", "web").and_then(|b| b.status.clone()).unwrap_or_default();
        let counts = [status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed];
        if counts == expected.map(Some) { Ok(()) } else { Err(format!("{status:?}")) }
    };
    wait("nothing to protect", || counted([0, 0, 0, 0])).await;
    c.create::<Deployment>(web(3)).await;
    wait("one of three may go", || counted([3, 2, 3, 1])).await;
    let more = Patch::Merge(json!({"spec": {"replicas": 5}}));
    c.api::<Deployment>().patch("web", &PatchParams::default(), &more).await.unwrap();
    wait("one of five may go", || counted([5, 4, 5, 1])).await;
    let all = Patch::Merge(json!({"spec": {"maxUnavailable": "40%"}}));
    c.api::<PodDisruptionBudget>().patch("web", &PatchParams::default(), &all).await.unwrap();
    wait("two of five may go", || counted([5, 3, 5, 2])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_are_counted_anew() {
    let c = Cluster::start().await;
    // The CA's certificate is in every namespace; what comes after the first count is charged by admission, which is not here.
    let maps = c.mirror::<ConfigMap>();
    wait("the CA's certificate", || maps.get("ns", "kube-root-ca.crt").map(drop).ok_or("not there".into())).await;
    let hard = json!({"pods": "5", "count/configmaps": "10", "count/deployments.apps": "3", "services": "1"});
    c.create::<ResourceQuota>(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    let quotas = c.mirror::<ResourceQuota>();
    let used = |expected: [(&str, &str); 4]| {
        let status = quotas.get("ns", "q").and_then(|q| q.status.clone()).unwrap_or_default();
        let used = status.used.clone().unwrap_or_default();
        let is = |(what, count): (&str, &str)| used.get(what).is_some_and(|q| q.0 == count);
        if expected.into_iter().all(is) { Ok(()) } else { Err(format!("{status:?}")) }
    };
    let nothing = [("pods", "0"), ("count/configmaps", "1"), ("count/deployments.apps", "0"), ("services", "0")];
    wait("nothing used", || used(nothing)).await;
    // Nobody charges what is made here: admission is not part of this server. What goes brings a new count.
    c.create::<Deployment>(web(3)).await;
    c.create::<ConfigMap>(json!({"metadata": {"name": "one"}})).await;
    c.create::<ConfigMap>(json!({"metadata": {"name": "two"}})).await;
    c.rolled_out(3).await;
    c.api::<ConfigMap>().delete("two", &DeleteParams::default()).await.unwrap();
    let some = [("pods", "3"), ("count/configmaps", "2"), ("count/deployments.apps", "1"), ("services", "0")];
    wait("some used", || used(some)).await;
    c.api::<Deployment>().delete("web", &DeleteParams::background()).await.unwrap();
    c.api::<ConfigMap>().delete("one", &DeleteParams::default()).await.unwrap();
    wait("nothing used again", || used(nothing)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_of_people_become_slices() {
    let c = Cluster::start().await;
    c.create::<Service>(json!({"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "ports": [{"port": 5432}]}}))
        .await;
    let subsets = |ips: &[&str]| {
        let addresses: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({"metadata": {"name": "db"}, "subsets": [{"addresses": addresses, "ports": [{"port": 5432}]}]})
    };
    c.create::<Endpoints>(subsets(&["192.0.2.1"])).await;
    let slices = c.mirror::<EndpointSlice>();
    let mirrored = |expected: &[&str]| {
        let all = slices.list_in("ns");
        let ours = |s: &&Arc<EndpointSlice>| {
            let labels = s.metadata.labels.clone().unwrap_or_default();
            labels.get("kubernetes.io/service-name").is_some_and(|n| n == "db")
                && labels
                    .get("endpointslice.kubernetes.io/managed-by")
                    .is_some_and(|m| m == "endpointslicemirroring-controller.k8s.io")
        };
        let mut addresses: Vec<String> = all
            .iter()
            .filter(ours)
            .flat_map(|s| s.endpoints.iter().flatten())
            .flat_map(|e| e.addresses.clone())
            .collect();
        addresses.sort();
        if addresses == expected { Ok(()) } else { Err(format!("{all:?}")) }
    };
    wait("a slice", || mirrored(&["192.0.2.1"])).await;
    let two = Patch::Merge(subsets(&["192.0.2.1", "192.0.2.2"]));
    c.api::<Endpoints>().patch("db", &PatchParams::default(), &two).await.unwrap();
    wait("both", || mirrored(&["192.0.2.1", "192.0.2.2"])).await;
    c.api::<Endpoints>().delete("db", &DeleteParams::default()).await.unwrap();
    wait("none", || mirrored(&[])).await;
}

/// Not a benchmark: it must only be nowhere near slow. The time is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_pods() {
    let c = Cluster::start().await;
    let start = Instant::now();
    c.create::<Deployment>(web(500)).await;
    c.rolled_out(500).await;
    let up = start.elapsed();
    let before = c.mirror::<Deployment>().resource_version();
    let start = Instant::now();
    c.set_image("v2").await;
    c.rolled_out(500).await;
    println!(
        "500 pods up in {up:?}, rolled in {:?}, {} writes",
        start.elapsed(),
        c.mirror::<Deployment>().resource_version() - before
    );
}

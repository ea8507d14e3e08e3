//! An API server with everything, a node that exists only as an object, and a data directory.
use isopod_apiserver::admission::Chain;
use isopod_apiserver::auth::tokens::{Keys, ServiceAccountTokens};
use isopod_apiserver::reviews::{self, StoredObjects};
use isopod_apiserver::{ApiServer, Config, UserInfo};
use isopod_controllers as controllers;
use isopod_node::seams::{VolumeError, Volumes};
use isopod_node::volumes::PodVolumes;
use isopod_node::volumes::local::{self, Ground, Local};
use isopod_reflect::Reflectors;
use isopod_store::Store;
use isopod_store::embedded::{Embedded, Options};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

pub const NODE: &str = "n";

pub struct World {
    pub server: Arc<ApiServer>,
    pub client: kube::Client,
    pub volumes: Arc<PodVolumes>,
    pub shutdown: CancellationToken,
    directory: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
        // A failed test leaves its mounts; the directory could not go otherwise.
        for path in mounts_below(self.directory.path()).into_iter().rev() {
            let _gone = nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

pub fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|p| p.starts_with(directory)).collect()
}

impl World {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bound = Arc::new(StoredObjects::default());
        let store: Arc<dyn Store> =
            Arc::new(Embedded::open(&directory.path().join("store"), &Options::default()).unwrap());
        let keys = Arc::new(Keys::from_pem(&rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap());
        let tokens = Arc::new(ServiceAccountTokens::new(Arc::clone(&keys), bound.clone()));
        let mut config = Config::default();
        config.endpoints = isopod_apiserver::endpoints::standard(&config.kinds, &keys);
        config.subresources.extend(reviews::handlers(&keys, &tokens));
        config.admission = Chain::standard();
        let server = ApiServer::new(config, store);
        bound.of(&server);
        server.ready().await.unwrap();
        let client = server.client(UserInfo::admin());
        let shutdown = CancellationToken::new();
        let volumes =
            PodVolumes::new(server.client(UserInfo::node(NODE)), NODE, directory.path().join("data"), shutdown.clone());
        let world = Self { server, client, volumes, shutdown, directory };
        world.furnish().await;
        world
    }

    async fn furnish(&self) {
        for name in ["kube-system", "default", "ns"] {
            let made: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            let made = Api::all(self.client.clone()).create(&PostParams::default(), &made).await;
            assert!(made.is_ok() || matches!(&made, Err(kube::Error::Api(s)) if s.code == 409), "{made:?}");
        }
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": jiff::Timestamp::now()}]}}))
        .unwrap();
        Api::all(self.client.clone()).create(&PostParams::default(), &node).await.unwrap();
        // Registration taints a node until a controller has seen that it is ready; here it simply is.
        let free = json!({"spec": {"taints": null}});
        Api::<Node>::all(self.client.clone()).patch(NODE, &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    }

    /// What a controller makes in every namespace, for tests without controllers.
    pub async fn settle(&self) {
        self.create::<ServiceAccount>(json!({"metadata": {"name": "default"}})).await;
        self.create::<ConfigMap>(json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "PEM"}})).await;
    }

    /// Controllers, scheduler and the provisioner of local volumes.
    pub async fn populate(&self) {
        for (kind, object) in isopod_api::bootstrap::objects() {
            if kind.descriptor().kind == "StorageClass" {
                let class: StorageClass = serde_json::from_value(object).unwrap();
                Api::all(self.client.clone()).create(&PostParams::default(), &class).await.unwrap();
            }
        }
        let reflectors = Reflectors::new(self.client.clone());
        let server = Arc::clone(&self.server);
        let clients = move |name: &str| {
            let user = format!("system:serviceaccount:kube-system:{name}");
            server.client(UserInfo::new(user, &["system:masters", "system:authenticated"]))
        };
        let config = controllers::Config { root_ca: Some("PEM".into()) };
        tokio::spawn(controllers::run_all(clients, reflectors.clone(), config, self.shutdown.clone()));
        let scheduler = self.server.client(UserInfo::component("system:kube-scheduler"));
        tokio::spawn(isopod_scheduler::run(scheduler, reflectors.clone(), self.shutdown.clone()));
        let local = Local { nodes: [NODE.to_owned()].into(), ground: Ground::Disk(self.data()) };
        tokio::spawn(local::run(self.client.clone(), reflectors, local, self.shutdown.clone()));
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn api<K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), "ns")
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// A pod on the node, unless `with` says otherwise, whose one container mounts every volume at `/NAME`.
    pub async fn pod(&self, name: &str, volumes: Value, with: Value) -> Pod {
        let names = volumes.as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().to_owned());
        let mounts: Vec<Value> = names.map(|n| json!({"name": n, "mountPath": format!("/{n}")})).collect();
        let mut pod = json!({"metadata": {"name": name, "labels": {"app": "x"}},
            "spec": {"nodeName": NODE, "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": "i", "volumeMounts": mounts}], "volumes": volumes}});
        json_patch::merge(&mut pod, &with);
        self.create(pod).await
    }

    pub async fn prepare(&self, pod: &Pod) -> Result<(), VolumeError> {
        self.volumes.prepare(pod).await
    }

    /// Where the volume is, as the first container is told.
    pub async fn source(&self, pod: &Pod, volume: &str) -> PathBuf {
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let mounts = self.volumes.mounts(pod, container, &[]).await.unwrap();
        let target = Path::new("/").join(volume);
        let found = mounts.into_iter().find(|m| m.target == target).unwrap();
        match found.source {
            isopod_runtime::MountSource::Bind(path) => path,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for it, and says what there was instead when it does not come.
    pub async fn until<T: Debug>(&self, what: &str, mut look: impl AsyncFnMut() -> Result<(), T>) {
        let start = Instant::now();
        loop {
            match look().await {
                Ok(()) => return,
                Err(seen) if start.elapsed() > Duration::from_secs(60) => {
                    let events: Api<Event> = Api::all(self.client.clone());
                    let events = events.list(&ListParams::default()).await.unwrap().items;
                    let told: Vec<_> = events.iter().filter_map(|e| e.message.clone()).collect();
                    panic!("{what}: still {seen:?}; events {told:#?}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

//! Where the parts of the node agent meet: the pod life cycle ([`agent`](crate)) asks for volumes and for the traffic gate, and
//! tells the streaming server what runs.
use async_trait::async_trait;
use isopod_runtime::{ContainerId, EnvVar, Mount};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The volumes of pods.
#[async_trait]
pub trait Volumes: Send + Sync + 'static {
    /// Makes all volumes of the pod present, or brings those made from ConfigMaps, Secrets and tokens up to date. Idempotent;
    /// called before the first container, and again whenever the pod is looked at.
    async fn prepare(&self, pod: &Pod) -> Result<(), VolumeError>;
    /// What to mount into one container: `volumeMounts` with sub paths, read-only and propagation resolved. `env` is the
    /// container's, for `subPathExpr`. Volumes are prepared.
    async fn mounts(&self, pod: &Pod, container: &Container, env: &[EnvVar]) -> Result<Vec<Mount>, VolumeError>;
    /// Bytes that the pod's emptyDir volumes take on disk, by name.
    async fn used(&self, pod: &Pod) -> BTreeMap<String, u64> {
        let _without_disk = pod;
        BTreeMap::new()
    }
    /// Takes them away; what persists stays. Idempotent.
    async fn remove(&self, uid: &str) -> Result<(), VolumeError>;
    /// Uids of pods that have something here: to be compared with the pods that exist, at start.
    async fn held(&self) -> Result<Vec<String>, VolumeError>;
}

/// Why a volume is not there. The message is what `kubectl describe pod` shows after `MountVolume.SetUp failed for volume …`.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {message}")]
pub struct VolumeError {
    pub volume: String,
    pub message: String,
}

/// Whether connections can reach a pod. The life cycle waits here, bounded; what it waits for is shown to people.
#[async_trait]
pub trait TrafficGate: Send + Sync + 'static {
    /// Resolves once every proxy has the pod (or the bound is reached): only then is `Ready` posted. At once when no Service
    /// selects it.
    async fn routable(&self, pod: &Pod);
    /// Resolves once no proxy sends it new connections and none in flight carries a request (or the bound is reached): only then
    /// preStop and SIGTERM. At once when no Service selects it or drain is off. `report` is told what is waited for, in words.
    async fn drained(&self, pod: &Pod, report: &(dyn Fn(String) + Send + Sync));
}

/// The gate of a node without Services: always open.
pub struct OpenGate;

#[async_trait]
impl TrafficGate for OpenGate {
    async fn routable(&self, _: &Pod) {}
    async fn drained(&self, _: &Pod, _: &(dyn Fn(String) + Send + Sync)) {}
}

/// What runs here, for the streaming server (logs, exec, attach, port-forward, metrics).
#[async_trait]
pub trait Running: Send + Sync + 'static {
    /// The container's newest instance, or the one before it (`previous`). None: no such pod or container here, or it never ran.
    async fn container(&self, namespace: &str, pod: &str, container: &str, previous: bool) -> Option<RunningContainer>;
    /// A file by which the pod's network namespace can be entered; `None` inside for the machine's own.
    async fn netns(&self, namespace: &str, pod: &str) -> Option<Option<PathBuf>>;
    /// All pods of this node, with the newest status known.
    async fn pods(&self) -> Vec<Pod>;
    /// One of them.
    async fn pod(&self, namespace: &str, pod: &str) -> Option<Pod> {
        let named = |p: &Pod| {
            p.metadata.name.as_deref() == Some(pod) && p.metadata.namespace.as_deref().unwrap_or_default() == namespace
        };
        self.pods().await.into_iter().find(named)
    }
}

/// One instance of a container.
#[derive(Debug, Clone)]
pub struct RunningContainer {
    pub id: ContainerId,
    /// Its CRI log; rotated neighbours beside it.
    pub log: PathBuf,
    pub running: bool,
    pub tty: bool,
    pub stdin: bool,
}

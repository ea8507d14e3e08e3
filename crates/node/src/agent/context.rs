//! What all workers of a node share.
use super::AgentConfig;
use super::allot::{self, Pending};
use super::container::resources;
use super::memory::Eviction;
use super::node::machine::Machine;
use super::node::status::{Pressure, allocatable};
use super::observed::Kind;
use super::table::Table;
use super::{admit, events, gc};
use crate::volumes::downward::Allocatable;
use isopod_api::k8s::api::core::v1::{Pod, PodSpec, Service};
use isopod_reflect::{EventType, Recorder, Reflector, reference};
use isopod_runtime::SandboxId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore};

/// Containers of all pods that are being made at once: more would only wait for each other's disk and CPU.
const STARTS: usize = 16;

pub(super) struct Context {
    pub config: Arc<AgentConfig>,
    pub recorder: Recorder,
    /// `isopod`, before the `://` of container ids.
    pub runtime_name: String,
    pub machine: Machine,
    pub host: IpAddr,
    pub table: Arc<Table>,
    pub services: Reflector<Service>,
    pub pressure: Arc<Mutex<Pressure>>,
    pub starts: Semaphore,
    /// Whose sandbox is whose, for the runtime's events.
    pub sandboxes: Mutex<HashMap<SandboxId, String>>,
    /// Pods that have to go, by uid, until they have gone.
    pub evictions: Mutex<HashMap<String, Eviction>>,
    /// There is a new one.
    pub evicted: Notify,
    /// When images came and were used.
    pub images: Mutex<gc::Known>,
    /// Pods that have a place here, by uid.
    admitted: Mutex<HashMap<String, Arc<Pod>>>,
}

impl Context {
    pub fn new(
        config: Arc<AgentConfig>,
        recorder: Recorder,
        runtime_name: String,
        machine: Machine,
        table: Arc<Table>,
        pressure: Arc<Mutex<Pressure>>,
    ) -> Self {
        Self {
            host: config.network.node_address(),
            services: config.reflectors.of::<Service>(),
            starts: Semaphore::new(STARTS),
            sandboxes: Mutex::default(),
            evictions: Mutex::default(),
            evicted: Notify::new(),
            images: Mutex::default(),
            admitted: Mutex::default(),
            config,
            recorder,
            runtime_name,
            machine,
            table,
            pressure,
        }
    }

    pub fn allocatable(&self) -> Allocatable {
        allocatable(&self.machine, self.config.max_pods)
    }

    /// Gives a new pod its place, or says why not. One at a time: two pods must not refuse each other.
    pub fn admit(&self, pod: &Arc<Pod>, spec: &PodSpec) -> Option<(String, String)> {
        let mut admitted = self.admitted.lock();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let others: Vec<&Pod> = admitted.iter().filter(|(u, _)| **u != uid).map(|(_, p)| &**p).collect();
        let refusal = admit::refuse(pod, spec, &others, &self.allocatable(), *self.pressure.lock());
        if refusal.is_none() {
            admitted.insert(uid, Arc::clone(pod));
        }
        refusal
    }

    /// A pod that an agent has taken before keeps its place.
    pub fn keep(&self, pod: &Arc<Pod>) {
        let status = pod.status.as_ref();
        let is_over = matches!(status.and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"));
        if !is_over && status.is_some_and(|s| s.start_time.is_some()) {
            let allotted = allot::of_status(pod).map_or_else(|| Arc::clone(pod), Arc::new);
            self.admitted.lock().insert(pod.metadata.uid.clone().unwrap_or_default(), allotted);
        }
    }

    /// The pod as it is to be run, and why that is not what it asks for, if it is not. A pod that has no place here yet, or gave it up,
    /// is as it asks for.
    pub fn allot(&self, wanted: &Arc<Pod>) -> (Arc<Pod>, Option<Pending>) {
        let mut admitted = self.admitted.lock();
        let uid = wanted.metadata.uid.clone().unwrap_or_default();
        let (Some(before), Some(spec)) = (admitted.get(&uid).and_then(|p| p.spec.clone()), &wanted.spec) else {
            return (Arc::clone(wanted), None);
        };
        if !allot::is_same(&before, spec) {
            let others: Vec<&Pod> = admitted.iter().filter(|(u, _)| **u != uid).map(|(_, p)| &**p).collect();
            if let Err(pending) = allot::judge(spec, &others, &self.allocatable()) {
                return (Arc::new(allot::with_resources_of(wanted, &before)), Some(pending));
            }
        }
        admitted.insert(uid, Arc::clone(wanted));
        (Arc::clone(wanted), None)
    }

    /// A pod gives up its place.
    pub fn leave(&self, uid: &str) {
        self.admitted.lock().remove(uid);
        self.evictions.lock().remove(uid);
    }

    /// The cgroups of the QoS classes follow the pods that are here. Best effort: without it pods only share less well.
    pub async fn limit_classes(&self) {
        let classes = {
            let admitted = self.admitted.lock();
            resources::of_classes(&self.config.cgroup_root, admitted.values().map(|pod| &**pod))
        };
        for (cgroup, limits) in classes {
            if let Err(error) = self.config.runtime.limit_group(&cgroup, &limits).await {
                tracing::debug!(cgroup, %error, "could not set the limits of a class");
            }
        }
    }

    pub fn profiles(&self) -> PathBuf {
        self.config.data_dir.join("seccomp")
    }

    /// Tells people about a pod.
    pub fn tell(&self, pod: &Pod, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.record(reference(pod), kind, reason, message);
    }

    /// Tells people about one container of a pod.
    pub fn tell_of(&self, pod: &Pod, (kind, name): (Kind, &str), event: EventType, reason: &str, message: &str) {
        self.recorder.record(events::container(pod, kind, name), event, reason, message);
    }
}

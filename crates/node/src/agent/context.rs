//! What all workers of a node share.
use super::AgentConfig;
use super::events;
use super::node::machine::Machine;
use super::node::status::{Pressure, allocatable};
use super::observed::Kind;
use super::table::Table;
use crate::volumes::downward::Allocatable;
use isopod_api::k8s::api::core::v1::{Pod, Service};
use isopod_reflect::{EventType, Recorder, Reflector, reference};
use isopod_runtime::SandboxId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

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

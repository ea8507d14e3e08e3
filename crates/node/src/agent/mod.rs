//! The agent of a real node: keeps its Node ([`node`]), and runs the pods bound to it.
//!
//! | part | what it is |
//! |---|---|
//! | `pods`, `worker` | the watch and the runtime's events wake one task a pod: look, think, have it done, never wait for it |
//! | [`observed`], [`memory`] | what the planner sees: the runtime's truth, and what only we remember |
//! | [`plan`] | what to do next: a pure function of spec, truth, memory and time |
//! | [`status`] | what to show: the PodStatus, a pure function of the same |
//! | [`container`], [`sandbox`], `dns` | spec + image + node → what the runtime is asked for; pure |
//! | `setup`, `start`, `stop`, `hook`, `pull`, `probe` | the doing; each ends in an answer that the worker hears |
//! | `admit`, `allot`, `evict`, `gc` | pods that do not fit; resizes that do not; pods that have to go; images that nobody uses |
//!
//! Invariants:
//! - **Truth is in runtime and API.** An agent may be killed at any line; the next one finds sandboxes by pod uid, containers by
//!   name and number, adopts what runs and removes what belongs to no pod. Only back-offs are forgotten.
//! - **One start at a time** in a pod, in the order of its spec; stops and probes go on beside it.
//! - **`Ready` is posted after traffic can arrive**, preStop and the stop signal come after it has ended ([`TrafficGate`]).
//! - **A pod's object goes last**: after its containers, network, volumes, logs and files.
//!
//! [`Agent::run`] wires it, [`Agent`] is what the streaming server asks ([`Running`]).
mod admit;
mod allot;
mod amounts;
pub mod container;
mod context;
mod dns;
mod doubt;
mod events;
mod evict;
mod gc;
mod hook;
mod image_volumes;
pub mod memory;
pub mod node;
pub mod observed;
pub mod plan;
mod pods;
mod probe;
mod pull;
pub mod sandbox;
mod setup;
mod start;
pub mod status;
mod stop;
mod table;
mod words;
mod worker;

pub use doubt::doubt;
pub use gc::ImageGc;

use crate::seams::{Running, RunningContainer, TrafficGate, Volumes};
use async_trait::async_trait;
use context::Context;
use isopod_api::k8s::api::core::v1::Pod;
use isopod_images::Images;
use isopod_network::contract::PodNetwork;
use isopod_reflect::{Recorder, Reflectors, Selection};
use isopod_runtime::{Runtime, RuntimeInfo};
use kube::Client;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use table::Table;
use tokio_util::sync::CancellationToken;

/// What an agent is made of.
#[derive(Clone)]
pub struct AgentConfig {
    pub node_name: String,
    /// Acts as `system:node:<node_name>`.
    pub client: Client,
    /// May list and watch the pods bound to this node, and Services.
    pub reflectors: Reflectors,
    pub runtime: Arc<dyn Runtime>,
    pub images: Arc<dyn Images>,
    pub network: Arc<dyn PodNetwork>,
    pub volumes: Arc<dyn Volumes>,
    pub gate: Arc<dyn TrafficGate>,
    /// Container logs (`logs/`) and what containers leave behind (`pods/`) go below it; seccomp profiles come from `seccomp/`.
    pub data_dir: PathBuf,
    /// The cluster's name server; without it `ClusterFirst` pods get the machine's.
    pub cluster_dns: Option<IpAddr>,
    /// `cluster.local`
    pub cluster_domain: String,
    /// Where the streaming server listens; told in the Node.
    pub kubelet_port: u16,
    /// The kubelet's default is 110.
    pub max_pods: u32,
    pub image_gc: ImageGc,
    /// The cgroup below which all pods are, relative to each controller's mount (`isopod`).
    pub cgroup_root: String,
}

/// The agent of one node. Cheap to clone; clones are the same agent.
#[derive(Clone)]
pub struct Agent {
    config: Arc<AgentConfig>,
    table: Arc<Table>,
}

impl Agent {
    pub fn new(config: AgentConfig) -> Self {
        Self { config: Arc::new(config), table: Arc::default() }
    }

    /// Keeps the Node and runs its pods until `shutdown`. What runs then goes on running: the next agent adopts it.
    pub async fn run(&self, shutdown: CancellationToken) {
        let config = &self.config;
        let recorder = Recorder::new(config.client.clone(), "kubelet", Some(&config.node_name));
        let info = config.runtime.info().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the container runtime does not say who it is");
            RuntimeInfo {
                name: "isopod".to_owned(),
                version: String::new(),
                cgroups: isopod_runtime::CgroupVersion::V2,
                seccomp: false,
            }
        });
        let pressure = Arc::new(Mutex::default());
        let keeper = node::Keeper {
            identity: node::status::Identity {
                name: config.node_name.clone(),
                address: config.network.node_address(),
                kubelet_port: config.kubelet_port,
                max_pods: config.max_pods,
                runtime: format!("{}://{}", info.name, info.version),
            },
            machine: node::machine::Machine::look(&config.data_dir),
            data_dir: config.data_dir.clone(),
            client: config.client.clone(),
            runtime: Arc::clone(&config.runtime),
            images: Arc::clone(&config.images),
            recorder: recorder.clone(),
            pressure: Arc::clone(&pressure),
            seen: Mutex::default(),
        };
        let context = Context::new(
            Arc::clone(config),
            recorder,
            info.name,
            keeper.machine.clone(),
            Arc::clone(&self.table),
            pressure,
        );
        let pods = config.reflectors.selected::<Pod>(Selection::on_node(&config.node_name));
        let context = Arc::new(context);
        let follow = pods::follow(Arc::clone(&context), pods, shutdown.clone());
        let images = Box::pin(gc::keep(&context, shutdown.clone()));
        let evictions = Box::pin(evict::keep(&context, shutdown.clone()));
        tokio::join!(Box::pin(keeper.keep(shutdown)), follow, images, evictions);
    }
}

#[async_trait]
impl Running for Agent {
    async fn container(&self, namespace: &str, pod: &str, container: &str, previous: bool) -> Option<RunningContainer> {
        self.table.container(self.config.runtime.as_ref(), namespace, pod, container, previous).await
    }

    async fn netns(&self, namespace: &str, pod: &str) -> Option<Option<PathBuf>> {
        self.table.netns(self.config.runtime.as_ref(), namespace, pod).await
    }

    async fn pods(&self) -> Vec<Pod> {
        self.table.pods()
    }
}

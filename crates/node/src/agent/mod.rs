//! The agent of a real node: keeps its Node ([`node`]), and runs the pods bound to it.
//!
//! One task a pod; the thinking is in pure modules. [`Agent::run`] wires them, [`Agent`] is what the streaming server asks.
mod admit;
pub mod container;
mod context;
mod dns;
mod events;
mod hook;
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
        let follow = pods::follow(Arc::new(context), pods, shutdown.clone());
        tokio::join!(keeper.keep(shutdown), follow);
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

//! What the node agent asks of the network: [`PodNetwork`], [`ServicePath`], [`Sockets`], and the plain types they speak.
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub type Result<T> = std::result::Result<T, NetworkError>;

/// What the kernel or the disk refused. The text is shown to people.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("no free address in {range}")]
    Exhausted { range: String },
    #[error("host port {port}/{protocol:?} is taken by pod {pod}")]
    HostPortTaken { port: u16, protocol: Protocol, pod: String },
    #[error("{context}: {source}")]
    Kernel {
        context: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{context}: {message}")]
    Invalid { context: String, message: String },
}

impl NetworkError {
    /// What was asked about is there no more, as opposed to: could not be seen now.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Kernel { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// Links and addresses of pods.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Gives a pod its veth pair, address, routes and host ports. The namespace has loopback up and nothing else.
    /// Idempotent: the same pod gets the same address back.
    async fn attach(&self, pod: &Attachment) -> Result<IpAddr>;
    /// Takes them away: connection tracking entries, host ports, link. The address is not given out again soon. Idempotent.
    async fn detach(&self, uid: &str) -> Result<()>;
    /// Who is attached, by pod uid: to be compared with the pods that exist, at start.
    async fn attached(&self) -> Result<BTreeMap<String, IpAddr>>;
    /// This machine's own address as the cluster sees it (`status.hostIP`, the node's InternalIP): the one of the uplink, or
    /// the first of the pod range when there is no uplink.
    fn node_address(&self) -> IpAddr;
}

/// One pod to be attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    pub uid: String,
    /// `namespace/name`, for messages.
    pub pod: String,
    pub netns: PathBuf,
    pub host_ports: Vec<HostPort>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPort {
    /// All addresses when none.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
}

/// The kernel's load balancer.
#[async_trait]
pub trait ServicePath: Send + Sync + 'static {
    /// Makes the kernel do exactly what `table` says, changing only what differs from what it did. When this returns, every
    /// new connection follows it: that is the acknowledgement drain waits for.
    async fn program(&self, table: &ServiceTable) -> Result<()>;
}

/// All Services of the cluster as this node has to balance them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServiceTable {
    pub ports: BTreeMap<PortName, ServicePort>,
}

/// Names one port of one Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortName {
    pub namespace: String,
    pub service: String,
    /// Empty when the Service has one unnamed port.
    pub port: String,
    pub protocol: Protocol,
}

/// Where connections to one Service port come in and where they may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Empty for a headless Service, which then has no rules.
    pub cluster_ips: Vec<IpAddr>,
    pub port: u16,
    pub node_port: Option<u16>,
    pub external_ips: Vec<IpAddr>,
    pub load_balancer_ips: Vec<IpAddr>,
    pub load_balancer_source_ranges: Vec<String>,
    /// `ClientIP` affinity and how long it holds.
    pub affinity: Option<Duration>,
    /// Only endpoints on this node may be used from inside (`internalTrafficPolicy: Local`) or outside (`externalTrafficPolicy`).
    pub internal_local: bool,
    pub external_local: bool,
    /// Send connections to isopod's HTTP proxy instead of straight to a pod; the proxy knows the endpoints.
    pub proxy: Option<SocketAddr>,
    pub endpoints: Vec<Endpoint>,
}

/// One address behind a Service port, with the conditions of its EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    pub address: SocketAddr,
    /// On this node.
    pub local: bool,
    /// Takes new connections.
    pub ready: bool,
    /// Would answer if asked. Used only when no endpoint is ready (KEP-1669).
    pub serving: bool,
    pub terminating: bool,
}

/// What a pod's own sockets say about requests in flight.
#[async_trait]
pub trait Sockets: Send + Sync + 'static {
    /// Looks into the pod's network namespace now. `ports` are its serving ports; connections to others do not count.
    /// [`NetworkError::is_gone`] when there is no such namespace any more.
    async fn look(&self, netns: &Path, address: IpAddr, ports: &[u16]) -> Result<Traffic>;
    /// Connections that this machine has sent to the pod and that its sockets know nothing of yet: a SYN that is still on its way,
    /// or that a full queue dropped and the client will repeat, to the same pod. Those that clients have given up are forgotten, so
    /// that a late repetition goes to another pod.
    ///
    /// A connection goes one way: rules, connection tracking, the pod's sockets. So if the rules do not lead to the pod any more, this
    /// says zero, and a look *after* that finds nothing, then there is no connection to it.
    async fn on_the_way(&self, address: IpAddr, ports: &[u16]) -> Result<usize>;
}

/// Connections of one pod at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Handshaken or handshaking, not yet accepted by the application.
    pub waiting: usize,
    /// Established and carrying a request: bytes were received after the last were sent, or one side has unsent or unread bytes.
    pub in_flight: usize,
    /// Established, nothing in flight.
    pub idle: usize,
}

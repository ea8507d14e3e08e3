//! This machine as a node: containers, images, volumes, network and the agent that turns pods into them.
//!
//! Everything is found again as the last server left it; nothing here is stopped when the server stops. A machine that cannot run
//! containers (not root, no cgroups) still gets its API: the node is missing, and the log says why.
use crate::datadir::{Cluster, DataDir};
use crate::membership::{Membership, own_range};
use crate::pki::{Identity, KUBELET_CLIENT};
use anyhow::{Context, Result, bail};
use isopod_images::ImageStore;
use isopod_network::contract::PodNetwork;
use isopod_network::dns::answer::{self, Scope};
use isopod_network::dns::forward;
use isopod_network::drain::SocketDiag;
use isopod_network::edge::{DnsSettings, EdgeClient, EdgeConfig, Settings};
use isopod_network::pod::{Links, NetworkConfig, Range};
use isopod_network::service::Services;
use isopod_node::agent::{Agent, AgentConfig};
use isopod_node::drain::{Gate, Mirrors, watermark};
use isopod_node::edge;
use isopod_node::services;
use isopod_node::stream::{self, StreamConfig};
use isopod_node::volumes::local::{Ground as VolumeGround, Local as LocalVolumes};
use isopod_node::volumes::{self, PodVolumes};
use isopod_reflect::Reflectors;
use isopod_runtime::Runtime;
use isopod_runtime::local::{Local, LocalConfig};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The kubelet's port, taken if it is free.
const KUBELET_PORT: u16 = 10_250;
/// The tenth address of the Services, as everywhere.
const DNS: u64 = 10;
const DNS_PORT: u16 = 53;
const DOMAIN: &str = "cluster.local";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// A client gives up on a name after ten seconds (`resolv.conf(5)`: two attempts of five).
const LOOK_AT_RESOLVERS: Duration = Duration::from_secs(2);

/// Where this cluster's things are on the machine: needed to run pods and to take everything away again.
pub struct Ground {
    pub network: NetworkConfig,
    pub runtime: LocalConfig,
}

impl Ground {
    pub fn of(cluster: &Cluster, dir: &DataDir) -> Result<Self> {
        let (pods, services): (Range, Range) = (cluster.pod_cidr.parse()?, cluster.service_cidr.parse()?);
        let address = match cluster.advertise_address {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        };
        Self::new(mark(&cluster.name, dir), dir, (own_range(pods), pods, services), address)
    }

    pub fn of_member(member: &Membership, dir: &DataDir) -> Result<Self> {
        let ranges = (member.pod_cidr, member.cluster_cidr, member.service_cidr);
        Self::new(mark(&member.cluster, dir), dir, ranges, Some(member.address))
    }

    fn new(cluster: String, dir: &DataDir, ranges: (Range, Range, Range), address: Option<Ipv4Addr>) -> Result<Self> {
        let (pod_cidr, cluster_cidr, service_cidr) = ranges;
        let network = NetworkConfig {
            cluster,
            state_dir: dir.path().join("network"),
            pod_cidr,
            cluster_cidr,
            service_cidr,
            node_address: address,
            own_addresses: service_cidr.nth(DNS).into_iter().collect(),
        };
        Ok(Self { network, runtime: LocalConfig::new(dir.path().join("runtime"))? })
    }

    fn dns(&self) -> Option<IpAddr> {
        self.network.service_cidr.nth(DNS).map(IpAddr::V4)
    }
}

/// What the parts of a node are started with.
pub struct Around<'a> {
    pub name: &'a str,
    /// Acts as this node.
    pub client: &'a kube::Client,
    pub ground: &'a Ground,
    pub dir: &'a DataDir,
    /// Whoever comes to the node's streams is known by a certificate of this CA (PEM).
    pub ca: &'a str,
    /// What the node shows them, for the address it is reached by.
    pub identity: &'a dyn Fn(IpAddr) -> Result<Identity>,
    pub reflectors: &'a Reflectors,
    pub shutdown: &'a CancellationToken,
}

/// Why no containers can run here, in words; `None` if they can.
pub fn missing() -> Option<&'static str> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("only root can make containers");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    isopod_runtime::cgroups::Layout::from_mountinfo(&mounts).is_none().then_some("no cgroups are mounted")
}

/// Makes this machine a node of the cluster; nothing may be [`missing`].
pub async fn start(parts: &mut JoinSet<Result<()>>, around: &Around<'_>) -> Result<()> {
    let (name, ground) = (around.name, around.ground);
    let links = {
        let config = ground.network.clone();
        Arc::new(tokio::task::spawn_blocking(move || Links::open(config)).await??)
    };
    let runtime: Arc<dyn Runtime> = Arc::new(Local::open(ground.runtime.clone()).await?);
    if let Err(error) = isopod_node::agent::doubt(around.client, name, runtime.as_ref()).await {
        tracing::warn!(error, "cannot say which pods no longer run");
    }
    let node = agent(around, links, runtime, parts).await?;
    let (end, running) = (around.shutdown.clone(), node.agent.clone());
    streaming(node, around, parts)?;
    parts.spawn(async move {
        running.run(end).await;
        Ok(())
    });
    let local = LocalVolumes {
        nodes: BTreeSet::from([name.to_owned()]),
        ground: VolumeGround::Disk(around.dir.path().to_path_buf()),
    };
    let provisioner = around.client.clone();
    let (mirrors, end) = (around.reflectors.clone(), around.shutdown.clone());
    parts.spawn(async move {
        volumes::local::run(provisioner, mirrors, local, end).await;
        Ok(())
    });
    Ok(())
}

/// The agent with what its streaming server needs besides.
struct Node {
    agent: Agent,
    runtime: Arc<dyn Runtime>,
    listener: TcpListener,
    address: IpAddr,
}

async fn agent(
    around: &Around<'_>,
    links: Arc<Links>,
    runtime: Arc<dyn Runtime>,
    parts: &mut JoinSet<Result<()>>,
) -> Result<Node> {
    let (name, ground, client) = (around.name, around.ground, around.client.clone());
    let address = links.node_address();
    let listener = match TcpListener::bind((address, KUBELET_PORT)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((address, 0)).await.with_context(|| format!("cannot listen on {address}"))?,
    };
    let programmed = services(around, &links, parts).await?;
    let mirrors = Mirrors::new(name, around.reflectors, programmed, Arc::clone(&runtime));
    let images = {
        let dir = around.dir.images();
        tokio::task::spawn_blocking(move || ImageStore::open(dir)).await??
    };
    let settings = around.dir.kubelet_config()?;
    let config = AgentConfig {
        node_name: name.to_owned(),
        client: client.clone(),
        reflectors: around.reflectors.clone(),
        runtime: Arc::clone(&runtime),
        images: Arc::new(images),
        network: links,
        volumes: PodVolumes::new(client, name, around.dir.path().to_path_buf(), around.shutdown.clone()),
        gate: Arc::new(Gate::new(Arc::new(mirrors), Arc::new(SocketDiag::default()))),
        data_dir: around.dir.path().to_path_buf(),
        cluster_dns: ground.dns(),
        cluster_domain: DOMAIN.to_owned(),
        kubelet_port: listener.local_addr()?.port(),
        max_pods: settings.max_pods(),
        image_gc: settings.image_gc(),
        cgroup_root: ground.network.bridge(),
    };
    Ok(Node { agent: Agent::new(config), runtime, listener, address })
}

/// Services in the kernel and in the edge process; how far both have come is what drain waits for.
async fn services(
    around: &Around<'_>,
    links: &Arc<Links>,
    parts: &mut JoinSet<Result<()>>,
) -> Result<watch::Receiver<u64>> {
    let (name, ground) = (around.name, around.ground);
    let path = Services::open(&ground.network, links.node_address())?;
    let edge = EdgeClient::start_or_adopt(edge(ground, around.dir, links)?).await?;
    let programmer = services::Programmer::new(name, around.reflectors, Arc::new(path), edge.listening());
    let ((in_kernel, kernel), (in_proxy, proxy)) = (watch::channel(0), watch::channel(0));
    let programmed = watermark::least(vec![kernel, proxy]);
    until_the_end(parts, around, async move { programmer.run(in_kernel).await });
    let own = ground.dns().map(|address| SocketAddr::new(address, DNS_PORT));
    let followed = edge.clone();
    until_the_end(parts, around, async move { follow_resolvers(&followed, own).await });
    let edge = Arc::new(edge);
    let (mirrors, told) = (around.reflectors.clone(), Arc::clone(&edge));
    until_the_end(parts, around, async move { edge::feed_dns(&mirrors, told).await });
    let (mirrors, node) = (around.reflectors.clone(), name.to_owned());
    until_the_end(parts, around, async move { edge::feed_proxy(&node, &mirrors, edge, in_proxy).await });
    let (client, mirrors) = (around.client.clone(), around.reflectors.clone());
    let (node, told) = (name.to_owned(), programmed.clone());
    until_the_end(parts, around, async move { services::publish(&node, client, &mirrors, told).await });
    let (node, mirrors, routed) = (name.to_owned(), around.reflectors.clone(), Arc::clone(links));
    until_the_end(parts, around, async move { services::peers::follow(&node, &mirrors, &routed).await });
    let (node, mirrors, fenced) = (name.to_owned(), around.reflectors.clone(), Arc::clone(links));
    let told = programmed.clone();
    until_the_end(parts, around, async move { services::fence::follow(&node, &mirrors, &fenced, told).await });
    Ok(programmed)
}

/// Runs something that only ends with the server.
fn until_the_end(
    parts: &mut JoinSet<Result<()>>,
    around: &Around<'_>,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let end = around.shutdown.clone();
    parts.spawn(async move {
        end.run_until_cancelled(work).await;
        Ok(())
    });
}

/// The machine's resolvers as they are now. (A stub on loopback can be asked from here.)
fn resolvers(own: Option<SocketAddr>) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    forward::of_resolv_conf(&text, own.as_slice())
}

/// Tells DNS when the machine asks others than before: it has joined another network, or had none when it started.
async fn follow_resolvers(edge: &EdgeClient, own: Option<SocketAddr>) {
    let mut told = resolvers(own);
    loop {
        tokio::time::sleep(LOOK_AT_RESOLVERS).await;
        let now = resolvers(own);
        if now != told {
            match edge.resolvers(now.clone()).await {
                Ok(()) => told = now,
                Err(error) => tracing::warn!(%error, "DNS could not be told of other resolvers: trying again"),
            }
        }
    }
}

/// The process with DNS and the HTTP proxy.
fn edge(ground: &Ground, dir: &DataDir, links: &Links) -> Result<EdgeConfig> {
    let binary = std::env::current_exe().context("cannot find my own binary")?;
    let file = binary.metadata().context("cannot look at my own binary")?;
    let changed = file.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    let of = |range: &Range| answer::Range { address: range.network().into(), length: range.bits() };
    let scope = Scope {
        domain: DOMAIN.to_owned(),
        ranges: vec![of(&ground.network.service_cidr), of(&ground.network.cluster_cidr)],
    };
    let own = ground.dns().map(|address| SocketAddr::new(address, DNS_PORT));
    let settings = own.map(|at| DnsSettings { scope, listen: vec![at], resolvers: resolvers(own) });
    Ok(EdgeConfig {
        dir: dir.run_dir(),
        build: format!("{} {} {}", env!("CARGO_PKG_VERSION"), file.len(), changed.as_nanos()),
        binary,
        settings: Settings { dns: settings, proxy_address: links.node_address() },
    })
}

/// The way from the API to this node's containers, and its other end.
fn streaming(node: Node, around: &Around<'_>, parts: &mut JoinSet<Result<()>>) -> Result<()> {
    let own = (around.identity)(node.address)?;
    let config = StreamConfig {
        node_name: around.name.to_owned(),
        listener: node.listener,
        tls: stream::server_tls(around.ca, &own.certificate, &own.key)?,
        callers: vec![KUBELET_CLIENT.to_owned()],
        runtime: node.runtime,
        running: Arc::new(node.agent),
    };
    let end = around.shutdown.clone();
    parts.spawn(async move { stream::serve(config, end.cancelled_owned()).await.context("the node's streams ended") });
    Ok(())
}

/// Names what this cluster has on the machine. Two clusters may have one name; no two have one directory.
fn mark(cluster: &str, dir: &DataDir) -> String {
    let digest = Sha256::digest(dir.path().as_os_str().as_encoded_bytes());
    format!("{cluster}-{}", hex::encode(digest.get(..3).unwrap_or_default()))
}

/// This machine's name, as a Kubernetes name.
pub fn name() -> Result<String> {
    let host = nix::unistd::gethostname().context("this machine has no name")?;
    let name: String = host
        .to_string_lossy()
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if let Some(wrong) = isopod_api::names::dns1123_subdomain(&name, false).first() {
        bail!("this machine's name {host:?} cannot be a node's: {wrong}");
    }
    Ok(name)
}

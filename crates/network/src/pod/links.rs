//! [`Links`]: the pod network of one node.
use super::addresses::{Book, Entry, Rest};
use super::config::{NetworkConfig, Range};
use super::firewall;
use super::kernel::Rtnetlink;
use super::passage;
use super::plumb::{self, kernel};
use super::reaper::Reaper;
use crate::conntrack::{self, End, Front};
use crate::contract::{Attachment, NetworkError, PodNetwork, Protocol, Result};
use crate::netlink::Socket;
use crate::nft::Table;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// The pod network of one node, kept in the kernel and in one small file.
#[derive(Clone)]
pub struct Links {
    inner: Arc<Inner>,
}

struct Inner {
    config: NetworkConfig,
    node_address: Ipv4Addr,
    mtu: u32,
    state: Mutex<State>,
}

struct State {
    book: Book,
    net: Rtnetlink,
    firewall: Table,
    netfilter: Socket,
    reaper: Reaper,
    /// See [`Links::rest_from`].
    rest_from: Option<u64>,
}

impl State {
    fn rest(&self) -> Rest {
        Rest { now: seconds(SystemTime::now()), from: self.rest_from }
    }
}

impl Links {
    /// Lays the ground in the network namespace of the calling thread, reads the book, and sweeps links nobody owns. To be called
    /// again after a restart: pods that are attached stay so.
    pub fn open(config: NetworkConfig) -> Result<Self> {
        check(&config)?;
        std::fs::create_dir_all(&config.state_dir)
            .map_err(kernel(format!("make directory {}", config.state_dir.display())))?;
        let book = Book::read(&book_path(&config))?;
        let mut net = Rtnetlink::open().map_err(kernel("open rtnetlink"))?;
        let uplink = plumb::lay_ground(&config, &mut net)?;
        sweep(&config, &mut net, &book)?;
        let firewall =
            Table::open(config.pod_table(), firewall::skeleton(&config)).map_err(kernel("open nf_tables"))?;
        let parts = book.pods.iter().map(|(uid, entry)| (uid.clone(), Some(firewall::part(entry)))).collect();
        firewall.change(parts).map_err(kernel("program the pods' rules"))?;
        let mut netfilter = Socket::open(libc::NETLINK_NETFILTER).map_err(kernel("open netfilter"))?;
        passage::open(&config, &mut netfilter)?;
        let reaper = Reaper::start().map_err(kernel("start a thread"))?;
        let found = config.node_address.or(uplink.as_ref().map(|uplink| uplink.address));
        let node_address = found.unwrap_or_else(|| config.bridge_address());
        let mtu = uplink.map_or(1500, |uplink| uplink.link.mtu);
        let state = State { book, net, firewall, netfilter, reaper, rest_from: None };
        Ok(Self { inner: Arc::new(Inner { config, node_address, mtu, state: Mutex::new(state) }) })
    }

    /// Takes away everything of this cluster on this machine: links, routes, rules, the book. For `isopod delete`, when no pod runs
    /// any more.
    pub fn remove_all(config: &NetworkConfig) -> Result<()> {
        let mut net = Rtnetlink::open().map_err(kernel("open rtnetlink"))?;
        plumb::clear_ground(config, &mut net)?;
        let mut netfilter = Socket::open(libc::NETLINK_NETFILTER).map_err(kernel("open netfilter"))?;
        passage::close(config, &mut netfilter)?;
        for table in [config.service_table(), config.pod_table()] {
            Table::remove(&table).map_err(kernel(format!("delete table {table}")))?;
        }
        match std::fs::remove_file(book_path(config)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(kernel(format!("remove {}", book_path(config).display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// Where the pods of other nodes are: their ranges, and the addresses of the nodes, which must be neighbours of this one.
    pub async fn set_peers(&self, peers: Vec<(Range, Ipv4Addr)>) -> Result<()> {
        self.blocking(move |inner| plumb::set_peers(&inner.config, &mut inner.state.lock().net, &peers)).await
    }

    /// Addresses given back at this time or later are not given out again as long as any other is free, until this is called with
    /// another time or none: somebody whose rules are old may send connections there.
    pub fn rest_from(&self, since: Option<SystemTime>) {
        self.inner.state.lock().rest_from = since.map(seconds);
    }

    pub fn config(&self) -> &NetworkConfig {
        &self.inner.config
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|error| Err(kernel("pod network")(std::io::Error::other(error))))
    }
}

#[async_trait]
impl PodNetwork for Links {
    async fn attach(&self, pod: &Attachment) -> Result<IpAddr> {
        let pod = pod.clone();
        self.blocking(move |inner| inner.attach(&pod)).await
    }

    async fn detach(&self, uid: &str) -> Result<()> {
        let uid = uid.to_owned();
        self.blocking(move |inner| inner.detach(&uid)).await
    }

    async fn attached(&self) -> Result<BTreeMap<String, IpAddr>> {
        let state = self.inner.state.lock();
        Ok(state.book.pods.iter().map(|(uid, entry)| (uid.clone(), IpAddr::V4(entry.address))).collect())
    }

    fn node_address(&self) -> IpAddr {
        IpAddr::V4(self.inner.node_address)
    }
}

impl Inner {
    /// The address is written down before the link is made: a crash between the two leaves an address that the next `attach` of
    /// the same pod finds again.
    fn attach(&self, pod: &Attachment) -> Result<IpAddr> {
        let mut state = self.state.lock();
        let rest = state.rest();
        let State { book, net, firewall, netfilter, .. } = &mut *state;
        let before = book.pods.get(&pod.uid).cloned();
        let address = book.take(self.config.pod_cidr, &pod.uid, &pod.pod, &pod.host_ports, rest)?;
        let entry = book.pods.get(&pod.uid);
        if before.as_ref() != entry {
            book.write(&book_path(&self.config))?;
        }
        let part = entry.map(firewall::part);
        plumb::connect(&self.config, net, address, &pod.netns, self.mtu)?;
        passage::open(&self.config, netfilter)?;
        firewall.change(vec![(pod.uid.clone(), part)]).map_err(kernel(format!("host ports of {}", pod.pod)))?;
        drop(state);
        let udp = pod.host_ports.iter().filter(|port| port.protocol == Protocol::Udp);
        let fronts: Vec<Front> = udp.map(|port| Front::Port(port.host_port)).collect();
        if !fronts.is_empty()
            && let Err(error) = conntrack::forget_udp_before(&fronts)
        {
            tracing::warn!(%error, pod = pod.pod, "UDP flows from before the pod may not reach its host ports");
        }
        Ok(IpAddr::V4(address))
    }

    /// First nothing new may come in, then what flows is forgotten, then the link goes, then the address rests: in any other order
    /// clients hang instead of being refused (measured).
    fn detach(&self, uid: &str) -> Result<()> {
        let address = {
            let mut state = self.state.lock();
            let State { book, firewall, .. } = &mut *state;
            let Some(Entry { address, .. }) = book.pods.get(uid).cloned() else { return Ok(()) };
            firewall.change(vec![(uid.to_owned(), None)]).map_err(kernel("host ports"))?;
            address
        };
        // Other pods need not wait for this.
        if let Err(error) = conntrack::forget(address, End::Server) {
            tracing::warn!(%error, %address, "tracked connections to a pod that is gone stay until they time out");
        }
        let mut state = self.state.lock();
        let rest = state.rest();
        let State { book, net, reaper, .. } = &mut *state;
        plumb::disconnect(&self.config, net, address, reaper)?;
        book.give_back(uid, rest);
        book.write(&book_path(&self.config))
    }
}

/// Deletes ends of pods that are not in the book.
fn sweep(config: &NetworkConfig, net: &mut Rtnetlink, book: &Book) -> Result<()> {
    let known: Vec<String> = book.pods.values().map(|entry| config.link(entry.address)).collect();
    for link in net.links().map_err(kernel("list links"))? {
        if config.owns_link(&link.name) && !known.contains(&link.name) {
            net.delete_link(&link.name).map_err(kernel(format!("delete link {}", link.name)))?;
        }
    }
    Ok(())
}

fn check(config: &NetworkConfig) -> Result<()> {
    let invalid = |message: String| Err(NetworkError::Invalid { context: "network".into(), message });
    if config.pod_cidr.bits() > 30 {
        return invalid(format!("range {} has no room for pods", config.pod_cidr));
    }
    if !config.cluster_cidr.contains(config.pod_cidr.network()) || config.cluster_cidr.bits() > config.pod_cidr.bits() {
        return invalid(format!("pod range {} is not in the cluster's {}", config.pod_cidr, config.cluster_cidr));
    }
    if config.cluster_cidr.overlaps(&config.service_cidr) {
        return invalid(format!("pod range {} and service range {} overlap", config.cluster_cidr, config.service_cidr));
    }
    Ok(())
}

fn book_path(config: &NetworkConfig) -> PathBuf {
    config.state_dir.join("addresses.json")
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

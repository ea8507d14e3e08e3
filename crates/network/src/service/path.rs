//! [`Services`]: keeps the kernel's rules equal to the last table it was given.
use super::plan::{self, Ground, Id};
use crate::conntrack::{self, Front};
use crate::contract::{NetworkError, PortName, Protocol, Result, ServicePath, ServicePort, ServiceTable};
use crate::nft::Table;
use crate::pod::NetworkConfig;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// The Services of one node, in the kernel.
#[derive(Clone)]
pub struct Services {
    inner: Arc<Inner>,
}

struct Inner {
    ground: Ground,
    table: Table,
    current: Mutex<BTreeMap<PortName, ServicePort>>,
}

impl Services {
    /// In the network namespace of the calling thread. Rules that an earlier process left go on working until the first
    /// [`ServicePath::program`] takes their place in one step. `node_address` is where this machine's own proxy is reached.
    pub fn open(config: &NetworkConfig, node_address: IpAddr) -> Result<Self> {
        let node_address = match node_address {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
        };
        let ground = Ground { cluster_cidr: config.cluster_cidr, service_cidr: config.service_cidr, node_address };
        let table = Table::open(config.service_table(), plan::skeleton(&ground))
            .map_err(|source| NetworkError::Kernel { context: "open nf_tables".into(), source })?;
        Ok(Self { inner: Arc::new(Inner { ground, table, current: Mutex::default() }) })
    }
}

#[async_trait]
impl ServicePath for Services {
    async fn program(&self, table: &ServiceTable) -> Result<()> {
        let changes = self.inner.changes(table);
        let inner = self.inner.clone();
        let failed = |source| NetworkError::Kernel { context: "program Services".into(), source };
        let done = tokio::task::spawn_blocking(move || inner.carry_out(changes)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed)
    }
}

/// Where a port answers that it did not answer before (kube-proxy's `cleanStaleEntries`, too, waits for the first endpoint).
fn gained(before: Option<&ServicePort>, after: Option<&ServicePort>) -> Vec<Front> {
    let fronts = |port: &ServicePort| {
        let addresses = port.cluster_ips.iter().chain(&port.external_ips).chain(&port.load_balancer_ips);
        let addresses = addresses.filter_map(|address| match address {
            IpAddr::V4(address) => Some(Front::Address(SocketAddrV4::new(*address, port.port))),
            IpAddr::V6(_) => None,
        });
        addresses.chain(port.node_port.map(Front::Port)).collect::<Vec<_>>()
    };
    let leads = |port: &&ServicePort| !port.endpoints.is_empty();
    let before = before.filter(leads).map(fronts).unwrap_or_default();
    let after = after.filter(leads).map(fronts).unwrap_or_default();
    after.into_iter().filter(|front| !before.contains(front)).collect()
}

type Change = (PortName, Option<ServicePort>);

impl Inner {
    /// What differs from the last table.
    fn changes(&self, table: &ServiceTable) -> Vec<Change> {
        let current = self.current.lock();
        let gone = current.keys().filter(|name| !table.ports.contains_key(*name)).map(|name| (name.clone(), None));
        let differ = table.ports.iter().filter(|(name, port)| current.get(*name) != Some(*port));
        gone.chain(differ.map(|(name, port)| (name.clone(), Some(port.clone())))).collect()
    }

    /// One transaction. A refusal leaves the kernel as it was; the next call replaces the whole table.
    fn carry_out(&self, changes: Vec<Change>) -> io::Result<()> {
        let mut current = self.current.lock();
        let mut parts = Vec::with_capacity(changes.len());
        let (mut stale, mut begun) = (Vec::new(), Vec::new());
        for (name, port) in changes {
            if name.protocol == Protocol::Udp {
                stale.extend(self.lost(current.get(&name), port.as_ref()));
                begun.extend(gained(current.get(&name), port.as_ref()));
            }
            let part = port.as_ref().map(|port| plan::part(&self.ground, &name, port));
            parts.push((Id(&name).to_string(), part));
            match port {
                Some(port) => current.insert(name, port),
                None => current.remove(&name),
            };
        }
        self.table.change(parts)?;
        // The rules are in force whatever comes of these.
        if !stale.is_empty() {
            match conntrack::forget_udp(&stale) {
                Ok(count) => tracing::debug!(count, "forgot UDP flows to endpoints that are gone"),
                Err(error) => tracing::warn!(%error, "UDP flows to endpoints that are gone may go on"),
            }
        }
        if !begun.is_empty() {
            match conntrack::forget_udp_before(&begun) {
                Ok(count) => tracing::debug!(count, "forgot UDP flows from before their Service"),
                Err(error) => tracing::warn!(%error, "UDP flows from before their Service may lead nowhere"),
            }
        }
        Ok(())
    }

    /// Where connections went and do not go any more.
    fn lost(&self, before: Option<&ServicePort>, after: Option<&ServicePort>) -> Vec<SocketAddrV4> {
        let targets = |port: &ServicePort| plan::targets(&self.ground, port).cluster;
        let after = after.map(targets).unwrap_or_default();
        before.map(targets).unwrap_or_default().into_iter().filter(|endpoint| !after.contains(endpoint)).collect()
    }
}

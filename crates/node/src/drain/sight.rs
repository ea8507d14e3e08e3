//! What the gate sees of the cluster: [`Sight`], and [`Mirrors`], the real one.
use super::leaving::{self, Backing, service};
use super::watermark::{LEASES, Proxy, is_ready, of_leases};
use async_trait::async_trait;
use isopod_reflect::{HasMeta, Reflector, Reflectors, Selection};
use isopod_runtime::Runtime;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// The cluster and the machine, as far as the traffic of pods goes.
#[async_trait]
pub trait Sight: Send + Sync + 'static {
    /// Resolves once everything below is the whole truth.
    async fn synced(&self);
    /// Told whenever something may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
    /// Slices that name the pod.
    fn slices(&self, pod: &Pod) -> Vec<Arc<EndpointSlice>>;
    /// Of each Service that has the pod among its endpoints, all slices.
    fn backings(&self, pod: &Pod) -> Vec<Backing>;
    /// Services of the pod's namespace.
    fn services(&self, pod: &Pod) -> Vec<Arc<Service>>;
    /// All live nodes that send connections.
    fn proxies(&self) -> Vec<Proxy>;
    /// A file by which the pod's network namespace can be entered. `None`: it has none any more. An error says nothing about it.
    async fn netns(&self, pod: &Pod) -> isopod_runtime::Result<Option<PathBuf>>;
}

const BY_POD: &str = "drain-pod-uid";
const BY_SERVICE: &str = "drain-service";

/// The mirrors of this process, this node's own watermark, and the runtime for network namespaces.
pub struct Mirrors {
    node: String,
    slices: Reflector<EndpointSlice>,
    services: Reflector<Service>,
    nodes: Reflector<Node>,
    leases: Reflector<Lease>,
    programmed: watch::Receiver<u64>,
    runtime: Arc<dyn Runtime>,
    changes: watch::Receiver<u64>,
    _followers: Vec<AbortOnDropHandle<()>>,
}

fn pods_of(slice: &EndpointSlice) -> Vec<String> {
    let uids = slice.endpoints.iter().flatten().filter_map(leaving::uid_of);
    let mut uids: Vec<String> = uids.map(ToOwned::to_owned).collect();
    uids.dedup();
    uids
}

fn service_of(slice: &EndpointSlice) -> Vec<String> {
    let namespace = slice.metadata.namespace.as_deref().unwrap_or("");
    service(slice).map(|s| format!("{namespace}/{s}")).into_iter().collect()
}

/// Tells of every change of one mirror.
fn follow<K: HasMeta>(mirror: &Reflector<K>, tell: &watch::Sender<u64>) -> AbortOnDropHandle<()> {
    let (mut changes, tell) = (mirror.subscribe(), tell.clone());
    AbortOnDropHandle::new(tokio::spawn(async move {
        while changes.next_batch().await.is_some() {
            tell.send_modify(|n| *n = n.wrapping_add(1));
        }
    }))
}

impl Mirrors {
    /// `programmed`: how far this node's own proxies have come ([`super::watermark::least`] of several). Must be called within a
    /// tokio runtime; the reflectors' client must be able to list and watch EndpointSlices, Services, Nodes and Leases.
    pub fn new(
        node: &str,
        reflectors: &Reflectors,
        programmed: watch::Receiver<u64>,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        let (slices, services, nodes) = (reflectors.of::<EndpointSlice>(), reflectors.of(), reflectors.of::<Node>());
        let leases = reflectors.selected_in::<Lease>(LEASES, Selection::default());
        slices.add_index(BY_POD, pods_of);
        slices.add_index(BY_SERVICE, service_of);
        let (tell, changes) = watch::channel(0);
        let mut followers = vec![follow(&slices, &tell), follow(&nodes, &tell), follow(&leases, &tell)];
        let mut own = programmed.clone();
        followers.push(AbortOnDropHandle::new(tokio::spawn(async move {
            while own.changed().await.is_ok() {
                tell.send_modify(|n| *n = n.wrapping_add(1));
            }
        })));
        let node = node.to_owned();
        Self { node, slices, services, nodes, leases, programmed, runtime, changes, _followers: followers }
    }
}

#[async_trait]
impl Sight for Mirrors {
    async fn synced(&self) {
        tokio::join!(self.slices.synced(), self.services.synced(), self.nodes.synced(), self.leases.synced());
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    fn slices(&self, pod: &Pod) -> Vec<Arc<EndpointSlice>> {
        pod.metadata.uid.as_deref().map_or_else(Vec::new, |uid| self.slices.by_index(BY_POD, uid))
    }

    fn backings(&self, pod: &Pod) -> Vec<Backing> {
        let mut services: Vec<String> = self.slices(pod).iter().flat_map(|s| service_of(s)).collect();
        services.sort();
        services.dedup();
        leaving::backings(services.iter().flat_map(|s| self.slices.by_index(BY_SERVICE, s)).collect())
    }

    fn services(&self, pod: &Pod) -> Vec<Arc<Service>> {
        self.services.list_in(pod.metadata.namespace.as_deref().unwrap_or(""))
    }

    fn proxies(&self) -> Vec<Proxy> {
        let others = of_leases(&self.leases)
            .filter(|p| p.node != self.node && self.nodes.get("", &p.node).is_some_and(|n| is_ready(&n)));
        let own = Proxy { node: self.node.clone(), programmed: *self.programmed.borrow() };
        std::iter::once(own).chain(others).collect()
    }

    async fn netns(&self, pod: &Pod) -> isopod_runtime::Result<Option<PathBuf>> {
        if pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false) {
            return Ok(Some(PathBuf::from("/proc/self/ns/net")));
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or("");
        let own = self.runtime.sandboxes().await?.into_iter().filter(|s| s.config.uid == uid);
        Ok(own.max_by_key(|s| s.config.attempt).and_then(|s| s.netns_path))
    }
}

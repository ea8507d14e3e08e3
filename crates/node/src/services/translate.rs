//! From one Service and its EndpointSlices to the ports a node balances, as kube-proxy reads them (`pkg/proxy/serviceport.go`,
//! `pkg/proxy/endpointslicecache.go`). Pure.
use super::topology::{self, Here, Hinted};
use isopod_network::contract::{Endpoint, PortName, Protocol, ServicePort};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{self, EndpointSlice};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Names the Service of a slice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// A Service with one of these labels is somebody else's to balance, or nobody's (kube-proxy does not even watch it).
const NOT_OURS: [&str; 2] = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];
/// The older way to give source ranges.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// `sessionAffinityConfig.clientIP.timeoutSeconds` where it is not given.
const AFFINITY_SECONDS: i32 = 10_800;
const NONE: &str = "None";

/// The ports of one Service, as the node `here` balances them. Empty for those that have no address of their own: headless ones and
/// `ExternalName`.
pub fn ports(service: &Service, slices: &[Arc<EndpointSlice>], here: &Here) -> BTreeMap<PortName, ServicePort> {
    let (Some(spec), Some(name)) = (&service.spec, &service.metadata.name) else { return BTreeMap::new() };
    let cluster_ips = cluster_ips(spec);
    let other =
        service.metadata.labels.as_ref().is_some_and(|labels| NOT_OURS.iter().any(|label| labels.contains_key(*label)));
    if other || cluster_ips.is_empty() || spec.type_.as_deref() == Some("ExternalName") {
        return BTreeMap::new();
    }
    let outside = Outside::of(service, spec);
    let one = |port: &k8s_openapi::api::core::v1::ServicePort| {
        let protocol = protocol(port.protocol.as_deref())?;
        let key = PortName {
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            service: name.clone(),
            port: port.name.clone().unwrap_or_default(),
            protocol,
        };
        let internal_local = spec.internal_traffic_policy.as_deref() == Some("Local");
        let kept_here = internal_local || outside.local;
        let value = ServicePort {
            cluster_ips: cluster_ips.clone(),
            port: number(port.port)?,
            node_port: port.node_port.and_then(number).filter(|_| outside.node_ports),
            external_ips: outside.external_ips.clone(),
            load_balancer_ips: outside.load_balancer_ips.clone(),
            load_balancer_source_ranges: outside.source_ranges.clone(),
            affinity: affinity(spec),
            internal_local,
            external_local: outside.local,
            proxy: None,
            endpoints: topology::preferred(endpoints(slices, &key.port, protocol, &here.node), here, kept_here),
        };
        Some((key, value))
    };
    spec.ports.iter().flatten().filter_map(one).collect()
}

/// How a Service is reached from outside the cluster.
struct Outside {
    node_ports: bool,
    external_ips: Vec<IpAddr>,
    load_balancer_ips: Vec<IpAddr>,
    source_ranges: Vec<String>,
    local: bool,
}

impl Outside {
    fn of(service: &Service, spec: &ServiceSpec) -> Self {
        let balanced = spec.type_.as_deref() == Some("LoadBalancer");
        let node_ports = balanced || spec.type_.as_deref() == Some("NodePort");
        let external_ips = addresses(spec.external_ips.iter().flatten());
        let load_balancer_ips = if balanced { load_balancer_ips(service) } else { Vec::new() };
        let policy = spec.external_traffic_policy.as_deref() == Some("Local");
        let local = policy && (node_ports || !external_ips.is_empty());
        Self { node_ports, external_ips, load_balancer_ips, source_ranges: source_ranges(service, spec), local }
    }
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let listed = spec.cluster_ips.iter().flatten();
    let all: BTreeSet<&String> = listed.chain(&spec.cluster_ip).filter(|ip| *ip != NONE).collect();
    addresses(all.into_iter())
}

/// Addresses that a load balancer hands on as they are (`ipMode: VIP`); `Proxy` means it sends to node ports itself.
fn load_balancer_ips(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.into_iter().flat_map(|status| status.ingress.iter().flatten());
    addresses(ingress.filter(|i| i.ip_mode.as_deref() != Some("Proxy")).filter_map(|i| i.ip.as_ref()))
}

fn source_ranges(service: &Service, spec: &ServiceSpec) -> Vec<String> {
    match spec.load_balancer_source_ranges.as_deref() {
        Some(ranges) if !ranges.is_empty() => ranges.iter().map(|range| range.trim().to_owned()).collect(),
        _ => {
            let annotation = service.metadata.annotations.as_ref().and_then(|all| all.get(SOURCE_RANGES));
            let ranges = annotation.into_iter().flat_map(|text| text.split(','));
            ranges.map(|range| range.trim().to_owned()).filter(|range| !range.is_empty()).collect()
        }
    }
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECONDS);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    })
}

/// The endpoints of one port over all slices of its Service. Slices match by the name of the port: that is how a named target port
/// can have a different number in each. Of an endpoint's addresses only the first counts, as everywhere in Kubernetes.
fn endpoints(slices: &[Arc<EndpointSlice>], name: &str, wanted: Protocol, node: &str) -> Vec<Hinted> {
    let mut all: BTreeMap<SocketAddr, Hinted> = BTreeMap::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let ports = ports.filter(|port| port.name.as_deref().unwrap_or_default() == name);
        let ports = ports.filter(|port| protocol(port.protocol.as_deref()) == Some(wanted));
        for port in ports.filter_map(|port| port.port.and_then(number)) {
            for endpoint in slice.endpoints.iter().flatten().filter_map(|endpoint| one(endpoint, port, node)) {
                // While a pod moves between slices it may stand in two: what says more for it counts.
                let found = &endpoint.endpoint;
                let better = |held: &Hinted| {
                    let held = &held.endpoint;
                    (found.ready, found.serving, held.terminating) > (held.ready, held.serving, found.terminating)
                };
                if all.get(&found.address).is_none_or(better) {
                    all.insert(found.address, endpoint);
                }
            }
        }
    }
    all.into_values().collect()
}

fn one(found: &v1::Endpoint, port: u16, node: &str) -> Option<Hinted> {
    let address: IpAddr = found.addresses.first()?.parse().ok()?;
    let conditions = found.conditions.as_ref();
    // An absent condition is to be read as true, `terminating` as false (`discovery/v1` types).
    let endpoint = Endpoint {
        address: SocketAddr::new(address, port),
        local: found.node_name.as_deref() == Some(node),
        ready: conditions.and_then(|c| c.ready).unwrap_or(true),
        serving: conditions.and_then(|c| c.serving).unwrap_or(true),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
    };
    Some(Hinted { endpoint, hints: found.hints.clone().unwrap_or_default() })
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// TCP where none is given.
fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

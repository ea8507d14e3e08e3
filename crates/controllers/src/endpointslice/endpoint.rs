//! One pod as an endpoint: addresses, ports, conditions.
use crate::pod;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::IpAddr;

/// Set on a pod's `Ready` condition by node lifecycle: the node cannot be asked any more, whatever its containers last said.
pub const NODE_NOT_READY: &str = "NodeNotReady";

/// Containers are ready, gates hold, and the node is not lost.
pub fn serves(p: &Pod) -> bool {
    if pod::is_ready(p) {
        return true;
    }
    if pod::condition(p, "Ready").is_some_and(|c| c.reason.as_deref() == Some(NODE_NOT_READY)) {
        return false;
    }
    let mut gates = p.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten());
    pod::condition_is_true(p, "ContainersReady") && gates.all(|g| pod::condition_is_true(p, &g.condition_type))
}

pub fn publishes_unready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses).unwrap_or(false)
}

/// Whether the pod has a place among endpoints at all (`ShouldPodBeInEndpoints`): it has an address and will run on.
pub fn belongs(p: &Pod) -> bool {
    let status = p.status.as_ref();
    let ip = status.and_then(|s| s.pod_ip.as_deref()).is_some_and(|ip| !ip.is_empty());
    let ips = status.and_then(|s| s.pod_ips.as_ref()).is_some_and(|ips| !ips.is_empty());
    !pod::is_terminal(p) && (ip || ips)
}

/// The pod's addresses of one family.
pub fn addresses(p: &Pod, v6: bool) -> Vec<String> {
    let Some(status) = &p.status else { return Vec::new() };
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone());
    let mut all: Vec<String> = listed.collect();
    if all.is_empty() {
        all.extend(status.pod_ip.clone());
    }
    all.retain(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == v6));
    all
}

/// The number a service port means on this pod: a number, or the name of a container's port (`FindPort`).
pub fn port_on(p: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(n)) => Some(*n),
        Some(IntOrString::String(name)) => {
            let spec = p.spec.as_ref()?;
            let sidecars =
                spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let mut ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
            ports
                .find(|c| c.name.as_deref() == Some(name) && c.protocol.as_deref().unwrap_or("TCP") == protocol)
                .map(|c| c.container_port)
        }
    }
}

/// The service's ports on this pod. Ports a pod does not have are left out.
pub fn ports(service: &Service, p: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(port_on(p, port)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

pub fn hostname(service: &Service, p: &Pod) -> Option<String> {
    let spec = p.spec.as_ref()?;
    let named = spec.subdomain.as_deref() == service.metadata.name.as_deref();
    let same = service.metadata.namespace == p.metadata.namespace;
    spec.hostname.clone().filter(|h| !h.is_empty() && named && same)
}

pub fn target(p: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: p.metadata.namespace.clone(),
        name: p.metadata.name.clone(),
        uid: p.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// `podToEndpoint`. `zone`: of the pod's node.
pub fn of(service: &Service, p: &Pod, v6: bool, zone: Option<String>) -> Endpoint {
    let serving = serves(p);
    let terminating = p.metadata.deletion_timestamp.is_some();
    let ready = publishes_unready(service) || (serving && !terminating);
    let node_name = Some(pod::node(p).to_owned()).filter(|n| !n.is_empty());
    let zone = zone.filter(|z| !z.is_empty());
    let distribution = service.spec.as_ref().and_then(|s| s.traffic_distribution.as_deref());
    Endpoint {
        addresses: addresses(p, v6),
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints: if ready { hints(distribution, zone.as_deref(), node_name.as_deref()) } else { None },
        hostname: hostname(service, p),
        node_name,
        target_ref: Some(target(p)),
        zone,
        ..Endpoint::default()
    }
}

/// `trafficDistribution` (KEP-4444, KEP-3015): every ready endpoint is for its own zone, or its own node.
fn hints(distribution: Option<&str>, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let zones = || zone.map(|z| vec![ForZone { name: z.to_owned() }]);
    match distribution? {
        "PreferClose" | "PreferSameZone" => Some(EndpointHints { for_zones: Some(zones()?), for_nodes: None }),
        "PreferSameNode" => {
            Some(EndpointHints { for_nodes: Some(vec![ForNode { name: node?.to_owned() }]), for_zones: zones() })
        }
        _ => None,
    }
}

//! Service fields that go together: what the server allocated stays when a client leaves it out, and goes when the type no
//! longer needs it (`pkg/registry/core/service/storage/alloc.go`, `dropTypeDependentFields` of its strategy).
use super::{EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT, type_of};
use crate::k8s::api::core::v1::ServiceSpec;
use crate::kinds::rules::text;
use std::collections::{BTreeMap, BTreeSet};

pub fn needs_cluster_ip(spec: &ServiceSpec) -> bool {
    type_of(spec) != EXTERNAL_NAME
}

/// Node ports make sense for the type.
pub fn needs_node_port(spec: &ServiceSpec) -> bool {
    matches!(type_of(spec), NODE_PORT | LOAD_BALANCER)
}

/// The server gives a node port to each port that has none.
pub fn allocates_node_ports(spec: &ServiceSpec) -> bool {
    match type_of(spec) {
        NODE_PORT => true,
        LOAD_BALANCER => spec.allocate_load_balancer_node_ports != Some(false),
        _ => false,
    }
}

/// Traffic goes to local endpoints only, so a load balancer must ask each node for them: the server allocates
/// `healthCheckNodePort`.
pub fn needs_health_check(spec: &ServiceSpec) -> bool {
    type_of(spec) == LOAD_BALANCER && text(&spec.external_traffic_policy) == "Local"
}

/// A client may resubmit what it once created, without the values that were allocated (`patchAllocatedValues`).
pub fn patch_allocated(new: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        if text(&new.cluster_ip).is_empty() {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if new.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
    }
    if needs_node_port(old) && needs_node_port(new) {
        let used: BTreeSet<i32> = node_ports(old).intersection(&node_ports(new)).copied().collect();
        let known: BTreeMap<&str, i32> =
            old.ports.iter().flatten().filter_map(|p| Some((text(&p.name), p.node_port?))).collect();
        for port in new.ports.iter_mut().flatten().filter(|p| p.node_port.unwrap_or_default() == 0) {
            port.node_port = known.get(text(&port.name)).copied().filter(|p| *p != 0 && !used.contains(p));
        }
    }
    if needs_health_check(old) && needs_health_check(new) && new.health_check_node_port.unwrap_or_default() == 0 {
        new.health_check_node_port = old.health_check_node_port;
    }
}

/// `clusterIPs` follows `clusterIP` for clients that know only the one (`normalizeClusterIPs`).
pub fn normalize_cluster_ips(new: &mut ServiceSpec, old: Option<&ServiceSpec>) {
    let given = new.cluster_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    let Some(old) = old else {
        if let Some(ip) = new.cluster_ip.as_ref().filter(|ip| !ip.is_empty() && !given) {
            new.cluster_ips = Some(vec![ip.clone()]);
        }
        return;
    };
    if !given && text(&old.cluster_ip) == text(&new.cluster_ip) {
        new.cluster_ips.clone_from(&old.cluster_ips);
    }
    let same_plural = new.cluster_ips == old.cluster_ips;
    if text(&old.cluster_ip) != text(&new.cluster_ip) && same_plural {
        new.cluster_ips = new.cluster_ip.clone().filter(|ip| !ip.is_empty()).map(|ip| vec![ip]);
    }
}

/// After a change of type, what no longer applies goes, unless the client changed it too: then validation says so.
pub fn drop_type_dependent(new: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_cluster_ip(old) && !needs_cluster_ip(new) {
        if old.cluster_ip == new.cluster_ip && old.cluster_ips == new.cluster_ips {
            new.cluster_ip = None;
            new.cluster_ips = None;
        }
        if old.ip_families == new.ip_families {
            new.ip_families = None;
        }
        if old.ip_family_policy == new.ip_family_policy {
            new.ip_family_policy = None;
        }
    }
    if needs_node_port(old) && !needs_node_port(new) && node_ports(old).is_superset(&node_ports(new)) {
        for port in new.ports.iter_mut().flatten() {
            port.node_port = None;
        }
    }
    if needs_health_check(old) && !needs_health_check(new) && old.health_check_node_port == new.health_check_node_port {
        new.health_check_node_port = None;
    }
    if type_of(old) == LOAD_BALANCER && type_of(new) != LOAD_BALANCER {
        if old.allocate_load_balancer_node_ports == new.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
        if old.load_balancer_class == new.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
    if super::is_externally_accessible(old)
        && !super::is_externally_accessible(new)
        && old.external_traffic_policy == new.external_traffic_policy
    {
        new.external_traffic_policy = None;
    }
}

fn node_ports(spec: &ServiceSpec) -> BTreeSet<i32> {
    spec.ports.iter().flatten().filter_map(|p| p.node_port).filter(|p| *p != 0).collect()
}

//! `ValidateService` of `pkg/apis/core/validation/validation.go`.
use super::{CLIENT_IP, CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT, NONE, Services};
use super::{cluster_ips, is_externally_accessible, is_headless, linked, type_of};
use crate::catalogue::Kind;
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{LoadBalancerIngress, Service, ServicePort, ServiceSpec};
use crate::kinds::endpoints::PROTOCOLS;
use crate::kinds::rules::{self, text};
use crate::kinds::{addresses, internal};
use crate::names;
use crate::names::address::parse_ip_sloppy;
use std::collections::BTreeSet;

const TYPES: [&str; 4] = [CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT];
const TRAFFIC_POLICIES: [&str; 2] = ["Cluster", "Local"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameNode", "PreferSameZone"];
const MAX_AFFINITY_SECONDS: i32 = 86_400;
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// `before`: the stored spec, whose addresses may stay as they are.
pub fn validate(object: &Service, before: Option<&ServiceSpec>) -> Errors {
    let mut out = names::validate_object_meta(&object.metadata, true, Services::validate_name, &rules::metadata());
    topology(object, &mut out);
    let nothing = ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&nothing);
    let path = Path::new("spec");
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !is_headless(spec) && type_of(spec) != EXTERNAL_NAME {
        out.push(Error::required(&path.child("ports"), ""));
    }
    of_type(spec, &path, &mut out);
    let mut port_names = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        validate_port(port, ports.len() > 1, &mut port_names, &path.child("ports").index(i), &mut out);
    }
    if let Some(selector) = &spec.selector {
        out.extend(names::validate_labels(selector, &path.child("selector")));
    }
    affinity(spec, &path, &mut out);
    out.extend(cluster_ips::validate(spec, before));
    external_ips(spec, before, &path, &mut out);
    match type_of(spec) {
        "" => out.push(Error::required(&path.child("type"), "")),
        kind => out.extend(rules::one_of(kind, &TYPES, &path.child("type"))),
    }
    duplicate_ports(spec, &path.child("ports"), &mut out);
    source_ranges(object, spec, before, &mut out);
    balancer(spec, &path, &mut out);
    traffic(spec, &path, &mut out);
    out
}

fn topology(object: &Service, out: &mut Errors) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    const MODE: &str = "service.kubernetes.io/topology-mode";
    let Some(annotations) = &object.metadata.annotations else { return };
    if let (Some(mode), Some(hints)) = (annotations.get(MODE), annotations.get(HINTS))
        && mode != hints
    {
        let detail = format!("must match annotations[{HINTS}] when both are specified");
        out.push(Error::invalid(&rules::metadata().child("annotations").key(MODE), mode, detail));
    }
}

fn of_type(spec: &ServiceSpec, path: &Path, out: &mut Errors) {
    match type_of(spec) {
        kind @ (LOAD_BALANCER | NODE_PORT) if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            out.push(Error::invalid(&path.child("clusterIPs").index(0), NONE, detail));
        }
        EXTERNAL_NAME => {
            let unwelcome = [
                (spec.cluster_ips.as_ref().is_some_and(|l| !l.is_empty()), "clusterIPs"),
                (spec.ip_families.as_ref().is_some_and(|l| !l.is_empty()), "ipFamilies"),
                (spec.ip_family_policy.is_some(), "ipFamilyPolicy"),
            ];
            for (_, field) in unwelcome.iter().filter(|(set, _)| *set) {
                out.push(Error::forbidden(&path.child(field), "may not be set for ExternalName services"));
            }
            let name = text(&spec.external_name);
            match name.strip_suffix('.').unwrap_or(name) {
                "" => out.push(Error::required(&path.child("externalName"), "")),
                name => out.extend(rules::dns_subdomain(name, &path.child("externalName"))),
            }
        }
        _ => {}
    }
}

fn validate_port<'a>(port: &'a ServicePort, named: bool, seen: &mut BTreeSet<&'a str>, path: &Path, out: &mut Errors) {
    match text(&port.name) {
        "" if named => out.push(Error::required(&path.child("name"), "")),
        "" => {}
        name => {
            out.extend(rules::dns_label(name, &path.child("name")));
            if !seen.insert(name) {
                out.push(Error::duplicate(&path.child("name"), name));
            }
        }
    }
    out.extend(rules::port_number(port.port, &path.child("port")));
    match text(&port.protocol) {
        "" => out.push(Error::required(&path.child("protocol"), "")),
        protocol => out.extend(rules::one_of(protocol, &PROTOCOLS, &path.child("protocol"))),
    }
    if let Some(target) = &port.target_port {
        out.extend(rules::port_number_or_name(target, &path.child("targetPort")));
    }
    if let Some(protocol) = &port.app_protocol {
        out.extend(rules::qualified_name(protocol, &path.child("appProtocol")));
    }
}

fn affinity(spec: &ServiceSpec, path: &Path, out: &mut Errors) {
    let affinity_path = path.child("sessionAffinity");
    let config_path = path.child("sessionAffinityConfig");
    let affinity = text(&spec.session_affinity);
    match affinity {
        "" => out.push(Error::required(&affinity_path, "")),
        _ => out.extend(rules::one_of(affinity, &[CLIENT_IP, NONE], &affinity_path)),
    }
    let config = spec.session_affinity_config.as_ref();
    if affinity == NONE && config.is_some() {
        out.push(Error::forbidden(&config_path, "must not be set when session affinity is None"));
    }
    if affinity != CLIENT_IP {
        return;
    }
    let words = "when session affinity type is ClientIP";
    let client_path = config_path.child("clientIP");
    let seconds_path = client_path.child("timeoutSeconds");
    match config.map(|c| c.client_ip.as_ref().map(|c| c.timeout_seconds)) {
        None => out.push(Error::required(&config_path, words)),
        Some(None) => out.push(Error::required(&client_path, words)),
        Some(Some(None)) => out.push(Error::required(&seconds_path, words)),
        Some(Some(Some(seconds))) if !(1..=MAX_AFFINITY_SECONDS).contains(&seconds) => {
            let detail = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
            out.push(Error::invalid(&seconds_path, seconds, detail));
        }
        Some(Some(Some(_))) => {}
    }
}

fn external_ips(spec: &ServiceSpec, before: Option<&ServiceSpec>, path: &Path, out: &mut Errors) {
    let stored: Vec<&str> = before.iter().flat_map(|b| b.external_ips.iter().flatten()).map(String::as_str).collect();
    for (i, ip) in spec.external_ips.iter().flatten().enumerate() {
        let path = path.child("externalIPs").index(i);
        let faults = addresses::ip(ip, &stored, &path);
        out.extend(if faults.is_empty() { addresses::non_special_ip(ip, &path) } else { faults });
    }
}

fn duplicate_ports(spec: &ServiceSpec, path: &Path, out: &mut Errors) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    let set = |port: &ServicePort| port.node_port.filter(|p| *p != 0);
    if type_of(spec) == CLUSTER_IP {
        for (i, _) in ports.iter().enumerate().filter(|(_, p)| set(p).is_some()) {
            let detail = "may not be used when `type` is 'ClusterIP'";
            out.push(Error::forbidden(&path.index(i).child("nodePort"), detail));
        }
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        if let Some(number) = set(port)
            && !seen.insert((text(&port.protocol), number))
        {
            out.push(Error::duplicate(&path.index(i).child("nodePort"), number));
        }
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let protocol = text(&port.protocol);
        if !seen.insert((protocol, port.port)) {
            out.push(Error::duplicate(&path.index(i), internal::ServicePort::key(protocol, port.port)));
        }
    }
}

fn source_ranges(object: &Service, spec: &ServiceSpec, before: Option<&ServiceSpec>, out: &mut Errors) {
    let only = "may only be used when `type` is 'LoadBalancer'";
    let stored: Vec<&str> =
        before.iter().flat_map(|b| b.load_balancer_source_ranges.iter().flatten()).map(|r| r.trim()).collect();
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    if !ranges.is_empty() {
        // So spelled in Kubernetes.
        let path = Path::new("spec").child("LoadBalancerSourceRanges");
        if type_of(spec) != LOAD_BALANCER {
            out.push(Error::forbidden(&path, only));
        }
        for (i, range) in ranges.iter().enumerate() {
            out.extend(addresses::cidr(range.trim(), &stored, &path.index(i)));
        }
        return;
    }
    let Some(ranges) = object.metadata.annotations.as_ref().and_then(|a| a.get(SOURCE_RANGES)) else { return };
    let path = rules::metadata().child("annotations").key(SOURCE_RANGES);
    if type_of(spec) != LOAD_BALANCER {
        out.push(Error::forbidden(&path, only));
    }
    if !ranges.trim().is_empty() {
        for range in ranges.trim().split(',') {
            out.extend(addresses::cidr(range.trim(), &stored, &path));
        }
    }
}

fn balancer(spec: &ServiceSpec, path: &Path, out: &mut Errors) {
    match (type_of(spec) == LOAD_BALANCER, spec.allocate_load_balancer_node_ports) {
        (false, Some(_)) => {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            out.push(Error::forbidden(&path.child("allocateLoadBalancerNodePorts"), detail));
        }
        (true, None) => out.push(Error::required(&Path::new("allocateLoadBalancerNodePorts"), "")),
        _ => {}
    }
    load_balancer_class(spec, None, out);
}

/// `validateLoadBalancerClassField`
pub fn load_balancer_class(spec: &ServiceSpec, before: Option<&ServiceSpec>, out: &mut Errors) {
    let path = Path::new("spec").child("loadBalancerClass");
    let balanced = type_of(spec) == LOAD_BALANCER;
    if let Some(before) = before
        && balanced
        && type_of(before) == LOAD_BALANCER
        && before.load_balancer_class != spec.load_balancer_class
    {
        out.push(Error::invalid(&path, &spec.load_balancer_class, "may not change once set"));
    }
    match &spec.load_balancer_class {
        Some(class) if balanced => out.extend(rules::qualified_name(class, &path)),
        Some(_) => out.push(Error::forbidden(&path, "may only be used when `type` is 'LoadBalancer'")),
        None => {}
    }
}

fn traffic(spec: &ServiceSpec, path: &Path, out: &mut Errors) {
    let external_path = path.child("externalTrafficPolicy");
    match (is_externally_accessible(spec), text(&spec.external_traffic_policy)) {
        (false, "") => {}
        (false, policy) => {
            out.push(Error::invalid(&external_path, policy, "may only be set for externally-accessible services"));
        }
        (true, "") => out.push(Error::required(&external_path, "")),
        (true, policy) => out.extend(rules::one_of(policy, &TRAFFIC_POLICIES, &external_path)),
    }
    let check_path = path.child("healthCheckNodePort");
    match (linked::needs_health_check(spec), spec.health_check_node_port.unwrap_or_default()) {
        (false, 0) => {}
        (false, port) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            out.push(Error::invalid(&check_path, port, detail));
        }
        (true, 0) => out.push(Error::required(&check_path, "")),
        (true, port) => out.extend(rules::port_number(port, &check_path)),
    }
    let internal_path = path.child("internalTrafficPolicy");
    match &spec.internal_traffic_policy {
        None if [NODE_PORT, LOAD_BALANCER, CLUSTER_IP].contains(&type_of(spec)) => {
            out.push(Error::required(&internal_path, ""));
        }
        None => {}
        Some(policy) => out.extend(rules::one_of(policy, &TRAFFIC_POLICIES, &internal_path)),
    }
    if let Some(distribution) = &spec.traffic_distribution {
        out.extend(rules::one_of(distribution, &DISTRIBUTIONS, &path.child("trafficDistribution")));
    }
}

/// `ValidateLoadBalancerStatus` and the conditions.
pub fn status(new: &Service, old: &Service, out: &mut Errors) {
    fn ingress(service: &Service) -> &[LoadBalancerIngress] {
        let balancer = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        balancer.and_then(|b| b.ingress.as_deref()).unwrap_or_default()
    }
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let places = ingress(new);
    if !places.is_empty() && new.spec.as_ref().is_none_or(|s| type_of(s) != LOAD_BALANCER) {
        out.push(Error::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    let stored: Vec<&str> = ingress(old).iter().map(|i| text(&i.ip)).collect();
    for (i, place) in places.iter().enumerate() {
        status_ingress(place, &stored, &path.index(i), out);
    }
}

fn status_ingress(place: &LoadBalancerIngress, stored: &[&str], path: &Path, out: &mut Errors) {
    let ip = text(&place.ip);
    if !ip.is_empty() {
        out.extend(addresses::ip(ip, stored, &path.child("ip")));
    }
    let mode_path = path.child("ipMode");
    match (&place.ip_mode, ip.is_empty()) {
        (None, false) => out.push(Error::required(&mode_path, "must be specified when `ip` is set")),
        (Some(_), true) => out.push(Error::forbidden(&mode_path, "may not be specified when `ip` is not set")),
        (Some(mode), false) => out.extend(rules::one_of(mode, &["Proxy", "VIP"], &mode_path)),
        (None, true) => {}
    }
    let hostname = text(&place.hostname);
    if !hostname.is_empty() {
        let path = path.child("hostname");
        out.extend(invalid_each(&path, hostname, names::dns1123_subdomain(hostname, false)));
        if parse_ip_sloppy(hostname).is_some() {
            out.push(Error::invalid(&path, hostname, "must be a DNS name, not an IP address"));
        }
    }
}

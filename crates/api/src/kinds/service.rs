//! Service: a name and an address for a set of pods (`pkg/registry/core/service/strategy.go`).
//!
//! Cluster IPs and node ports are allocated by the API server, between `prepare_*` and validation:
//!
//! ```text
//! create: default → prepare_create (clusterIP → clusterIPs) → families::init → allocate → validate
//! update: default → prepare_update (what was allocated is kept, what no longer applies dropped) → families::init → allocate → validate_update
//! ```
//! [`linked`] holds what goes together, [`families`] the rules of single and dual stack.
pub mod cluster_ips;
pub mod families;
pub mod linked;
mod validate;

use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope, Subresource};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{
    ClientIPConfig, Service, ServicePort, ServiceSpec, ServiceStatus, SessionAffinityConfig,
};
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;
use crate::kinds::addresses;
use crate::kinds::rules::{self, drop_empty, drop_empty_list, text};
use crate::names;
use crate::names::address::{ip_warning, parse_ip_sloppy};
use crate::print::{AGE, NAME, age_cell, column, labels, none_if_empty, service_ports, wide};
use serde_json::Value;

pub struct Services;

/// Whether the rest of the service is right, so that an address given to it now would not be given in vain. `before`: the stored
/// spec.
pub fn plausible(object: &Service, before: Option<&ServiceSpec>) -> bool {
    let errors = validate::validate(object, before);
    // Addresses and the port for health checks that are still to be assigned are no fault yet.
    errors
        .iter()
        .map(|e| e.path.to_string())
        .all(|at| at.starts_with("spec.clusterIP") || at == "spec.healthCheckNodePort")
}

const COLUMNS: [Column; 7] = [
    NAME,
    column("Type", "How the service is exposed."),
    column("Cluster-IP", "The address of the service within the cluster."),
    column("External-IP", "The addresses of the service from outside."),
    column("Port(s)", "The ports of the service, with their node ports."),
    AGE,
    wide("Selector", "The labels of the pods behind the service."),
];

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["svc"],
    categories: &["all"],
    status: true,
    subresources: &[Subresource {
        name: "proxy",
        group: "",
        version: "",
        kind: "ServiceProxyOptions",
        verbs: &["create", "delete", "get", "patch", "update"],
    }],
    create_on_update: true,
    ..Descriptor::new(("", "v1"), "Service", "services", "service", Scope::Namespaced, &COLUMNS)
};

pub const CLUSTER_IP: &str = "ClusterIP";
pub const NODE_PORT: &str = "NodePort";
pub const LOAD_BALANCER: &str = "LoadBalancer";
pub const EXTERNAL_NAME: &str = "ExternalName";
/// The `clusterIP` of a headless service.
pub const NONE: &str = "None";
const CLIENT_IP: &str = "ClientIP";
/// How long a client keeps its endpoint unless said otherwise: three hours.
const AFFINITY_SECONDS: i32 = 10_800;

impl Kind for Services {
    type Object = Service;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    /// A DNS label that may begin with a digit (`RelaxedServiceNameValidation`).
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::dns1123_label(name, prefix)
    }
    fn default(object: &mut Service) {
        default_spec(object.spec.get_or_insert_default());
        default_status(object);
    }
    fn prepare_create(object: &mut Service) {
        object.status = Some(ServiceStatus { load_balancer: Some(Default::default()), ..Default::default() });
        linked::normalize_cluster_ips(spec_mut(object), None);
    }
    fn validate(object: &Service) -> Errors {
        validate::validate(object, None)
    }
    fn prepare_update(new: &mut Service, old: &Service) {
        new.status.clone_from(&old.status);
        let nothing = ServiceSpec::default();
        let before = old.spec.as_ref().unwrap_or(&nothing);
        linked::patch_allocated(spec_mut(new), before);
        linked::normalize_cluster_ips(spec_mut(new), Some(before));
        linked::drop_type_dependent(spec_mut(new), before);
        if type_of(spec_mut(new)) != LOAD_BALANCER
            && let Some(status) = &mut new.status
        {
            status.load_balancer = Some(Default::default());
        }
    }
    fn validate_update(new: &Service, old: &Service) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let nothing = ServiceSpec::default();
        let (spec, before) = (new.spec.as_ref().unwrap_or(&nothing), old.spec.as_ref().unwrap_or(&nothing));
        cluster_ips::validate_change(spec, before, &mut out);
        families::validate_change(spec, before, &mut out);
        validate::load_balancer_class(spec, Some(before), &mut out);
        if linked::needs_health_check(spec)
            && linked::needs_health_check(before)
            && spec.health_check_node_port != before.health_check_node_port
        {
            out.push(Error::forbidden(&Path::new("spec").child("healthCheckNodePort"), "field is immutable"));
        }
        out.extend(validate::validate(new, Some(before)));
        out
    }
    fn prepare_status_update(new: &mut Service, old: &Service) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &Service, old: &Service) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        validate::status(new, old, &mut out);
        out
    }
    fn warnings(new: &Service, old: Option<&Service>) -> Vec<String> {
        warnings(new, old)
    }
    fn fields(object: &Service) -> Vec<(&'static str, String)> {
        let spec = object.spec.as_ref();
        vec![
            ("spec.clusterIP", spec.map_or("", |s| text(&s.cluster_ip)).to_owned()),
            ("spec.type", spec.map_or("", |s| text(&s.type_)).to_owned()),
        ]
    }
    fn cells(object: &Service, cx: &PrintContext) -> Vec<Value> {
        let nothing = ServiceSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&nothing);
        let cluster_ip = spec.cluster_ips.iter().flatten().next().cloned().unwrap_or_default();
        vec![
            object.metadata.name.clone().into(),
            type_of(spec).into(),
            none_if_empty(cluster_ip).into(),
            external_words(object, spec).into(),
            none_if_empty(service_ports(spec.ports.as_deref().unwrap_or_default())).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            labels(spec.selector.as_ref()).into(),
        ]
    }
}

fn spec_mut(object: &mut Service) -> &mut ServiceSpec {
    object.spec.get_or_insert_default()
}

pub fn type_of(spec: &ServiceSpec) -> &str {
    text(&spec.type_)
}

/// Its one cluster IP is `None`: clients reach the pods themselves.
pub fn is_headless(spec: &ServiceSpec) -> bool {
    matches!(spec.cluster_ips.as_deref(), Some([one]) if one == NONE)
}

/// Traffic from outside the cluster may reach it (`ExternallyAccessible`).
pub fn is_externally_accessible(spec: &ServiceSpec) -> bool {
    match type_of(spec) {
        LOAD_BALANCER | NODE_PORT => true,
        CLUSTER_IP => spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()),
        _ => false,
    }
}

/// `SetDefaults_Service`
fn default_spec(spec: &mut ServiceSpec) {
    drop_unset(spec);
    let affinity = spec.session_affinity.get_or_insert_with(|| NONE.into()).as_str();
    if affinity == NONE {
        spec.session_affinity_config = None;
    } else if affinity == CLIENT_IP && affinity_seconds(spec).is_none() {
        let client_ip = Some(ClientIPConfig { timeout_seconds: Some(AFFINITY_SECONDS) });
        spec.session_affinity_config = Some(SessionAffinityConfig { client_ip });
    }
    spec.type_.get_or_insert_with(|| CLUSTER_IP.into());
    spec.ports.iter_mut().flatten().for_each(default_port);
    if is_externally_accessible(spec) {
        spec.external_traffic_policy.get_or_insert_with(|| "Cluster".into());
    }
    if [NODE_PORT, LOAD_BALANCER, CLUSTER_IP].contains(&type_of(spec)) {
        spec.internal_traffic_policy.get_or_insert_with(|| "Cluster".into());
    }
    if type_of(spec) == LOAD_BALANCER {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

fn affinity_seconds(spec: &ServiceSpec) -> Option<i32> {
    spec.session_affinity_config.as_ref()?.client_ip.as_ref()?.timeout_seconds
}

/// What Go does not write out when it is empty.
fn drop_unset(spec: &mut ServiceSpec) {
    let texts = [
        &mut spec.session_affinity,
        &mut spec.type_,
        &mut spec.cluster_ip,
        &mut spec.external_name,
        &mut spec.external_traffic_policy,
        &mut spec.load_balancer_ip,
    ];
    texts.into_iter().for_each(drop_empty);
    let lists =
        [&mut spec.cluster_ips, &mut spec.external_ips, &mut spec.ip_families, &mut spec.load_balancer_source_ranges];
    lists.into_iter().for_each(drop_empty_list);
    drop_empty_list(&mut spec.ports);
    if spec.selector.as_ref().is_some_and(|s| s.is_empty()) {
        spec.selector = None;
    }
    if spec.publish_not_ready_addresses == Some(false) {
        spec.publish_not_ready_addresses = None;
    }
    if spec.health_check_node_port == Some(0) {
        spec.health_check_node_port = None;
    }
}

fn default_port(port: &mut ServicePort) {
    drop_empty(&mut port.name);
    drop_empty(&mut port.protocol);
    port.protocol.get_or_insert_with(|| "TCP".into());
    if port.node_port == Some(0) {
        port.node_port = None;
    }
    let unset = match &port.target_port {
        None | Some(IntOrString::Int(0)) => true,
        Some(IntOrString::String(name)) => name.is_empty(),
        Some(IntOrString::Int(_)) => false,
    };
    if unset {
        port.target_port = Some(IntOrString::Int(port.port));
    }
}

fn default_status(object: &mut Service) {
    let balanced = object.spec.as_ref().is_some_and(|s| type_of(s) == LOAD_BALANCER);
    let status = object.status.get_or_insert_default().load_balancer.get_or_insert_default();
    for ingress in status.ingress.iter_mut().flatten() {
        if balanced && !text(&ingress.ip).is_empty() {
            ingress.ip_mode.get_or_insert_with(|| "VIP".into());
        }
    }
}

/// `getServiceExternalIP`
fn external_words(object: &Service, spec: &ServiceSpec) -> String {
    let external = spec.external_ips.clone().unwrap_or_default();
    match type_of(spec) {
        CLUSTER_IP | NODE_PORT => none_if_empty(external.join(",")),
        LOAD_BALANCER => {
            let ingress = object.status.as_ref().and_then(|s| s.load_balancer.as_ref()?.ingress.as_ref());
            let place = |i: &crate::k8s::api::core::v1::LoadBalancerIngress| match text(&i.ip) {
                "" => text(&i.hostname).to_owned(),
                ip => ip.to_owned(),
            };
            let mut list: Vec<String> = ingress.into_iter().flatten().map(place).filter(|p| !p.is_empty()).collect();
            list.dedup();
            list.extend(external);
            if list.is_empty() { "<pending>".into() } else { list.join(",") }
        }
        EXTERNAL_NAME => text(&spec.external_name).to_owned(),
        _ => "<unknown>".into(),
    }
}

/// `GetWarningsForService`
fn warnings(new: &Service, _old: Option<&Service>) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let mut out = Vec::new();
    if new.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(HINTS)) {
        out.push(format!("annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"));
    }
    let Some(spec) = &new.spec else { return out };
    let path = Path::new("spec");
    let external = spec.external_ips.as_deref().unwrap_or_default();
    if type_of(spec) == CLUSTER_IP && is_headless(spec) {
        let ignored = [
            (!text(&spec.load_balancer_ip).is_empty(), "loadBalancerIP"),
            (!external.is_empty(), "externalIPs"),
            (text(&spec.session_affinity) != NONE, "SessionAffinity"),
        ];
        out.extend(
            ignored.iter().filter(|(set, _)| *set).map(|(_, f)| format!("spec.{f} is ignored for headless services")),
        );
    } else {
        for (i, ip) in spec.cluster_ips.iter().flatten().enumerate() {
            out.extend(ip_warning(&path.child("clusterIPs").index(i), ip));
        }
    }
    // KEP-5707, since v1.36.
    if !external.is_empty() {
        out.push("spec.externalIPs is deprecated".into());
    }
    for (i, ip) in external.iter().enumerate() {
        out.extend(ip_warning(&path.child("externalIPs").index(i), ip));
    }
    let balancer = text(&spec.load_balancer_ip);
    if parse_ip_sloppy(balancer).is_some() {
        out.extend(ip_warning(&path.child("loadBalancerIP"), balancer));
    }
    for (i, cidr) in spec.load_balancer_source_ranges.iter().flatten().enumerate() {
        out.extend(addresses::cidr_warnings(&path.child("loadBalancerSourceRanges").index(i), cidr.trim()));
    }
    if type_of(spec) == EXTERNAL_NAME && !external.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if type_of(spec) != EXTERNAL_NAME && !text(&spec.external_name).is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec.traffic_distribution.as_deref() == Some("PreferClose") {
        out.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
    out
}

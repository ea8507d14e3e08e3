//! NetworkPolicy: which pods may talk to which.
use super::GROUP;
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;
use crate::kinds::addresses;
use crate::kinds::rules;
use crate::names;
use crate::names::address::parse_cidr_sloppy;
use crate::print::{AGE, NAME, age_cell, column, label_selector};
use serde_json::Value;

pub struct NetworkPolicies;

const COLUMNS: [Column; 3] = [NAME, column("Pod-Selector", "The pods the policy is about."), AGE];

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["netpol"],
    generation: true,
    ..Descriptor::new((GROUP, "v1"), "NetworkPolicy", "networkpolicies", "networkpolicy", Scope::Namespaced, &COLUMNS)
};

const POLICY_TYPES: [&str; 2] = ["Ingress", "Egress"];

impl Kind for NetworkPolicies {
    type Object = NetworkPolicy;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    /// `SetDefaults_NetworkPolicy`: a policy with egress rules is about both directions, any other about ingress.
    fn default(object: &mut NetworkPolicy) {
        let spec = object.spec.get_or_insert_default();
        spec.pod_selector.get_or_insert_default();
        rules::drop_empty_list(&mut spec.ingress);
        if spec.policy_types.as_ref().is_none_or(Vec::is_empty) {
            let both = spec.egress.as_ref().is_some_and(|e| !e.is_empty());
            let types = if both { &POLICY_TYPES[..] } else { &["Ingress"] };
            spec.policy_types = Some(types.iter().map(|t| (*t).to_owned()).collect());
        }
        rules::drop_empty_list(&mut spec.egress);
        let ports = spec.ingress.iter_mut().flatten().map(|r| &mut r.ports);
        let ports = ports.chain(spec.egress.iter_mut().flatten().map(|r| &mut r.ports));
        for port in ports.flatten().flatten() {
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }
    fn validate(object: &NetworkPolicy) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        if let Some(spec) = &object.spec {
            validate_spec(spec, &[], &mut out);
        }
        out
    }
    fn validate_update(new: &NetworkPolicy, old: &NetworkPolicy) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let stored: Vec<&str> = old.spec.iter().flat_map(cidrs).collect();
        if let Some(spec) = &new.spec {
            validate_spec(spec, &stored, &mut out);
        }
        out
    }
    fn cells(object: &NetworkPolicy, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            label_selector(object.spec.as_ref().and_then(|s| s.pod_selector.as_ref())).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn cidrs(spec: &NetworkPolicySpec) -> impl Iterator<Item = &str> {
    let from = spec.ingress.iter().flatten().flat_map(|r| r.from.iter().flatten());
    let to = spec.egress.iter().flatten().flat_map(|r| r.to.iter().flatten());
    let blocks = from.chain(to).filter_map(|p| p.ip_block.as_ref());
    blocks.flat_map(|b| std::iter::once(b.cidr.as_str()).chain(b.except.iter().flatten().map(String::as_str)))
}

fn validate_spec(spec: &NetworkPolicySpec, stored: &[&str], out: &mut Errors) {
    let path = Path::new("spec");
    if let Some(selector) = &spec.pod_selector {
        out.extend(names::validate_label_selector(selector, &path.child("podSelector")));
    }
    let ingress = spec.ingress.iter().flatten().map(|r| (&r.ports, &r.from));
    let egress = spec.egress.iter().flatten().map(|r| (&r.ports, &r.to));
    for (i, (ports, peers)) in ingress.enumerate() {
        validate_rule(ports, peers, "from", stored, &path.child("ingress").index(i), out);
    }
    for (i, (ports, peers)) in egress.enumerate() {
        validate_rule(ports, peers, "to", stored, &path.child("egress").index(i), out);
    }
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let path = path.child("policyTypes");
    if types.len() > POLICY_TYPES.len() {
        out.push(Error::invalid(&path, types, "may not specify more than two policyTypes"));
        return;
    }
    for (i, kind) in types.iter().enumerate() {
        out.extend(rules::one_of(kind, &POLICY_TYPES, &path.index(i)));
    }
}

fn validate_rule(
    ports: &Option<Vec<NetworkPolicyPort>>,
    peers: &Option<Vec<NetworkPolicyPeer>>,
    side: &str,
    stored: &[&str],
    path: &Path,
    out: &mut Errors,
) {
    for (i, port) in ports.iter().flatten().enumerate() {
        validate_port(port, &path.child("ports").index(i), out);
    }
    for (i, peer) in peers.iter().flatten().enumerate() {
        validate_peer(peer, stored, &path.child(side).index(i), out);
    }
}

fn validate_port(port: &NetworkPolicyPort, path: &Path, out: &mut Errors) {
    if let Some(protocol) = &port.protocol {
        out.extend(rules::one_of(protocol, &["TCP", "UDP", "SCTP"], &path.child("protocol")));
    }
    let end_path = path.child("endPort");
    match &port.port {
        Some(IntOrString::Int(number)) => {
            out.extend(rules::port_number(*number, &path.child("port")));
            if let Some(end) = port.end_port {
                if end < *number {
                    out.push(Error::invalid(&end_path, end, "must be greater than or equal to `port`"));
                }
                out.extend(rules::port_number(end, &end_path));
            }
        }
        Some(IntOrString::String(name)) => {
            if let Some(end) = port.end_port {
                out.push(Error::invalid(&end_path, end, "may not be specified when `port` is non-numeric"));
            }
            out.extend(invalid_each(&path.child("port"), name, names::port_name(name)));
        }
        None => {
            if let Some(end) = port.end_port {
                out.push(Error::invalid(&end_path, end, "may not be specified when `port` is not specified"));
            }
        }
    }
}

fn validate_peer(peer: &NetworkPolicyPeer, stored: &[&str], path: &Path, out: &mut Errors) {
    for (selector, field) in [(&peer.pod_selector, "podSelector"), (&peer.namespace_selector, "namespaceSelector")] {
        if let Some(selector) = selector {
            out.extend(names::validate_label_selector(selector, &path.child(field)));
        }
    }
    if let Some(block) = &peer.ip_block {
        validate_block(block, stored, &path.child("ipBlock"), out);
    }
    let selects = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
    match (selects, peer.ip_block.is_some()) {
        (false, false) => out.push(Error::required(path, "must specify a peer")),
        (true, true) => out.push(Error::forbidden(path, "may not specify both ipBlock and another peer")),
        _ => {}
    }
}

fn validate_block(block: &IPBlock, stored: &[&str], path: &Path, out: &mut Errors) {
    let cidr_path = path.child("cidr");
    if block.cidr.is_empty() {
        out.push(Error::required(&cidr_path, ""));
        return;
    }
    out.extend(addresses::cidr(&block.cidr, stored, &cidr_path));
    let Some((outer, length)) = parse_cidr_sloppy(&block.cidr) else { return };
    for (i, except) in block.except.iter().flatten().enumerate() {
        let path = path.child("except").index(i);
        out.extend(addresses::cidr(except, stored, &path));
        let Some((inner, inner_length)) = parse_cidr_sloppy(except) else { continue };
        let within = outer.is_ipv4() == inner.is_ipv4()
            && length < inner_length
            && addresses::network(inner, length) == addresses::network(outer, length);
        if !within {
            out.push(Error::invalid(&path, except, "must be a strict subset of `cidr`"));
        }
    }
}

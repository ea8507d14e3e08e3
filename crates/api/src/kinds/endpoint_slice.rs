//! EndpointSlice: a part of the addresses behind a Service (`pkg/registry/discovery/endpointslice/strategy.go`,
//! `pkg/apis/discovery/validation`).
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::discovery::v1::{Endpoint, EndpointHints, EndpointPort, EndpointSlice};
use crate::kinds::addresses;
use crate::kinds::endpoints::PROTOCOLS;
use crate::kinds::rules::{self, drop_empty_list, text};
use crate::names;
use crate::names::address::ip_warning;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;
use std::collections::BTreeSet;

pub struct EndpointSlices;

const COLUMNS: [Column; 5] = [
    NAME,
    column("AddressType", "The kind of address that all endpoints of this slice have."),
    column("Ports", "The ports that each endpoint of this slice serves."),
    column("Endpoints", "The addresses of this slice's endpoints."),
    AGE,
];

static DESCRIPTOR: Descriptor = Descriptor::new(
    ("discovery.k8s.io", "v1"),
    "EndpointSlice",
    "endpointslices",
    "endpointslice",
    Scope::Namespaced,
    &COLUMNS,
);

/// Supported address types, sorted.
const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_TOPOLOGY: usize = 16;
const MAX_HINTS: usize = 8;

impl Kind for EndpointSlices {
    type Object = EndpointSlice;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut EndpointSlice) {
        drop_empty_list(&mut object.ports);
        for port in object.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
        for endpoint in object.endpoints.get_or_insert_default() {
            endpoint.conditions.get_or_insert_default();
        }
    }
    /// The whole slice counts as its spec.
    fn prepare_create(object: &mut EndpointSlice) {
        object.metadata.generation = Some(1);
        drop_topology(object);
    }
    fn validate(object: &EndpointSlice) -> Errors {
        validate_slice(object, &ADDRESS_TYPES, &[])
    }
    fn prepare_update(new: &mut EndpointSlice, old: &EndpointSlice) {
        let labels = |e: &EndpointSlice| e.metadata.labels.clone().unwrap_or_default();
        let same = new.address_type == old.address_type && new.endpoints == old.endpoints && new.ports == old.ports;
        let before = old.metadata.generation.unwrap_or_default();
        let changed = !same || labels(new) != labels(old);
        new.metadata.generation = Some(if changed { before.saturating_add(1) } else { before });
        drop_topology(new);
    }
    fn validate_update(new: &EndpointSlice, old: &EndpointSlice) -> Errors {
        let stored: Vec<&str> = old.endpoints.iter().flatten().flat_map(|e| &e.addresses).map(String::as_str).collect();
        let mut out = validate_slice(new, &["FQDN", "IP", "IPv4", "IPv6"], &stored);
        out.extend(rules::immutable(&new.address_type, &old.address_type, &Path::new("addressType")));
        out
    }
    fn warnings(new: &EndpointSlice, _old: Option<&EndpointSlice>) -> Vec<String> {
        let mut out = Vec::new();
        if new.address_type == "FQDN" {
            out.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
            return out;
        }
        for (i, endpoint) in new.endpoints.iter().flatten().enumerate() {
            let path = Path::new("endpoints").index(i).child("addresses");
            for (j, address) in endpoint.addresses.iter().enumerate() {
                out.extend(ip_warning(&path.index(j), address));
            }
        }
        out
    }
    fn cells(object: &EndpointSlice, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.address_type.clone().into(),
            ports_words(object.ports.as_deref().unwrap_or_default()).into(),
            endpoints_words(object.endpoints.as_deref().unwrap_or_default()).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

/// `deprecatedTopology` of `v1` may only repeat what older versions stored; nothing here ever did.
fn drop_topology(object: &mut EndpointSlice) {
    for endpoint in object.endpoints.iter_mut().flatten() {
        endpoint.deprecated_topology = None;
    }
}

/// At most three, then how many more there are (`formatDiscoveryPorts`).
fn ports_words(ports: &[EndpointPort]) -> String {
    let words = |port: &EndpointPort| match (port.port, &port.name) {
        (Some(port), _) => port.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => "*".to_owned(),
    };
    short_list(ports.iter().map(words), "<unset>")
}

fn endpoints_words(endpoints: &[Endpoint]) -> String {
    short_list(endpoints.iter().flat_map(|e| e.addresses.iter().cloned()), "<unset>")
}

fn short_list(items: impl Iterator<Item = String>, nothing: &str) -> String {
    const SHOWN: usize = 3;
    let mut list: Vec<String> = items.collect();
    let more = list.len().saturating_sub(SHOWN);
    list.truncate(SHOWN);
    match (list.join(","), more) {
        (text, 0) if text.is_empty() => nothing.to_owned(),
        (text, 0) => text,
        (text, more) => format!("{text} + {more} more..."),
    }
}

fn validate_slice(object: &EndpointSlice, types: &[&str], stored: &[&str]) -> Errors {
    let mut out =
        names::validate_object_meta(&object.metadata, true, EndpointSlices::validate_name, &rules::metadata());
    let path = Path::new("addressType");
    if object.address_type.is_empty() {
        out.push(Error::required(&path, ""));
    } else {
        out.extend(rules::one_of(&object.address_type, types, &path));
    }
    let endpoints = object.endpoints.as_deref().unwrap_or_default();
    let path = Path::new("endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        out.push(Error::too_many(&path, endpoints.len(), MAX_ENDPOINTS));
    } else {
        for (i, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(endpoint, &object.address_type, stored, &path.index(i), &mut out);
        }
    }
    validate_ports(object.ports.as_deref().unwrap_or_default(), &Path::new("ports"), &mut out);
    out
}

fn validate_endpoint(endpoint: &Endpoint, address_type: &str, stored: &[&str], path: &Path, out: &mut Errors) {
    let addresses_path = path.child("addresses");
    match endpoint.addresses.len() {
        0 => out.push(Error::required(&addresses_path, "must contain at least 1 address")),
        n if n > MAX_ADDRESSES => out.push(Error::too_many(&addresses_path, n, MAX_ADDRESSES)),
        _ => {}
    }
    for (i, address) in endpoint.addresses.iter().enumerate() {
        validate_address(address, address_type, stored, &addresses_path.index(i), out);
    }
    if let Some(node) = &endpoint.node_name {
        out.extend(invalid_each(&path.child("nodeName"), node, names::dns1123_subdomain(node, false)));
    }
    if let Some(topology) = &endpoint.deprecated_topology {
        let path = path.child("deprecatedTopology");
        if topology.len() > MAX_TOPOLOGY {
            out.push(Error::too_many(&path, topology.len(), MAX_TOPOLOGY));
        }
        out.extend(names::validate_labels(topology, &path));
    }
    if let Some(hostname) = &endpoint.hostname {
        out.extend(rules::dns_label(hostname, &path.child("hostname")));
    }
    if let Some(hints) = &endpoint.hints {
        validate_hints(hints, &path.child("hints"), out);
    }
}

fn validate_address(address: &str, address_type: &str, stored: &[&str], path: &Path, out: &mut Errors) {
    let of_family = |messages: Vec<String>| match messages.is_empty() {
        true => addresses::ip(address, stored, path),
        false => invalid_each(path, address, messages),
    };
    match address_type {
        "IPv4" | "IPv6" => {
            out.extend(of_family(if address_type == "IPv4" { names::ipv4(address) } else { names::ipv6(address) }));
            out.extend(addresses::non_special_ip(address, path));
        }
        "FQDN" => out.extend(fully_qualified(address, path)),
        _ => {}
    }
}

/// `IsFullyQualifiedDomainName`
fn fully_qualified(name: &str, path: &Path) -> Errors {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let faults = names::dns1123_subdomain(name, false);
    if !faults.is_empty() {
        return vec![Error::invalid(path, name, faults.join(","))];
    }
    if !name.contains('.') {
        return vec![Error::invalid(path, name, "should be a domain with at least two segments separated by dots")];
    }
    name.split('.').flat_map(|label| invalid_each(path, label, names::dns1123_label(label, false))).collect()
}

fn validate_hints(hints: &EndpointHints, path: &Path, out: &mut Errors) {
    let zones: Vec<&str> = hints.for_zones.iter().flatten().map(|z| z.name.as_str()).collect();
    let nodes: Vec<&str> = hints.for_nodes.iter().flatten().map(|n| n.name.as_str()).collect();
    let node_name: fn(&str) -> Vec<String> = |n| names::dns1123_subdomain(n, false);
    let zone_name: fn(&str) -> Vec<String> = names::label_value;
    for (list, field, check) in [(zones, "forZones", zone_name), (nodes, "forNodes", node_name)] {
        let path = path.child(field);
        if list.len() > MAX_HINTS {
            out.push(Error::too_many(&path, list.len(), MAX_HINTS));
            continue;
        }
        let mut seen = BTreeSet::new();
        for (i, name) in list.into_iter().enumerate() {
            let path = path.index(i).child("name");
            if !seen.insert(name) {
                out.push(Error::duplicate(&path, name));
            }
            out.extend(invalid_each(&path, name, check(name)));
        }
    }
}

fn validate_ports(ports: &[EndpointPort], path: &Path, out: &mut Errors) {
    if ports.len() > MAX_PORTS {
        out.push(Error::too_many(path, ports.len(), MAX_PORTS));
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = text(&port.name);
        if !name.is_empty() {
            out.extend(rules::dns_label(name, &path.child("name")));
        }
        if !seen.insert(name) {
            out.push(Error::duplicate(&path.child("name"), name));
        }
        if let Some(number) = port.port {
            out.extend(rules::port_number(number, &path.child("port")));
        }
        match &port.protocol {
            None => out.push(Error::required(&path.child("protocol"), "")),
            Some(protocol) => out.extend(rules::one_of(protocol, &PROTOCOLS, &path.child("protocol"))),
        }
        if let Some(protocol) = &port.app_protocol {
            out.extend(rules::qualified_name(protocol, &path.child("appProtocol")));
        }
    }
}

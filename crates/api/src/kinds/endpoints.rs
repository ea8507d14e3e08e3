//! Endpoints: the addresses behind a Service, in the older form (`pkg/registry/core/endpoint/strategy.go`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use crate::kinds::addresses;
use crate::kinds::rules::{self, drop_empty_list, text};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column, none_if_empty};
use serde_json::Value;

pub struct AllEndpoints;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["ep"],
    create_on_update: true,
    ..Descriptor::new(
        ("", "v1"),
        "Endpoints",
        "endpoints",
        "endpoints",
        Scope::Namespaced,
        &[NAME, column("Endpoints", "The addresses and ports that are ready."), AGE],
    )
};

/// SCTP, TCP, UDP, in the order of `sets.List`.
pub const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

impl Kind for AllEndpoints {
    type Object = Endpoints;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut Endpoints) {
        drop_empty_list(&mut object.subsets);
        for subset in object.subsets.iter_mut().flatten() {
            drop_empty_list(&mut subset.addresses);
            drop_empty_list(&mut subset.not_ready_addresses);
            drop_empty_list(&mut subset.ports);
            for port in subset.ports.iter_mut().flatten() {
                if text(&port.protocol).is_empty() {
                    port.protocol = Some("TCP".into());
                }
                rules::drop_empty(&mut port.name);
            }
        }
    }
    fn validate(object: &Endpoints) -> Errors {
        validate_with(object, &[])
    }
    fn validate_update(new: &Endpoints, old: &Endpoints) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let stored: Vec<&str> = old.subsets.iter().flatten().flat_map(all_addresses).map(|a| a.ip.as_str()).collect();
        out.extend(validate_with(new, &stored));
        out
    }
    fn deprecation() -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }
    fn warnings(new: &Endpoints, _old: Option<&Endpoints>) -> Vec<String> {
        let mut out = Vec::new();
        for (i, subset) in new.subsets.iter().flatten().enumerate() {
            let path = Path::new("subsets").index(i);
            let lists = [(&subset.addresses, "addresses"), (&subset.not_ready_addresses, "notReadyAddresses")];
            for (list, field) in lists {
                for (j, address) in list.iter().flatten().enumerate() {
                    out.extend(names::address::ip_warning(&path.child(field).index(j).child("ip"), &address.ip));
                }
            }
        }
        out
    }
    fn cells(object: &Endpoints, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            format_endpoints(object).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn all_addresses(subset: &EndpointSubset) -> impl Iterator<Item = &EndpointAddress> {
    subset.addresses.iter().flatten().chain(subset.not_ready_addresses.iter().flatten())
}

/// Up to three `address:port`, then how many more there are (`formatEndpoints`).
fn format_endpoints(object: &Endpoints) -> String {
    const SHOWN: usize = 3;
    let mut list: Vec<String> = Vec::new();
    let mut count = 0usize;
    for subset in object.subsets.iter().flatten() {
        let ready = subset.addresses.as_deref().unwrap_or_default();
        let Some(ports) = subset.ports.as_ref().filter(|p| !p.is_empty()) else {
            // A headless service without ports: the addresses alone.
            count += ready.len();
            list.extend(ready.iter().take(SHOWN.saturating_sub(list.len())).map(|a| a.ip.clone()));
            continue;
        };
        for port in ports {
            count += ready.len();
            for address in ready.iter().take(SHOWN.saturating_sub(list.len())) {
                list.push(host_port(&address.ip, port.port));
            }
        }
    }
    let text = list.join(",");
    if count > SHOWN { format!("{text} + {} more...", count - SHOWN) } else { none_if_empty(text) }
}

fn host_port(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn validate_with(object: &Endpoints, stored: &[&str]) -> Errors {
    let mut out = names::validate_object_meta(&object.metadata, true, AllEndpoints::validate_name, &rules::metadata());
    for (i, subset) in object.subsets.iter().flatten().enumerate() {
        validate_subset(subset, stored, &Path::new("subsets").index(i), &mut out);
    }
    out
}

fn validate_subset(subset: &EndpointSubset, stored: &[&str], path: &Path, out: &mut Errors) {
    if all_addresses(subset).next().is_none() {
        out.push(Error::required(path, "must specify `addresses` or `notReadyAddresses`"));
    }
    for (list, field) in [(&subset.addresses, "addresses"), (&subset.not_ready_addresses, "notReadyAddresses")] {
        for (i, address) in list.iter().flatten().enumerate() {
            validate_address(address, stored, &path.child(field).index(i), out);
        }
    }
    let ports = subset.ports.as_deref().unwrap_or_default();
    for (i, port) in ports.iter().enumerate() {
        validate_port(port, ports.len() > 1, &path.child("ports").index(i), out);
    }
}

fn validate_address(address: &EndpointAddress, stored: &[&str], path: &Path, out: &mut Errors) {
    out.extend(addresses::ip(&address.ip, stored, &path.child("ip")));
    let hostname = text(&address.hostname);
    if !hostname.is_empty() {
        out.extend(rules::dns_label(hostname, &path.child("hostname")));
    }
    if let Some(node) = &address.node_name {
        out.extend(invalid_each(&path.child("nodeName"), node, names::dns1123_subdomain(node, false)));
    }
    out.extend(addresses::non_special_ip(&address.ip, &path.child("ip")));
}

fn validate_port(port: &EndpointPort, named: bool, path: &Path, out: &mut Errors) {
    let name = text(&port.name);
    if !name.is_empty() {
        out.extend(rules::dns_label(name, &path.child("name")));
    } else if named {
        out.push(Error::required(&path.child("name"), ""));
    }
    out.extend(rules::port_number(port.port, &path.child("port")));
    match text(&port.protocol) {
        "" => out.push(Error::required(&path.child("protocol"), "")),
        protocol => out.extend(rules::one_of(protocol, &PROTOCOLS, &path.child("protocol"))),
    }
    if let Some(protocol) = &port.app_protocol {
        out.extend(rules::qualified_name(protocol, &path.child("appProtocol")));
    }
}

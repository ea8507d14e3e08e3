//! Ingress: HTTP from outside to Services.
use super::GROUP;
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::TypedLocalObjectReference;
use crate::k8s::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressServiceBackend, IngressSpec, IngressTLS,
};
use crate::kinds::addresses;
use crate::kinds::rules::{self, drop_empty_list, text};
use crate::names;
use crate::names::address::parse_ip_sloppy;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

pub struct Ingresses;

const COLUMNS: [Column; 6] = [
    NAME,
    column("Class", "The class, and so the controller, of the ingress."),
    column("Hosts", "The hosts the ingress answers for."),
    column("Address", "Where the ingress is reached."),
    column("Ports", "The ports the ingress answers on."),
    AGE,
];

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["ing"],
    status: true,
    generation: true,
    ..Descriptor::new((GROUP, "v1"), "Ingress", "ingresses", "ingress", Scope::Namespaced, &COLUMNS)
};

/// The class before `ingressClassName` was a field.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
const NO_HOST_IP: &str = "must be a DNS name, not an IP address";

impl Kind for Ingresses {
    type Object = Ingress;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut Ingress) {
        let spec = object.spec.get_or_insert_default();
        drop_empty_list(&mut spec.rules);
        drop_empty_list(&mut spec.tls);
        for backend in backends(spec) {
            if let Some(service) = &mut backend.service {
                service.port.get_or_insert_default();
            }
        }
        object.status.get_or_insert_default().load_balancer.get_or_insert_default();
    }
    fn prepare_create(object: &mut Ingress) {
        object.status = None;
        Self::default(object);
    }
    fn validate(object: &Ingress) -> Errors {
        let mut out = validate(object);
        let annotated = object.metadata.annotations.as_ref().and_then(|a| a.get(CLASS_ANNOTATION));
        let class = object.spec.as_ref().and_then(|s| s.ingress_class_name.as_ref());
        if let (Some(annotated), Some(class)) = (annotated, class)
            && annotated != class
        {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            out.push(Error::invalid(&path, annotated, "must match `ingressClassName` when both are specified"));
        }
        out
    }
    fn prepare_update(new: &mut Ingress, old: &Ingress) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &Ingress, old: &Ingress) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        out.extend(validate(new));
        out
    }
    fn prepare_status_update(new: &mut Ingress, old: &Ingress) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &Ingress, old: &Ingress) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let places = |i: &Ingress| {
            let balancer = i.status.as_ref().and_then(|s| s.load_balancer.clone());
            balancer.and_then(|b| b.ingress).unwrap_or_default()
        };
        let before = places(old);
        let stored: Vec<&str> = before.iter().map(|p| text(&p.ip)).filter(|ip| !ip.is_empty()).collect();
        for (i, place) in places(new).iter().enumerate() {
            let path = Path::new("status").child("loadBalancer").child("ingress").index(i);
            if !text(&place.ip).is_empty() {
                out.extend(addresses::ip(text(&place.ip), &stored, &path.child("ip")));
            }
            let hostname = text(&place.hostname);
            if !hostname.is_empty() {
                let path = path.child("hostname");
                out.extend(rules::dns_subdomain(hostname, &path));
                if parse_ip_sloppy(hostname).is_some() {
                    out.push(Error::invalid(&path, hostname, NO_HOST_IP));
                }
            }
        }
        out
    }
    fn warnings(new: &Ingress, _old: Option<&Ingress>) -> Vec<String> {
        if new.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(CLASS_ANNOTATION)) {
            return vec![format!(
                "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
            )];
        }
        Vec::new()
    }
    fn cells(object: &Ingress, cx: &PrintContext) -> Vec<Value> {
        let nothing = IngressSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&nothing);
        let annotated = object.metadata.annotations.as_ref().and_then(|a| a.get(CLASS_ANNOTATION));
        let class = spec.ingress_class_name.as_ref().or(annotated).map_or("<none>", String::as_str);
        let tls = spec.tls.as_ref().is_some_and(|t| !t.is_empty());
        vec![
            object.metadata.name.clone().into(),
            class.into(),
            hosts(spec).into(),
            addresses_of(object).into(),
            if tls { "80, 443" } else { "80" }.into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn backends(spec: &mut IngressSpec) -> impl Iterator<Item = &mut IngressBackend> {
    let of_paths = spec.rules.iter_mut().flatten().filter_map(|r| r.http.as_mut());
    let of_paths = of_paths.flat_map(|h| h.paths.iter_mut().map(|p| &mut p.backend));
    spec.default_backend.iter_mut().chain(of_paths)
}

/// At most three hosts, then how many more there are.
fn hosts(spec: &IngressSpec) -> String {
    const SHOWN: usize = 3;
    let all: Vec<&str> = spec.rules.iter().flatten().map(|r| text(&r.host)).filter(|h| !h.is_empty()).collect();
    let shown = all.iter().take(SHOWN).copied().collect::<Vec<_>>().join(",");
    match all.len() {
        0 => "*".into(),
        n if n > SHOWN => format!("{shown} + {} more...", n - SHOWN),
        _ => shown,
    }
}

fn addresses_of(object: &Ingress) -> String {
    let places = object.status.as_ref().and_then(|s| s.load_balancer.as_ref()?.ingress.as_ref());
    let words = places.into_iter().flatten().map(|p| match text(&p.ip) {
        "" => text(&p.hostname),
        ip => ip,
    });
    words.filter(|w| !w.is_empty()).collect::<Vec<_>>().join(",")
}

fn validate(object: &Ingress) -> Errors {
    let mut out = names::validate_object_meta(&object.metadata, true, Ingresses::validate_name, &rules::metadata());
    let nothing = IngressSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&nothing);
    let path = Path::new("spec");
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        out.push(Error::invalid(&path, &spec.rules, "either `defaultBackend` or `rules` must be specified"));
    }
    if let Some(backend) = &spec.default_backend {
        validate_backend(backend, &path.child("defaultBackend"), &mut out);
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = path.child("rules").index(i);
        validate_host(text(&rule.host), &path.child("host"), &mut out);
        let Some(http) = &rule.http else { continue };
        let path = path.child("http").child("paths");
        if http.paths.is_empty() {
            out.push(Error::required(&path, ""));
        }
        for (j, entry) in http.paths.iter().enumerate() {
            validate_path(entry, &path.index(j), &mut out);
        }
    }
    for (i, tls) in spec.tls.iter().flatten().enumerate() {
        validate_tls(tls, &path.child("tls").index(i), &mut out);
    }
    if let Some(class) = &spec.ingress_class_name {
        out.extend(rules::dns_subdomain(class, &path.child("ingressClassName")));
    }
    out
}

fn validate_host(host: &str, path: &Path, out: &mut Errors) {
    if host.is_empty() {
        return;
    }
    if parse_ip_sloppy(host).is_some() {
        out.push(Error::invalid(path, host, NO_HOST_IP));
    }
    out.extend(host_name(host, path));
}

fn host_name(host: &str, path: &Path) -> Errors {
    let wild = host.contains('*');
    let faults = if wild { names::wildcard_dns1123_subdomain(host) } else { names::dns1123_subdomain(host, false) };
    invalid_each(path, host, faults)
}

fn validate_tls(tls: &IngressTLS, path: &Path, out: &mut Errors) {
    for (i, host) in tls.hosts.iter().flatten().enumerate() {
        out.extend(host_name(host, &path.child("hosts").index(i)));
    }
    let secret = text(&tls.secret_name);
    if !secret.is_empty() {
        out.extend(rules::dns_subdomain(secret, &path.child("secretName")));
    }
}

fn validate_path(entry: &HTTPIngressPath, path: &Path, out: &mut Errors) {
    let value = text(&entry.path);
    let at = path.child("path");
    let absolute = |out: &mut Errors| {
        if !value.starts_with('/') {
            out.push(Error::invalid(&at, value, "must be an absolute path"));
        }
    };
    match entry.path_type.as_str() {
        "" => {
            out.push(Error::required(&path.child("pathType"), "pathType must be specified"));
            return;
        }
        "Exact" | "Prefix" => {
            absolute(out);
            for sequence in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|s| value.contains(**s)) {
                out.push(Error::invalid(&at, value, format!("must not contain '{sequence}'")));
            }
            for suffix in ["/..", "/."].iter().filter(|s| value.ends_with(**s)) {
                out.push(Error::invalid(&at, value, format!("cannot end with '{suffix}'")));
            }
        }
        "ImplementationSpecific" if !value.is_empty() => absolute(out),
        "ImplementationSpecific" => {}
        kind => out.push(Error::not_supported(&path.child("pathType"), kind, &PATH_TYPES)),
    }
    validate_backend(&entry.backend, &path.child("backend"), out);
}

fn validate_backend(backend: &IngressBackend, path: &Path, out: &mut Errors) {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => out.push(Error::invalid(path, "", "cannot set both resource and service backends")),
        (Some(resource), None) => typed_reference(resource, &path.child("resource"), out),
        (None, Some(service)) => service_backend(service, path, out),
        (None, None) => out.push(Error::invalid(path, "", "resource or service backend is required")),
    }
}

fn service_backend(service: &IngressServiceBackend, path: &Path, out: &mut Errors) {
    let at = path.child("service");
    match service.name.as_str() {
        "" => out.push(Error::required(&at.child("name"), "")),
        name => out.extend(rules::dns_label(name, &at.child("name"))),
    }
    let port = service.port.clone().unwrap_or_default();
    let at = at.child("port");
    match (text(&port.name), port.number.unwrap_or_default()) {
        ("", 0) => out.push(Error::required(path, "port name or number is required")),
        ("", number) => out.extend(rules::port_number(number, &at.child("number"))),
        (name, 0) => out.extend(invalid_each(&at.child("name"), name, names::port_name(name))),
        _ => out.push(Error::invalid(path, "", "cannot set both port name & port number")),
    }
}

fn typed_reference(reference: &TypedLocalObjectReference, path: &Path, out: &mut Errors) {
    if let Some(group) = &reference.api_group {
        out.extend(rules::dns_subdomain(group, &path.child("apiGroup")));
    }
    for (value, field) in [(&reference.kind, "kind"), (&reference.name, "name")] {
        if value.is_empty() {
            out.push(Error::required(&path.child(field), ""));
        } else {
            out.extend(invalid_each(&path.child(field), value, names::path_segment(value, false)));
        }
    }
}

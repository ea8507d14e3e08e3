//! IngressClass: which controller serves an Ingress.
use super::GROUP;
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::networking::v1::{IngressClass, IngressClassParametersReference, IngressClassSpec};
use crate::kinds::rules::{self, text};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

pub struct IngressClasses;

const COLUMNS: [Column; 4] = [
    NAME,
    column("Controller", "The controller of the class."),
    column("Parameters", "Where the controller's settings are."),
    AGE,
];

static DESCRIPTOR: Descriptor = Descriptor {
    generation: true,
    ..Descriptor::new((GROUP, "v1"), "IngressClass", "ingressclasses", "ingressclass", Scope::Cluster, &COLUMNS)
};

const MAX_CONTROLLER: usize = 250;
const SCOPES: [&str; 2] = ["Cluster", "Namespace"];

impl Kind for IngressClasses {
    type Object = IngressClass;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut IngressClass) {
        if let Some(parameters) = &mut object.spec.get_or_insert_default().parameters {
            parameters.scope.get_or_insert_with(|| "Cluster".into());
        }
    }
    fn validate(object: &IngressClass) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        let nothing = IngressClassSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&nothing);
        let path = Path::new("spec");
        controller(text(&spec.controller), &path.child("controller"), &mut out);
        if let Some(parameters) = &spec.parameters {
            validate_parameters(parameters, &path.child("parameters"), &mut out);
        }
        out
    }
    fn validate_update(new: &IngressClass, old: &IngressClass) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let of = |c: &IngressClass| c.spec.as_ref().and_then(|s| s.controller.clone()).unwrap_or_default();
        out.extend(rules::immutable(&of(new), &of(old), &Path::new("spec").child("controller")));
        out.extend(Self::validate(new));
        out
    }
    fn cells(object: &IngressClass, cx: &PrintContext) -> Vec<Value> {
        let spec = object.spec.as_ref();
        let parameters = spec.and_then(|s| s.parameters.as_ref()).map_or_else(
            || "<none>".to_owned(),
            |p| {
                let group = p.api_group.as_ref().map(|g| format!(".{g}")).unwrap_or_default();
                format!("{}{group}/{}", p.kind, p.name)
            },
        );
        vec![
            object.metadata.name.clone().into(),
            spec.map_or("", |s| text(&s.controller)).into(),
            parameters.into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn controller(value: &str, path: &Path, out: &mut Errors) {
    if value.is_empty() {
        out.push(Error::required(path, ""));
        return;
    }
    if value.len() > MAX_CONTROLLER {
        out.push(Error::too_long(path, MAX_CONTROLLER));
    }
    out.extend(domain_prefixed_path(value, path));
}

/// `IsDomainPrefixedPath`: `example.com/path`
pub fn domain_prefixed_path(value: &str, path: &Path) -> Errors {
    let shape = "must be a domain-prefixed path (such as \"acme.io/foo\")";
    let Some((domain, rest)) = value.split_once('/').filter(|(d, r)| !d.is_empty() && !r.is_empty()) else {
        return vec![Error::invalid(path, value, shape)];
    };
    let faults = names::dns1123_subdomain(domain, false);
    if !faults.is_empty() {
        return invalid_each(path, domain, faults);
    }
    let segment = |b: u8| b.is_ascii_alphanumeric() || b"/.-_~%!$&'()*+,;=:".contains(&b);
    if rest.bytes().all(segment) {
        return Errors::new();
    }
    let detail = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
    vec![Error::invalid(path, rest, detail)]
}

fn validate_parameters(parameters: &IngressClassParametersReference, path: &Path, out: &mut Errors) {
    if let Some(group) = &parameters.api_group {
        out.extend(rules::dns_subdomain(group, &path.child("apiGroup")));
    }
    for (value, field) in [(&parameters.kind, "kind"), (&parameters.name, "name")] {
        if value.is_empty() {
            out.push(Error::required(&path.child(field), ""));
        } else {
            out.extend(invalid_each(&path.child(field), value, names::path_segment(value, false)));
        }
    }
    let namespace_path = path.child("namespace");
    match (parameters.scope.as_deref(), &parameters.namespace) {
        (None, _) => out.push(Error::required(&path.child("scope"), "")),
        (Some("Namespace"), None) => {
            out.push(Error::required(&namespace_path, "`parameters.scope` is set to 'Namespace'"));
        }
        (Some("Namespace"), Some(namespace)) => out.extend(rules::dns_label(namespace, &namespace_path)),
        (Some("Cluster"), Some(_)) => {
            out.push(Error::forbidden(&namespace_path, "`parameters.scope` is set to 'Cluster'"));
        }
        (Some("Cluster"), None) => {}
        (Some(scope), _) => out.extend(rules::one_of(scope, &SCOPES, &path.child("scope"))),
    }
}

//! ResourceQuota: what a namespace may use in all (`pkg/registry/core/resourcequota/strategy.go`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{ResourceQuota, ResourceQuotaSpec, ScopedResourceSelectorRequirement};
use crate::kinds::resource_names::{self, ResourceList};
use crate::kinds::{internal, rules};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use crate::quantity::canonicalize_list;
use serde_json::Value;
use std::collections::BTreeSet;

pub struct ResourceQuotas;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["quota"],
    status: true,
    ..Descriptor::new(
        ("", "v1"),
        "ResourceQuota",
        "resourcequotas",
        "resourcequota",
        Scope::Namespaced,
        &[
            NAME,
            column("Request", "What is used of what may be requested."),
            column("Limit", "What is used of the limits that may be set."),
            AGE,
        ],
    )
};

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

impl Kind for ResourceQuotas {
    type Object = ResourceQuota;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut ResourceQuota) {
        let status = object.status.get_or_insert_default();
        let spec = object.spec.get_or_insert_default();
        for list in [&mut spec.hard, &mut status.hard, &mut status.used].into_iter().flatten() {
            canonicalize_list(list);
        }
        rules::drop_empty_list(&mut spec.scopes);
    }
    fn prepare_create(object: &mut ResourceQuota) {
        object.status = Some(Default::default());
    }
    fn validate(object: &ResourceQuota) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        out.extend(validate_spec(object));
        out.extend(validate_status(object));
        out
    }
    fn prepare_update(new: &mut ResourceQuota, old: &ResourceQuota) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &ResourceQuota, old: &ResourceQuota) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        out.extend(validate_spec(new));
        let scopes =
            |q: &ResourceQuota| q.spec.iter().flat_map(|s| s.scopes.iter().flatten()).cloned().collect::<BTreeSet<_>>();
        if scopes(new) != scopes(old) {
            let value = new.spec.as_ref().and_then(|s| s.scopes.clone());
            out.push(Error::invalid(&Path::new("spec").child("scopes"), value, "field is immutable"));
        }
        out
    }
    fn prepare_status_update(new: &mut ResourceQuota, old: &ResourceQuota) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &ResourceQuota, old: &ResourceQuota) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        if rules::text(&new.metadata.resource_version).is_empty() {
            out.push(Error::required(&Path::new("resourceVersion"), ""));
        }
        out.extend(validate_status(new));
        out
    }
    fn returns_deleted() -> bool {
        true
    }
    fn cells(object: &ResourceQuota, cx: &PrintContext) -> Vec<Value> {
        let (requests, limits) = usage(object);
        vec![
            object.metadata.name.clone().into(),
            requests.into(),
            limits.into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

/// `cpu: 1/2, …`: used over hard, limits apart from all else (`printResourceQuota`).
fn usage(object: &ResourceQuota) -> (String, String) {
    let Some(status) = &object.status else { return Default::default() };
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, hard) in status.hard.iter().flatten() {
        let used = status.used.as_ref().and_then(|u| u.get(name)).map_or("0", |q| q.0.as_str());
        let words = format!("{name}: {used}/{}", hard.0);
        if name.starts_with("limits") { limits.push(words) } else { requests.push(words) }
    }
    (requests.join(", "), limits.join(", "))
}

fn validate_list(list: &Option<ResourceList>, path: &Path) -> Errors {
    let mut out = Errors::new();
    for (name, value) in list.iter().flatten() {
        let path = path.key(name);
        out.extend(resource_names::validate_quota_name(name, &path));
        out.extend(resource_names::validate_value(name, value, &path));
    }
    out
}

fn validate_status(object: &ResourceQuota) -> Errors {
    let Some(status) = &object.status else { return Errors::new() };
    let path = Path::new("status");
    let mut out = validate_list(&status.hard, &path.child("hard"));
    out.extend(validate_list(&status.used, &path.child("used")));
    out
}

fn validate_spec(object: &ResourceQuota) -> Errors {
    let Some(spec) = &object.spec else { return Errors::new() };
    let path = Path::new("spec");
    let mut out = validate_list(&spec.hard, &path.child("hard"));
    if let Some(scopes) = spec.scopes.as_ref().filter(|s| !s.is_empty()) {
        let path = path.child("scopes");
        for scope in scopes {
            if !SCOPES.contains(&scope.as_str()) {
                out.push(Error::invalid(&path, scopes, "unsupported scope"));
            }
            for _ in misfits(spec, scope) {
                out.push(Error::invalid(&path, scopes, "unsupported scope applied to resource"));
            }
        }
        conflicts(scopes, spec, &path, &mut out);
    }
    if let Some(selector) = &spec.scope_selector {
        let path = path.child("scopeSelector").child("matchExpressions");
        for requirement in selector.match_expressions.iter().flatten() {
            validate_requirement(requirement, spec, &path, &mut out);
        }
        let scopes: Vec<String> = selector.match_expressions.iter().flatten().map(|r| r.scope_name.clone()).collect();
        conflicts(&scopes, spec, &path, &mut out);
    }
    out
}

/// The resources of the quota that a scope does not cover.
fn misfits<'a>(spec: &'a ResourceQuotaSpec, scope: &'a str) -> impl Iterator<Item = &'a String> {
    let names = spec.hard.iter().flat_map(|h| h.keys());
    names.filter(move |n| resource_names::is_standard_for_quota(n) && !resource_names::scope_fits(scope, n))
}

fn conflicts(scopes: &[String], spec: &ResourceQuotaSpec, path: &Path, out: &mut Errors) {
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|p| scopes.iter().any(|s| s == p)) {
            out.push(Error::invalid(path, &spec.scopes, "conflicting scopes"));
        }
    }
}

fn validate_requirement(
    requirement: &ScopedResourceSelectorRequirement,
    spec: &ResourceQuotaSpec,
    path: &Path,
    out: &mut Errors,
) {
    let scope = requirement.scope_name.as_str();
    let operator = requirement.operator.as_str();
    let values = requirement.values.as_deref().unwrap_or_default();
    if !SCOPES.contains(&scope) {
        out.push(Error::invalid(&path.child("scopeName"), scope, "unsupported scope"));
    }
    for _ in misfits(spec, scope) {
        out.push(Error::invalid(
            path,
            spec.scope_selector.as_ref().map(internal::ScopeSelector::from),
            "unsupported scope applied to resource",
        ));
    }
    let exists_only =
        ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"].contains(&scope);
    if exists_only && operator != "Exists" {
        let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
            ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
            ResourceQuotaScopeCrossNamespacePodAffinity";
        out.push(Error::invalid(&path.child("operator"), operator, detail));
    }
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            out.push(Error::required(&path.child("values"), detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            out.push(Error::invalid(&path.child("values"), values, detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => out.push(Error::invalid(&path.child("operator"), operator, "not a valid selector operator")),
    }
}

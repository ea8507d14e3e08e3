//! The spec of a claim, also inside pods and StatefulSets (`ValidatePersistentVolumeClaimSpec`).
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{PersistentVolumeClaimSpec, TypedLocalObjectReference, TypedObjectReference};
use crate::kinds::rules::{self, drop_empty, drop_empty_list, text};
use crate::kinds::storage_words::{validate_access_modes, validate_class, validate_volume_mode};
use crate::names;
use crate::quantity::canonicalize_list;

pub fn default(spec: &mut PersistentVolumeClaimSpec) {
    drop_empty(&mut spec.volume_name);
    drop_empty_list(&mut spec.access_modes);
    let resources = spec.resources.get_or_insert_default();
    for list in [&mut resources.limits, &mut resources.requests].into_iter().flatten() {
        canonicalize_list(list);
    }
    spec.volume_mode.get_or_insert_with(|| "Filesystem".into());
}

/// `dataSource` takes claims and snapshots only; anything else is left out, as ever (KEP-1495).
pub fn drop_foreign_source(spec: &mut PersistentVolumeClaimSpec) {
    let known = spec.data_source.as_ref().is_none_or(|source| {
        matches!(
            (text(&source.api_group), source.kind.as_str()),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    });
    if !known {
        spec.data_source = None;
    }
}

/// `dataSource` and `dataSourceRef` follow each other (`NormalizeDataSources`).
pub fn pair_sources(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        (None, Some(source)) if text(&source.namespace).is_empty() => {
            spec.data_source = Some(TypedLocalObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
            });
        }
        _ => {}
    }
}

/// `before`: the stored spec, whose faults of older days may stay.
pub fn validate(spec: &PersistentVolumeClaimSpec, before: Option<&PersistentVolumeClaimSpec>, path: &Path) -> Errors {
    let mut out = Errors::new();
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        out.push(Error::required(&path.child("accessModes"), "at least 1 access mode is required"));
    }
    if let Some(selector) = &spec.selector {
        out.extend(names::validate_label_selector(selector, &path.child("selector")));
    }
    out.extend(validate_access_modes(modes, &path.child("accessModes")));
    let storage_path = path.child("resources").key("storage");
    match spec.resources.as_ref().and_then(|r| r.requests.as_ref()?.get("storage")) {
        Some(storage) => out.extend(rules::positive_quantity(storage, &storage_path)),
        None => out.push(Error::required(&storage_path, "")),
    }
    let class = text(&spec.storage_class_name);
    if !class.is_empty() {
        out.extend(validate_class(class, &path.child("storageClassName")));
    }
    if let Some(mode) = &spec.volume_mode {
        out.extend(validate_volume_mode(mode, &path.child("volumeMode")));
    }
    sources(spec, before, path, &mut out);
    let class = text(&spec.volume_attributes_class_name);
    if !class.is_empty() {
        out.extend(validate_class(class, &path.child("volumeAttributesClassName")));
    }
    out
}

fn sources(
    spec: &PersistentVolumeClaimSpec,
    before: Option<&PersistentVolumeClaimSpec>,
    path: &Path,
    out: &mut Errors,
) {
    let lenient = before.is_some_and(|b| {
        b.data_source.as_ref().is_some_and(|s| s.api_group.is_some())
            || b.data_source_ref.as_ref().is_some_and(|s| s.api_group.is_some())
    });
    if let Some(source) = &spec.data_source {
        let parts = (source.api_group.as_deref(), source.kind.as_str(), source.name.as_str());
        validate_source(parts, lenient, &path.child("dataSource"), out);
    }
    if let Some(source) = &spec.data_source_ref {
        let parts = (source.api_group.as_deref(), source.kind.as_str(), source.name.as_str());
        let path = path.child("dataSourceRef");
        validate_source(parts, lenient, &path, out);
        if let Some(namespace) = source.namespace.as_ref().filter(|n| !n.is_empty()) {
            out.extend(invalid_each(&path.child("namespace"), namespace, names::dns1123_label(namespace, false)));
        }
    }
    let (Some(source), Some(reference)) = (&spec.data_source, &spec.data_source_ref) else { return };
    // The value Kubernetes prints here is the path of `dataSource`.
    let mut refuse = |detail: &str| out.push(Error::invalid(path, serde_json::json!({}), detail));
    if !text(&reference.namespace).is_empty() {
        refuse("may not be specified when dataSourceRef.namespace is specified");
    } else if (&source.api_group, &source.kind, &source.name)
        != (&reference.api_group, &reference.kind, &reference.name)
    {
        refuse("must match dataSourceRef");
    }
}

fn validate_source((group, kind, name): (Option<&str>, &str, &str), lenient: bool, path: &Path, out: &mut Errors) {
    out.extend(rules::required(name, &path.child("name")));
    out.extend(rules::required(kind, &path.child("kind")));
    let group = group.unwrap_or_default();
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        out.push(Error::invalid(path, kind, detail));
    }
    if !group.is_empty() && !lenient {
        out.extend(rules::dns_subdomain(group, &path.child("apiGroup")));
    }
}

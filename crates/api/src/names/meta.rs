//! Checks of label maps, label selectors and `metadata`
//! (`apimachinery/pkg/api/validation/objectmeta.go`, `pkg/apis/meta/v1/validation`, and the additions of `pkg/apis/core/validation`).
use super::{dns1123_label, label_value, qualified_name};
use crate::field::{Error, Errors, Path};
use crate::k8s::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ManagedFieldsEntry, ObjectMeta, OwnerReference,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Keys and values of all annotations together.
pub const ANNOTATIONS_MAX_BYTES: usize = 256 << 10;
const FIELD_MANAGER_MAX_BYTES: usize = 128;
const SUBRESOURCE_MAX_BYTES: usize = 256;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

fn invalid_each(path: &Path, value: &str, messages: Vec<String>) -> impl Iterator<Item = Error> {
    messages.into_iter().map(move |m| Error::invalid(path, value, m))
}

pub fn validate_label_name(name: &str, path: &Path) -> Errors {
    invalid_each(path, name, qualified_name(name)).collect()
}

pub fn validate_labels(labels: &BTreeMap<String, String>, path: &Path) -> Errors {
    let mut out = Errors::new();
    for (key, value) in labels {
        out.extend(invalid_each(path, key, qualified_name(key)));
        out.extend(invalid_each(path, value, label_value(value)));
    }
    out
}

/// As labels' keys, but upper case is welcome in the prefix too.
pub fn validate_annotations(annotations: &BTreeMap<String, String>, path: &Path) -> Errors {
    let mut out = Errors::new();
    let mut size = 0usize;
    for (key, value) in annotations {
        out.extend(invalid_each(path, key, qualified_name(&key.to_lowercase())));
        size = size.saturating_add(key.len()).saturating_add(value.len());
    }
    if size > ANNOTATIONS_MAX_BYTES {
        out.push(Error::too_long(path, ANNOTATIONS_MAX_BYTES));
    }
    out
}

pub fn validate_label_selector(selector: &LabelSelector, path: &Path) -> Errors {
    let mut out = Errors::new();
    if let Some(labels) = &selector.match_labels {
        out.extend(validate_labels(labels, &path.child("matchLabels")));
    }
    for (i, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        validate_requirement(requirement, &path.child("matchExpressions").index(i), &mut out);
    }
    out
}

fn validate_requirement(requirement: &LabelSelectorRequirement, path: &Path, out: &mut Errors) {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            out.push(Error::required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => out.push(Error::forbidden(
            &path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => out.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    out.extend(validate_label_name(&requirement.key, &path.child("key")));
    for (i, value) in values.iter().enumerate() {
        out.extend(invalid_each(&path.child("values").index(i), value, label_value(value)));
    }
}

/// `metadata` of a new object of a built-in kind. `validate_name` is the kind's own ([`crate::catalogue::Kind::validate_name`]).
pub fn validate_object_meta(
    meta: &ObjectMeta,
    namespaced: bool,
    validate_name: impl Fn(&str, bool) -> Vec<String>,
    path: &Path,
) -> Errors {
    let mut out = validate_object_meta_generic(meta, namespaced, validate_name, path);
    validate_standard_finalizers(meta, path, &mut out);
    out
}

/// The same without what `pkg/apis/core` adds: for custom resources, whose finalizers need no domain.
pub fn validate_object_meta_generic(
    meta: &ObjectMeta,
    namespaced: bool,
    validate_name: impl Fn(&str, bool) -> Vec<String>,
    path: &Path,
) -> Errors {
    let mut out = Errors::new();
    if let Some(prefix) = meta.generate_name.as_deref().filter(|p| !p.is_empty()) {
        out.extend(invalid_each(&path.child("generateName"), prefix, validate_name(prefix, true)));
    }
    match meta.name.as_deref().unwrap_or_default() {
        "" => out.push(Error::required(&path.child("name"), "name or generateName is required")),
        name => out.extend(invalid_each(&path.child("name"), name, validate_name(name, false))),
    }
    match (namespaced, meta.namespace.as_deref().unwrap_or_default()) {
        (true, "") => out.push(Error::required(&path.child("namespace"), "")),
        (true, ns) => out.extend(invalid_each(&path.child("namespace"), ns, dns1123_label(ns, false))),
        (false, "") => {}
        (false, _) => out.push(Error::forbidden(&path.child("namespace"), "not allowed on this type")),
    }
    if let Some(generation) = meta.generation.filter(|g| *g < 0) {
        out.push(Error::invalid(&path.child("generation"), generation, "must be greater than or equal to 0"));
    }
    validate_maps(meta, path, &mut out);
    out.extend(validate_finalizers(meta.finalizers.as_deref().unwrap_or_default(), &path.child("finalizers")));
    out.extend(validate_managed_fields(
        meta.managed_fields.as_deref().unwrap_or_default(),
        &path.child("managedFields"),
    ));
    out
}

fn validate_maps(meta: &ObjectMeta, path: &Path, out: &mut Errors) {
    if let Some(labels) = &meta.labels {
        out.extend(validate_labels(labels, &path.child("labels")));
    }
    if let Some(annotations) = &meta.annotations {
        out.extend(validate_annotations(annotations, &path.child("annotations")));
    }
    if let Some(owners) = &meta.owner_references {
        out.extend(validate_owner_references(owners, &path.child("ownerReferences")));
    }
}

/// A finalizer without a domain must be one of Kubernetes' own.
fn validate_standard_finalizers(meta: &ObjectMeta, path: &Path, out: &mut Errors) {
    for (i, finalizer) in meta.finalizers.iter().flatten().enumerate() {
        if !finalizer.contains('/') && !["kubernetes", ORPHAN, FOREGROUND].contains(&finalizer.as_str()) {
            out.push(Error::invalid(
                &path.child("finalizers").index(i),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
}

pub fn validate_finalizers(finalizers: &[String], path: &Path) -> Errors {
    let mut out: Errors = finalizers.iter().flat_map(|f| invalid_each(path, f, qualified_name(f))).collect();
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    if has(ORPHAN) && has(FOREGROUND) {
        let detail = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        out.push(Error::invalid(path, finalizers, detail));
    }
    out
}

pub fn validate_owner_references(owners: &[OwnerReference], path: &Path) -> Errors {
    let mut out = Errors::new();
    let mut controller: Option<String> = None;
    for owner in owners {
        validate_owner(owner, path, &mut out);
        if owner.controller == Some(true) {
            let this = format!("{}/{}", owner.kind, owner.name);
            match &controller {
                Some(first) => out.push(Error::invalid(
                    path,
                    owners.iter().map(GoOwner::from).collect::<Vec<_>>(),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    ),
                )),
                None => controller = Some(this),
            }
        }
    }
    out
}

/// An owner as Go writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GoOwner<'a> {
    api_version: &'a str,
    kind: &'a str,
    name: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_owner_deletion: Option<bool>,
}

impl<'a> From<&'a OwnerReference> for GoOwner<'a> {
    fn from(o: &'a OwnerReference) -> Self {
        Self {
            api_version: &o.api_version,
            kind: &o.kind,
            name: &o.name,
            uid: &o.uid,
            controller: o.controller,
            block_owner_deletion: o.block_owner_deletion,
        }
    }
}

fn validate_owner(owner: &OwnerReference, path: &Path, out: &mut Errors) {
    // `v1`, `apps/v1`; anything with more slashes has no version.
    let version = match owner.api_version.split('/').collect::<Vec<_>>().as_slice() {
        [version] | [_, version] => *version,
        _ => "",
    };
    if version.is_empty() {
        out.push(Error::invalid(&path.child("apiVersion"), &owner.api_version, "version must not be empty"));
    }
    for (name, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
        if value.is_empty() {
            out.push(Error::invalid(&path.child(name), value, "must not be empty"));
        }
    }
    if owner.api_version == "v1" && owner.kind == "Event" {
        let detail = "/v1, Kind=Event is disallowed from being an owner";
        out.push(Error::invalid(path, GoOwner::from(owner), detail));
    }
}

fn validate_managed_fields(entries: &[ManagedFieldsEntry], path: &Path) -> Errors {
    let mut out = Errors::new();
    for (i, entry) in entries.iter().enumerate() {
        let path = path.index(i);
        let operation = entry.operation.as_deref().unwrap_or_default();
        if !["Apply", "Update"].contains(&operation) {
            out.push(Error::invalid(&path.child("operation"), operation, "must be `Apply` or `Update`"));
        }
        let fields_type = entry.fields_type.as_deref().unwrap_or_default();
        if !["", "FieldsV1"].contains(&fields_type) {
            out.push(Error::invalid(&path.child("fieldsType"), fields_type, "must be `FieldsV1`"));
        }
        out.extend(validate_field_manager(entry.manager.as_deref().unwrap_or_default(), &path.child("manager")));
        if entry.subresource.as_deref().unwrap_or_default().len() > SUBRESOURCE_MAX_BYTES {
            out.push(Error::too_long(&path.child("subresource"), SUBRESOURCE_MAX_BYTES));
        }
    }
    out
}

/// The `fieldManager` of a request, and each manager in `managedFields`.
pub fn validate_field_manager(manager: &str, path: &Path) -> Errors {
    let mut out = Errors::new();
    if manager.len() > FIELD_MANAGER_MAX_BYTES {
        out.push(Error::too_long(path, FIELD_MANAGER_MAX_BYTES));
    }
    for (at, c) in manager.char_indices() {
        if c.is_control() || (c.is_whitespace() && c != ' ') {
            let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
            out.push(Error::invalid(path, manager, detail));
        }
    }
    out
}

/// What an update may do to `metadata` of a built-in kind.
pub fn validate_object_meta_update(new: &ObjectMeta, old: &ObjectMeta, path: &Path) -> Errors {
    let mut out = validate_object_meta_update_generic(new, old, path);
    validate_standard_finalizers(new, path, &mut out);
    out
}

/// The same without what `pkg/apis/core` adds.
pub fn validate_object_meta_update_generic(new: &ObjectMeta, old: &ObjectMeta, path: &Path) -> Errors {
    let mut out = Errors::new();
    if old.deletion_timestamp.is_some() {
        validate_no_new_finalizers(new, old, path, &mut out);
    }
    let version = new.resource_version.as_deref().unwrap_or_default();
    if version.is_empty() {
        out.push(Error::invalid(&path.child("resourceVersion"), version, "must be specified for an update"));
    }
    let generation = new.generation.unwrap_or_default();
    if generation < old.generation.unwrap_or_default() {
        out.push(Error::invalid(&path.child("generation"), generation, "must not be decremented"));
    }
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    immutable(&text(&new.name), &text(&old.name), &path.child("name"), &mut out);
    immutable(&text(&new.namespace), &text(&old.namespace), &path.child("namespace"), &mut out);
    immutable(&text(&new.uid), &text(&old.uid), &path.child("uid"), &mut out);
    immutable(&new.creation_timestamp, &old.creation_timestamp, &path.child("creationTimestamp"), &mut out);
    immutable(&new.deletion_timestamp, &old.deletion_timestamp, &path.child("deletionTimestamp"), &mut out);
    let grace = path.child("deletionGracePeriodSeconds");
    immutable(&new.deletion_grace_period_seconds, &old.deletion_grace_period_seconds, &grace, &mut out);
    validate_maps(new, path, &mut out);
    out.extend(validate_managed_fields(
        new.managed_fields.as_deref().unwrap_or_default(),
        &path.child("managedFields"),
    ));
    out
}

/// `ValidateImmutableField`: pushes an error unless both are equal.
pub fn immutable<T: PartialEq + Serialize>(new: &T, old: &T, path: &Path, out: &mut Errors) {
    if new == old {
        return;
    }
    // A pointer that is nil is shown as the text "null".
    match serde_json::to_value(new) {
        Ok(serde_json::Value::Null) => out.push(Error::invalid(path, "null", "field is immutable")),
        _ => out.push(Error::invalid(path, new, "field is immutable")),
    }
}

fn validate_no_new_finalizers(new: &ObjectMeta, old: &ObjectMeta, path: &Path, out: &mut Errors) {
    let had: BTreeSet<&String> = old.finalizers.iter().flatten().collect();
    let added: BTreeSet<&String> = new.finalizers.iter().flatten().filter(|f| !had.contains(f)).collect();
    if added.is_empty() {
        return;
    }
    let list: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        list.join(", ")
    );
    out.push(Error::forbidden(&path.child("finalizers"), detail));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::aggregate;
    use crate::names::dns1123_subdomain;
    use serde_json::json;

    fn meta(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    fn create(value: serde_json::Value) -> String {
        let errors = validate_object_meta(&meta(value), true, dns1123_subdomain, &Path::new("metadata"));
        if errors.is_empty() { String::new() } else { aggregate(&errors) }
    }

    #[test]
    fn creation() {
        assert_eq!(
            create(json!({"name": "a", "namespace": "b", "labels": {"a": ""}, "finalizers": ["a.b/c", "orphan"]})),
            ""
        );
        insta::assert_snapshot!(create(json!({"namespace": "b"})), @"metadata.name: Required value: name or generateName is required");
        insta::assert_snapshot!(create(json!({"name": "d", "namespace": "b", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]})),
            @r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#);
        insta::assert_snapshot!(create(json!({"name": "d", "namespace": "b", "finalizers": ["bad"]})),
            @r#"metadata.finalizers[0]: Invalid value: "bad": name is neither a standard finalizer name nor is it fully qualified"#);
        insta::assert_snapshot!(create(json!({"name": "d", "namespace": "b", "annotations": {"UP/x": "x".repeat(300_000)}})),
            @"metadata.annotations: Too long: may not be more than 262144 bytes");
        insta::assert_snapshot!(create(json!({"name": "d", "namespace": "b", "managedFields": [{"operation": "X", "manager": "a\u{7}"}]})),
            @r#"[metadata.managedFields[0].operation: Invalid value: "X": must be `Apply` or `Update`, metadata.managedFields[0].manager: Invalid value: "a\a": invalid character U+0007 (at position 1)]"#);
    }

    #[test]
    fn update() {
        let old = meta(
            json!({"name": "a", "uid": "1", "resourceVersion": "1", "generation": 2, "deletionTimestamp": "2020-01-01T00:00:00Z"}),
        );
        let mut new = old.clone();
        let path = Path::new("metadata");
        assert_eq!(validate_object_meta_update(&new, &old, &path), []);
        new.generation = Some(1);
        new.uid = Some("2".into());
        new.finalizers = Some(vec!["b/c".into(), "a/b".into()]);
        insta::assert_snapshot!(aggregate(&validate_object_meta_update(&new, &old, &path)), @r#"[metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"a/b", "b/c"}, metadata.generation: Invalid value: 1: must not be decremented, metadata.uid: Invalid value: "2": field is immutable]"#);
    }

    #[test]
    fn selectors() {
        let selector: LabelSelector = serde_json::from_value(json!({
            "matchLabels": {"a b": "c"},
            "matchExpressions": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Exists", "values": ["x"]}, {"key": "", "operator": "?"}]
        })).unwrap();
        let fields: Vec<String> =
            validate_label_selector(&selector, &Path::new("s")).iter().map(|e| e.path.to_string()).collect();
        assert_eq!(
            fields,
            [
                "s.matchLabels",
                "s.matchExpressions[0].values",
                "s.matchExpressions[1].values",
                "s.matchExpressions[2].operator",
                "s.matchExpressions[2].key",
                "s.matchExpressions[2].key"
            ]
        );
    }
}

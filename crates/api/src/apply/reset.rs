//! Fields a request cannot set, because the kind's strategy puts them back (`GetResetFields` of `pkg/registry/*/*/strategy.go`).
use super::set::FieldSet;
use crate::catalogue::Descriptor;

/// The fields that a write through `subresource` (empty: the object itself) leaves as they were.
pub fn reset_fields(kind: &Descriptor, subresource: &str) -> FieldSet {
    let status: &[&str] = &["status"];
    let spec: &[&str] = &["spec"];
    match (subresource, kind.group, kind.plural) {
        ("", ..) if kind.status => FieldSet::from_fields(&[status]),
        ("finalize", "", "namespaces") | ("approval", "certificates.k8s.io", _) => FieldSet::from_fields(&[status]),
        ("status", "", "pods") => {
            FieldSet::from_fields(&[spec, &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]])
        }
        ("status", "apps", "deployments") => FieldSet::from_fields(&[spec, &["metadata", "labels"]]),
        ("status", "apiextensions.k8s.io", _) => FieldSet::from_fields(&[spec, &["metadata"]]),
        ("status", ..) => FieldSet::from_fields(&[spec]),
        _ => FieldSet::new(),
    }
}

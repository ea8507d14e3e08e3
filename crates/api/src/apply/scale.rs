//! The managers of `scale`: its `spec.replicas` is a field of the parent (apimachinery `util/managedfields/scalehandler.go`).
use super::element::Element;
use super::managed::{Entry, Managed, ManagedFieldsError, Trust};
use super::set::FieldSet;
use serde_json::Value;

/// The API version of a Scale.
pub const SCALE_VERSION: &str = "autoscaling/v1";

fn replicas() -> [Element; 2] {
    [Element::field("spec"), Element::field("replicas")]
}

fn replicas_set(path: &[Element]) -> FieldSet {
    let mut set = FieldSet::new();
    set.insert(path);
    set
}

/// The entries of the Scale: those of the parent that own `path` (the parent's field of replicas).
pub fn to_scale(parent: Option<&Value>, path: &[Element]) -> Result<Option<Value>, ManagedFieldsError> {
    let mut out = Managed::default();
    for mut entry in Managed::decode(parent.cloned(), Trust::Stored)?.entries {
        if entry.set().has(path) {
            let mut own = Entry::new(entry.id, SCALE_VERSION, replicas_set(&replicas()));
            own.time = entry.time;
            out.entries.push(own);
        }
    }
    Ok(out.encode())
}

/// The entries of the parent after the Scale's were changed to `scale`. `api_version` is the parent's.
pub fn to_parent(
    parent: Option<&Value>,
    scale: Option<&Value>,
    path: &[Element],
    api_version: &str,
) -> Result<Option<Value>, ManagedFieldsError> {
    let mut scale = Managed::decode(scale.cloned(), Trust::Stored)?;
    let mut out = Managed::default();
    for mut entry in Managed::decode(parent.cloned(), Trust::Stored)?.entries {
        if entry.set().has(path) {
            // A Scale entry carries the Scale's version; the manager is the same.
            let same = |other: &Entry| {
                other.id.manager == entry.id.manager
                    && other.id.operation == entry.id.operation
                    && other.id.subresource == entry.id.subresource
            };
            match scale.entries.iter().position(same) {
                Some(place) => {
                    scale.entries.remove(place);
                }
                None => {
                    let left = entry.set().difference(&replicas_set(path));
                    entry.replace(left);
                }
            }
        }
        out.entries.push(entry);
    }
    out.drop_empty();
    for mut entry in scale.entries {
        if entry.set().has(&replicas()) {
            // As upstream, without a time of its own.
            let mut id = entry.id;
            if !id.api_version.is_empty() {
                api_version.clone_into(&mut id.api_version);
            }
            out.entries.push(Entry::new(id, api_version, replicas_set(path)));
        }
    }
    Ok(out.encode())
}

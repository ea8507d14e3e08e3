//! From client-side to server-side apply: the annotation that `kubectl apply` keeps
//! (apimachinery `util/managedfields/internal/lastapplied*.go`). Only for the manager named `kubectl`.
use super::Request;
use super::compare::compare;
use super::conflict::Conflicts;
use super::set::FieldSet;
use super::to_set::to_field_set;
use crate::gofmt;
use serde_json::{Map, Value};

pub(super) const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// All annotations together (`TotalAnnotationSizeLimitB`).
const MAX_ANNOTATIONS: usize = 256 * 1024;

fn annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}

/// The fields that client-side apply set and that are still as it set them.
pub(super) fn allowed(request: &Request<'_>, live: &Value) -> Option<FieldSet> {
    let last: Value = serde_json::from_str(annotation(live)?).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(request.api_version) {
        return None;
    }
    let comparison = compare(&last, live, request.view()).ok()?;
    let set = to_field_set(&last, request.view());
    Some(set.difference(&comparison.modified).difference(&comparison.added).difference(&comparison.removed))
}

/// The conflicts that remain; all, if there is no annotation that can be read.
pub(super) fn not_allowed(mut conflicts: Conflicts, allowed: Option<&FieldSet>) -> Conflicts {
    if let Some(allowed) = allowed {
        if conflicts.fields().difference(allowed).is_empty() {
            return Conflicts::default();
        }
        conflicts.0.retain(|conflict| !allowed.has(&conflict.path));
    }
    conflicts
}

/// Brings the annotation, where there is one, up to the configuration just applied.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
        if annotations.is_empty()
            && let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("annotations");
        }
    }
    let mut text = String::new();
    gofmt::json(&config, &mut text);
    text.push('\n');
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    annotations.insert(ANNOTATION.to_owned(), Value::String(text));
    if size(annotations) > MAX_ANNOTATIONS {
        annotations.remove(ANNOTATION);
    }
}

fn size(annotations: &Map<String, Value>) -> usize {
    annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum()
}

//! JSON patch (RFC 6902) and JSON merge patch (RFC 7386), with the limits and errors of the Kubernetes API server
//! (apiserver `endpoints/handlers/patch.go`, evanphx/json-patch v4). Strategic merge patch is [`crate::strategic`], apply is [`crate::apply`].
use json_patch::PatchOperation;
use serde_json::{Map, Value};

/// Operations in one JSON patch (`maxJSONPatchOperations`).
pub const MAX_OPERATIONS: usize = 10_000;
/// Bytes that the `copy` operations of one patch may add (`JSONPatchMaxCopyBytes`): without it a few operations double an object
/// until memory is full.
pub const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// How deep a patched object may nest. serde_json reads 128 levels; what is stored must be readable.
const MAX_DEPTH: usize = 120;

/// Why a patch was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 400 BadRequest: the body is not such a patch.
    #[error("error decoding patch: json: cannot unmarshal {actual} into Go value of type {expected}")]
    WrongType { actual: &'static str, expected: &'static str },
    /// 413 RequestEntityTooLarge.
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// 422 Invalid with this text alone, as the API server words it whatever went wrong: an unknown operation, a path that does not exist, a
    /// `test` that fails.
    #[error("the server rejected our request due to an error in our request")]
    Rejected,
}

impl PatchError {
    /// The HTTP code to answer with.
    pub fn code(&self) -> u16 {
        match self {
            Self::WrongType { .. } => 400,
            Self::TooManyOperations(_) => 413,
            Self::Rejected => 422,
        }
    }
}

/// What `encoding/json` calls a value it cannot decode.
fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `document` with a JSON patch applied: all of it, or an error.
pub fn json_patch(mut document: Value, patch: Value) -> Result<Value, PatchError> {
    let operations = match patch {
        Value::Array(operations) => operations,
        Value::Null => return Ok(document),
        other => return Err(PatchError::WrongType { actual: json_kind(&other), expected: "[]handlers.jsonPatchOp" }),
    };
    if let Some(other) = operations.iter().find(|operation| !operation.is_object() && !operation.is_null()) {
        return Err(PatchError::WrongType { actual: json_kind(other), expected: "handlers.jsonPatchOp" });
    }
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut copied = 0;
    for operation in operations {
        let absent_is_null = operation.get("op").is_some_and(|op| op == "test")
            && operation.get("value").is_none_or(Value::is_null)
            && pointed(&document, operation.get("path")).is_none_or(Value::is_null);
        if absent_is_null {
            // A test for null holds where there is nothing.
            continue;
        }
        let operation: PatchOperation = serde_json::from_value(operation).map_err(|_| PatchError::Rejected)?;
        if let PatchOperation::Copy(copy) = &operation {
            copied += document.pointer(copy.from.as_str()).map_or(0, |source| source.to_string().len());
        }
        if copied > MAX_COPIED_BYTES || too_deep(&document, &operation) {
            return Err(PatchError::Rejected);
        }
        json_patch::patch(&mut document, std::slice::from_ref(&operation)).map_err(|_| PatchError::Rejected)?;
    }
    Ok(document)
}

/// Whether the operation would nest the document deeper than it may be.
fn too_deep(document: &Value, operation: &PatchOperation) -> bool {
    let steps = |pointer: &str| pointer.matches('/').count();
    let moved = |from: &str| document.pointer(from).map_or(0, depth);
    MAX_DEPTH
        < match operation {
            PatchOperation::Add(add) => steps(add.path.as_str()) + depth(&add.value),
            PatchOperation::Replace(replace) => steps(replace.path.as_str()) + depth(&replace.value),
            PatchOperation::Copy(copy) => steps(copy.path.as_str()) + moved(copy.from.as_str()),
            PatchOperation::Move(step) => steps(step.path.as_str()) + moved(step.from.as_str()),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => 0,
        }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn pointed<'d>(document: &'d Value, path: Option<&Value>) -> Option<&'d Value> {
    document.pointer(path?.as_str()?)
}

/// `document` with a JSON merge patch applied.
pub fn merge_patch(mut document: Value, patch: &Value) -> Result<Value, PatchError> {
    match patch {
        Value::Object(_) => {
            json_patch::merge(&mut document, patch);
            Ok(document)
        }
        Value::Null => Ok(document),
        other => Err(PatchError::WrongType { actual: json_kind(other), expected: "map[string]interface {}" }),
    }
}

/// The merge patch that turns `original` into `modified`; `{}` when they are the same.
pub fn merge_diff(original: &Value, modified: &Value) -> Value {
    Value::Object(diff(original.as_object(), modified.as_object(), Want::Both))
}

/// The merge patch for `current` that makes what `modified` says so and deletes what it no longer says but `original` (the last applied)
/// did: client-side apply of kinds whose merge keys are not known, custom resources
/// (apimachinery `util/jsonmergepatch` CreateThreeWayJSONMergePatch).
pub fn three_way_merge(original: &Value, modified: &Value, current: &Value) -> Value {
    let modified = modified.as_object();
    let mut patch = Value::Object(diff(original.as_object(), modified, Want::Deletions));
    overlay(&mut patch, Value::Object(diff(current.as_object(), modified, Want::Additions)));
    patch
}

/// Which half of a difference is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Both,
    Deletions,
    Additions,
}

fn diff(old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>, want: Want) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in new.into_iter().flatten() {
        match (old.and_then(|old| old.get(key)), value) {
            (Some(before), after) if before == after => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                let below = diff(Some(before), Some(after), want);
                if !below.is_empty() {
                    out.insert(key.clone(), Value::Object(below));
                }
            }
            (_, after) if want != Want::Deletions => {
                out.insert(key.clone(), after.clone());
            }
            _ => {}
        }
    }
    if want != Want::Additions {
        let gone = old.into_iter().flatten().filter(|(key, _)| new.is_none_or(|new| !new.contains_key(*key)));
        out.extend(gone.map(|(key, _)| (key.clone(), Value::Null)));
    }
    out
}

/// Lays a patch over a patch: unlike a merge, nulls stay.
fn overlay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(below) => overlay(below, value),
                    None => {
                        under.insert(key, value);
                    }
                }
            }
        }
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn patches_and_refuses() {
        let object = json!({"spec": {"replicas": 3, "paused": true}, "metadata": {"labels": {"a": "b"}}});
        let ok = [
            (json!([{"op": "replace", "path": "/spec/replicas", "value": 5}]), "/spec/replicas", json!(5)),
            (
                json!([{"op": "add", "path": "/metadata/labels/x~1y", "value": "z"}]),
                "/metadata/labels/x~1y",
                json!("z"),
            ),
            (json!([{"op": "test", "path": "/metadata/labels/none", "value": null}]), "/spec/replicas", json!(3)),
            (
                json!([{"op": "remove", "path": "/spec/paused"}, {"op": "test", "path": "/spec", "value": {"replicas": 3}}]),
                "/spec",
                json!({"replicas": 3}),
            ),
        ];
        for (patch, path, value) in ok {
            assert_eq!(json_patch(object.clone(), patch.clone()).unwrap().pointer(path), Some(&value), "{patch}");
        }
        let bad = [
            json!([{"op": "replace", "path": "/nope/x", "value": 1}]),
            json!([{"op": "test", "path": "/spec/replicas", "value": 9}]),
            json!([{"op": "bogus", "path": "/spec"}]),
            json!([{"op": "remove", "path": "/spec/none"}]),
            json!([{"path": "/spec"}]),
        ];
        for patch in bad {
            assert_eq!(json_patch(object.clone(), patch.clone()), Err(PatchError::Rejected), "{patch}");
        }
        let text = |result: Result<Value, PatchError>| result.unwrap_err().to_string();
        assert_eq!(
            text(merge_patch(object.clone(), &json!([]))),
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        );
        assert_eq!(json_patch(object.clone(), json!({})).unwrap_err().code(), 400);
        let many = json!(vec![json!({"op": "test", "path": "/none"}); 10_001]);
        assert_eq!(
            text(json_patch(object, many)),
            "The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
    }

    #[test]
    fn copies_are_bounded() {
        let patch: Vec<Value> = (0..64).map(|i| json!({"op": "copy", "from": "", "path": format!("/{i}")})).collect();
        assert_eq!(json_patch(json!({"a": "0123456789"}), json!(patch)), Err(PatchError::Rejected));
    }

    #[test]
    fn depth_is_bounded() {
        let deeper = |n: usize| json!({"op": "add", "path": "/a".repeat(n), "value": {}});
        let patch = |n: usize| json!((1..=n).map(deeper).collect::<Vec<_>>());
        assert!(json_patch(json!({}), patch(100)).is_ok());
        assert_eq!(json_patch(json!({}), patch(10_000)), Err(PatchError::Rejected));
    }

    #[test]
    fn merges() {
        let merged = merge_patch(
            json!({"a": {"b": 1, "c": 2}, "l": [1]}),
            &json!({"a": {"b": null}, "l": [2], "n": {"x": null}}),
        );
        assert_eq!(merged.unwrap(), json!({"a": {"c": 2}, "l": [2], "n": {}}));
    }

    #[test]
    fn three_ways_keep_what_others_set() {
        let last = json!({"spec": {"a": 1, "gone": {"x": 1}, "list": [1]}});
        let modified = json!({"spec": {"a": 2, "list": [1, 2]}});
        let current = json!({"spec": {"a": 1, "gone": {"x": 1}, "list": [3], "theirs": true}});
        let patch = three_way_merge(&last, &modified, &current);
        assert_eq!(patch, json!({"spec": {"a": 2, "gone": null, "list": [1, 2]}}));
        assert_eq!(merge_patch(current, &patch).unwrap(), json!({"spec": {"a": 2, "list": [1, 2], "theirs": true}}));
        assert_eq!(three_way_merge(&modified, &modified, &modified), json!({}));
    }

    /// Without nulls: a merge patch cannot say them.
    fn any_object() -> impl Strategy<Value = Value> {
        any_json().prop_map(|mut value| {
            fn clean(value: &mut Value) {
                if let Value::Object(map) = value {
                    map.retain(|_, member| !member.is_null());
                    map.values_mut().for_each(clean);
                }
            }
            clean(&mut value);
            json!({ "root": if value.is_null() { json!({}) } else { value } })
        })
    }

    proptest! {
        #[test]
        fn a_difference_makes_the_other(a in any_object(), b in any_object()) {
            prop_assert_eq!(&merge_patch(a.clone(), &merge_diff(&a, &b)).unwrap(), &b);
            prop_assert_eq!(merge_patch(a.clone(), &three_way_merge(&a, &b, &a)).unwrap(), b);
        }

        #[test]
        fn never_panics(document in any_json(), patch in any_json()) {
            let _ = json_patch(document.clone(), patch.clone());
            let _ = merge_patch(document, &patch);
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[a-z/~0-9-]{0,6}".prop_map(Value::from),
            prop::sample::select(vec!["add", "remove", "copy", "move", "test", "replace"]).prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let key = prop_oneof![
                "[a-z0-9]{0,2}",
                Just("op".to_owned()),
                Just("path".to_owned()),
                Just("from".to_owned()),
                Just("value".to_owned())
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}

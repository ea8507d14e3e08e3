//! Objects as Go writes them: fields in the order of the structs, where the text of an object stands in an error.
//!
//! Go's structs have the order of their protobuf messages, so the table of [`crate::protobuf`] says it. What a JSON or merge patch
//! touched was a map in between (`evanphx/json-patch`), and maps are written sorted: `{"spec":{"replicas":"x"}}` leaves `metadata` in
//! the order of ObjectMeta, but sorts the object itself and its `spec`.
use crate::decode::json::Node;
use crate::gofmt;
use crate::kinds::pod::internal;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A message's fields in order: name (empty: embedded) and the message they are made of, if any.
type Fields = Vec<(&'static str, Option<&'static str>)>;

static ORDER: LazyLock<HashMap<&'static str, Fields>> = LazyLock::new(|| {
    let mut table: HashMap<&'static str, Fields> = HashMap::new();
    let mut current = "";
    for line in include_str!("protobuf/table.txt").lines() {
        if let Some(name) = line.strip_prefix("# ") {
            current = name;
        } else if let [_, name, kind] = line.split(' ').collect::<Vec<_>>().as_slice() {
            let name = if *name == "+" { "" } else { name.trim_end_matches('!') };
            let message = kind.trim_start_matches(['[', '{']).strip_prefix('@');
            table.entry(current).or_default().push((name, message));
        }
    }
    table
});

/// Which parts of an object a patch went through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Touched<'p> {
    /// By a JSON merge patch.
    Merge(&'p Value),
    /// By the operations of a JSON patch.
    Operations(&'p Value),
}

/// The text of an object of type `name` (`io.k8s.api.apps.v1.Deployment`) after a patch.
pub fn patched(value: &Value, name: &str, touched: Touched<'_>) -> String {
    let mut node = object(value, name);
    match touched {
        Touched::Merge(patch) => sort_merged(&mut node, patch),
        Touched::Operations(operations) => {
            let operations = operations.as_array().into_iter().flatten();
            let paths = operations.flat_map(|o| ["path", "from"].into_iter().filter_map(|key| o.get(key)?.as_str()));
            for path in paths {
                sort_along(&mut node, path.split('/').skip(1));
            }
        }
    }
    let mut out = String::new();
    write(&node, &mut out);
    out
}

/// The text of a value of type `name`.
pub fn text(value: &Value, name: &str) -> String {
    let mut out = String::new();
    write(&ordered(value, Some(name)), &mut out);
    out
}

/// The fields of a value of type `name`, to stand in the structs of [`crate::kinds::pod::internal`].
pub(crate) fn fields(value: &Value, name: &str) -> internal::Node {
    fn convert(node: Node<'_>) -> internal::Node {
        match node {
            Node::Object(entries) => internal::Node::Fields(
                entries.into_iter().map(|(key, node)| (key.into_owned(), convert(node))).collect(),
            ),
            Node::Array(items) => internal::Node::List(items.into_iter().map(convert).collect()),
            other => internal::Node::Plain(other.into_value()),
        }
    }
    convert(ordered(value, Some(name)))
}

/// A whole object: `kind` and `apiVersion` come first.
fn object<'a>(value: &'a Value, name: &str) -> Node<'a> {
    let mut node = ordered(value, Some(name));
    if let Node::Object(entries) = &mut node {
        let rank = |key: &str| ["kind", "apiVersion"].iter().position(|k| *k == key).unwrap_or(2);
        entries.sort_by_key(|(key, _)| rank(key));
    }
    node
}

fn ordered<'a>(value: &'a Value, message: Option<&str>) -> Node<'a> {
    match value {
        Value::Array(items) => Node::Array(items.iter().map(|item| ordered(item, message)).collect()),
        Value::Object(map) => {
            let mut places = Vec::new();
            if let Some(message) = message {
                places_of(message, &mut places);
            }
            // A map of messages: its keys are no fields.
            let is_struct = map.keys().all(|key| places.iter().any(|(name, _)| name == key))
                || map.keys().any(|key| key == "kind" || key == "apiVersion");
            let mut entries: Vec<(usize, &'a String, Node<'a>)> = map
                .iter()
                .map(|(key, member)| {
                    let place = places.iter().position(|(name, _)| is_struct && name == key);
                    let of = match place {
                        Some(place) => places.get(place).and_then(|(_, message)| *message),
                        None if is_struct => None,
                        None => message,
                    };
                    (place.unwrap_or(usize::MAX), key, ordered(member, of))
                })
                .collect();
            entries.sort_by_key(|(place, ..)| *place);
            Node::Object(entries.into_iter().map(|(_, key, node)| (key.as_str().into(), node)).collect())
        }
        other => Node::from_value(other),
    }
}

fn places_of(message: &str, out: &mut Fields) {
    for (name, of) in ORDER.get(message).into_iter().flatten() {
        match (name.is_empty(), of) {
            (true, Some(embedded)) => places_of(embedded, out),
            _ => out.push((name, *of)),
        }
    }
}

fn sort(node: &mut Node<'_>) {
    if let Node::Object(entries) = node {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
}

fn sort_all(node: &mut Node<'_>) {
    sort(node);
    match node {
        Node::Object(entries) => entries.iter_mut().for_each(|(_, node)| sort_all(node)),
        Node::Array(items) => items.iter_mut().for_each(sort_all),
        _ => {}
    }
}

fn sort_merged(node: &mut Node<'_>, patch: &Value) {
    let Value::Object(patch) = patch else { return sort_all(node) };
    sort(node);
    if let Node::Object(entries) = node {
        for (key, node) in entries {
            if let Some(patch) = patch.get(key.as_ref()) {
                sort_merged(node, patch);
            }
        }
    }
}

/// Every container on the way of a JSON pointer; the last step names what was put there, not what it was put into.
fn sort_along<'p>(node: &mut Node<'_>, mut steps: impl Iterator<Item = &'p str>) {
    let Some(step) = steps.next() else { return };
    sort(node);
    let step = step.replace("~1", "/").replace("~0", "~");
    let next = match node {
        Node::Object(entries) => entries.iter_mut().find(|(key, _)| *key == step).map(|(_, node)| node),
        Node::Array(items) => step.parse::<usize>().ok().and_then(|i| items.get_mut(i)),
        _ => None,
    };
    if let Some(next) = next {
        sort_along(next, steps);
    }
}

fn write(node: &Node<'_>, out: &mut String) {
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Node::Number(text) => out.push_str(text),
        Node::String(text) => gofmt::json_string(text, out),
        Node::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Node::Object(entries) => {
            out.push('{');
            for (i, (key, node)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                gofmt::json_string(key, out);
                out.push(':');
                write(node, out);
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

    #[test]
    fn structs_have_gos_order_and_maps_none() {
        let owner = json!({"controller": true, "uid": "u", "name": "n", "kind": "Pod", "apiVersion": "v1"});
        insta::assert_snapshot!(text(&owner, "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference"),
            @r#"{"apiVersion":"v1","kind":"Pod","name":"n","uid":"u","controller":true}"#);
        let volume = json!({"secret": {"secretName": "s"}, "name": "v"});
        insta::assert_snapshot!(text(&volume, "io.k8s.api.core.v1.Volume"), @r#"{"name":"v","secret":{"secretName":"s"}}"#);
    }

    #[test]
    fn what_a_patch_touched_is_sorted() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"uid": "u", "name": "n", "labels": {"b": "2", "a": "1"}},
            "spec": {"replicas": "x", "minReadySeconds": 1, "strategy": {"type": "A", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 2}}}});
        let patch = json!({"spec": {"replicas": "x"}});
        insta::assert_snapshot!(patched(&object, DEPLOYMENT, Touched::Merge(&patch)),
            @r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"n","uid":"u","labels":{"a":"1","b":"2"}},"spec":{"minReadySeconds":1,"replicas":"x","strategy":{"type":"A","rollingUpdate":{"maxUnavailable":2,"maxSurge":1}}}}"#);
        let operations = json!([{"op": "replace", "path": "/spec/strategy/type", "value": 1}]);
        insta::assert_snapshot!(patched(&object, DEPLOYMENT, Touched::Operations(&operations)),
            @r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"n","uid":"u","labels":{"a":"1","b":"2"}},"spec":{"minReadySeconds":1,"replicas":"x","strategy":{"rollingUpdate":{"maxUnavailable":2,"maxSurge":1},"type":"A"}}}"#);
    }
}

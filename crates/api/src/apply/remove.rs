//! Taking fields out of a value (structured-merge-diff `typed/remove.go`).
use super::element::Element;
use super::items::item_element;
use super::set::FieldSet;
use super::view::{Atom, View};
use serde_json::{Map, Value};

/// `value` without the members of `set`. A list or object of which nothing remains becomes null, as upstream's does: whoever
/// decodes it reads null as absent.
pub fn remove(value: &Value, set: &FieldSet, view: View<'_>) -> Value {
    match (view.atom(Some(value)), value) {
        (Atom::Scalar, _) => value.clone(),
        (Atom::Map(map), Value::Object(object)) if !map.is_atomic() => {
            let mut out = Map::new();
            for (name, member) in object {
                let element = Element::field(name);
                if set.has_member(&element) {
                    continue;
                }
                let kept = match set.child(&element) {
                    Some(below) if !below.is_empty() => remove(member, below, map.member(name)),
                    _ => member.clone(),
                };
                out.insert(name.clone(), kept);
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (Atom::List(list), Value::Array(items)) if !list.is_atomic() => {
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                let Ok(element) = item_element(&list, item) else {
                    out.push(item.clone());
                    continue;
                };
                if set.has_member(&element) {
                    continue;
                }
                out.push(match set.child(&element) {
                    Some(below) if !below.is_empty() => remove(item, below, list.element()),
                    _ => item.clone(),
                });
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        _ => Value::Null,
    }
}

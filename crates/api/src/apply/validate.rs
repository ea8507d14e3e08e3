//! Whether a value fits its type (structured-merge-diff `typed/validate.go`). Applied configurations are checked, so that a misspelt
//! field is refused and not silently owned.
use super::element::Element;
use super::items::{TypedError, item_element};
use super::view::{Atom, ListView, MapView, ScalarKind, View};
use crate::gofmt;
use serde_json::{Map, Value};

/// All the errors, in the order of the value.
pub fn validate(value: &Value, view: View<'_>) -> Vec<TypedError> {
    let mut errors = Vec::new();
    node(view, value, &mut errors);
    errors
}

fn node(view: View<'_>, value: &Value, errors: &mut Vec<TypedError>) {
    match (view.atom(Some(value)), value) {
        (_, Value::Null) => {}
        (Atom::Scalar, _) => errors.extend(scalar(view.scalar(), value)),
        (Atom::Map(map), Value::Object(object)) => members(&map, object, errors),
        (Atom::List(list), Value::Array(values)) => items(&list, values, errors),
        (Atom::Map(_), other) => errors.push(TypedError::new(format!("expected map, got {}", wrapped(other)))),
        (Atom::List(_), other) => errors.push(TypedError::new(format!("expected list, got {}", wrapped(other)))),
    }
}

/// `%v` of upstream's wrapper around a value: `&{x}`.
fn wrapped(value: &Value) -> String {
    format!("&{{{}}}", gofmt::print(value))
}

fn scalar(kind: ScalarKind, value: &Value) -> Option<TypedError> {
    let message = match (kind, value) {
        (ScalarKind::Numeric, Value::Number(_))
        | (ScalarKind::String, Value::String(_))
        | (ScalarKind::Boolean, Value::Bool(_))
        | (ScalarKind::Untyped, Value::Number(_) | Value::String(_) | Value::Bool(_)) => return None,
        (ScalarKind::Numeric, other) => {
            format!("expected numeric (int or float), got {}", gofmt::type_name(other))
        }
        (ScalarKind::String, other) => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", literal(other))
        }
        (ScalarKind::Boolean, other) => format!("expected boolean, got {}", wrapped(other)),
        (ScalarKind::Untyped, other) => format!("expected any scalar, got {}", wrapped(other)),
    };
    Some(TypedError::new(message))
}

/// `%#v` of decoded JSON, near enough for a message.
fn literal(value: &Value) -> String {
    match value {
        Value::String(s) => gofmt::quote(s),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let members: Vec<String> = map.iter().map(|(k, v)| format!("{}:{}", gofmt::quote(k), literal(v))).collect();
            format!("map[string]interface {{}}{{{}}}", members.join(", "))
        }
        other => gofmt::print(other),
    }
}

fn below(element: &Element, errors: &mut [TypedError], from: usize) {
    for error in errors.iter_mut().skip(from) {
        *error = error.clone().below(element);
    }
}

fn members(map: &MapView<'_>, object: &Map<String, Value>, errors: &mut Vec<TypedError>) {
    for (name, value) in object {
        let from = errors.len();
        if !map.accepts(name) {
            errors.push(TypedError::new("field not declared in schema").below(&Element::field(name)));
            // Upstream stops at the first one of an object.
            return;
        }
        node(map.member(name), value, errors);
        below(&Element::field(name), errors, from);
    }
}

fn items(list: &ListView<'_>, values: &[Value], errors: &mut Vec<TypedError>) {
    let mut seen = std::collections::BTreeSet::new();
    for (i, value) in values.iter().enumerate() {
        let element = if list.is_atomic() {
            Element::Index(i64::try_from(i).unwrap_or(i64::MAX))
        } else {
            match item_element(list, value) {
                Ok(element) => element,
                Err(e) => {
                    errors.push(TypedError::new(format!("element {i}: {}", e.message)));
                    return;
                }
            }
        };
        if !list.is_atomic() && !seen.insert(element.clone()) {
            errors.push(TypedError::new(format!("duplicate entries for key {element}")));
        }
        let from = errors.len();
        node(list.element(), value, errors);
        below(&element, errors, from);
    }
}

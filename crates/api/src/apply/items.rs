//! How the items of an associative list are told apart (structured-merge-diff `typed/helpers.go`).
use super::element::Element;
use super::view::{ListView, View};
use serde_json::Value;

/// Why a value does not fit its type, with the place where (`.spec.ports`), in structured-merge-diff's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct TypedError {
    pub path: String,
    pub message: String,
}

impl TypedError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { path: String::new(), message: message.into() }
    }

    /// The same error seen from one step further up.
    #[must_use]
    pub(super) fn below(mut self, element: &Element) -> Self {
        self.path.insert_str(0, &element.to_string());
        self
    }
}

/// The element of an associative list's item: its keys (defaults filled in) or, in a set, itself.
pub(super) fn item_element(list: &ListView<'_>, item: &Value) -> Result<Element, TypedError> {
    let keys = list.keys();
    if keys.is_empty() { set_element(item) } else { keyed_element(list.element(), keys, item) }
}

fn keyed_element(element: View<'_>, keys: &[Box<str>], item: &Value) -> Result<Element, TypedError> {
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err(TypedError::new("associative list with keys may not have a null element")),
        _ => return Err(TypedError::new("associative list with keys may not have non-map elements")),
    };
    let mut fields = Vec::with_capacity(keys.len());
    for key in keys {
        let value = match map.get(&**key) {
            Some(value) => value.clone(),
            None => element.key_default(key).ok_or_else(|| {
                TypedError::new(format!(
                    "associative list with keys has an element that omits key field {} (and doesn't have default value)",
                    crate::gofmt::quote(key)
                ))
            })?,
        };
        fields.push((key.clone(), value));
    }
    Ok(Element::key(fields))
}

fn set_element(item: &Value) -> Result<Element, TypedError> {
    match item {
        Value::Object(_) => Err(TypedError::new("associative list without keys has an element that's a map type")),
        Value::Array(_) => Err(TypedError::new("not supported: associative list with lists as elements")),
        Value::Null => Err(TypedError::new("associative list without keys has an element that's an explicit null")),
        scalar => Ok(Element::Value(scalar.clone())),
    }
}

//! FieldsV1: sets of fields as JSON (structured-merge-diff `fieldpath/serialize.go`).
use super::element::{Element, ElementError};
use super::set::FieldSet;
use serde_json::{Map, Value};

/// Deeper than any object Kubernetes stores; keeps the recursion off the end of the stack.
const MAX_DEPTH: usize = 128;

/// Why a FieldsV1 object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("error decoding set: {0}")]
    Element(#[from] ElementError),
    #[error("error decoding set: expected an object")]
    NotAnObject,
    #[error("error decoding set: nested too deeply")]
    TooDeep,
}

/// The set as a FieldsV1 object.
pub fn encode(set: &FieldSet) -> Value {
    encode_set(set, false)
}

fn encode_set(set: &FieldSet, dot: bool) -> Value {
    let mut map = Map::new();
    if dot && !(set.members.is_empty() && set.children.is_empty()) {
        map.insert(".".to_owned(), Value::Object(Map::new()));
    }
    let mut children = set.children.iter().peekable();
    for member in &set.members {
        while let Some((element, child)) = children.next_if(|(element, _)| element < member) {
            map.insert(element.encode(), encode_set(child, false));
        }
        let below = match children.next_if(|(element, _)| element == member) {
            Some((_, child)) => encode_set(child, true),
            None => Value::Object(Map::new()),
        };
        map.insert(member.encode(), below);
    }
    for (element, child) in children {
        map.insert(element.encode(), encode_set(child, false));
    }
    Value::Object(map)
}

/// Reads a FieldsV1 object.
pub fn decode(value: &Value) -> Result<FieldSet, CodecError> {
    let map = value.as_object().ok_or(CodecError::NotAnObject)?;
    Ok(decode_map(map, 0)?.0)
}

/// The set below, and whether the element itself is a member: by the dot, or because there is nothing below.
fn decode_map(map: &Map<String, Value>, depth: usize) -> Result<(FieldSet, bool), CodecError> {
    if depth > MAX_DEPTH {
        return Err(CodecError::TooDeep);
    }
    let mut set = FieldSet { members: Vec::new(), children: Vec::new() };
    let mut member = false;
    for (key, value) in map {
        if key == "." {
            member = true;
            continue;
        }
        let Some(element) = Element::decode(key)? else { continue };
        let below = match value {
            Value::Object(below) => below,
            Value::Null => &Map::new(),
            _ => return Err(CodecError::NotAnObject),
        };
        if below.is_empty() {
            set.insert_member(element);
            continue;
        }
        let (child, is_member) = decode_map(below, depth + 1)?;
        if is_member {
            set.insert_member(element.clone());
        }
        set.insert_child(element, child);
    }
    member |= set.members.is_empty() && set.children.is_empty();
    Ok((set, member))
}

//! The fields a value sets (structured-merge-diff `typed/tofieldset.go`): what an applier owns by what it says.
use super::element::Element;
use super::items::item_element;
use super::set::FieldSet;
use super::view::{Atom, ListView, MapView, View};
use serde_json::{Map, Value};

/// Every leaf; atomic lists and objects whole; items of associative lists themselves and what is in them.
pub fn to_field_set(value: &Value, view: View<'_>) -> FieldSet {
    let mut out = FieldSet::new();
    node(view, value, &mut out);
    out
}

/// Returns whether the node itself is a member.
fn node(view: View<'_>, value: &Value, below: &mut FieldSet) -> bool {
    match view.atom(Some(value)) {
        Atom::Scalar => true,
        Atom::Map(map) if map.is_atomic() => true,
        Atom::List(list) if list.is_atomic() => true,
        Atom::Map(map) => {
            if let Value::Object(object) = value {
                members(&map, object, below);
            }
            false
        }
        Atom::List(list) => {
            if let Value::Array(values) = value {
                items(&list, values, below);
            }
            false
        }
    }
}

fn members(map: &MapView<'_>, object: &Map<String, Value>, below: &mut FieldSet) {
    for (name, value) in object {
        let mut inner = FieldSet::new();
        let leaf = node(map.member(name), value, &mut inner);
        let hollow = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        let element = Element::field(name);
        if leaf || hollow || !map.declares(name) {
            below.insert_member(element.clone());
        }
        below.insert_child(element, inner);
    }
}

fn items(list: &ListView<'_>, values: &[Value], below: &mut FieldSet) {
    let mut elements: Vec<(Element, &Value)> = Vec::with_capacity(values.len());
    for value in values {
        // The value was validated against its type before: an item without keys cannot be here.
        if let Ok(element) = item_element(list, value) {
            elements.push((element, value));
        }
    }
    elements.sort_by(|a, b| a.0.cmp(&b.0));
    for group in elements.chunk_by(|a, b| a.0 == b.0) {
        let [(element, first), rest @ ..] = group else { continue };
        // Duplicates are owned as one lump.
        if rest.is_empty() {
            let mut inner = FieldSet::new();
            node(list.element(), first, &mut inner);
            below.insert_child(element.clone(), inner);
        }
        below.insert_member(element.clone());
    }
}

/// Adds the declared fields on the way to members (structured-merge-diff `EnsureNamedFieldsAreMembers`): pruning must know that a
/// struct whose fields are owned is itself wanted.
pub(super) fn with_named_fields(set: &FieldSet, view: View<'_>) -> FieldSet {
    let mut out = FieldSet { members: set.members.clone(), children: Vec::with_capacity(set.children.len()) };
    let atom = view.atom(None);
    for (element, child) in &set.children {
        let inner = match (element, &atom) {
            (Element::Field(name), Atom::Map(map)) => {
                if map.declares(name) {
                    out.insert_member(element.clone());
                }
                Some(map.member(name))
            }
            (Element::Key(_), Atom::List(list)) => Some(list.element()),
            _ => None,
        };
        let child = match inner {
            Some(inner) => with_named_fields(child, inner),
            None => child.clone(),
        };
        out.children.push((element.clone(), child));
    }
    out
}

//! Merging an applied configuration into the live object (structured-merge-diff `typed/merge.go`).
use super::element::Element;
use super::items::{TypedError, item_element};
use super::view::{Atom, ListView, MapView, View};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::collections::VecDeque;

/// `live` with everything `config` says. Leaves are taken from `config`; what it does not mention stays.
pub fn merge(live: &Value, config: &Value, view: View<'_>) -> Result<Value, TypedError> {
    Ok(node(view, Some(live), Some(config))?.unwrap_or_else(|| Value::Object(Map::new())))
}

fn keep_right(l: Option<&Value>, r: Option<&Value>) -> Option<Value> {
    r.or(l).cloned()
}

fn node(view: View<'_>, l: Option<&Value>, r: Option<&Value>) -> Result<Option<Value>, TypedError> {
    // Where the kind of value changed, the new kind decides.
    match view.atom(if r.is_some() { r } else { l }) {
        Atom::Scalar => Ok(keep_right(l, r)),
        Atom::Map(map) => {
            let (lm, rm) = (l.and_then(Value::as_object), r.and_then(Value::as_object));
            if map.is_atomic() || (lm.is_none_or(Map::is_empty) && rm.is_none_or(Map::is_empty)) {
                return Ok(keep_right(l, r));
            }
            members(&map, lm, rm)
        }
        Atom::List(list) => {
            let (ll, rl) = (l.and_then(Value::as_array), r.and_then(Value::as_array));
            if list.is_atomic() || (ll.is_none_or(Vec::is_empty) && rl.is_none_or(Vec::is_empty)) {
                return Ok(keep_right(l, r));
            }
            items(&list, ll.map_or(&[], Vec::as_slice), rl.map_or(&[], Vec::as_slice))
        }
    }
}

fn members(
    map: &MapView<'_>,
    l: Option<&Map<String, Value>>,
    r: Option<&Map<String, Value>>,
) -> Result<Option<Value>, TypedError> {
    let mut out = Map::new();
    let mut visit = |name: &String, lv: Option<&Value>, rv: Option<&Value>| -> Result<(), TypedError> {
        let merged = node(map.member(name), lv, rv).map_err(|e| e.below(&Element::field(name)))?;
        out.extend(merged.map(|value| (name.clone(), value)));
        Ok(())
    };
    for (name, value) in l.into_iter().flatten() {
        visit(name, Some(value), r.and_then(|r| r.get(name)))?;
    }
    for (name, value) in r.into_iter().flatten() {
        if l.is_none_or(|l| !l.contains_key(name)) {
            visit(name, None, Some(value))?;
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

type Index<'v> = BTreeMap<Element, Option<&'v Value>>;

/// The elements in order, and the item of each; `None` for one that is there several times (it is not merged).
fn index<'v>(
    list: &ListView<'_>,
    values: &'v [Value],
    duplicates: bool,
) -> Result<(Vec<Element>, Index<'v>), TypedError> {
    let (mut order, mut found) = (Vec::with_capacity(values.len()), Index::new());
    for (i, value) in values.iter().enumerate() {
        let element = item_element(list, value).map_err(|e| TypedError::new(format!("element {i}: {}", e.message)))?;
        match found.get_mut(&element) {
            Some(_) if !duplicates => {
                return Err(TypedError::new(format!("duplicate entries for key {element}")));
            }
            Some(item) => *item = None,
            None => {
                found.insert(element.clone(), Some(value));
            }
        }
        order.push(element);
    }
    Ok((order, found))
}

/// Interleaves the two lists: items of both keep the configuration's order, items of the live list alone stay where they are
/// between them.
fn items(list: &ListView<'_>, live: &[Value], config: &[Value]) -> Result<Option<Value>, TypedError> {
    let (r_order, r_items) = index(list, config, false)?;
    let (l_order, l_items) = index(list, live, true)?;
    let mut shared: VecDeque<&Element> = r_order.iter().filter(|e| l_items.contains_key(*e)).collect();
    let mut next_shared = shared.pop_front();
    let mut merged: std::collections::BTreeSet<&Element> = std::collections::BTreeSet::new();
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let mut one = |element: &Element, l: Option<&Value>, r: Option<&Value>| -> Result<(), TypedError> {
        out.extend(node(list.element(), l, r).map_err(|e| e.below(element))?);
        Ok(())
    };
    // Of a duplicated live item nothing is merged in: the applied one replaces the lump.
    let live_of = |element: &Element| l_items.get(element).copied().flatten();
    let (mut li, mut ri) = (0, 0);
    while li < l_order.len() || ri < r_order.len() {
        if let (Some(l), Some(r)) = (l_order.get(li), r_order.get(ri)) {
            if l == r {
                merged.insert(r);
                one(l, live_of(l), r_items.get(l).copied().flatten())?;
                (li, ri) = (li + 1, ri + 1);
                next_shared = shared.pop_front();
                continue;
            }
            if r_items.contains_key(l) && next_shared.is_some_and(|next| next != l) {
                // Shared, but its turn has not come.
                li += 1;
                continue;
            }
        }
        if let Some(l) = l_order.get(li) {
            if !r_items.contains_key(l) {
                one(l, live.get(li), None)?;
                li += 1;
                continue;
            }
            if merged.contains(l) {
                li += 1;
            }
        }
        if let Some(r) = r_order.get(ri) {
            merged.insert(r);
            one(r, live_of(r), r_items.get(r).copied().flatten())?;
            ri += 1;
            if next_shared == Some(r) {
                next_shared = shared.pop_front();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}

//! The order of merged lists: `$setElementOrder` before the order in the patch before the order in the live object.
use super::error::{StrategicError, print_list};
use super::{SET_ORDER, has_directive, is_delete};
use crate::apply::compare_values;
use crate::gofmt;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A value as a key of a map.
#[derive(Clone, Copy)]
pub(super) struct Key<'v>(pub(super) &'v Value);

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_values(self.0, other.0)
    }
}
impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Key<'_> {}

/// What stands for an item: the value of its merge key, or in a list of scalars the item itself.
pub(super) fn identity<'v>(item: &'v Value, merge_key: &str, maps: bool) -> Key<'v> {
    Key(if maps { item.get(merge_key).unwrap_or(&Value::Null) } else { item })
}

/// The place of every identity in a list, the first one counting.
pub(super) fn ranks<'v>(list: &'v [Value], merge_key: &str, maps: bool) -> BTreeMap<Key<'v>, usize> {
    let mut out = BTreeMap::new();
    for (place, item) in list.iter().enumerate() {
        out.entry(identity(item, merge_key, maps)).or_insert(place);
    }
    out
}

pub(super) fn check_merge_keys(merge_key: &str, items: &[Value]) -> Result<(), StrategicError> {
    for item in items {
        let map = item.as_object().ok_or_else(|| StrategicError::not_a_map(item))?;
        if !map.contains_key(merge_key) {
            return Err(StrategicError::no_merge_key(map, merge_key));
        }
    }
    Ok(())
}

/// Sorts by the place in `order`; deletions go last.
pub(super) fn sort_by_order(
    items: Vec<Value>,
    order: &[Value],
    merge_key: &str,
    maps: bool,
) -> Result<Vec<Value>, StrategicError> {
    let mut deleted = Vec::new();
    let mut kept = items;
    if maps {
        check_merge_keys(merge_key, &kept)?;
        check_merge_keys(merge_key, order)?;
        (deleted, kept) = kept.into_iter().partition(|item| item.as_object().is_some_and(is_delete));
    }
    let ranks = ranks(order, merge_key, maps);
    let mut ranked: Vec<(Option<usize>, Value)> =
        kept.into_iter().map(|item| (ranks.get(&identity(&item, merge_key, maps)).copied(), item)).collect();
    // An item that has no place goes before those that have, as upstream's comparison makes it.
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut out: Vec<Value> = ranked.into_iter().map(|(_, item)| item).collect();
    out.append(&mut deleted);
    Ok(out)
}

/// Sorts both lists and interleaves them by the live order. The order within each is kept.
pub(super) fn normalize(
    patch: Vec<Value>,
    server_only: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: &str,
    maps: bool,
) -> Result<Vec<Value>, StrategicError> {
    let patch = sort_by_order(patch, patch_order, merge_key, maps)?;
    let server_only = sort_by_order(server_only, server_order, merge_key, maps)?;
    let ranks = ranks(server_order, merge_key, maps);
    let rank = |item: &Value| ranks.get(&identity(item, merge_key, maps)).copied();
    let mut out = Vec::with_capacity(patch.len() + server_only.len());
    let (mut left, mut right) = (server_only.into_iter().peekable(), patch.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => matches!((rank(l), rank(r)), (Some(l), Some(r)) if l < r),
        };
        out.extend(if take_left { left.next() } else { right.next() });
    }
}

/// Splits into what is in `by` and what is not.
pub(super) fn partition(
    items: Vec<Value>,
    by: &[Value],
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), StrategicError> {
    let maps = !merge_key.is_empty();
    if maps {
        check_merge_keys(merge_key, &items)?;
        if let Some((place, _)) = by.iter().enumerate().find(|(_, item)| !item.is_object()) {
            return Err(StrategicError::ItemNotAMap(place));
        }
    }
    let ranks = ranks(by, merge_key, maps);
    Ok(items.into_iter().partition(|item| ranks.contains_key(&identity(item, merge_key, maps))))
}

/// The patch list must be a part of the order list, in its order (deletions aside).
pub(super) fn check_against_order(patch: &[Value], order: &[Value], merge_key: &str) -> Result<(), StrategicError> {
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let maps = !merge_key.is_empty();
    let mut order_left = order.iter();
    for item in patch {
        if maps {
            let map = item.as_object().ok_or_else(|| StrategicError::not_a_map(item))?;
            if is_delete(map) || has_directive(item) {
                continue;
            }
            check_merge_keys(merge_key, std::slice::from_ref(item))?;
        }
        loop {
            let Some(next) = order_left.next() else {
                return Err(StrategicError::OrderMismatch { patch: print_list(patch), order: print_list(order) });
            };
            if maps {
                check_merge_keys(merge_key, std::slice::from_ref(next))?;
            }
            if identity(item, merge_key, maps) == identity(next, merge_key, maps) {
                break;
            }
        }
    }
    Ok(())
}

/// Whether the items of lists that merge are objects; all must be of one type, and none a list.
pub(super) fn elements_are_maps(lists: &[&[Value]]) -> Result<bool, StrategicError> {
    let mut first: Option<&Value> = None;
    for item in lists.iter().copied().flatten() {
        match first {
            None if item.is_array() => return Err(StrategicError::ListOfLists),
            None => first = Some(item),
            Some(first) if gofmt::type_name(first) == gofmt::type_name(item) => {}
            Some(_) => {
                let lists: Vec<String> = lists.iter().map(|list| print_list(list)).collect();
                return Err(StrategicError::MixedList(format!("[{}]", lists.join(" "))));
            }
        }
    }
    first.map(Value::is_object).ok_or(StrategicError::NoElements)
}

/// The key of the list that a directive is about: `finalizers` of `$setElementOrder/finalizers`.
pub(super) fn directive_target<'k>(key: &'k str, prefix: &str) -> Result<&'k str, StrategicError> {
    match key.split_once('/') {
        Some((found, target)) if found == prefix => Ok(target),
        _ if prefix == SET_ORDER => Err(StrategicError::SetElementOrderFormat),
        _ => Err(StrategicError::PrimitiveListFormat),
    }
}

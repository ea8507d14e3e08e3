//! Merging lists whose strategy is `merge`.
use super::error::StrategicError;
use super::map::{FieldPatch, merge_map};
use super::order::{Key, elements_are_maps, identity, normalize, partition, ranks};
use super::{DELETE, DIRECTIVE, Into, MERGE, REPLACE};
use crate::apply::View;
use serde_json::{Map, Value};

/// `deletes`: the patch is a `$deleteFromPrimitiveList`.
pub(super) fn merge_lists(
    original: Vec<Value>,
    patch: Vec<Value>,
    field: &FieldPatch<'_>,
    into: Into,
    deletes: bool,
) -> Result<Vec<Value>, StrategicError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let element = field.view.list_element();
    let maps = elements_are_maps(&[&original, &patch])?;
    if !maps {
        if into == Into::Object && deletes {
            let gone = ranks(&patch, "", false);
            return Ok(original.iter().filter(|item| !gone.contains_key(&Key(item))).cloned().collect());
        }
        let both: Vec<Value> = original.iter().chain(&patch).cloned().collect();
        let (patched, server_only) = partition(deduplicate(&both), &patch, "")?;
        return normalize(patched, server_only, &patch, &original, "", false);
    }
    let key = field.merge_key;
    if key.is_empty() {
        return Err(StrategicError::ListWithoutMergeKey(element.name().to_owned()));
    }
    let (original, patch) = special_items(original, patch, key)?;
    let merged = plain_items(original.clone(), &patch, key, element, into)?;
    let (patched, server_only) = partition(merged, &patch, key)?;
    normalize(patched, server_only, &patch, &original, key, true)
}

/// The first of all twins. Upstream leaves another order here; it is made anew afterwards.
pub(super) fn deduplicate(items: &[Value]) -> Vec<Value> {
    let mut seen = std::collections::BTreeSet::new();
    let keep: Vec<bool> = items.iter().map(|item| seen.insert(Key(item))).collect();
    items.iter().zip(keep).filter(|(_, keep)| *keep).map(|(item, _)| item.clone()).collect()
}

/// Carries out `$patch` of items and takes them out of the patch.
fn special_items(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), StrategicError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let Value::Object(map) = &item else { return Err(StrategicError::not_a_map(&item)) };
        let Some(directive) = map.get(DIRECTIVE) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some(DELETE) => {
                let gone = map.get(key).ok_or_else(|| StrategicError::no_merge_key(map, key))?;
                original.retain(|other| other.get(key).is_none_or(|value| Key(value) != Key(gone)));
            }
            Some(REPLACE) => replace = true,
            Some(MERGE) => return Err(StrategicError::MergeDirectiveInList),
            _ => return Err(StrategicError::directive(directive, map)),
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (original, plain) })
}

fn plain_items(
    mut original: Vec<Value>,
    patch: &[Value],
    key: &str,
    element: View<'_>,
    into: Into,
) -> Result<Vec<Value>, StrategicError> {
    let kept = original.clone();
    let mut places = ranks(&kept, key, true);
    for item in patch {
        let Value::Object(map) = item else { return Err(StrategicError::not_a_map(item)) };
        if !map.contains_key(key) {
            return Err(StrategicError::no_merge_key(map, key));
        }
        match places.get(&identity(item, key, true)).copied() {
            Some(place) => {
                let Some(slot) = original.get_mut(place) else { continue };
                if let Value::Object(old) = slot.take() {
                    *slot = Value::Object(merge_map(old, map.clone(), element, into)?);
                }
            }
            None => {
                places.insert(identity(item, key, true), original.len());
                // Upstream appends the item as it is; its directives ($retainKeys, nulls) then fail strict decoding.
                let new = match into {
                    Into::Object => merge_map(Map::new(), map.clone(), element, into)?,
                    Into::Patch => map.clone(),
                };
                original.push(Value::Object(new));
            }
        }
    }
    Ok(original)
}

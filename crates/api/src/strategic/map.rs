//! Merging objects.
use super::error::StrategicError;
use super::lists::merge_lists;
use super::order::{check_against_order, directive_target, elements_are_maps, normalize, partition};
use super::{DELETE, DELETE_FROM_LIST, DIRECTIVE, Into, REPLACE, RETAIN_KEYS, SET_ORDER};
use crate::apply::View;
use crate::gofmt;
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// What the schema says of patching a field.
pub(crate) struct FieldPatch<'s> {
    pub(crate) view: View<'s>,
    pub(crate) merge: bool,
    pub(crate) replace: bool,
    pub(crate) retain_keys: bool,
    pub(crate) merge_key: &'s str,
}

/// Looks a field up; an unknown one is an error, but only where both sides are objects or lists and its strategy matters.
pub(super) fn field_patch<'s>(view: View<'s>, name: &str) -> Result<FieldPatch<'s>, StrategicError> {
    let unknown = || StrategicError::UnknownField { kind: view.name().to_owned(), field: name.to_owned() };
    if view.is_untyped() {
        return Ok(FieldPatch { view, merge: false, replace: false, retain_keys: false, merge_key: "" });
    }
    let field = view.patch_field(name).ok_or_else(|| match view.not_a_struct() {
        Some(kind) => StrategicError::NotAStruct(kind),
        None => unknown(),
    })?;
    Ok(field)
}

pub(super) fn merge_map(
    mut original: Object,
    mut patch: Object,
    view: View<'_>,
    into: Into,
) -> Result<Object, StrategicError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some(REPLACE) => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some(DELETE) => Ok(Object::new()),
            _ => Err(StrategicError::directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch, into)?;
    set_element_order(&mut original, &mut patch, view, into)?;
    for (key, value) in patch {
        merge_member(&mut original, key, value, view, into)?;
    }
    Ok(original)
}

fn merge_member(
    original: &mut Object,
    key: String,
    value: Value,
    view: View<'_>,
    into: Into,
) -> Result<(), StrategicError> {
    let mut key = key;
    let mut deletes = false;
    if key.starts_with(DELETE_FROM_LIST) {
        if into == Into::Patch {
            original.insert(key, value);
            return Ok(());
        }
        key = directive_target(&key, DELETE_FROM_LIST)?.to_owned();
        deletes = true;
    }
    if value.is_null() {
        original.remove(&key);
        if into == Into::Object {
            return Ok(());
        }
    }
    let merged = match (original.remove(&key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let field = field_patch(view, &key)?;
            Some(Value::Object(if field.replace { new } else { merge_map(old, new, field.view, into)? }))
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            let field = field_patch(view, &key)?;
            Some(Value::Array(if field.merge { merge_lists(old, new, &field, into, deletes)? } else { new }))
        }
        (old, _) if deletes => old,
        (_, mut new) => {
            if into == Into::Object {
                discard_nulls(&mut new);
            }
            without_directives(new)
        }
    };
    if let Some(merged) = merged {
        original.insert(key, merged);
    }
    Ok(())
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, member| !member.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// `None` for an object that carries a directive itself.
pub(super) fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter().filter_map(|(key, member)| Some((key, without_directives(member)?))).collect(),
        )),
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        scalar => Some(scalar),
    }
}

/// `$retainKeys`: what the list does not name is cleared; what the patch sets must be named.
fn retain_keys(original: &mut Object, patch: &mut Object, into: Into) -> Result<(), StrategicError> {
    let Some(list) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    if into == Into::Patch {
        match original.get(RETAIN_KEYS) {
            Some(other) if *other != list => {
                return Err(StrategicError::RetainKeysDiffer(gofmt::print(other), gofmt::print(&list)));
            }
            Some(_) => {}
            None => {
                original.insert(RETAIN_KEYS.to_owned(), list);
            }
        }
        return Ok(());
    }
    let Value::Array(list) = list else { return Err(StrategicError::RetainKeysFormat) };
    let named: std::collections::BTreeSet<&str> = list.iter().filter_map(Value::as_str).collect();
    for (key, value) in &*patch {
        let directive = key.starts_with(DELETE_FROM_LIST) || key.starts_with(SET_ORDER);
        if !value.is_null() && !directive && !named.contains(key.as_str()) {
            return Err(StrategicError::RetainKeysFormat);
        }
    }
    original.retain(|key, _| named.contains(key.as_str()));
    Ok(())
}

/// Carries out `$setElementOrder` and merges its lists, so that they are not merged again.
fn set_element_order(
    original: &mut Object,
    patch: &mut Object,
    view: View<'_>,
    into: Into,
) -> Result<(), StrategicError> {
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for key in keys {
        let Some(order) = patch.remove(&key) else { continue };
        if into == Into::Patch {
            match original.get(&key) {
                Some(other) if *other != order => return Err(StrategicError::SetElementOrderFormat),
                Some(_) => {}
                None => {
                    original.insert(key.clone(), order.clone());
                }
            }
        }
        let Value::Array(order) = order else { return Err(StrategicError::not_a_list(&order)) };
        let target = directive_target(&key, SET_ORDER)?;
        if let Some(merged) = ordered_list(original.get(target), patch.get(target), &order, target, view, into)? {
            original.insert(target.to_owned(), Value::Array(merged));
            patch.remove(target);
        }
    }
    Ok(())
}

fn ordered_list(
    original: Option<&Value>,
    patch: Option<&Value>,
    order: &[Value],
    target: &str,
    view: View<'_>,
    into: Into,
) -> Result<Option<Vec<Value>>, StrategicError> {
    let list = |value: Option<&Value>| match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(other) => Err(StrategicError::not_a_list(other)),
    };
    let (old, new) = (list(original)?, list(patch)?);
    let field = field_patch(view, target)?;
    check_against_order(new.as_deref().unwrap_or_default(), order, field.merge_key)?;
    let lists = [old.as_deref().unwrap_or_default(), new.as_deref().unwrap_or_default()];
    let merged = match (&old, &new) {
        (None, None) => return Ok(None),
        (Some(old), None) => old.clone(),
        (None, Some(new)) => new.iter().cloned().filter_map(without_directives).collect(),
        (Some(old), Some(new)) if field.merge => merge_lists(old.clone(), new.clone(), &field, into, false)?,
        (Some(_), Some(new)) => new.clone(),
    };
    let (patched, server_only) = partition(merged, order, field.merge_key)?;
    let maps = elements_are_maps(&lists)?;
    let server_order = old.as_deref().unwrap_or_default();
    normalize(patched, server_only, order, server_order, field.merge_key, maps).map(Some)
}

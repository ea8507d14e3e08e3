//! Making patches: what `kubectl edit` (two ways) and client-side `kubectl apply` (three ways) send.
use super::error::StrategicError;
use super::lists::deduplicate;
use super::map::{field_patch, merge_map};
use super::order::{check_merge_keys, elements_are_maps, sort_by_order};
use super::{DELETE, DELETE_FROM_LIST, DIRECTIVE, Into, RETAIN_KEYS, SET_ORDER};
use crate::apply::View;
use crate::gofmt;
use crate::schema::TypeRef;
use serde_json::{Map, Value};
use std::cmp::Ordering;

type Object = Map<String, Value>;

/// Which half of a difference is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Both,
    Deletions,
    Additions,
}

impl Want {
    fn additions(self) -> bool {
        self != Self::Deletions
    }
    fn deletions(self) -> bool {
        self != Self::Additions
    }
}

#[derive(Clone, Copy, Debug)]
struct Options {
    want: Want,
    retain_keys: bool,
}

fn object(value: &Value) -> Result<&Object, StrategicError> {
    value.as_object().ok_or(StrategicError::BadDocument)
}

/// The patch that turns `original` into `modified`; `{}` when they are the same.
pub fn two_way(original: &Value, modified: &Value, ty: TypeRef<'_>) -> Result<Value, StrategicError> {
    let options = Options { want: Want::Both, retain_keys: false };
    Ok(Value::Object(diff_maps(object(original)?, object(modified)?, ty.into(), options)?))
}

/// The patch for `current` that makes what `modified` says so, deletes what it no longer says but `original` (the last applied) did, and
/// leaves alone what neither knows. Changes others made to what `modified` says are overwritten, as `kubectl apply` does.
pub fn three_way(
    original: &Value,
    modified: &Value,
    current: &Value,
    ty: TypeRef<'_>,
) -> Result<Value, StrategicError> {
    let view = View::from(ty);
    let modified = object(modified)?;
    let additions = Options { want: Want::Additions, retain_keys: false };
    let deletions = Options { want: Want::Deletions, retain_keys: false };
    let delta = diff_maps(object(current)?, modified, view, additions)?;
    let gone = diff_maps(object(original)?, modified, view, deletions)?;
    Ok(Value::Object(merge_map(gone, delta, view, Into::Patch)?))
}

fn diff_maps(original: &Object, modified: &Object, view: View<'_>, options: Options) -> Result<Object, StrategicError> {
    let mut patch = Object::new();
    for (key, new) in modified {
        let Some(old) = original.get(key) else {
            if options.want.additions() {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        };
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => diff_member_maps(key, old, new, &mut patch, view, options)?,
            (Value::Array(old), Value::Array(new)) => diff_member_lists(key, old, new, &mut patch, view, options)?,
            _ if options.want.additions() && old != new => {
                patch.insert(key.clone(), new.clone());
            }
            _ => {}
        }
    }
    if options.want.deletions() {
        for key in original.keys().filter(|key| !modified.contains_key(*key)) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    if options.retain_keys {
        add_retain_keys(original, modified, &mut patch);
    }
    Ok(patch)
}

/// Names the members to keep, if there is anything to change.
fn add_retain_keys(original: &Object, modified: &Object, patch: &mut Object) {
    let keep: Vec<Value> =
        modified.iter().filter(|(_, v)| !v.is_null()).map(|(key, _)| Value::String(key.clone())).collect();
    let more = original.iter().any(|(key, value)| !value.is_null() && !modified.contains_key(key));
    if !keep.is_empty() && (!patch.is_empty() || more) {
        patch.insert(RETAIN_KEYS.to_owned(), Value::Array(keep));
    }
}

fn diff_member_maps(
    key: &str,
    old: &Object,
    new: &Object,
    patch: &mut Object,
    view: View<'_>,
    options: Options,
) -> Result<(), StrategicError> {
    if old == new {
        return Ok(());
    }
    let field = field_patch(view, key)?;
    if field.replace {
        if options.want.additions() {
            patch.insert(key.to_owned(), Value::Object(new.clone()));
        }
        return Ok(());
    }
    let below = diff_maps(old, new, field.view, Options { retain_keys: field.retain_keys, ..options })?;
    if !below.is_empty() {
        patch.insert(key.to_owned(), Value::Object(below));
    }
    Ok(())
}

fn diff_member_lists(
    key: &str,
    old: &[Value],
    new: &[Value],
    patch: &mut Object,
    view: View<'_>,
    options: Options,
) -> Result<(), StrategicError> {
    if old == new {
        return Ok(());
    }
    let field = field_patch(view, key)?;
    if !field.merge {
        if options.want.additions() {
            patch.insert(key.to_owned(), Value::Array(new.to_vec()));
        }
        return Ok(());
    }
    let options = Options { retain_keys: field.retain_keys, ..options };
    let diff = diff_lists(old, new, field.view.list_element(), field.merge_key, options)?;
    let mut put = |key: String, items: Vec<Value>| {
        if !items.is_empty() {
            patch.insert(key, Value::Array(items));
        }
    };
    put(key.to_owned(), diff.patch);
    put(format!("{DELETE_FROM_LIST}/{key}"), diff.delete);
    put(format!("{SET_ORDER}/{key}"), diff.order);
    Ok(())
}

#[derive(Default)]
struct ListDiff {
    patch: Vec<Value>,
    delete: Vec<Value>,
    order: Vec<Value>,
}

fn diff_lists(
    old: &[Value],
    new: &[Value],
    element: View<'_>,
    merge_key: &str,
    options: Options,
) -> Result<ListDiff, StrategicError> {
    if old.is_empty() {
        let patch = if options.want.additions() { new.to_vec() } else { Vec::new() };
        return Ok(ListDiff { patch, ..ListDiff::default() });
    }
    if !elements_are_maps(&[old, new])? {
        return diff_scalars(old, new, options);
    }
    let (patch, mut deletions) = diff_items(old, new, element, merge_key, options)?;
    let mut patch = sort_by_order(patch, new, merge_key, true)?;
    patch.append(&mut deletions);
    let same_order = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.get(merge_key) == b.get(merge_key));
    let ordered = !patch.is_empty() || (options.want.additions() && !same_order);
    let order = if ordered {
        let only_key = |item: &Value| {
            let value = item.get(merge_key).cloned().unwrap_or(Value::Null);
            Value::Object([(merge_key.to_owned(), value)].into_iter().collect())
        };
        new.iter().map(only_key).collect()
    } else {
        Vec::new()
    };
    Ok(ListDiff { patch, delete: Vec::new(), order })
}

/// By the text of the merge key, as upstream: 9 comes after 10.
fn by_text(a: &Value, b: &Value) -> Ordering {
    gofmt::print(a).cmp(&gofmt::print(b))
}

fn diff_scalars(old: &[Value], new: &[Value], options: Options) -> Result<ListDiff, StrategicError> {
    let (mut a, mut b) = (old.to_vec(), new.to_vec());
    a.sort_by(by_text);
    b.sort_by(by_text);
    let (mut added, mut deleted) = (Vec::new(), Vec::new());
    let (mut l, mut r) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        let order = match (l.peek(), r.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(l), Some(r)) => by_text(l, r),
        };
        match order {
            Ordering::Equal => {
                l.next();
                r.next();
            }
            Ordering::Less => deleted.extend(l.next().filter(|_| options.want.deletions())),
            Ordering::Greater => added.extend(r.next().filter(|_| options.want.additions())),
        }
    }
    let patch = sort_by_order(added, new, "", false)?;
    let delete = deduplicate(&deleted);
    let ordered = !delete.is_empty() || (options.want.additions() && old != new);
    Ok(ListDiff { patch, delete, order: if ordered { new.to_vec() } else { Vec::new() } })
}

/// The changed and new items, and the `$patch: delete` items for those gone.
fn diff_items(
    old: &[Value],
    new: &[Value],
    element: View<'_>,
    merge_key: &str,
    options: Options,
) -> Result<(Vec<Value>, Vec<Value>), StrategicError> {
    check_merge_keys(merge_key, old)?;
    check_merge_keys(merge_key, new)?;
    let sorted = |items: &[Value]| {
        let mut items: Vec<(String, Value)> = items
            .iter()
            .map(|item| (item.get(merge_key).map(gofmt::print).unwrap_or_default(), item.clone()))
            .collect();
        items.sort_by(|a, b| a.0.cmp(&b.0));
        items
    };
    let (mut l, mut r) = (sorted(old).into_iter().peekable(), sorted(new).into_iter().peekable());
    let (mut patch, mut deleted) = (Vec::new(), Vec::new());
    loop {
        let order = match (l.peek(), r.peek()) {
            (None, None) => return Ok((patch, deleted)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((l, _)), Some((r, _))) => l.cmp(r),
        };
        match order {
            Ordering::Equal => {
                if let (Some((_, Value::Object(old))), Some((_, Value::Object(new)))) = (l.next(), r.next()) {
                    let mut below = diff_maps(&old, &new, element, options)?;
                    if !below.is_empty() {
                        below.extend(new.get(merge_key).map(|value| (merge_key.to_owned(), value.clone())));
                        patch.push(Value::Object(below));
                    }
                }
            }
            Ordering::Greater => patch.extend(r.next().map(|(_, item)| item).filter(|_| options.want.additions())),
            Ordering::Less => {
                if let Some((_, item)) = l.next()
                    && options.want.deletions()
                {
                    let key = item.get(merge_key).cloned().unwrap_or(Value::Null);
                    let directive =
                        [(merge_key.to_owned(), key), (DIRECTIVE.to_owned(), Value::String(DELETE.to_owned()))];
                    deleted.push(Value::Object(directive.into_iter().collect()));
                }
            }
        }
    }
}

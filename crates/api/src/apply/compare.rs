//! What changed between two values of a type (structured-merge-diff `typed/compare.go`).
//!
//! This runs on every write, so it descends only where the two differ and builds only what changed.
use super::element::{Element, equal};
use super::items::{TypedError, item_element};
use super::set::FieldSet;
use super::view::{Atom, ListView, MapView, View};
use serde_json::{Map, Value};

/// The fields that differ. No field is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub removed: FieldSet,
    pub modified: FieldSet,
    pub added: FieldSet,
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// Without these fields and all below them.
    #[must_use]
    pub fn exclude(self, fields: &FieldSet) -> Self {
        if fields.is_empty() || self.is_same() {
            return self;
        }
        Self {
            removed: self.removed.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            added: self.added.recursive_difference(fields),
        }
    }

    fn attach(&mut self, element: Element, own: Own, below: Self) {
        match own {
            Own::Same => {}
            Own::Removed => self.removed.insert_member(element.clone()),
            Own::Modified => self.modified.insert_member(element.clone()),
            Own::Added => self.added.insert_member(element.clone()),
        }
        let Self { removed, modified, added } = below;
        if !removed.is_empty() {
            self.removed.insert_child(element.clone(), removed);
        }
        if !modified.is_empty() {
            self.modified.insert_child(element.clone(), modified);
        }
        if !added.is_empty() {
            self.added.insert_child(element, added);
        }
    }
}

/// Compares two objects of a type. An object that does not exist yet is an empty one.
pub fn compare(old: &Value, new: &Value, view: View<'_>) -> Result<Comparison, TypedError> {
    let mut out = Comparison::default();
    node(view, Some(old), Some(new), &mut out)?;
    Ok(out)
}

/// What happened to the very node, beside what happened below it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Same,
    Removed,
    Modified,
    Added,
}

fn node(view: View<'_>, old: Option<&Value>, new: Option<&Value>, below: &mut Comparison) -> Result<Own, TypedError> {
    let (from, to) = (view.atom(old), view.atom(new));
    let outcome = match (old, new) {
        (_, None) => atom(from, old, new, below)?,
        (None, _) => atom(to, old, new, below)?,
        _ if from.same_as(&to) => atom(to, old, new, below)?,
        // The kind of value changed: what the old kind lost and what the new kind gained.
        _ => atom(from, old, new, below)?.or(atom(to, old, new, below)?),
    };
    Ok(match (outcome, old, new) {
        (Some(own), _, _) => own,
        (None, None, _) => Own::Added,
        (None, _, None) => Own::Removed,
        (None, _, _) => Own::Same,
    })
}

/// `Some`: it is a leaf, and what happened to it.
fn atom(
    atom: Atom<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    below: &mut Comparison,
) -> Result<Option<Own>, TypedError> {
    match atom {
        Atom::Scalar => Ok(Some(leaf(old, new))),
        Atom::Map(map) => {
            let (l, r) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            if map.is_atomic() || (l.is_none_or(Map::is_empty) && r.is_none_or(Map::is_empty)) {
                return Ok(Some(leaf(old, new)));
            }
            members(&map, l, r, below)?;
            Ok(None)
        }
        Atom::List(list) => {
            let (l, r) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            if list.is_atomic() || (l.is_none_or(Vec::is_empty) && r.is_none_or(Vec::is_empty)) {
                return Ok(Some(leaf(old, new)));
            }
            items(&list, l.map_or(&[], Vec::as_slice), r.map_or(&[], Vec::as_slice), below)?;
            Ok(None)
        }
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Own {
    match (old, new) {
        (None, _) => Own::Added,
        (_, None) => Own::Removed,
        (Some(old), Some(new)) if equal(old, new) => Own::Same,
        _ => Own::Modified,
    }
}

fn members(
    map: &MapView<'_>,
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    below: &mut Comparison,
) -> Result<(), TypedError> {
    let mut visit = |name: &str, l: Option<&Value>, r: Option<&Value>| -> Result<(), TypedError> {
        let mut inner = Comparison::default();
        let own = node(map.member(name), l, r, &mut inner).map_err(|e| e.below(&Element::field(name)))?;
        if own != Own::Same || !inner.is_same() {
            below.attach(Element::field(name), own, inner);
        }
        Ok(())
    };
    // A struct that is there has its non-pointer fields, even where JSON leaves them out.
    let zero = |side: Option<&Map<String, Value>>, name: &str| side.and_then(|_| map.zero(name));
    let (mut l, mut r) = (old.into_iter().flatten().peekable(), new.into_iter().flatten().peekable());
    loop {
        let order = match (l.peek(), r.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        match order {
            std::cmp::Ordering::Less => {
                if let Some((name, value)) = l.next() {
                    visit(name, Some(value), zero(new, name))?;
                }
            }
            std::cmp::Ordering::Greater => {
                if let Some((name, value)) = r.next() {
                    visit(name, zero(old, name), Some(value))?;
                }
            }
            std::cmp::Ordering::Equal => {
                if let (Some((name, a)), Some((_, b))) = (l.next(), r.next())
                    && a != b
                {
                    visit(name, Some(a), Some(b))?;
                }
            }
        }
    }
}

fn indexed<'v>(list: &ListView<'_>, values: &'v [Value]) -> Result<Vec<(Element, &'v Value)>, TypedError> {
    let mut out = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let element = item_element(list, value).map_err(|e| TypedError::new(format!("element {i}: {}", e.message)))?;
        out.push((element, value));
    }
    // Stable: duplicates keep their order.
    out.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(out)
}

/// The first run of equal elements: how many items it has.
fn run(items: &[(Element, &Value)]) -> usize {
    items.first().map_or(0, |(first, _)| items.iter().take_while(|(element, _)| element == first).count())
}

fn items(list: &ListView<'_>, old: &[Value], new: &[Value], below: &mut Comparison) -> Result<(), TypedError> {
    let (old, new) = (indexed(list, old)?, indexed(list, new)?);
    let (mut l, mut r) = (old.as_slice(), new.as_slice());
    loop {
        let order = match (l.first(), r.first()) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let (left, right) = (if order.is_le() { run(l) } else { 0 }, if order.is_ge() { run(r) } else { 0 });
        let (lrun, lrest) = l.split_at(left);
        let (rrun, rrest) = r.split_at(right);
        (l, r) = (lrest, rrest);
        same_element(list, lrun, rrun, below)?;
    }
}

/// The items of one element on both sides: one each normally, several where a list has duplicates.
fn same_element(
    list: &ListView<'_>,
    old: &[(Element, &Value)],
    new: &[(Element, &Value)],
    below: &mut Comparison,
) -> Result<(), TypedError> {
    let Some((element, _)) = old.first().or(new.first()) else { return Ok(()) };
    let mut one = |l: Option<&Value>, r: Option<&Value>| -> Result<(), TypedError> {
        if l.is_some() && l == r {
            return Ok(());
        }
        let mut inner = Comparison::default();
        let own = node(list.element(), l, r, &mut inner).map_err(|e| e.below(element))?;
        if own != Own::Same || !inner.is_same() {
            below.attach(element.clone(), own, inner);
        }
        Ok(())
    };
    match (old, new) {
        ([] | [_], [] | [_]) => one(old.first().map(|(_, v)| *v), new.first().map(|(_, v)| *v))?,
        // Duplicates before and after are one lump.
        ([_, _, ..], [_, _, ..]) => {
            if old.len() != new.len() || old.iter().zip(new).any(|(a, b)| !equal(a.1, b.1)) {
                below.modified.insert_member(element.clone());
            }
        }
        ([_, _, ..], _) => {
            if let [(_, value)] = new {
                one(None, Some(value))?;
            }
            below.removed.insert_member(element.clone());
        }
        (_, [_, _, ..]) => {
            if let [(_, value)] = old {
                one(Some(value), None)?;
            }
            below.added.insert_member(element.clone());
        }
    }
    Ok(())
}

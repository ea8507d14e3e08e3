//! Sets written under an older schema (structured-merge-diff `typed/reconcile_schema.go`): where a list or object has become atomic since,
//! whoever owned something in it owns all of it.
use super::element::Element;
use super::set::FieldSet;
use super::view::{Atom, View};

/// `None` when nothing is to be changed.
pub(super) fn reconcile(set: &FieldSet, view: View<'_>) -> Option<FieldSet> {
    let mut lumps = FieldSet::new();
    find(set, view, &mut Vec::new(), &mut lumps);
    (!lumps.is_empty()).then(|| set.recursive_difference(&lumps).union(&lumps))
}

fn find(set: &FieldSet, view: View<'_>, path: &mut Vec<Element>, lumps: &mut FieldSet) {
    let atom = view.atom(None);
    for (element, child) in &set.children {
        let inner = match (&atom, element) {
            (Atom::Map(map), Element::Field(name)) if map.accepts(name) => map.member(name),
            (Atom::List(list), _) => list.element(),
            _ => continue,
        };
        path.push(element.clone());
        if inner.is_declared_atomic() {
            lumps.insert(path);
        } else {
            find(child, inner, path, lumps);
        }
        path.pop();
    }
}

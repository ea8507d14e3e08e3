//! Sets of fields: trees of [`Element`]s (structured-merge-diff `fieldpath/set.go`).
//!
//! A set knows two things of a path: whether it is a *member*, and whether paths below it are. `f:ports: {".": {}, …}` is a
//! field that is a member and has members below; without the dot only what is below belongs to the set.
use super::element::Element;
use std::cmp::Ordering;
use std::fmt::Write;

/// A set of fields. Both vectors are sorted and without duplicates; a child set may be empty only for a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    pub(super) members: Vec<Element>,
    pub(super) children: Vec<(Element, FieldSet)>,
}

impl FieldSet {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.iter().all(|(_, set)| set.is_empty())
    }

    /// The number of members, at all depths.
    pub fn len(&self) -> usize {
        self.members.len() + self.children.iter().map(|(_, set)| set.len()).sum::<usize>()
    }

    /// Adds a path; its parents do not become members. The empty path is nobody's.
    pub fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => self.insert_member(last.clone()),
            [first, rest @ ..] => self.child_mut(first).insert(rest),
        }
    }

    /// Of field names alone: `.metadata.name`.
    pub fn insert_fields(&mut self, path: &[&str]) {
        let path: Vec<Element> = path.iter().map(|name| Element::field(name)).collect();
        self.insert(&path);
    }

    pub fn from_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::new();
        for path in paths {
            set.insert_fields(path);
        }
        set
    }

    pub fn insert_member(&mut self, element: Element) {
        // Walkers mostly arrive in order.
        if self.members.last().is_none_or(|last| *last < element) {
            self.members.push(element);
        } else if let Err(place) = self.members.binary_search(&element) {
            self.members.insert(place, element);
        }
    }

    fn child_mut(&mut self, element: &Element) -> &mut Self {
        let place = match self.children.binary_search_by(|(e, _)| e.cmp(element)) {
            Ok(place) => place,
            Err(place) => {
                self.children.insert(place, (element.clone(), Self::new()));
                place
            }
        };
        &mut self.children[place].1
    }

    /// Adds all of `set` below `element`.
    pub(super) fn insert_child(&mut self, element: Element, set: Self) {
        if set.members.is_empty() && set.children.is_empty() {
            return;
        }
        if self.children.last().is_none_or(|(last, _)| *last < element) {
            self.children.push((element, set));
            return;
        }
        match self.children.binary_search_by(|(e, _)| e.cmp(&element)) {
            Ok(place) => {
                let merged = self.children[place].1.union(&set);
                self.children[place].1 = merged;
            }
            Err(place) => self.children.insert(place, (element, set)),
        }
    }

    pub fn has_member(&self, element: &Element) -> bool {
        self.members.binary_search(element).is_ok()
    }

    /// Whether the path is a member.
    pub fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.has_member(last),
            [first, rest @ ..] => self.child(first).is_some_and(|set| set.has(rest)),
        }
    }

    /// What is below `element`, if anything is.
    pub fn child(&self, element: &Element) -> Option<&Self> {
        let place = self.children.binary_search_by(|(e, _)| e.cmp(element)).ok()?;
        self.children.get(place).map(|(_, set)| set)
    }

    /// In either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = Self::new();
        merge_sorted(&self.members, &other.members, Element::cmp, |a, b| out.members.extend(a.or(b).cloned()));
        merge_sorted(&self.children, &other.children, by_element, |a, b| {
            out.children.extend(match (a, b) {
                (Some((element, a)), Some((_, b))) => Some((element.clone(), a.union(b))),
                (a, b) => a.or(b).cloned(),
            });
        });
        out
    }

    /// In both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self::new();
        merge_sorted(&self.members, &other.members, Element::cmp, |a, b| {
            if let (Some(a), Some(_)) = (a, b) {
                out.members.push(a.clone());
            }
        });
        merge_sorted(&self.children, &other.children, by_element, |a, b| {
            if let (Some((element, a)), Some((_, b))) = (a, b) {
                out.push_child(element, a.intersection(b));
            }
        });
        out
    }

    /// In this and not in `other`. A parent that is a member of `other` takes nothing away from its children here, and the other way round.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut out = Self::new();
        merge_sorted(&self.members, &other.members, Element::cmp, |a, b| {
            if let (Some(a), None) = (a, b) {
                out.members.push(a.clone());
            }
        });
        merge_sorted(&self.children, &other.children, by_element, |a, b| match (a, b) {
            (Some((element, a)), Some((_, b))) => out.push_child(element, a.difference(b)),
            (Some((element, a)), None) => out.push_child(element, a.clone()),
            _ => {}
        });
        out
    }

    /// As `difference`, but a member of `other` takes all its children away too.
    #[must_use]
    pub fn recursive_difference(&self, other: &Self) -> Self {
        let mut out = Self::new();
        merge_sorted(&self.members, &other.members, Element::cmp, |a, b| {
            if let (Some(a), None) = (a, b) {
                out.members.push(a.clone());
            }
        });
        merge_sorted(&self.children, &other.children, by_element, |a, b| {
            let Some((element, a)) = a else { return };
            if other.has_member(element) {
                return;
            }
            match b {
                Some((_, b)) => out.push_child(element, a.recursive_difference(b)),
                None => out.push_child(element, a.clone()),
            }
        });
        out
    }

    /// Whether the two have a member in common; nothing is built.
    pub fn intersects(&self, other: &Self) -> bool {
        let mut found = false;
        merge_sorted(&self.members, &other.members, Element::cmp, |a, b| found |= a.is_some() && b.is_some());
        if !found {
            merge_sorted(&self.children, &other.children, by_element, |a, b| {
                if let (Some((_, a)), Some((_, b))) = (a, b) {
                    found = found || a.intersects(b);
                }
            });
        }
        found
    }

    /// Only the members that have no members below them.
    #[must_use]
    pub fn leaves(&self) -> Self {
        let mut out = Self::new();
        for member in &self.members {
            if self.child(member).is_none() {
                out.members.push(member.clone());
            }
        }
        for (element, set) in &self.children {
            out.push_child(element, set.leaves());
        }
        out
    }

    fn push_child(&mut self, element: &Element, set: Self) {
        if !set.is_empty() {
            self.children.push((element.clone(), set));
        }
    }

    /// Calls `visit` for every member: those of a set before those below, as Kubernetes lists conflicts.
    pub fn for_each(&self, visit: &mut impl FnMut(&[Element])) {
        self.for_each_below(&mut Vec::new(), visit);
    }

    fn for_each_below(&self, prefix: &mut Vec<Element>, visit: &mut impl FnMut(&[Element])) {
        for member in &self.members {
            prefix.push(member.clone());
            visit(prefix);
            prefix.pop();
        }
        for (element, set) in &self.children {
            prefix.push(element.clone());
            set.for_each_below(prefix, visit);
            prefix.pop();
        }
    }

    /// Every member as text (`.spec.replicas`), in the order of [`FieldSet::for_each`].
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.for_each(&mut |path| out.push(path_text(path)));
        out
    }
}

/// `.spec.containers[name="c"].image`
pub fn path_text(path: &[Element]) -> String {
    let mut out = String::new();
    for element in path {
        let _ = write!(out, "{element}");
    }
    out
}

fn by_element(a: &(Element, FieldSet), b: &(Element, FieldSet)) -> Ordering {
    a.0.cmp(&b.0)
}

/// Walks two sorted slices side by side: `visit` sees each item once, beside its equal from the other side if there is one.
fn merge_sorted<'a, T>(
    a: &'a [T],
    b: &'a [T],
    order: impl Fn(&T, &T) -> Ordering,
    mut visit: impl FnMut(Option<&'a T>, Option<&'a T>),
) {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let side = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(x), Some(y)) => order(x, y),
        };
        match side {
            Ordering::Less => visit(a.next(), None),
            Ordering::Greater => visit(None, b.next()),
            Ordering::Equal => visit(a.next(), b.next()),
        }
    }
}

//! What is to become of one object, given its owners and dependents (`attemptToDeleteItem`, `attemptToOrphan`). Pure.
use super::graph::{FOREGROUND, ORPHAN, has_finalizer, orphans_dependents, waits_for_dependents};
use crate::kinds::Item;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// How an owner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Present,
    /// It is being deleted in the foreground and waits for its dependents.
    Waiting,
    /// It does not exist (any more): asked, not guessed.
    Absent,
}

/// An object that names the one in question as its owner.
#[derive(Clone, Debug)]
pub struct Dependent {
    pub item: Item,
    /// Its reference has `blockOwnerDeletion`.
    pub blocks: bool,
    /// It waits for dependents of its own.
    pub waits: bool,
}

pub struct View<'a> {
    pub meta: &'a ObjectMeta,
    /// In the order of `meta.ownerReferences`.
    pub owners: &'a [Owner],
    pub dependents: &'a [Dependent],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Background,
    Foreground,
    Orphan,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Nothing,
    /// Let go of these dependents, then of the finalizer `orphan`.
    Orphan(Vec<Item>),
    /// Nothing blocks any more: take the finalizer away.
    RemoveFinalizer(&'static str),
    /// These block: look at them.
    Wake(Vec<Item>),
    /// Some owners are left: write only these.
    KeepOwners(Vec<OwnerReference>),
    Delete(Policy),
    /// Like `Delete(Foreground)`, but its dependents wait themselves: its references must not block (a circle would never end).
    UnblockAndDelete(Vec<OwnerReference>),
}

pub fn plan(view: &View<'_>) -> Action {
    let meta = view.meta;
    if orphans_dependents(meta) {
        return Action::Orphan(view.dependents.iter().map(|d| d.item.clone()).collect());
    }
    if waits_for_dependents(meta) {
        let blocking = view.dependents.iter().filter(|d| d.blocks);
        let items: Vec<Item> = blocking.clone().filter(|d| !d.waits).map(|d| d.item.clone()).collect();
        return match blocking.count() {
            0 => Action::RemoveFinalizer(FOREGROUND),
            _ => Action::Wake(items),
        };
    }
    if meta.deletion_timestamp.is_some() {
        return Action::Nothing;
    }
    let owners: Vec<(&OwnerReference, Owner)> =
        meta.owner_references.iter().flatten().zip(view.owners.iter().copied()).collect();
    let some = |state: Owner| owners.iter().any(|(_, o)| *o == state);
    if owners.is_empty() {
        return Action::Nothing;
    }
    if some(Owner::Present) {
        if !some(Owner::Absent) && !some(Owner::Waiting) {
            return Action::Nothing;
        }
        let kept = owners.into_iter().filter(|(_, o)| *o == Owner::Present).map(|(r, _)| r.clone());
        return Action::KeepOwners(kept.collect());
    }
    if some(Owner::Waiting) && !view.dependents.is_empty() {
        if view.dependents.iter().any(|d| d.waits) {
            let unblocked =
                owners.into_iter().map(|(r, _)| OwnerReference { block_owner_deletion: Some(false), ..r.clone() });
            return Action::UnblockAndDelete(unblocked.collect());
        }
        return Action::Delete(Policy::Foreground);
    }
    // A finalizer put there beforehand says how it wants to go.
    if has_finalizer(meta, ORPHAN) {
        Action::Delete(Policy::Orphan)
    } else if has_finalizer(meta, FOREGROUND) {
        Action::Delete(Policy::Foreground)
    } else {
        Action::Delete(Policy::Background)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_reflect::Key;

    fn item(name: &str) -> Item {
        Item { kind: ("".into(), "pods".into()), key: Key::new("ns", name) }
    }

    fn meta(owners: &[&str], finalizers: &[&str], deleting: bool) -> ObjectMeta {
        let reference =
            |uid: &&str| OwnerReference { uid: (*uid).into(), block_owner_deletion: Some(true), ..Default::default() };
        ObjectMeta {
            owner_references: (!owners.is_empty()).then(|| owners.iter().map(reference).collect()),
            finalizers: (!finalizers.is_empty()).then(|| finalizers.iter().map(|f| (*f).to_owned()).collect()),
            deletion_timestamp: deleting.then(|| jiff::Timestamp::UNIX_EPOCH.into()),
            ..Default::default()
        }
    }

    fn dependent(name: &str, blocks: bool, waits: bool) -> Dependent {
        Dependent { item: item(name), blocks, waits }
    }

    #[test]
    fn decides_as_kubernetes_does() {
        use Owner::{Absent, Present, Waiting};
        let d = |blocks, waits| vec![dependent("d", blocks, waits)];
        let names = |a: &Action| match a {
            Action::KeepOwners(o) => format!("keep {}", o.iter().map(|o| o.uid.as_str()).collect::<Vec<_>>().join(",")),
            Action::UnblockAndDelete(o) => {
                format!("unblock {}", o.iter().all(|o| o.block_owner_deletion == Some(false)))
            }
            Action::Wake(i) => format!("wake {}", i.len()),
            Action::Orphan(i) => format!("orphan {}", i.len()),
            other => format!("{other:?}"),
        };
        // (owners' uids, how they stand, finalizers, deleting, dependents) → action
        type Row<'a> = (&'a [&'a str], &'a [Owner], &'a [&'a str], bool, Vec<Dependent>, &'a str);
        let table: [Row<'_>; 16] = [
            (&[], &[], &[], false, vec![], "Nothing"),
            (&["a"], &[Present], &[], false, vec![], "Nothing"),
            (&["a"], &[Absent], &[], false, vec![], "Delete(Background)"),
            (&["a"], &[Absent], &[], true, vec![], "Nothing"),
            (&["a"], &[Absent], &[ORPHAN], false, vec![], "Delete(Orphan)"),
            (&["a"], &[Absent], &[FOREGROUND], false, vec![], "Delete(Foreground)"),
            (&["a", "b"], &[Present, Absent], &[], false, vec![], "keep a"),
            (&["a", "b"], &[Waiting, Present], &[], false, d(true, false), "keep b"),
            (&["a"], &[Waiting], &[], false, vec![], "Delete(Background)"),
            (&["a"], &[Waiting], &[], false, d(true, false), "Delete(Foreground)"),
            (&["a"], &[Waiting], &[], false, d(true, true), "unblock true"),
            (&[], &[], &[FOREGROUND], true, d(true, false), "wake 1"),
            (&[], &[], &[FOREGROUND], true, d(true, true), "wake 0"),
            (&[], &[], &[FOREGROUND], true, d(false, false), "RemoveFinalizer(\"foregroundDeletion\")"),
            (&[], &[], &[ORPHAN], true, d(true, false), "orphan 1"),
            (&["a"], &[Absent], &[FOREGROUND], true, vec![], "RemoveFinalizer(\"foregroundDeletion\")"),
        ];
        for (owners, states, finalizers, deleting, dependents, want) in table {
            let meta = meta(owners, finalizers, deleting);
            let got = plan(&View { meta: &meta, owners: states, dependents: &dependents });
            assert_eq!(names(&got), want, "{owners:?} {states:?} {finalizers:?} {deleting}");
        }
    }

    #[test]
    fn a_change_wakes_whom_it_concerns() {
        use crate::garbage::graph::Graph;
        let with_uid = |uid: &str, m: ObjectMeta| ObjectMeta { uid: Some(uid.into()), ..m };
        let (owner, pod) = (item("owner"), item("pod"));
        let mut g = Graph::default();
        let o = with_uid("o", meta(&[], &[], false));
        let p = with_uid("p", meta(&["o"], &[], false));
        assert!(g.observe(&owner, None, Some(&o)).is_empty(), "nobody's, nobody waits");
        assert_eq!(g.observe(&pod, None, Some(&p)), std::slice::from_ref(&pod), "does its owner exist?");
        assert!(g.observe(&pod, Some(&p), Some(&p)).is_empty(), "a status update concerns nobody");
        let waiting = with_uid("o", meta(&[], &[FOREGROUND], true));
        assert_eq!(g.observe(&owner, Some(&o), Some(&waiting)), [owner.clone(), pod.clone()]);
        assert_eq!(g.observe(&pod, Some(&p), None), std::slice::from_ref(&owner), "the owner may have waited for it");
        assert!(g.dependents("o").is_empty());
        g.observe(&pod, None, Some(&p));
        assert_eq!(g.observe(&owner, Some(&waiting), None), [pod], "its owner is gone");
    }
}

//! Who depends on whom, by uid; and what a change means to others. Pure.
use crate::kinds::Item;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{BTreeSet, HashMap, HashSet};

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

pub fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == name)
}

/// Deleted in the foreground: it waits for its dependents.
pub fn waits_for_dependents(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && has_finalizer(meta, FOREGROUND)
}

/// Deleted, and its dependents are to be let go of.
pub fn orphans_dependents(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && has_finalizer(meta, ORPHAN)
}

/// What of an object's metadata matters to others.
fn relevant(meta: &ObjectMeta) -> (bool, bool, &[OwnerReference]) {
    (waits_for_dependents(meta), orphans_dependents(meta), meta.owner_references.as_deref().unwrap_or_default())
}

fn owners(meta: Option<&ObjectMeta>) -> BTreeSet<&str> {
    meta.iter().flat_map(|m| m.owner_references.iter().flatten()).map(|o| o.uid.as_str()).collect()
}

/// The edges. Objects are only known here as far as they own or are owned.
#[derive(Default)]
pub struct Graph {
    dependents: HashMap<String, HashSet<Item>>,
    by_uid: HashMap<String, Item>,
}

impl Graph {
    pub fn dependents(&self, uid: &str) -> Vec<Item> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Takes a change in, and says whose situation it may have changed. Status updates change nobody's.
    pub fn observe(&mut self, item: &Item, old: Option<&ObjectMeta>, new: Option<&ObjectMeta>) -> Vec<Item> {
        let mut wake = Vec::new();
        let uid = |m: Option<&ObjectMeta>| m.and_then(|m| m.uid.clone());
        let (old_uid, new_uid) = (uid(old), uid(new));
        let (had, has) = (owners(old), owners(new));
        for owner in had.difference(&has) {
            self.unlink(item, owner);
            // An owner in foreground deletion may have waited for this one.
            wake.extend(self.by_uid.get(*owner).cloned());
        }
        for owner in has.difference(&had) {
            self.dependents.entry((*owner).to_owned()).or_default().insert(item.clone());
        }
        if old_uid != new_uid {
            if let Some(gone) = &old_uid {
                self.by_uid.remove(gone);
                wake.extend(self.dependents(gone));
            }
            if let Some(uid) = new_uid {
                self.by_uid.insert(uid, item.clone());
            }
        }
        let Some(new) = new else { return wake };
        if old.is_none_or(|old| relevant(old) != relevant(new)) {
            if !has.is_empty() || orphans_dependents(new) || waits_for_dependents(new) {
                wake.push(item.clone());
            }
            if waits_for_dependents(new) {
                wake.extend(self.dependents(new.uid.as_deref().unwrap_or("")));
            }
        }
        wake
    }

    fn unlink(&mut self, item: &Item, owner: &str) {
        if let Some(items) = self.dependents.get_mut(owner) {
            items.remove(item);
            if items.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

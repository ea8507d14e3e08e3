//! Who owns what after a create, update or patch (structured-merge-diff `merge/update.go` Update, and the managers that apimachinery
//! stacks on it: strip, build info, times, cap, skip).
use super::compare::{Comparison, compare};
use super::items::TypedError;
use super::managed::{Entry, Managed, ManagerId, Operation, Trust, is_reset, time_text};
use super::set::FieldSet;
use super::{Request, strip};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Entries of operation Update that an object keeps; more are merged, oldest first (`DefaultMaxUpdateManagers`).
const MAX_UPDATE_MANAGERS: usize = 10;
/// The name the merged ones get.
const ANCIENT: &str = "ancient-changes";

/// Writes `metadata.managedFields` of an object that is about to be stored by a create, update or patch (not apply).
///
/// `new` is as the client sent it after decoding and defaulting, before the kind's strategy changed it; `live` is what is stored, `None` at creation.
/// Like upstream's `UpdateNoErrors` it never fails: an object that cannot be compared keeps the entries it had.
pub fn update(request: &Request<'_>, live: Option<&Value>, new: &mut Value) {
    let sent = take(new);
    let stored = live.and_then(stored_entries);
    let Ok(change) = Change::between(request, live, new) else { return put(new, stored.cloned()) };
    // A subresource cannot set entries; most other writes carry the stored ones.
    let untouched = sent.as_ref() == stored;
    let entries = match sent {
        _ if !request.subresource.is_empty() && !untouched => Start::Stored(stored.cloned()),
        sent if untouched => Start::Stored(sent),
        sent if is_reset(sent.as_ref()) => Start::Entries(Managed::default()),
        sent => match Managed::decode(sent, Trust::Sent) {
            Ok(managed) if !managed.entries.is_empty() => Start::Entries(managed),
            // What cannot be read, or is empty by mistake of a client that does not know the field, changes nothing.
            _ => Start::Stored(stored.cloned()),
        },
    };
    let managed = match entries {
        Start::Stored(entries) if change.is_none() => return put(new, entries),
        Start::Stored(entries) => Managed::decode(entries, Trust::Stored).unwrap_or_default(),
        Start::Entries(managed) => managed,
    };
    // Without entries an existing object is not tracked: its managers asked to forget, or it is older than tracking.
    if managed.entries.is_empty() && live.is_some_and(has_uid) {
        return;
    }
    put(new, change.record(request, managed).encode());
}

/// The entries that a write starts from.
enum Start {
    Stored(Option<Value>),
    Entries(Managed),
}

/// Takes `metadata.managedFields` out of an object.
pub(super) fn take(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

pub(super) fn put(object: &mut Value, entries: Option<Value>) {
    let (Some(entries), Some(object)) = (entries, object.as_object_mut()) else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("managedFields".to_owned(), entries);
    }
}

pub(super) fn stored_entries(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

fn has_uid(object: &Value) -> bool {
    object.get("metadata").and_then(|m| m.get("uid")).and_then(Value::as_str).is_some_and(|uid| !uid.is_empty())
}

/// What a write did, as far as anybody can own it.
pub(super) struct Change {
    changed: FieldSet,
    removed: FieldSet,
}

impl Change {
    /// From `live` (nothing, at creation) to `new`.
    pub(super) fn between(request: &Request<'_>, live: Option<&Value>, new: &Value) -> Result<Self, TypedError> {
        let nothing = Value::Object(Map::new());
        let comparison = compare(live.unwrap_or(&nothing), new, request.view())?.exclude(request.reset);
        let Comparison { removed, modified, added } = comparison;
        let changed = if added.is_empty() { modified } else { modified.union(&added) };
        Ok(Self { changed: strip(&changed), removed: strip(&removed) })
    }

    fn is_none(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }

    /// The entries after it.
    pub(super) fn record(self, request: &Request<'_>, mut managed: Managed) -> Managed {
        let id = request.id(Operation::Update);
        take_from_all(&mut managed, &self.changed, &self.removed, &id);
        if !self.changed.is_empty() {
            give(request, &mut managed, self.changed, id);
        }
        cap(&mut managed);
        managed
    }
}

/// What changed or vanished belongs to nobody any more. A manager that changes its own fields, as controllers do all day, keeps them
/// without its entry being read.
fn take_from_all(managed: &mut Managed, changed: &FieldSet, removed: &FieldSet, own: &ManagerId) {
    for entry in &mut managed.entries {
        let mine = entry.id == *own && entry.covers(changed);
        for (gone, kept) in [(changed, mine), (removed, false)] {
            if !kept && !gone.is_empty() && entry.touches(gone) {
                let left = entry.set().difference(gone);
                entry.replace(left);
            }
        }
    }
    managed.drop_empty();
}

fn give(request: &Request<'_>, managed: &mut Managed, own: FieldSet, id: ManagerId) {
    let time = Some(time_text(request.now));
    match managed.get_mut(&id) {
        Some(entry) => {
            if !entry.covers(&own) {
                let all = entry.set().union(&own);
                entry.replace(all);
            }
            entry.time = time;
        }
        None => {
            let mut entry = Entry::new(id, request.api_version, own);
            entry.time = time;
            managed.entries.push(entry);
        }
    }
}

/// Merges the oldest Update entries of a version until few enough are left (`capmanagers.go`).
fn cap(managed: &mut Managed) {
    let mut updaters: Vec<(i64, ManagerId)> = managed
        .entries
        .iter()
        .filter(|entry| entry.id.operation == Operation::Update)
        .map(|entry| (entry.seconds(), entry.id.clone()))
        .collect();
    let mut count = updaters.len();
    if count <= MAX_UPDATE_MANAGERS {
        return;
    }
    updaters.sort();
    // The first of each version becomes the bucket once a second one joins it.
    let mut first: BTreeMap<String, ManagerId> = BTreeMap::new();
    for (_, id) in updaters {
        if count <= MAX_UPDATE_MANAGERS {
            return;
        }
        let version = id.api_version.clone();
        let Some(oldest) = first.get(&version) else {
            first.insert(version, id);
            continue;
        };
        let bucket = ManagerId {
            manager: ANCIENT.to_owned(),
            operation: Operation::Update,
            api_version: version.clone(),
            subresource: String::new(),
        };
        if managed.position(&bucket).is_none()
            && let Some(entry) = managed.get_mut(oldest)
        {
            entry.id = bucket.clone();
        }
        let Some(place) = managed.position(&id) else { continue };
        if id == bucket {
            continue;
        }
        let mut joining = managed.entries.remove(place);
        if let Some(entry) = managed.get_mut(&bucket) {
            let all = joining.set().union(entry.set());
            entry.replace(all);
            entry.time = joining.time;
            count -= 1;
        }
    }
}

/// Takes back new times where nothing else changed: a write that changes nothing must not change the object
/// (apiserver `handlers/fieldmanager/equality.go` IgnoreManagedFieldsTimestampsTransformer). For the API server to call with what it is
/// about to store; `resourceVersion` and the like must be those of `old`.
pub fn keep_times_if_unchanged(old: &Value, new: &mut Value) {
    let (Some(before), Some(after)) = (stored_entries(old), stored_entries(new)) else { return };
    if before == after || !same_but_times(before, after) {
        return;
    }
    let before = before.clone();
    let taken = take(new);
    put(new, Some(before));
    if *new != *old {
        take(new);
        put(new, taken);
    }
}

fn same_but_times(a: &Value, b: &Value) -> bool {
    let (Value::Array(a), Value::Array(b)) = (a, b) else { return false };
    let timeless = |entry: &Value| {
        let mut entry = entry.clone();
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("time");
        }
        entry
    };
    // A new time moves an entry: compare regardless of order.
    let mut left: Vec<Value> = a.iter().map(timeless).collect();
    a.len() == b.len()
        && b.iter().map(timeless).all(|entry| match left.iter().position(|other| *other == entry) {
            Some(place) => {
                left.swap_remove(place);
                true
            }
            None => false,
        })
}

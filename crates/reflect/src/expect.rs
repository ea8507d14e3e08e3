//! Never act again before having observed what one did.
//!
//! Kubernetes counts expected creations and deletions (`controller_utils.go`, `ControllerExpectations`) and, since KEP-5647,
//! compares resource versions. Here only the latter: a write's answer carries the version it made, and the mirror says how far it
//! has come. A deletion is observed when the object is gone or marked. Nothing needs to be told when events arrive.
use crate::{HasMeta, Key, Reflector, mirror::version_of};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(5 * 60);

struct Awaited {
    /// The mirror must have come this far.
    version: u64,
    /// Objects deleted, with their uid.
    deletions: HashMap<Key, Option<String>>,
    since: Instant,
}

/// What owners have done to objects of one kind and not yet observed.
pub struct Expectations<O> {
    awaited: Mutex<HashMap<O, Awaited>>,
}

impl<O: Hash + Eq + Clone> Default for Expectations<O> {
    fn default() -> Self {
        Self { awaited: Mutex::new(HashMap::new()) }
    }
}

impl<O: Hash + Eq + Clone> Expectations<O> {
    /// After this long a reconciler acts on what it sees anyway (`ExpectationsTimeout`). One that waits should look again then:
    /// the event that was to wake it may never come.
    pub const TIMEOUT: Duration = TIMEOUT;

    /// A write for `owner` was answered with `written`.
    pub fn wrote(&self, owner: &O, written: &ObjectMeta) {
        let version = version_of(written);
        self.with(owner, |a| a.version = a.version.max(version));
    }

    /// `owner` asked for the deletion of this object, and was not refused.
    pub fn deleted(&self, owner: &O, key: Key, uid: Option<String>) {
        self.with(owner, |a| {
            a.deletions.insert(key, uid);
        });
    }

    fn with(&self, owner: &O, f: impl FnOnce(&mut Awaited)) {
        let mut awaited = self.awaited.lock();
        let fresh = || Awaited { version: 0, deletions: HashMap::new(), since: Instant::now() };
        let entry = awaited.entry(owner.clone()).or_insert_with(fresh);
        entry.since = Instant::now();
        f(entry);
    }

    pub fn forget(&self, owner: &O) {
        self.awaited.lock().remove(owner);
    }

    /// Whether something `owner` did is not yet in the mirror: then it must not act; the event to come wakes it.
    pub fn outstanding<K: HasMeta>(&self, owner: &O, mirror: &Reflector<K>) -> bool {
        let mut awaited = self.awaited.lock();
        let Some(entry) = awaited.get_mut(owner) else { return false };
        entry.deletions.retain(|key, uid| {
            mirror.get(&key.namespace, &key.name).is_some_and(|o| {
                let meta = o.object_meta();
                meta.uid == *uid && meta.deletion_timestamp.is_none()
            })
        });
        let seen = entry.deletions.is_empty() && entry.version <= mirror.resource_version();
        if seen || entry.since.elapsed() > TIMEOUT {
            awaited.remove(owner);
            return false;
        }
        true
    }
}

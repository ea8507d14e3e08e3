//! The ConfigMaps and Secrets that pods here use: each followed by a watch of its own, for as long as some pod uses it. Nobody
//! watches all of them (`pkg/kubelet/util/manager/watch_based_manager.go`).
use super::payload::PayloadError;
use isopod_reflect::{HasMeta, Queue, Reflector};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::{NamespaceResourceScope, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// How long a new watch may take to say whether the object is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// ConfigMaps or Secrets.
pub(crate) trait Followed:
    HasMeta + DeserializeOwned + Clone + Debug + kube::Resource<DynamicType = ()>
{
    /// In messages.
    const WORD: &'static str;
    /// It never changes: no need to watch it (KEP-1412).
    fn is_immutable(&self) -> bool;
}

impl Followed for ConfigMap {
    const WORD: &'static str = "configmap";
    fn is_immutable(&self) -> bool {
        self.immutable == Some(true)
    }
}

impl Followed for Secret {
    const WORD: &'static str = "secret";
    fn is_immutable(&self) -> bool {
        self.immutable == Some(true)
    }
}

enum Known<K: HasMeta> {
    Followed { mirror: Reflector<K>, wake: tokio::task::JoinHandle<()> },
    Frozen(Arc<K>),
}

impl<K: HasMeta> Drop for Known<K> {
    fn drop(&mut self) {
        if let Self::Followed { wake, .. } = self {
            wake.abort();
        }
    }
}

struct Entry<K: HasMeta> {
    known: Known<K>,
    /// Uids of pods.
    users: Arc<Mutex<HashSet<String>>>,
}

/// The followed objects of one kind, by namespace and name.
pub(crate) struct Objects<K: HasMeta> {
    client: kube::Client,
    /// Told the uids of pods whose object changed.
    changed: Arc<Queue<String>>,
    entries: Mutex<HashMap<(String, String), Entry<K>>>,
}

impl<K> Objects<K>
where
    K: Followed + kube::Resource<Scope = NamespaceResourceScope> + Resource,
{
    pub fn new(client: kube::Client, changed: Arc<Queue<String>>) -> Self {
        Self { client, changed, entries: Mutex::default() }
    }

    /// The object as it is now; `None`: there is none. From now on the pod hears of its changes.
    pub async fn get(&self, namespace: &str, name: &str, user: &str) -> Result<Option<Arc<K>>, PayloadError> {
        let key = (namespace.to_owned(), name.to_owned());
        let mirror = {
            let mut entries = self.entries.lock();
            let entry = entries.entry(key.clone()).or_insert_with(|| self.follow(namespace, name));
            entry.users.lock().insert(user.to_owned());
            match &entry.known {
                Known::Frozen(object) => return Ok(Some(Arc::clone(object))),
                Known::Followed { mirror, .. } => mirror.clone(),
            }
        };
        if tokio::time::timeout(PATIENCE, mirror.synced()).await.is_err() {
            return Err(PayloadError::NotYetKnown(K::WORD));
        }
        let found = mirror.get(namespace, name);
        if let Some(object) = found.as_ref().filter(|o| o.is_immutable())
            && let Some(entry) = self.entries.lock().get_mut(&key)
        {
            entry.known = Known::Frozen(Arc::clone(object));
        }
        Ok(found)
    }

    fn follow(&self, namespace: &str, name: &str) -> Entry<K> {
        let mirror = Reflector::of_one(self.client.clone(), namespace, name);
        let users: Arc<Mutex<HashSet<String>>> = Arc::default();
        let (mut changes, hear, queue) = (mirror.subscribe(), Arc::clone(&users), Arc::clone(&self.changed));
        let wake = tokio::spawn(async move {
            while changes.next_batch().await.is_some() {
                hear.lock().iter().for_each(|uid| queue.add(uid.clone()));
            }
        });
        Entry { known: Known::Followed { mirror, wake }, users }
    }

    /// The pod uses nothing (of these) any more.
    pub fn release(&self, user: &str) {
        self.entries.lock().retain(|_, entry| {
            let mut users = entry.users.lock();
            users.remove(user);
            !users.is_empty()
        });
    }
}

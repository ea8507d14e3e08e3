//! What is stored, in memory and ready to be served: objects by key, the latest changes in order, and who watches them.
//!
//! One watch of the store feeds the caches of all kinds ([`Caches`]); [`Cache`] is one kind's. Objects are the store's own shared
//! bytes; what selectors need is read from them once, or handed over by the writer ([`Hints`]). A change is encoded once
//! per form and shared by all watchers ([`CacheEvent::frame`]). After `k8s.io/apiserver/pkg/storage/cacher`.
mod cache;
mod event;
mod hints;
mod object;

pub use cache::{Cache, Limits, Snapshot, Start, WatchError};
pub(crate) use cache::{Delivery, Watch};
pub use event::{CacheEvent, EventKind, FrameKey};
pub use object::{Cached, Filter, Info, Ops};

use futures::StreamExt;
use hints::Hints;
use isopod_api::catalogue::KindOps;
use isopod_api::status::ApiError;
use isopod_store::{Range, Revision, Store, WatchBatch};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// Everything served lives below it.
const ROOT: &str = "/registry/";
/// How long a read waits for a version that has not come yet (`blockTimeout`).
const FRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// The caches of all kinds.
pub struct Caches {
    store: Arc<dyn Store>,
    limits: Limits,
    by_storage: RwLock<HashMap<&'static str, Arc<Cache>>>,
    /// Every change up to this revision is in its cache and on its way to its watchers.
    applied: watch::Sender<Revision>,
    pub(crate) hints: Hints,
}

impl Caches {
    pub(crate) fn new(store: Arc<dyn Store>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            store,
            limits,
            by_storage: RwLock::default(),
            applied: watch::Sender::new(0),
            hints: Hints::default(),
        })
    }

    /// The cache of a storage folder, made if it is new. The first kind registered reads the stored form.
    pub(crate) fn register(&self, storage: &'static str, ops: &'static dyn KindOps) -> Arc<Cache> {
        let mut caches = self.by_storage.write();
        Arc::clone(caches.entry(storage).or_insert_with(|| Arc::new(Cache::new(storage, ops, self.limits))))
    }

    pub fn get(&self, storage: &str) -> Option<Arc<Cache>> {
        self.by_storage.read().get(storage).cloned()
    }

    /// Number of objects and watchers of each kind: for `/metrics`.
    pub fn sizes(&self) -> Vec<(&'static str, usize, usize)> {
        let mut all: Vec<_> = self.by_storage.read().values().map(|c| (c.storage(), c.len(), c.watchers())).collect();
        all.sort_unstable();
        all
    }

    /// The newest revision that the caches show.
    pub fn applied(&self) -> Revision {
        *self.applied.borrow()
    }

    /// Waits until the caches show `revision`; 504 when it does not come.
    pub async fn wait_for(&self, revision: Revision) -> Result<(), ApiError> {
        if self.applied() >= revision {
            return Ok(());
        }
        let mut applied = self.applied.subscribe();
        let waited = tokio::time::timeout(FRESH_TIMEOUT, applied.wait_for(|a| *a >= revision)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ApiError::too_large_resource_version(revision, self.applied())),
        }
    }

    /// Begins to follow the store. Ends when the last handle to the caches is gone.
    pub(crate) fn start(self: &Arc<Self>) {
        tokio::spawn(follow(Arc::downgrade(self)));
    }

    /// Reads everything anew: at start, and after the store's watch broke. Watchers are let go; they come back.
    async fn reload(&self) -> isopod_store::Result<Revision> {
        let range = Range { prefix: ROOT.to_owned(), ..Range::default() };
        let result = self.store.range(range).await?;
        self.hints.clear();
        let caches: Vec<Arc<Cache>> = self.by_storage.read().values().cloned().collect();
        let mut by_storage: HashMap<&str, Vec<Arc<Cached>>> = HashMap::new();
        for kv in &result.items {
            if let Some(storage) = storage_of(&kv.key) {
                by_storage.entry(storage).or_default().push(Arc::new(Cached::from_stored(kv)));
            }
        }
        for cache in caches {
            let objects = by_storage.remove(cache.storage()).unwrap_or_default();
            cache.replace(objects, result.revision);
        }
        self.applied.send_replace(result.revision);
        Ok(result.revision)
    }

    fn apply(&self, batch: &WatchBatch) {
        let caches = self.by_storage.read();
        let mut last = 0;
        for event in batch.iter() {
            last = event.revision;
            if let Some(cache) = storage_of(&event.key).and_then(|s| caches.get(s)) {
                let hint = event.value.as_ref().and_then(|kv| self.hints.take(&kv.key, &kv.value));
                cache.apply(event, hint);
            }
        }
        drop(caches);
        self.applied.send_if_modified(|a| {
            let newer = last > *a;
            *a = (*a).max(last);
            newer
        });
    }
}

/// `pods` of `/registry/pods/default/web-1`.
fn storage_of(key: &str) -> Option<&str> {
    key.strip_prefix(ROOT)?.split('/').next()
}

/// The store's watch, for ever: `Following => (Reloading on any error) => Following`.
async fn follow(caches: Weak<Caches>) {
    loop {
        let Some(strong) = caches.upgrade() else { return };
        let store = Arc::clone(&strong.store);
        let started = strong.reload().await;
        drop(strong);
        let stream = match started {
            Ok(revision) => store.watch(ROOT, revision).await,
            Err(error) => Err(error),
        };
        drop(store);
        match stream {
            Ok(mut stream) => {
                while let Some(batch) = stream.next().await {
                    let Some(strong) = caches.upgrade() else { return };
                    match batch {
                        Ok(batch) => strong.apply(&batch),
                        Err(isopod_store::Error::Closed) => return,
                        Err(error) => {
                            tracing::warn!(%error, "the store's watch broke; reading everything anew");
                            break;
                        }
                    }
                }
            }
            Err(isopod_store::Error::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "cannot follow the store");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

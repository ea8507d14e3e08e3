//! One kind's objects, its latest changes and its watchers.
use super::{CacheEvent, Cached, EventKind, Filter, Info};
use isopod_api::catalogue::KindOps;
use isopod_store::{Event, Revision};
use parking_lot::RwLock;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How much is kept for watchers of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Changes for watchers that come back at once: 1024 at 3 KB an object are 3 MB. Who asks for older ones gets them from the
    /// store's own history.
    pub history: usize,
    /// Changes a watcher may be behind before it is dropped. They are shared: a slow watcher holds back at most these.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { history: 1024, queue: 1024 }
    }
}

/// Of how many of the latest changes the encoded texts are kept: 1 MB a kind and form. Older ones are encoded again for whoever is
/// that far behind or replays them.
const KEEP_FRAMES: usize = 256;

/// What a watcher receives.
pub(crate) type Delivery = (EventKind, Arc<CacheEvent>);

pub struct Cache {
    storage: &'static str,
    ops: &'static dyn KindOps,
    limits: Limits,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Arc<str>, Arc<Cached>>,
    ring: VecDeque<Arc<CacheEvent>>,
    /// All changes after this revision are in the ring.
    floor: Revision,
    /// Of the last change applied.
    revision: Revision,
    watchers: Vec<Watcher>,
}

struct Watcher {
    filter: Arc<Filter>,
    queue: mpsc::Sender<Delivery>,
}

/// Objects in key order, and the revision they are a picture of.
pub struct Snapshot {
    pub objects: Vec<Arc<Cached>>,
    pub revision: Revision,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With every object there is, as additions.
    Everything,
    /// With what happens from now on.
    Now,
    /// With what happened after this revision.
    After(Revision),
}

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The changes since then are no longer known.
    #[error("too old resource version: {asked} ({oldest})")]
    TooOld { asked: Revision, oldest: Revision },
}

impl Cache {
    pub(super) fn new(storage: &'static str, ops: &'static dyn KindOps, limits: Limits) -> Self {
        Self { storage, ops, limits, state: RwLock::default() }
    }

    pub fn storage(&self) -> &'static str {
        self.storage
    }
    pub fn ops(&self) -> &'static dyn KindOps {
        self.ops
    }
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn watchers(&self) -> usize {
        self.state.read().watchers.len()
    }

    pub fn get(&self, key: &str) -> Option<Arc<Cached>> {
        self.state.read().objects.get(key).cloned()
    }

    /// What `filter` selects. `at_least` is a revision the caller knows the cache to show: the picture is at least of then.
    pub fn list(&self, filter: &Filter, at_least: Revision) -> Snapshot {
        let state = self.state.read();
        let revision = state.revision.max(at_least);
        let candidates = state.select(filter);
        drop(state);
        // Matching may decode objects: not under the lock.
        let objects = candidates.into_iter().filter(|o| filter.selects_all() || filter.matches(o)).collect();
        Snapshot { objects, revision }
    }

    /// Begins to watch: a picture to start with, the changes to replay, and then the queue; nothing is missed between.
    pub(crate) fn watch(&self, filter: &Arc<Filter>, start: Start, at_least: Revision) -> Result<Watch, WatchError> {
        let (queue, receiver) = mpsc::channel(self.limits.queue.max(1));
        let mut state = self.state.write();
        let revision = state.revision.max(at_least);
        let (initial, replay) = match start {
            Start::Everything => (state.select(filter), Vec::new()),
            Start::Now => (Vec::new(), Vec::new()),
            Start::After(asked) if asked < state.floor => {
                return Err(WatchError::TooOld { asked, oldest: state.floor });
            }
            Start::After(asked) => {
                let from = state.ring.partition_point(|e| e.revision <= asked);
                (Vec::new(), state.ring.range(from..).cloned().collect())
            }
        };
        // Those who left a quiet kind are only noticed here.
        state.watchers.retain(|w| !w.queue.is_closed());
        state.watchers.push(Watcher { filter: Arc::clone(filter), queue });
        drop(state);
        let initial = initial.into_iter().filter(|o| filter.selects_all() || filter.matches(o)).collect();
        Ok(Watch {
            initial: Snapshot { objects: initial, revision },
            replay,
            filter: Arc::clone(filter),
            queue: receiver,
        })
    }

    /// All changes after this revision are at hand.
    pub(crate) fn floor(&self) -> Revision {
        self.state.read().floor
    }

    /// All objects anew. Watchers cannot be told what changed between: they are let go.
    pub(super) fn replace(&self, objects: Vec<Arc<Cached>>, revision: Revision) {
        let mut state = self.state.write();
        state.objects = objects.into_iter().map(|o| (Arc::clone(&o.key), o)).collect();
        state.ring.clear();
        state.floor = revision;
        state.revision = revision;
        state.watchers.clear();
    }

    /// One change from the store, to objects, ring and watchers.
    pub(super) fn apply(&self, event: &Event, info: Option<Arc<Info>>) {
        let mut state = self.state.write();
        let event = match &event.value {
            Some(kv) => {
                let known = state.objects.get(&kv.key).map(Arc::as_ref);
                let object = Arc::new(Cached::from_stored(kv).with_info(info, known));
                let previous = state.objects.insert(Arc::clone(&kv.key), Arc::clone(&object));
                CacheEvent::new(event.revision, object, previous, false)
            }
            None => {
                let Some(previous) = state.objects.remove(&event.key) else { return };
                let last = Arc::new(previous.at(event.revision));
                CacheEvent::new(event.revision, last, Some(previous), true)
            }
        };
        let event = Arc::new(event);
        state.revision = event.revision;
        if state.ring.len() >= self.limits.history.max(1)
            && let Some(oldest) = state.ring.pop_front()
        {
            state.floor = oldest.revision;
        }
        state.ring.push_back(Arc::clone(&event));
        if let Some(old) = state.ring.len().checked_sub(KEEP_FRAMES).and_then(|i| state.ring.get(i)) {
            old.forget_frames();
        }
        state.watchers.retain(|w| {
            let Some(kind) = event.seen_by(&w.filter) else { return !w.queue.is_closed() };
            // Full: too slow. Its stream ends, the client resumes from the last version it saw.
            w.queue.try_send((kind, Arc::clone(&event))).is_ok()
        });
    }
}

impl State {
    /// The objects under the filter's prefix, or the one it names.
    fn select(&self, filter: &Filter) -> Vec<Arc<Cached>> {
        if let Some(name) = filter.only_name()
            && (!filter.namespaced || !filter.prefix.ends_with(&format!("/{}/", filter.ops.0.descriptor().storage)))
        {
            return self.objects.get(&*format!("{}{name}", filter.prefix)).cloned().into_iter().collect();
        }
        let from = (Bound::Included(&*filter.prefix), Bound::Unbounded);
        let range = self.objects.range::<str, _>(from);
        range.take_while(|(k, _)| k.starts_with(&filter.prefix)).map(|(_, o)| Arc::clone(o)).collect()
    }
}

/// A watch that has begun.
pub(crate) struct Watch {
    pub(crate) initial: Snapshot,
    pub(crate) replay: Vec<Arc<CacheEvent>>,
    pub(crate) filter: Arc<Filter>,
    pub(crate) queue: mpsc::Receiver<Delivery>,
}

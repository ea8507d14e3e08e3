//! Changes, as each subscriber hears them: coalesced by key, so that what waits is never more than there are objects.
use crate::Key;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// What happened to one key since the subscriber last heard of it.
///
/// Coalesced: between `old` and `new` there may have been other states, and the object may have been deleted and made again
/// (then their uids differ). An object that came and went unheard has neither, only `latest`.
#[derive(Debug)]
pub struct Change<K> {
    pub key: Key,
    /// As the subscriber last heard of it; `None`: it did not exist.
    pub old: Option<Arc<K>>,
    /// As it is now; `None`: it is gone.
    pub new: Option<Arc<K>>,
    /// `new`, or the last state of a deleted object.
    pub latest: Arc<K>,
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), old: self.old.clone(), new: self.new.clone(), latest: Arc::clone(&self.latest) }
    }
}

/// What waits for one subscriber, in the order the keys first changed.
struct Pending<K> {
    order: VecDeque<Key>,
    changes: HashMap<Key, Change<K>>,
    closed: bool,
}

/// The reflector's end of a subscription.
pub(crate) struct Outbox<K> {
    pending: Mutex<Pending<K>>,
    wake: Notify,
}

impl<K> Outbox<K> {
    pub(crate) fn new() -> Arc<Self> {
        let pending = Pending { order: VecDeque::new(), changes: HashMap::new(), closed: false };
        Arc::new(Self { pending: Mutex::new(pending), wake: Notify::new() })
    }

    pub(crate) fn push(&self, change: Change<K>) {
        {
            let mut pending = self.pending.lock();
            if let Some(waiting) = pending.changes.get_mut(&change.key) {
                waiting.new = change.new;
                waiting.latest = change.latest;
            } else {
                pending.order.push_back(change.key.clone());
                pending.changes.insert(change.key.clone(), change);
            }
        }
        self.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        self.pending.lock().closed = true;
        self.wake.notify_one();
    }

    fn take(&self) -> (Vec<Change<K>>, bool) {
        let mut pending = self.pending.lock();
        let order = std::mem::take(&mut pending.order);
        let mut changes = std::mem::take(&mut pending.changes);
        (order.iter().filter_map(|key| changes.remove(key)).collect(), pending.closed)
    }
}

/// The changes of one kind. It begins with every object there is (as new), then follows.
pub struct Subscription<K> {
    pub(crate) outbox: Arc<Outbox<K>>,
}

impl<K> Subscription<K> {
    /// Everything that changed since the last call; waits until something has. `None`: the reflector is gone.
    pub async fn next_batch(&mut self) -> Option<Vec<Change<K>>> {
        loop {
            let (batch, closed) = self.outbox.take();
            if !batch.is_empty() {
                return Some(batch);
            }
            if closed {
                return None;
            }
            self.outbox.wake.notified().await;
        }
    }

    /// What waits now, possibly nothing.
    pub fn take(&mut self) -> Vec<Change<K>> {
        self.outbox.take().0
    }
}

//! Watches. A batch is filtered once for each prefix that is watched, and one bounded ring per prefix carries it to all its
//! watchers: sending costs a wake-up each, whoever is slow only falls behind, and nobody blocks a write.
//!
//! ```text
//! Replay: behind; reads the log in memory, in chunks     => Live   when it has reached the newest revision
//!                                                        => ended  TooSlow, when the log no longer goes back to where it is
//! Live:   takes batches from the ring                    => Replay when the ring has overtaken it
//!                                                        => ended  Closed, when the store closes
//! ```
//! (etcd's synced, unsynced and victim watchers: `server/storage/mvcc/watchable_store.go`.) A watcher is subscribed to the ring
//! before the revision it replays up to is read, so there is no gap; what both bring is told apart by revision.
use super::memory::Memory;
use crate::{Error, Event, Result, Revision, WatchBatch};
use futures::stream::{self, BoxStream, StreamExt as _};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Batches a watcher may be behind before it goes back to reading the log: enough to sleep through 50 ms of 5,000 commits a
/// second. It bounds what a watcher that does not read keeps alive beyond the log (256 × 64 writes × 3 KB = 50 MB at worst load).
const RING: usize = 256;
/// Events looked at in one section under the lock while replaying.
pub(crate) const REPLAY_CHUNK: usize = 512;

/// Who watches what.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    rings: Mutex<Rings>,
}

#[derive(Debug, Default)]
struct Rings {
    by_prefix: HashMap<Arc<str>, broadcast::Sender<WatchBatch>>,
    /// Of the prefixes above: an event is looked up once for each length instead of compared with each prefix.
    lengths: BTreeSet<usize>,
    closed: bool,
}

impl Hub {
    fn subscribe(&self, prefix: &Arc<str>) -> Result<broadcast::Receiver<WatchBatch>> {
        let mut rings = self.rings.lock();
        if rings.closed {
            return Err(Error::Closed);
        }
        rings.lengths.insert(prefix.len());
        Ok(rings.by_prefix.entry(Arc::clone(prefix)).or_insert_with(|| broadcast::Sender::new(RING)).subscribe())
    }

    /// Sends a batch that memory already shows to those it concerns.
    pub fn publish(&self, batch: &WatchBatch) {
        let mut rings = self.rings.lock();
        let mut wanted: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, event) in batch.iter().enumerate() {
            for prefix in rings.lengths.iter().filter_map(|&length| event.key.get(..length)) {
                if rings.by_prefix.contains_key(prefix) {
                    wanted.entry(prefix).or_default().push(at);
                }
            }
        }
        let mut deserted = false;
        for (prefix, places) in wanted {
            let Some(ring) = rings.by_prefix.get(prefix) else { continue };
            let all = places.len() == batch.len();
            let part = || places.iter().filter_map(|&at| batch.get(at)).cloned().collect::<Arc<[Event]>>();
            deserted |= ring.send(if all { Arc::clone(batch) } else { part() }).is_err();
        }
        if deserted {
            rings.by_prefix.retain(|_, ring| ring.receiver_count() > 0);
            rings.lengths = rings.by_prefix.keys().map(|prefix| prefix.len()).collect();
        }
    }

    /// Ends every watch.
    pub fn close(&self) {
        let mut rings = self.rings.lock();
        rings.closed = true;
        rings.by_prefix.clear();
    }
}

struct Watcher {
    memory: Arc<RwLock<Memory>>,
    hub: Arc<Hub>,
    prefix: Arc<str>,
    ring: broadcast::Receiver<WatchBatch>,
    /// The last revision handed over.
    seen: Revision,
    state: State,
}

enum State {
    Replay { until: Revision },
    Live,
    Ended,
}

/// A watch of `prefix` from after `after`.
pub(crate) fn watch(
    memory: &Arc<RwLock<Memory>>,
    hub: &Arc<Hub>,
    prefix: &str,
    after: Revision,
) -> Result<BoxStream<'static, Result<WatchBatch>>> {
    let prefix = Arc::from(prefix);
    let ring = hub.subscribe(&prefix)?;
    let (oldest, current) = {
        let memory = memory.read();
        (memory.oldest(), memory.revision())
    };
    if after < oldest {
        return Err(Error::Compacted { requested: after, oldest });
    }
    if after > current {
        return Err(Error::Future { requested: after, current });
    }
    let state = State::Replay { until: current };
    let watcher = Watcher { memory: Arc::clone(memory), hub: Arc::clone(hub), prefix, ring, seen: after, state };
    Ok(stream::unfold(watcher, Watcher::next).boxed())
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<WatchBatch>, Self)> {
        loop {
            let step = match self.state {
                State::Ended => return None,
                State::Replay { until } => self.replay(until),
                State::Live => self.live().await,
            };
            match step {
                Ok(None) => {}
                Ok(Some(batch)) => return Some((Ok(batch), self)),
                Err(error) => {
                    self.state = State::Ended;
                    return Some((Err(error), self));
                }
            }
        }
    }

    /// ## Replay => (Live | Ended)
    fn replay(&mut self, until: Revision) -> Result<Option<WatchBatch>> {
        let found = self.memory.read().events(&self.prefix, self.seen, until, REPLAY_CHUNK);
        let (events, reached) = found.ok_or(Error::TooSlow)?;
        self.seen = reached;
        if reached >= until {
            self.state = State::Live;
        }
        Ok((!events.is_empty()).then(|| events.into()))
    }

    /// ## Live => (Replay | Ended)
    async fn live(&mut self) -> Result<Option<WatchBatch>> {
        match self.ring.recv().await {
            Ok(batch) => {
                let last = batch.last().map_or(0, |event| event.revision);
                let new = last > self.seen;
                self.seen = self.seen.max(last);
                Ok(new.then_some(batch))
            }
            Err(broadcast::error::RecvError::Closed) => Err(Error::Closed),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                self.ring = self.hub.subscribe(&self.prefix)?;
                self.state = State::Replay { until: self.memory.read().revision() };
                Ok(None)
            }
        }
    }
}

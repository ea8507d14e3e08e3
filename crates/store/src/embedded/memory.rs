//! Every object and its recent history, in memory. No I/O, no clock: a plain value behind a lock.
//!
//! # Invariants
//! - The log holds exactly the events with `oldest < revision`, in order; a batch never splits a transaction.
//! - A key's older versions are those that a read at some revision in `oldest..=revision` can see. Versions and events share
//!   their bytes, so history costs what was superseded, not a second copy of what is live.
//! - Each section under the lock is short: reads go in chunks (their revision keeps the picture whole), compaction in steps.
use crate::{Event, KeyValue, Revision, WatchBatch};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one event in the log costs beside the bytes it supersedes: itself, its version, its row (an estimate).
const EVENT_OVERHEAD: usize = 256;

/// Where a version is on disk.
pub(crate) type RowKey = (Revision, Arc<str>);

/// How much history to keep. The first limit that is reached counts.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Long enough for a client that pages through a list or comes back after a restart (etcd's users compact every 5 minutes).
    pub keep: Duration,
    pub max_events: usize,
    /// Of superseded values, with a flat charge for each event.
    pub max_bytes: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { keep: Duration::from_secs(300), max_events: 100_000, max_bytes: 32 << 20 }
    }
}

#[derive(Clone, Debug)]
struct Version {
    revision: Revision,
    create_revision: Revision,
    /// `None`: deleted at this revision.
    value: Option<Bytes>,
}

#[derive(Debug)]
struct Slot {
    latest: Version,
    /// Oldest first.
    older: Vec<Version>,
}

#[derive(Debug)]
struct Logged {
    at: Instant,
    batch: WatchBatch,
}

#[derive(Debug)]
pub(crate) struct Memory {
    keys: BTreeMap<Arc<str>, Slot>,
    live: usize,
    log: VecDeque<Logged>,
    log_events: usize,
    log_cost: usize,
    revision: Revision,
    oldest: Revision,
}

/// Where a chunked read stands.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub items: Vec<KeyValue>,
    /// Keys that matched after `items` was full.
    pub remaining: usize,
    /// The last key visited, `None` at first.
    pub at: Option<Arc<str>>,
}

impl Version {
    fn key_value(&self, key: &Arc<str>) -> Option<KeyValue> {
        self.value.as_ref().map(|value| KeyValue {
            key: Arc::clone(key),
            value: value.clone(),
            create_revision: self.create_revision,
            mod_revision: self.revision,
        })
    }
}

impl Slot {
    fn at(&self, revision: Revision) -> Option<&Version> {
        if self.latest.revision <= revision {
            return Some(&self.latest);
        }
        self.older.iter().rev().find(|version| version.revision <= revision)
    }
}

fn last_revision(batch: &WatchBatch) -> Revision {
    batch.last().map_or(0, |event| event.revision)
}

fn cost(event: &Event) -> usize {
    event.previous.as_ref().map_or(0, |previous| previous.value.len()).saturating_add(EVENT_OVERHEAD)
}

impl Memory {
    /// An empty store whose history begins at `oldest`; `revision` is what was committed last.
    pub fn new(oldest: Revision, revision: Revision) -> Self {
        let (keys, log) = (BTreeMap::new(), VecDeque::new());
        Self { keys, live: 0, log, log_events: 0, log_cost: 0, revision, oldest }
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn oldest(&self) -> Revision {
        self.oldest
    }

    /// How many keys exist now.
    pub fn live(&self) -> usize {
        self.live
    }

    pub fn get(&self, key: &str) -> Option<KeyValue> {
        let (key, slot) = self.keys.get_key_value(key)?;
        slot.latest.key_value(key)
    }

    /// Visits at most `budget` more keys with `prefix`; false when there are no more. `limit` 0 is no limit.
    pub fn scan(&self, prefix: &str, limit: usize, revision: Revision, budget: usize, scan: &mut Scan) -> bool {
        let at = scan.at.take();
        let from = match at.as_deref() {
            Some(at) if at >= prefix => Bound::Excluded(at),
            _ => Bound::Included(prefix),
        };
        let slots = self.keys.range::<str, _>((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        for (visited, (key, slot)) in slots.enumerate() {
            if visited == budget {
                return true;
            }
            let version = slot.at(revision).filter(|version| version.value.is_some());
            if limit != 0 && scan.items.len() >= limit {
                scan.remaining = scan.remaining.saturating_add(usize::from(version.is_some()));
            } else {
                scan.items.extend(version.and_then(|version| version.key_value(key)));
            }
            scan.at = Some(Arc::clone(key));
        }
        false
    }

    /// Makes a committed batch visible.
    pub fn apply(&mut self, batch: WatchBatch, now: Instant) {
        for event in batch.iter() {
            self.put_version(event);
            self.log_cost = self.log_cost.saturating_add(cost(event));
        }
        self.revision = self.revision.max(last_revision(&batch));
        self.log_events = self.log_events.saturating_add(batch.len());
        self.log.push_back(Logged { at: now, batch });
    }

    fn put_version(&mut self, event: &Event) {
        let version = Version {
            revision: event.revision,
            create_revision: event.value.as_ref().map_or(0, |value| value.create_revision),
            value: event.value.as_ref().map(|value| value.value.clone()),
        };
        match (event.previous.is_some(), event.value.is_some()) {
            (false, true) => self.live = self.live.saturating_add(1),
            (true, false) => self.live = self.live.saturating_sub(1),
            _ => {}
        }
        match self.keys.get_mut(&event.key) {
            Some(slot) => {
                let superseded = std::mem::replace(&mut slot.latest, version);
                slot.older.push(superseded);
            }
            None => {
                self.keys.insert(Arc::clone(&event.key), Slot { latest: version, older: Vec::new() });
            }
        }
    }

    /// Sets a key to what it was at `oldest` or before, while loading; gives back the rows nobody can ask for any more.
    pub fn load_base(&mut self, key: &Arc<str>, revision: Revision, put: Option<(Revision, Bytes)>) -> Vec<RowKey> {
        let before = self.keys.remove(key);
        let mut garbage: Vec<_> = before.iter().map(|slot| (slot.latest.revision, Arc::clone(key))).collect();
        self.live = self.live.saturating_sub(garbage.len());
        match put {
            Some((create_revision, value)) => {
                let latest = Version { revision, create_revision, value: Some(value) };
                self.keys.insert(Arc::clone(key), Slot { latest, older: Vec::new() });
                self.live = self.live.saturating_add(1);
            }
            None => garbage.push((revision, Arc::clone(key))),
        }
        garbage
    }

    /// Events with `prefix` in `after+1..=until`, looking at about `budget` of them, and the revision reached; `None` if the
    /// history does not go back to `after`.
    pub fn events(
        &self,
        prefix: &str,
        after: Revision,
        until: Revision,
        budget: usize,
    ) -> Option<(Vec<Event>, Revision)> {
        if after < self.oldest {
            return None;
        }
        let first = self.log.partition_point(|logged| last_revision(&logged.batch) <= after);
        let (mut found, mut seen) = (Vec::new(), 0usize);
        for logged in self.log.iter().skip(first) {
            if seen >= budget {
                let reached = logged.batch.first().map_or(until, |event| event.revision.saturating_sub(1));
                return Some((found, reached.min(until)));
            }
            let wanted = logged
                .batch
                .iter()
                .filter(|event| event.revision > after && event.revision <= until && event.key.starts_with(prefix));
            found.extend(wanted.cloned());
            seen = seen.saturating_add(logged.batch.len());
        }
        Some((found, until))
    }

    /// Up to where history should be forgotten, if more is kept than asked for. When a limit is passed, an eighth more is let
    /// go, so that this does not happen again with the next write.
    pub fn overdue(&self, history: &History, now: Instant) -> Option<Revision> {
        let front = self.log.front()?;
        let age = now.saturating_duration_since(front.at);
        if age <= history.keep && self.log_events <= history.max_events && self.log_cost <= history.max_bytes {
            return None;
        }
        let keep = history.keep - history.keep / 8;
        let (mut events, mut bytes) = (self.log_events, self.log_cost);
        let mut to = None;
        for logged in &self.log {
            let old = age > history.keep && now.saturating_duration_since(logged.at) > keep;
            let many = events > history.max_events - history.max_events / 8;
            let big = bytes > history.max_bytes - history.max_bytes / 8;
            if !(old || many || big) {
                break;
            }
            events = events.saturating_sub(logged.batch.len());
            bytes = logged.batch.iter().fold(bytes, |bytes, event| bytes.saturating_sub(cost(event)));
            to = Some(last_revision(&logged.batch));
        }
        to
    }

    /// Forgets history before `to`, about `budget` events of it; false when done. The rows that are garbage then go to
    /// `garbage`, the batches to `dropped`, for the caller to free outside the lock.
    pub fn compact(
        &mut self,
        to: Revision,
        budget: usize,
        garbage: &mut Vec<RowKey>,
        dropped: &mut Vec<WatchBatch>,
    ) -> bool {
        let to = to.min(self.revision);
        let mut seen = 0usize;
        while let Some(front) = self.log.front() {
            if seen >= budget {
                return true;
            }
            let batch = Arc::clone(&front.batch);
            let forgotten = batch.partition_point(|event| event.revision <= to);
            if forgotten == 0 {
                break;
            }
            for event in batch.iter().take(forgotten) {
                self.forget(event, garbage);
                self.log_cost = self.log_cost.saturating_sub(cost(event));
            }
            self.log_events = self.log_events.saturating_sub(forgotten);
            seen = seen.saturating_add(forgotten);
            if forgotten == batch.len() {
                self.oldest = self.oldest.max(last_revision(&batch));
                self.log.pop_front();
            } else if let Some(front) = self.log.front_mut() {
                front.batch = batch.iter().skip(forgotten).cloned().collect();
            }
            dropped.push(batch);
        }
        self.oldest = self.oldest.max(to);
        false
    }

    /// Drops what only a read before `event` could see; a deletion itself too.
    fn forget(&mut self, event: &Event, garbage: &mut Vec<RowKey>) {
        let Some(slot) = self.keys.get_mut(&event.key) else { return };
        let hidden = slot.older.partition_point(|version| {
            version.revision < event.revision || (version.revision == event.revision && version.value.is_none())
        });
        garbage.extend(slot.older.drain(..hidden).map(|version| (version.revision, Arc::clone(&event.key))));
        if slot.older.is_empty() {
            slot.older.shrink_to_fit();
        }
        if slot.latest.revision == event.revision && slot.latest.value.is_none() {
            garbage.push((event.revision, Arc::clone(&event.key)));
            self.keys.remove(&event.key);
        }
    }

    /// Every version of every key with a key that `wanted` accepts: what is on disk of it.
    pub fn versions(&self, wanted: impl Fn(&str) -> bool) -> Vec<(RowKey, Revision, Bytes)> {
        let slots = self.keys.iter().filter(|(key, _)| wanted(key));
        let versions =
            slots.flat_map(|(key, slot)| slot.older.iter().chain([&slot.latest]).map(move |version| (key, version)));
        versions
            .filter_map(|(key, version)| {
                let value = version.value.clone()?;
                Some(((version.revision, Arc::clone(key)), version.create_revision, value))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store in which `key` was written `count` times with values of `size` bytes, one a second from `start`.
    fn written(count: u64, size: usize, start: Instant) -> Memory {
        let mut memory = Memory::new(0, 1);
        for at in 0..count {
            let (key, revision) = (Arc::<str>::from("/a"), at + 2);
            let previous = memory.get(&key);
            let value = Bytes::from(vec![0; size]);
            let value = KeyValue { key: Arc::clone(&key), value, create_revision: 2, mod_revision: revision };
            let event = Event { revision, key, value: Some(value), previous };
            memory.apply([event].into(), start + Duration::from_secs(at));
        }
        memory
    }

    #[test]
    fn history_is_let_go_by_age_number_and_size() {
        let start = Instant::now();
        let memory = written(100, 1000, start);
        let after = |seconds| start + Duration::from_secs(seconds);
        let all = History { keep: Duration::from_secs(1000), max_events: 1000, max_bytes: 1 << 20 };
        let cases = [
            ("within all limits", all, 99, None),
            ("all of it just young enough", History { keep: Duration::from_secs(80), ..all }, 80, None),
            // 80 s may be kept, 70 s are: what was written at second 29 and before goes, the last of it being revision 31.
            ("some too old", History { keep: Duration::from_secs(80), ..all }, 100, Some(31)),
            ("everything too old", all, 5000, Some(101)),
            ("too many", History { max_events: 80, ..all }, 99, Some(31)),
            // 100 × 256 + 99 × 1000 = 124,600 bytes; 70,000 are kept: the first event (256) goes and 44 of 1256.
            ("too much", History { max_bytes: 80_000, ..all }, 99, Some(46)),
        ];
        for (what, history, now, expected) in cases {
            assert_eq!(memory.overdue(&history, after(now)), expected, "{what}");
        }
    }

    #[test]
    fn compaction_goes_in_steps_and_names_its_rows() {
        let mut memory = written(10, 10, Instant::now());
        let (mut garbage, mut dropped) = (Vec::new(), Vec::new());
        assert!(memory.compact(8, 4, &mut garbage, &mut dropped), "not done yet");
        assert_eq!((memory.oldest(), dropped.len()), (5, 4));
        assert!(!memory.compact(8, 4, &mut garbage, &mut dropped));
        assert_eq!((memory.oldest(), memory.live()), (8, 1));
        assert_eq!(garbage.iter().map(|row| row.0).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
        assert!(memory.events("/", 7, 11, 100).is_none());
        assert_eq!(memory.events("/", 8, 11, 100).unwrap().0.len(), 3);
        let mut scan = Scan::default();
        memory.scan("/", 0, 8, 100, &mut scan);
        assert_eq!(scan.items[0].mod_revision, 8);
    }
}

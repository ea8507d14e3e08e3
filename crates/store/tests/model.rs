//! Random transactions, reads, watches, compactions and restarts, each answer compared with a naive model: a list of pictures.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]
mod simulated;
mod suite;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::BoxStream;
use isopod_store::embedded::{Embedded, History, Options};
use isopod_store::seal::KeyRing;
use isopod_store::{Compare, Error, Event, KeyValue, Op, Range, Revision, Store as _, TxnOutcome, WatchBatch};
use proptest::prelude::*;
use simulated::SimFile;
use std::collections::BTreeMap;
use std::time::Duration;

const KEYS: [&str; 8] = ["/a", "/a/1", "/a/2", "/b", "/b/1", "/b/2", "/registry/secrets/s", "/registry/secrets/t"];
const PREFIXES: [&str; 5] = ["", "/", "/a/", "/b", "/registry/secrets/"];

#[derive(Clone, Debug)]
enum Seen {
    Absent,
    Now,
    Stale,
}

#[derive(Clone, Debug)]
struct Txn {
    compares: Vec<(usize, Seen)>,
    /// `None` deletes.
    ops: Vec<(usize, Option<u8>)>,
}

#[derive(Clone, Debug)]
enum Action {
    /// Queued together, so that one commit may carry them.
    Txns(Vec<Txn>),
    Range {
        prefix: usize,
        after: Option<usize>,
        limit: usize,
        back: Option<u64>,
    },
    Watch {
        prefix: usize,
        back: u64,
    },
    Compact {
        back: u64,
    },
    Reopen,
}

fn txn() -> impl Strategy<Value = Txn> {
    let seen = prop_oneof![1 => Just(Seen::Absent), 3 => Just(Seen::Now), 1 => Just(Seen::Stale)];
    let compares = prop::collection::vec((0..KEYS.len(), seen), 0..3);
    let ops = prop::collection::vec((0..KEYS.len(), prop::option::weighted(0.7, any::<u8>())), 0..4);
    (compares, ops).prop_map(|(compares, ops)| Txn { compares, ops })
}

fn action() -> impl Strategy<Value = Action> {
    let range = (0..PREFIXES.len(), prop::option::of(0..KEYS.len()), 0..4usize, prop::option::of(0..12u64))
        .prop_map(|(prefix, after, limit, back)| Action::Range { prefix, after, limit, back });
    prop_oneof![
        8 => prop::collection::vec(txn(), 1..5).prop_map(Action::Txns),
        4 => range,
        2 => (0..PREFIXES.len(), 0..8u64).prop_map(|(prefix, back)| Action::Watch { prefix, back }),
        1 => (0..10u64).prop_map(|back| Action::Compact { back }),
        1 => Just(Action::Reopen),
    ]
}

type Picture = BTreeMap<&'static str, KeyValue>;

/// Every picture there ever was.
struct Model {
    pictures: BTreeMap<Revision, Picture>,
    events: Vec<Event>,
}

impl Model {
    fn revision(&self) -> Revision {
        *self.pictures.last_key_value().unwrap().0
    }

    fn now(&self) -> &Picture {
        self.pictures.last_key_value().unwrap().1
    }

    fn txn(&mut self, txn: &Txn, compares: &[Compare]) -> TxnOutcome {
        let held = compares.iter().all(|compare| match compare {
            Compare::Absent(key) => !self.now().contains_key(&**key),
            Compare::ModRevision(key, revision) => {
                self.now().get(&**key).is_some_and(|item| item.mod_revision == *revision)
            }
        });
        if !held {
            let current = txn.compares.iter().map(|(key, _)| self.now().get(KEYS[*key]).cloned()).collect();
            return TxnOutcome::Failed { current, revision: self.revision() };
        }
        let (before, revision) = (self.now().clone(), self.revision() + 1);
        let mut after = before.clone();
        for (key, value) in &txn.ops {
            let key = KEYS[*key];
            let Some(value) = value else {
                after.remove(key);
                continue;
            };
            let create_revision = before.get(key).map_or(revision, |item| item.create_revision);
            let value = Bytes::from(vec![*value; usize::from(*value)]);
            after.insert(key, KeyValue { key: key.into(), value, create_revision, mod_revision: revision });
        }
        let changed: Vec<_> = KEYS.iter().filter(|key| before.get(**key) != after.get(**key)).copied().collect();
        if changed.is_empty() {
            return TxnOutcome::Committed(revision - 1);
        }
        let mut keys = changed;
        keys.sort_unstable();
        self.events.extend(keys.into_iter().map(|key| Event {
            revision,
            key: key.into(),
            value: after.get(key).cloned(),
            previous: before.get(key).cloned(),
        }));
        self.pictures.insert(revision, after);
        TxnOutcome::Committed(revision)
    }
}

struct Watch {
    stream: BoxStream<'static, isopod_store::Result<WatchBatch>>,
    prefix: &'static str,
    after: Revision,
}

struct Run {
    file: SimFile,
    options: Options,
    store: Option<Embedded>,
    model: Model,
    watches: Vec<Watch>,
    oldest: Revision,
}

impl Run {
    fn new(history: History) -> Self {
        // Secrets are plain here: keys are made anew at each opening.
        let options = Options { history, sealed_prefixes: vec![], key_file: None };
        let model = Model { pictures: BTreeMap::from([(1, Picture::new())]), events: vec![] };
        let (file, watches) = (SimFile::new(vec![], None), vec![]);
        let mut run = Self { file, options, store: None, model, watches, oldest: 0 };
        run.open();
        run
    }

    fn open(&mut self) {
        self.store = Some(Embedded::open_file(self.file.raw(), KeyRing::default(), &self.options).unwrap());
    }

    /// Now: the writer compacts after it has answered.
    async fn oldest_now(&self) -> Revision {
        self.store().stats().await.unwrap().oldest
    }

    fn store(&self) -> &Embedded {
        self.store.as_ref().unwrap()
    }

    async fn act(&mut self, action: &Action) {
        let current = self.model.revision();
        match action {
            Action::Txns(txns) => self.txns(txns).await,
            Action::Range { prefix, after, limit, back } => {
                let range = Range {
                    prefix: PREFIXES[*prefix].to_owned(),
                    after: after.map(|key| KEYS[key].to_owned()),
                    limit: *limit,
                    revision: back.map(|back| current.saturating_sub(back)),
                };
                self.range(range).await;
            }
            Action::Watch { prefix, back } => {
                let (prefix, after) = (PREFIXES[*prefix], current.saturating_sub(*back));
                match self.store().watch(prefix, after).await {
                    Ok(stream) => self.watches.push(Watch { stream, prefix, after }),
                    Err(Error::Compacted { .. }) => assert!(after < self.oldest_now().await, "watch after {after}"),
                    Err(other) => panic!("{other}"),
                }
            }
            Action::Compact { back } => self.store().compact(current.saturating_sub(*back)).await.unwrap(),
            Action::Reopen => {
                self.check_watches().await;
                self.store = None;
                self.open();
                // Rows that compaction has freed in memory leave the disk with later commits: history may be longer again.
                self.oldest = 0;
            }
        }
        let stats = self.store().stats().await.unwrap();
        assert!(stats.oldest >= self.oldest && stats.oldest <= stats.revision, "{stats:?}");
        assert_eq!((stats.revision, stats.keys), (self.model.revision(), self.model.now().len()));
        self.oldest = stats.oldest;
    }

    async fn txns(&mut self, txns: &[Txn]) {
        // What clients know was read before any of these is carried out.
        let now = self.model.now().clone();
        let compare = |(key, seen): &(usize, Seen)| {
            let key = KEYS[*key];
            match (seen, now.get(key)) {
                (Seen::Now, Some(item)) => Compare::ModRevision(key.into(), item.mod_revision),
                (Seen::Stale, Some(item)) => Compare::ModRevision(key.into(), item.mod_revision - 1),
                (Seen::Stale, None) => Compare::ModRevision(key.into(), 1),
                _ => Compare::Absent(key.into()),
            }
        };
        let op = |(key, value): &(usize, Option<u8>)| match value {
            Some(value) => Op::Put(KEYS[*key].into(), Bytes::from(vec![*value; usize::from(*value)])),
            None => Op::Delete(KEYS[*key].into()),
        };
        let compares: Vec<Vec<_>> = txns.iter().map(|txn| txn.compares.iter().map(compare).collect()).collect();
        let asked = txns
            .iter()
            .zip(&compares)
            .map(|(txn, compares)| self.store().txn(compares.clone(), txn.ops.iter().map(op).collect()));
        let got: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
        for ((txn, compares), got) in txns.iter().zip(&compares).zip(got) {
            assert_eq!(got, self.model.txn(txn, compares), "{txn:?}");
        }
    }

    async fn range(&self, range: Range) {
        let result = self.store().range(range.clone()).await;
        if let (Some(revision), Err(Error::Compacted { .. })) = (range.revision, &result) {
            assert!(revision < self.oldest_now().await, "{range:?}");
            return;
        }
        let revision = range.revision.unwrap_or(self.model.revision());
        let picture = self.model.pictures.get(&revision).cloned().unwrap_or_default();
        let all = picture.into_values().filter(|item| {
            item.key.starts_with(&range.prefix) && range.after.as_ref().is_none_or(|after| &*item.key > after.as_str())
        });
        let all: Vec<_> = all.collect();
        let take = if range.limit == 0 { all.len() } else { range.limit.min(all.len()) };
        let result = result.unwrap();
        assert_eq!(
            (result.items, result.remaining, result.revision),
            (all[..take].to_vec(), all.len() - take, revision)
        );
    }

    /// Each watch has brought everything since it began, once and in order.
    async fn check_watches(&mut self) {
        for mut watch in std::mem::take(&mut self.watches) {
            let due = |event: &&Event| event.revision > watch.after && event.key.starts_with(watch.prefix);
            let expected: Vec<_> = self.model.events.iter().filter(due).cloned().collect();
            let mut got: Vec<Event> = Vec::new();
            while got.len() < expected.len() {
                let next = tokio::time::timeout(Duration::from_secs(10), watch.stream.next()).await.expect("an event");
                match next.unwrap() {
                    Ok(batch) => got.extend(batch.iter().cloned()),
                    // It replays lazily, and what it had not read yet is compacted.
                    Err(Error::TooSlow) => break,
                    Err(other) => panic!("{other}"),
                }
            }
            assert_eq!(got, expected[..got.len()], "{} after {}", watch.prefix, watch.after);
            if got.len() < expected.len() {
                assert!(got.last().map_or(watch.after, |event| event.revision) < self.oldest_now().await);
            }
        }
    }
}

fn cases() -> u32 {
    std::env::var("ISOPOD_SOAK").ok().and_then(|rounds| rounds.parse().ok()).map_or(150, |rounds: u32| rounds * 100)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn soak_behaves_like_the_model(actions in prop::collection::vec(action(), 1..60), max_events in prop_oneof![Just(20usize), Just(100_000)]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(History { max_events, ..History::default() });
            for action in &actions {
                run.act(action).await;
            }
            run.check_watches().await;
        });
    }
}

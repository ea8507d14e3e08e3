//! The work queue: a key waits at most once, is worked on by one worker at a time, and comes again if it was added meanwhile
//! (`k8s.io/client-go/util/workqueue`).
use crate::Backoff;
use futures::FutureExt as _;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a reconciler says when it is through with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more until something changes.
    Done,
    /// All is well; look again after this long.
    After(Duration),
    /// It did not go well: again after the key's back-off.
    Retry,
}

struct State<K> {
    ready: VecDeque<K>,
    /// In `ready`, or added while being worked on.
    dirty: HashSet<K>,
    working: HashSet<K>,
    /// By due time; the number keeps entries of the same instant apart.
    delayed: BTreeMap<(Instant, u64), K>,
    /// The earliest due time of each delayed key: later wishes for the same key are dropped.
    due: HashMap<K, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<K, u32>,
    closed: bool,
}

/// A deduplicating queue of keys. All methods may be called from anywhere.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
    backoff: Backoff,
}

impl<K: Hash + Eq + Clone + Debug + Send + Sync + 'static> Queue<K> {
    pub fn new(backoff: Backoff) -> Arc<Self> {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            closed: false,
        };
        Arc::new(Self { state: Mutex::new(state), wake: Notify::new(), backoff })
    }

    pub fn add(&self, key: K) {
        if self.state.lock().add(key) {
            self.wake.notify_one();
        }
    }

    /// Adds the key after `delay`; an earlier wish for the same key wins.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.state.lock();
        let at = Instant::now() + delay;
        if let Some(known) = state.due.get(&key).copied() {
            if known.0 <= at {
                return;
            }
            state.delayed.remove(&known);
        }
        state.sequence += 1;
        let slot = (at, state.sequence);
        state.delayed.insert(slot, key.clone());
        state.due.insert(key, slot);
        drop(state);
        // A sleeper may be sleeping towards a later time.
        self.wake.notify_one();
    }

    /// Adds the key after its back-off, which grows with each call until [`Queue::forget`].
    pub fn retry(&self, key: K) {
        let failures = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures = failures.saturating_add(1);
            *failures
        };
        self.add_after(key, self.backoff.delay(failures));
    }

    /// How often the key was retried since it was last forgotten.
    pub fn failures(&self, key: &K) -> u32 {
        self.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    pub fn forget(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// Keys ready to be worked on.
    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No more keys are handed out.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// The next key; it must be given back with [`Queue::done`]. `None`: closed.
    pub async fn next(&self) -> Option<K> {
        loop {
            let (taken, sleep_until, more) = self.state.lock().take();
            match taken {
                Taken::Closed => {
                    self.wake.notify_one();
                    return None;
                }
                Taken::Key(key) => {
                    if more {
                        self.wake.notify_one();
                    }
                    return Some(key);
                }
                Taken::Nothing => {}
            }
            match sleep_until {
                None => self.wake.notified().await,
                Some(at) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// The worker is through with the key: if it was added meanwhile, it is ready again.
    pub fn done(&self, key: &K) {
        let again = {
            let mut state = self.state.lock();
            state.working.remove(key);
            let again = state.dirty.contains(key);
            if again {
                state.ready.push_back(key.clone());
            }
            again
        };
        if again {
            self.wake.notify_one();
        }
    }

    /// Works on keys, at most `workers` at a time, until `shutdown`; then waits for those under way.
    pub async fn run<F, Fut>(self: Arc<Self>, workers: usize, shutdown: CancellationToken, reconcile: F)
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        let reconcile = Arc::new(reconcile);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers.max(1) {
            let (queue, reconcile) = (Arc::clone(&self), Arc::clone(&reconcile));
            tasks.spawn(async move {
                while let Some(key) = queue.next().await {
                    let guard = Guard { queue: &queue, key: &key };
                    // A panic is a bug, but one object's bug must not end the work on all the others.
                    let verdict = AssertUnwindSafe(reconcile(key.clone())).catch_unwind().await.unwrap_or_else(|_| {
                        tracing::error!(?key, "reconciler panicked");
                        Verdict::Retry
                    });
                    match verdict {
                        Verdict::Done => queue.forget(&key),
                        Verdict::After(delay) => {
                            queue.forget(&key);
                            queue.add_after(key.clone(), delay);
                        }
                        Verdict::Retry => queue.retry(key.clone()),
                    }
                    drop(guard);
                }
            });
        }
        shutdown.cancelled().await;
        self.close();
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a worker ended badly");
            }
        }
    }
}

/// Gives the key back even if the reconciler panics.
struct Guard<'a, K: Hash + Eq + Clone + Debug + Send + Sync + 'static> {
    queue: &'a Queue<K>,
    key: &'a K,
}

impl<K: Hash + Eq + Clone + Debug + Send + Sync + 'static> Drop for Guard<'_, K> {
    fn drop(&mut self) {
        self.queue.done(self.key);
    }
}

enum Taken<K> {
    Key(K),
    Nothing,
    Closed,
}

impl<K: Hash + Eq + Clone> State<K> {
    /// Whether a worker should wake.
    fn add(&mut self, key: K) -> bool {
        if !self.dirty.insert(key.clone()) || self.working.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    /// A key or nothing, when the next delayed one is due, and whether more are ready.
    fn take(&mut self) -> (Taken<K>, Option<Instant>, bool) {
        if self.closed {
            return (Taken::Closed, None, false);
        }
        let now = Instant::now();
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
        let next = self.delayed.first_key_value().map(|(slot, _)| slot.0);
        match self.ready.pop_front() {
            Some(key) => {
                self.dirty.remove(&key);
                self.working.insert(key.clone());
                (Taken::Key(key), next, !self.ready.is_empty() || next.is_some())
            }
            None => (Taken::Nothing, next, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Arc<Queue<u32>> {
        Queue::new(Backoff { base: Duration::from_millis(10), max: Duration::from_secs(1), jitter: 0.0 })
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_worked_on_once_at_a_time() {
        let q = queue();
        q.add(1);
        q.add(1);
        q.add(2);
        assert_eq!(q.next().await, Some(1));
        q.add(1);
        assert_eq!(q.next().await, Some(2));
        assert_eq!(q.len(), 0, "1 is being worked on: it waits outside");
        q.done(&1);
        assert_eq!(q.next().await, Some(1));
        q.done(&1);
        q.done(&2);
        assert!(q.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_wish_wins() {
        let q = queue();
        let start = Instant::now();
        q.add_after(1, Duration::from_secs(5));
        q.add_after(1, Duration::from_secs(2));
        q.add_after(1, Duration::from_secs(9));
        assert_eq!(q.next().await, Some(1));
        assert_eq!(start.elapsed().as_secs(), 2);
        q.done(&1);
        assert!(tokio::time::timeout(Duration::from_secs(60), q.next()).await.is_err(), "the later wishes are gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_earlier_wish_wakes_a_sleeping_worker() {
        let q = queue();
        q.add_after(1, Duration::from_secs(100));
        let q2 = Arc::clone(&q);
        let worker = tokio::spawn(async move { q2.next().await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        q.add_after(2, Duration::from_secs(3));
        assert_eq!(worker.await.unwrap(), Some(2));
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_back_off_until_forgotten() {
        let q = queue();
        let mut delays = Vec::new();
        for _ in 0..3 {
            let start = Instant::now();
            q.retry(7);
            assert_eq!(q.next().await, Some(7));
            q.done(&7);
            delays.push(start.elapsed().as_millis());
        }
        assert_eq!(delays, [10, 20, 40]);
        assert_eq!(q.failures(&7), 3);
        q.forget(&7);
        assert_eq!(q.failures(&7), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn run_works_until_shutdown_and_survives_a_panic() {
        let q = queue();
        let shutdown = CancellationToken::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let run = tokio::spawn(Arc::clone(&q).run(2, shutdown.clone(), move |k| {
            let log = Arc::clone(&log);
            async move {
                log.lock().push(k);
                assert!(k != 3 || log.lock().iter().filter(|k| **k == 3).count() > 1, "first time 3");
                if k == 1 && log.lock().iter().filter(|k| **k == 1).count() < 3 {
                    Verdict::Retry
                } else {
                    Verdict::Done
                }
            }
        }));
        q.add(1);
        q.add(2);
        q.add(3);
        tokio::time::sleep(Duration::from_secs(1)).await;
        shutdown.cancel();
        run.await.unwrap();
        let mut seen = seen.lock().clone();
        seen.sort_unstable();
        assert_eq!(seen, [1, 1, 1, 2, 3, 3]);
    }
}

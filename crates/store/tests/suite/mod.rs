//! What every engine must do, as functions over the trait: run for the embedded engine and for etcd.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]
use bytes::Bytes;
use futures::StreamExt as _;
use isopod_store::{Compare, Error, Event, KeyValue, Op, Range, Revision, Store, TxnOutcome};
use std::sync::Arc;
use std::time::Duration;

pub fn put(key: &str, value: &str) -> Op {
    Op::Put(key.into(), Bytes::copy_from_slice(value.as_bytes()))
}

pub fn delete(key: &str) -> Op {
    Op::Delete(key.into())
}

pub fn prefix(prefix: &str) -> Range {
    Range { prefix: prefix.to_owned(), ..Range::default() }
}

pub async fn write(store: &dyn Store, ops: Vec<Op>) -> Revision {
    match store.txn(vec![], ops).await.unwrap() {
        TxnOutcome::Committed(revision) => revision,
        failed => panic!("{failed:?}"),
    }
}

/// `key=value` in order.
fn shown(items: &[KeyValue]) -> Vec<String> {
    items.iter().map(|item| format!("{}={}", item.key, String::from_utf8_lossy(&item.value))).collect()
}

/// `+key=value` for a put, `-key` for a deletion, each with what was there before in brackets.
pub fn line(event: &Event) -> String {
    let text = |item: &Option<KeyValue>| item.as_ref().map(|item| String::from_utf8_lossy(&item.value).into_owned());
    let before = text(&event.previous).unwrap_or_default();
    match text(&event.value) {
        Some(value) => format!("+{}={value} [{before}]", event.key),
        None => format!("-{} [{before}]", event.key),
    }
}

async fn take(
    stream: &mut (impl futures::Stream<Item = isopod_store::Result<isopod_store::WatchBatch>> + Unpin),
    count: usize,
) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
        let batch = next.unwrap_or_else(|_| panic!("only {events:?}")).expect("the watch goes on").unwrap();
        assert!(!batch.is_empty());
        events.extend(batch.iter().cloned());
    }
    assert_eq!(events.len(), count, "{events:?}");
    events
}

/// Runs all of it. Keys live under a prefix of their own for each part, so the store may hold other things.
pub async fn run(store: Arc<dyn Store>) {
    compare_and_swap(&*store).await;
    ranges(&*store).await;
    history(&*store).await;
    watches(&*store).await;
    concurrent_writers(&store).await;
    a_watch_beside_writers_sees_each_change_once(&store).await;
    compaction(&*store).await;
}

async fn compare_and_swap(store: &dyn Store) {
    let key: Arc<str> = "/cas/a".into();
    let absent = || vec![Compare::Absent(Arc::clone(&key))];
    let before = store.revision().await.unwrap();
    assert!(before >= 1, "a list never shows resourceVersion 0");
    let TxnOutcome::Committed(first) = store.txn(absent(), vec![put(&key, "1")]).await.unwrap() else { panic!() };
    assert_eq!(first, before + 1);
    let stored = store.get(&key).await.unwrap().unwrap();
    assert_eq!((stored.create_revision, stored.mod_revision, &stored.value[..]), (first, first, &b"1"[..]));

    let lost = store.txn(absent(), vec![put(&key, "2")]).await.unwrap();
    assert_eq!(lost, TxnOutcome::Failed { current: vec![Some(stored.clone())], revision: first });
    let at = |revision| vec![Compare::ModRevision(Arc::clone(&key), revision)];
    let TxnOutcome::Committed(second) = store.txn(at(first), vec![put(&key, "2")]).await.unwrap() else { panic!() };
    assert_eq!(second, first + 1);
    let stored = store.get(&key).await.unwrap().unwrap();
    assert_eq!((stored.create_revision, stored.mod_revision), (first, second));
    assert!(matches!(store.txn(at(first), vec![delete(&key)]).await.unwrap(), TxnOutcome::Failed { .. }));

    // Several keys: all or nothing, one revision.
    let both = vec![Compare::ModRevision(Arc::clone(&key), second), Compare::Absent("/cas/b".into())];
    let outcome = store.txn(both.clone(), vec![put("/cas/b", "1"), delete(&key)]).await.unwrap();
    assert_eq!(outcome, TxnOutcome::Committed(second + 1));
    let TxnOutcome::Failed { current, .. } = store.txn(both, vec![put("/cas/c", "1")]).await.unwrap() else { panic!() };
    assert!(current[0].is_none());
    assert_eq!(current[1].as_ref().unwrap().mod_revision, second + 1);
    assert_eq!(shown(&store.range(prefix("/cas/")).await.unwrap().items), ["/cas/b=1"]);

    // Nothing changes, no revision is taken.
    let now = store.revision().await.unwrap();
    assert_eq!(write(store, vec![delete("/cas/none")]).await, now);
    assert_eq!(write(store, vec![]).await, now);
    // Created anew: a new create revision. Of two writes to a key the last counts.
    let anew = write(store, vec![put(&key, "8"), put(&key, "9")]).await;
    let stored = store.get(&key).await.unwrap().unwrap();
    assert_eq!((stored.create_revision, stored.mod_revision, &stored.value[..]), (anew, anew, &b"9"[..]));
}

async fn ranges(store: &dyn Store) {
    let keys = ["/range/a", "/range/a/1", "/range/a/2", "/range/ab", "/range/b/1", "/rangeb"];
    let revision = write(store, keys.iter().map(|key| put(key, "")).collect()).await;
    let all = store.range(prefix("/range/")).await.unwrap();
    assert_eq!(all.items.iter().map(|item| &*item.key).collect::<Vec<_>>(), keys[..5]);
    assert_eq!((all.revision, all.remaining), (revision, 0));
    type Case = (&'static str, Option<&'static str>, usize, &'static [&'static str], usize);
    let cases: &[Case] = &[
        ("/range/a/", None, 0, &["/range/a/1", "/range/a/2"], 0),
        ("/range/", None, 2, &["/range/a", "/range/a/1"], 3),
        ("/range/", Some("/range/a/1"), 2, &["/range/a/2", "/range/ab"], 1),
        ("/range/", Some("/range/a/15"), 0, &["/range/a/2", "/range/ab", "/range/b/1"], 0),
        ("/range/", Some("/range/ab"), 5, &["/range/b/1"], 0),
        ("/range/", Some("/range/b/1"), 5, &[], 0),
        ("/range/", Some("/zzz"), 5, &[], 0),
        ("/range/", Some("/a"), 1, &["/range/a"], 4),
        ("/range/none/", None, 0, &[], 0),
    ];
    for (of, after, limit, expected, remaining) in cases {
        let range = Range { after: after.map(str::to_owned), limit: *limit, ..prefix(of) };
        let got = store.range(range).await.unwrap();
        let keys: Vec<_> = got.items.iter().map(|item| &*item.key).collect();
        assert_eq!((&keys[..], got.remaining), (*expected, *remaining), "{of} after {after:?} limit {limit}");
    }
}

async fn history(store: &dyn Store) {
    let one = write(store, vec![put("/history/a", "1"), put("/history/b", "1")]).await;
    let two = write(store, vec![put("/history/a", "2"), put("/history/c", "2")]).await;
    let three = write(store, vec![delete("/history/a")]).await;
    let four = write(store, vec![put("/history/a", "4")]).await;
    let cases: &[(Revision, &[&str])] = &[
        (one - 1, &[]),
        (one, &["/history/a=1", "/history/b=1"]),
        (two, &["/history/a=2", "/history/b=1", "/history/c=2"]),
        (three, &["/history/b=1", "/history/c=2"]),
        (four, &["/history/a=4", "/history/b=1", "/history/c=2"]),
    ];
    for (revision, expected) in cases {
        let got = store.range(Range { revision: Some(*revision), ..prefix("/history/") }).await.unwrap();
        assert_eq!(shown(&got.items), *expected, "at {revision}");
        assert_eq!(got.revision, *revision);
        let page = Range { revision: Some(*revision), limit: 1, ..prefix("/history/") };
        assert_eq!(store.range(page).await.unwrap().remaining, expected.len().saturating_sub(1));
    }
    let future = store.range(Range { revision: Some(four + 1000), ..prefix("/history/") }).await;
    assert!(matches!(future, Err(Error::Future { .. })), "{future:?}");
}

async fn watches(store: &dyn Store) {
    let before = store.revision().await.unwrap();
    let one = write(store, vec![put("/watch/a", "1"), put("/watch/b", "1"), put("/unwatched/a", "1")]).await;
    write(store, vec![put("/watch/a", "2")]).await;
    write(store, vec![put("/unwatched/a", "2")]).await;
    let mut all = store.watch("/watch/", before).await.unwrap();
    let mut later = store.watch("/watch/", one).await.unwrap();
    write(store, vec![delete("/watch/a"), put("/watch/c", "1")]).await;
    let events = take(&mut all, 5).await;
    let lines: Vec<_> = events.iter().map(line).collect();
    let expected = ["+/watch/a=1 []", "+/watch/b=1 []", "+/watch/a=2 [1]", "-/watch/a [2]", "+/watch/c=1 []"];
    assert_eq!(lines, expected);
    let revisions: Vec<_> = events.iter().map(|event| event.revision - before).collect();
    assert_eq!(revisions, [1, 1, 2, 4, 4]);
    let deleted = events[3].previous.as_ref().unwrap();
    assert_eq!((deleted.create_revision, deleted.mod_revision), (one, one + 1));
    assert_eq!(take(&mut later, 3).await.iter().map(line).collect::<Vec<_>>(), expected[2..]);

    let future = store.watch("/watch/", before + 1000).await;
    assert!(matches!(future.err(), Some(Error::Future { .. })));
}

async fn concurrent_writers(store: &Arc<dyn Store>) {
    let tasks = (0..16).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let key: Arc<str> = "/counter".into();
            for _ in 0..10 {
                loop {
                    let now = store.get(&key).await.unwrap();
                    let value = now.as_ref().map_or(0u32, |now| String::from_utf8_lossy(&now.value).parse().unwrap());
                    let compare = match now {
                        Some(now) => Compare::ModRevision(Arc::clone(&key), now.mod_revision),
                        None => Compare::Absent(Arc::clone(&key)),
                    };
                    let outcome = store.txn(vec![compare], vec![put(&key, &(value + 1).to_string())]).await.unwrap();
                    if matches!(outcome, TxnOutcome::Committed(_)) {
                        break;
                    }
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(&store.get("/counter").await.unwrap().unwrap().value[..], b"160");
}

async fn a_watch_beside_writers_sees_each_change_once(store: &Arc<dyn Store>) {
    let before = store.revision().await.unwrap();
    let writers = (0..4).map(|writer| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for at in 0..50 {
                write(&*store, vec![put(&format!("/busy/{writer}"), &at.to_string())]).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut watchers = Vec::new();
    for _ in 0..4 {
        watchers.push(store.watch("/busy/", before).await.unwrap());
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for mut watcher in watchers {
        let events = take(&mut watcher, 200).await;
        assert!(events.windows(2).all(|pair| pair[0].revision < pair[1].revision));
        for writer in 0..4 {
            let key = format!("/busy/{writer}");
            let values = events.iter().filter(|event| *event.key == *key).map(|event| event.value.as_ref().unwrap());
            let values: Vec<_> = values.map(|value| String::from_utf8_lossy(&value.value).into_owned()).collect();
            assert!(values.iter().map(|value| value.parse::<u32>().unwrap()).eq(0..50), "{values:?}");
        }
    }
}

async fn compaction(store: &dyn Store) {
    let one = write(store, vec![put("/compact/a", "1"), put("/compact/b", "1")]).await;
    let two = write(store, vec![put("/compact/a", "2"), delete("/compact/b")]).await;
    let three = write(store, vec![put("/compact/a", "3")]).await;
    store.compact(two).await.unwrap();
    store.compact(one).await.expect("compacting what is compacted already does nothing");
    let at = |revision| Range { revision: Some(revision), ..prefix("/compact/") };
    let gone = store.range(at(one)).await.unwrap_err();
    assert!(matches!(gone, Error::Compacted { requested, oldest } if requested == one && oldest >= two), "{gone}");
    assert!(matches!(store.watch("/compact/", one - 1).await.err(), Some(Error::Compacted { .. })));
    assert_eq!(shown(&store.range(at(two)).await.unwrap().items), ["/compact/a=2"]);
    let mut watch = store.watch("/compact/", two).await.unwrap();
    assert_eq!(line(&take(&mut watch, 1).await[0]), "+/compact/a=3 [2]");
    store.compact(three).await.unwrap();
    assert_eq!(shown(&store.range(at(three)).await.unwrap().items), ["/compact/a=3"]);
    assert!(matches!(store.compact(three + 1000).await, Err(Error::Future { .. })));
    write(store, vec![put("/compact/a", "4")]).await;
    assert_eq!(line(&take(&mut watch, 1).await[0]), "+/compact/a=4 [3]");
}

//! What the store costs, as ratios in one run: `cargo bench -p isopod-store`. `ISOPOD_BENCH_DIR` chooses the disk.
//!
//! Durable creates beside one bare fdatasync per write; a list of 10,000 objects of 3 KB; the time from a write to its event
//! with 1 and 1,000 watchers, and with a watcher beside them that never reads.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "bench")]

use bytes::Bytes;
use futures::StreamExt as _;
use isopod_store::embedded::{Embedded, Options};
use isopod_store::{Compare, Op, Range, Store as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const OBJECT: usize = 3000;
const SYNCS: u64 = 500;
const CREATES: usize = 2000;
const OBJECTS: usize = 10_000;
const EVENTS: usize = 200;

fn main() {
    // `cargo test --all-targets` runs benches too, without this word; this one takes too long for that.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let at = match std::env::var_os("ISOPOD_BENCH_DIR") {
        Some(directory) => tempfile::tempdir_in(directory).unwrap(),
        None => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    };
    println!("objects of {OBJECT} bytes, on {}", at.path().display());
    let bare = bare_fdatasync(at.path());
    println!("bare fdatasync: {} each, {:.0} writes/s", show(bare), 1.0 / bare.as_secs_f64());
    for clients in [1, 16, 64] {
        let each = runtime.block_on(creates(&at.path().join(format!("creates-{clients}")), clients));
        let (rate, ratio) = (1.0 / each.as_secs_f64(), bare.as_secs_f64() / each.as_secs_f64());
        println!("durable creates, {clients:>2} clients: {rate:>7.0}/s = {ratio:.2} × one bare fdatasync per write");
    }
    runtime.block_on(reads_and_watches(&at.path().join("reads")));
}

fn show(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}

fn open(path: &Path) -> Arc<Embedded> {
    Arc::new(Embedded::open(path, &Options::default()).unwrap())
}

fn object(at: usize) -> Bytes {
    Bytes::from(format!("{at:>OBJECT$}"))
}

/// A write of one object into a preallocated file and a sync, which is the least a durable write can cost.
fn bare_fdatasync(directory: &Path) -> Duration {
    let file = std::fs::File::create(directory.join("bare")).unwrap();
    file.write_all_at(&vec![1; OBJECT * SYNCS as usize], 0).unwrap();
    file.sync_all().unwrap();
    let started = Instant::now();
    for at in 0..SYNCS {
        file.write_all_at(&object(at as usize), at * OBJECT as u64).unwrap();
        file.sync_data().unwrap();
    }
    started.elapsed() / SYNCS as u32
}

async fn creates(path: &Path, clients: usize) -> Duration {
    let store = open(path);
    let started = Instant::now();
    let tasks = (0..clients).map(|client| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for at in 0..CREATES / clients {
                let key: Arc<str> = format!("/registry/pods/default/{client}-{at}").into();
                let compare = Compare::Absent(Arc::clone(&key));
                store.txn(vec![compare], vec![Op::Put(key, object(at))]).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    started.elapsed() / CREATES as u32
}

async fn reads_and_watches(path: &Path) {
    let store = open(path);
    let keys: Vec<Arc<str>> = (0..OBJECTS).map(|at| format!("/registry/pods/default/{at}").into()).collect();
    for chunk in keys.chunks(500) {
        let ops = chunk.iter().map(|key| Op::Put(Arc::clone(key), object(0))).collect();
        store.txn(vec![], ops).await.unwrap();
    }
    let all = Range { prefix: "/registry/pods/".to_owned(), ..Range::default() };
    let page = Range { limit: 500, ..all.clone() };
    for (what, range) in [("all", all), ("a page of 500 of", page)] {
        let started = Instant::now();
        for _ in 0..20 {
            std::hint::black_box(store.range(range.clone()).await.unwrap());
        }
        println!("list {what} {OBJECTS}: {}", show(started.elapsed() / 20));
    }
    let one = event_latency(&store, 1, false).await;
    println!("from write to event, 1 watcher: {} (write answered after {})", show(one.1), show(one.0));
    for (slow, beside) in [(false, ""), (true, ", a slow watcher beside")] {
        let many = event_latency(&store, 1000, slow).await;
        let ratio = many.1.as_secs_f64() / one.1.as_secs_f64();
        println!(
            "from write to event, 1000 watchers{beside}: {} to the last of them = {ratio:.2} × 1 watcher (write answered after {})",
            show(many.1),
            show(many.0)
        );
    }
    let started = Instant::now();
    drop(store);
    let closed = started.elapsed();
    let started = Instant::now();
    drop(open(path));
    println!("close {}, open with {OBJECTS} objects {}", show(closed), show(started.elapsed()));
}

/// Medians over single writes: until the writer has its answer, and until the last watcher has the event.
async fn event_latency(store: &Arc<Embedded>, watchers: usize, slow: bool) -> (Duration, Duration) {
    let revision = store.revision().await.unwrap();
    let mut idle = if slow { Some(store.watch("/registry/", revision).await.unwrap()) } else { None };
    if let Some(idle) = &mut idle {
        // It has begun, and from now on does not read.
        store.txn(vec![], vec![Op::Put("/registry/begin".into(), object(0))]).await.unwrap();
        idle.next().await.unwrap().unwrap();
    }
    let (seen, mut arrivals) = tokio::sync::mpsc::channel(watchers);
    let mut tasks = Vec::new();
    for _ in 0..watchers {
        let mut watch = store.watch("/registry/pods/", store.revision().await.unwrap()).await.unwrap();
        let seen = seen.clone();
        tasks.push(tokio::spawn(async move {
            while watch.next().await.is_some_and(|batch| batch.is_ok()) && seen.send(()).await.is_ok() {}
        }));
    }
    let (mut answered, mut arrived) = (Vec::new(), Vec::new());
    for at in 0..EVENTS {
        let started = Instant::now();
        let writer = Arc::clone(store);
        let write = tokio::spawn(async move {
            writer.txn(vec![], vec![Op::Put("/registry/pods/default/0".into(), object(at))]).await.unwrap();
            started.elapsed()
        });
        for _ in 0..watchers {
            arrivals.recv().await.unwrap();
        }
        arrived.push(started.elapsed());
        answered.push(write.await.unwrap());
    }
    tasks.iter().for_each(|task| task.abort());
    (median(answered), median(arrived))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

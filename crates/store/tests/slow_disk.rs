//! While the disk takes its time: nothing is acknowledged, reads and watches go on, and what gathers shares one sync.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]
mod simulated;
mod suite;

use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _};
use isopod_store::embedded::{Embedded, Options};
use isopod_store::seal::KeyRing;
use isopod_store::{Store as _, TxnOutcome};
use simulated::SimFile;
use std::sync::Arc;
use std::time::Duration;
use suite::{prefix, put, write};

#[tokio::test]
async fn readers_do_not_wait_and_writers_share_a_sync() {
    let file = SimFile::new(vec![], None);
    let store = Arc::new(Embedded::open_file(file.raw(), KeyRing::default(), &Options::default()).unwrap());
    let good = write(&*store, vec![put("/a", "1")]).await;
    // The file has grown to its size for what follows: growing takes a sync of its own.
    write(&*store, vec![put("/big", &"x".repeat(200_000))]).await;
    let mut watch = store.watch("/", good).await.unwrap();
    watch.next().await.unwrap().unwrap();

    file.shut_gate(true);
    let before = file.syncs();
    let writers = (0..100).map(|at| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.txn(vec![], vec![put(&format!("/many/{at:02}"), "1")]).await })
    });
    let writers: Vec<_> = writers.collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(writers.iter().all(|writer| !writer.is_finished()), "acknowledged before it was durable");
    assert_eq!(store.revision().await.unwrap(), good + 1);
    assert_eq!(store.range(prefix("/")).await.unwrap().items.len(), 2);
    assert!(watch.next().now_or_never().is_none(), "seen before it was durable");
    file.shut_gate(false);

    let outcomes = join_all(writers).await.into_iter().map(|outcome| outcome.unwrap().unwrap());
    let mut revisions: Vec<_> = outcomes
        .map(|outcome| match outcome {
            TxnOutcome::Committed(revision) => revision,
            failed => panic!("{failed:?}"),
        })
        .collect();
    revisions.sort_unstable();
    assert!(revisions.iter().copied().eq(good + 2..good + 102), "each has a revision of its own");
    // The first went alone, the others gathered while it waited.
    let syncs = file.syncs() - before;
    assert!(syncs <= 3, "{syncs} syncs for 100 writers");
}

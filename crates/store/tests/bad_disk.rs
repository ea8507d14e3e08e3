//! A disk that is full, read-only, failing or damaged: a clear error, the store readable and correct, and well again later.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]
mod simulated;
mod suite;

use futures::StreamExt as _;
use isopod_store::embedded::{Embedded, Options};
use isopod_store::seal::KeyRing;
use isopod_store::{Compare, Error, Store as _, TxnOutcome};
use simulated::{Fault, SimFile};
use suite::{line, prefix, put, write};

fn open(file: &SimFile) -> Embedded {
    Embedded::open_file(file.raw(), KeyRing::default(), &Options::default()).unwrap()
}

#[tokio::test]
async fn refuses_writes_while_the_disk_does_and_goes_on_afterwards() {
    for fault in [Fault::Full, Fault::LosesWrites] {
        let file = SimFile::new(vec![], None);
        let store = open(&file);
        let good = write(&store, vec![put("/a", "1")]).await;
        let mut watch = store.watch("/", good).await.unwrap();
        file.set_fault(fault);
        for at in 0..3 {
            let refused =
                store.txn(vec![], vec![put("/a", "lost"), put(&format!("/lost/{at}"), "1")]).await.unwrap_err();
            assert!(matches!(refused, Error::Disk { .. }), "{fault:?}: {refused}");
            assert!(refused.to_string().starts_with("cannot write to store: "), "{refused}");
            // Reads and failed compares are right all the while.
            assert_eq!(store.revision().await.unwrap(), good);
            assert_eq!(&store.get("/a").await.unwrap().unwrap().value[..], b"1");
            let failed = store.txn(vec![Compare::Absent("/a".into())], vec![put("/a", "2")]).await.unwrap();
            assert!(matches!(failed, TxnOutcome::Failed { revision, .. } if revision == good));
        }
        file.set_fault(Fault::None);
        assert_eq!(write(&store, vec![put("/b", "1")]).await, good + 1);
        let events = watch.next().await.unwrap().unwrap();
        assert_eq!(events.iter().map(line).collect::<Vec<_>>(), ["+/b=1 []"], "{fault:?}");
        // A power loss that keeps nothing unsynced: what was refused is not there, what was acknowledged is.
        let store = open(&SimFile::new(file.after_power_loss(0), None));
        let keys = store.range(prefix("/")).await.unwrap().items.into_iter().map(|item| item.key.to_string());
        assert_eq!(keys.collect::<Vec<_>>(), ["/a", "/b"], "{fault:?}");
        assert_eq!(store.revision().await.unwrap(), good + 1);
    }
}

#[tokio::test]
async fn a_commit_that_failed_at_any_operation_never_shows_up() {
    // The disk fails for one commit at its n-th operation, then works: for every n.
    for at in 1..20 {
        let file = SimFile::new(vec![], None);
        let store = open(&file);
        let good = write(&store, vec![put("/a", "1")]).await;
        let dies_at = file.operations() + at;
        let failing = file.clone();
        failing.set_dies_at(Some(dies_at));
        let outcome = store.txn(vec![], vec![put("/lost", &"x".repeat(9000))]).await;
        failing.set_dies_at(None);
        failing.set_fault(Fault::None);
        let refused = outcome.is_err();
        let expected = good + if refused { 1 } else { 2 };
        assert_eq!(write(&store, vec![put("/b", "1")]).await, expected, "operation {at}");
        drop(store);
        for seed in 0..4 {
            let store = open(&SimFile::new(file.after_power_loss(seed), None));
            assert_eq!(store.get("/lost").await.unwrap().is_none(), refused, "operation {at}");
            assert_eq!(store.revision().await.unwrap(), expected);
        }
    }
}

#[test]
fn directories_that_cannot_be_used() {
    let at = tempfile::tempdir().unwrap();
    let file = at.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = Embedded::open(&file, &Options::default()).unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot write to {}: File exists (os error 17)", file.display()));
    let refused = Embedded::open(std::path::Path::new("/proc/isopod"), &Options::default()).unwrap_err();
    assert!(matches!(refused, Error::Disk { .. }), "{refused}");
    assert!(refused.to_string().starts_with("cannot write to /proc/isopod: "), "{refused}");
}

#[tokio::test]
async fn damage_is_reported_and_never_panics() {
    let file = SimFile::new(vec![], None);
    let store = open(&file);
    for at in 0..20 {
        write(&store, vec![put(&format!("/{at}"), &"v".repeat(1000))]).await;
    }
    drop(store);
    let good = file.after_power_loss(1);
    let mut reported = 0;
    let step = if std::env::var_os("ISOPOD_SOAK").is_some() { 61 } else { 4093 };
    for at in (0..good.len()).step_by(step) {
        let mut image = good.clone();
        image[at] ^= 0x40;
        match Embedded::open_file(SimFile::new(image, None).raw(), KeyRing::default(), &Options::default()) {
            // A page that is not in use, or an older copy.
            Ok(store) => {
                let items = store.range(prefix("/")).await.unwrap().items;
                assert!(items.len() >= 19, "{} of 20 left after byte {at}", items.len());
                assert!(
                    items.iter().all(|item| item.value.len() == 1000 && item.value.iter().all(|byte| *byte == b'v'))
                );
            }
            Err(Error::Damaged(_)) => reported += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(reported > 0);
    let nonsense = SimFile::new(b"not a database at all".repeat(1000), None);
    let refused = Embedded::open_file(nonsense.raw(), KeyRing::default(), &Options::default()).unwrap_err();
    assert!(matches!(refused, Error::Damaged(_)), "{refused}");
}

#[tokio::test]
async fn pages_that_a_failed_sync_lost_are_written_again() {
    // The commit that fails changes pages on the left of the tree (it removes old rows), which no later commit touches.
    let file = SimFile::new(vec![], None);
    let store = open(&file);
    for at in 0..100 {
        write(&store, vec![put(&format!("/{}", at / 2), &"r".repeat(300))]).await;
    }
    file.set_fault(Fault::LosesWrites);
    store.compact(60).await.unwrap_err();
    file.set_fault(Fault::None);
    write(&store, vec![put("/more", "1")]).await;
    let store = open(&SimFile::new(file.after_power_loss(0), None));
    assert_eq!(store.range(prefix("/")).await.unwrap().items.len(), 51);
}

/// `mount -t tmpfs -o size=2m none DIR; ISOPOD_SMALL_FS=DIR cargo test -p isopod-store --test bad_disk -- --ignored`
#[tokio::test]
#[ignore = "needs a file system of a few megabytes"]
async fn a_real_file_system_runs_full() {
    let at = tempfile::tempdir_in(std::env::var_os("ISOPOD_SMALL_FS").unwrap()).unwrap();
    let store = Embedded::open(at.path(), &Options::default()).unwrap();
    let ballast = at.path().join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let mut written = Vec::new();
    let refused = loop {
        let key = format!("/{}", written.len());
        match store.txn(vec![], vec![put(&key, &"x".repeat(10_000))]).await {
            Ok(_) => written.push(key),
            Err(error) => break error,
        }
        assert!(written.len() < 100_000, "ISOPOD_SMALL_FS is not small");
    };
    assert!(refused.to_string().ends_with("No space left on device (os error 28)"), "{refused}");
    assert_eq!(store.range(prefix("/")).await.unwrap().items.len(), written.len());
    // It can be opened while the disk is full, and goes on when there is room.
    drop(store);
    let store = Embedded::open(at.path(), &Options::default()).unwrap();
    assert_eq!(store.range(prefix("/")).await.unwrap().items.len(), written.len());
    store.txn(vec![], vec![put("/more", &"x".repeat(100_000))]).await.unwrap_err();
    std::fs::remove_file(ballast).unwrap();
    write(&store, vec![put("/more", &"x".repeat(100_000))]).await;
    drop(store);
    let store = Embedded::open(at.path(), &Options::default()).unwrap();
    assert_eq!(store.range(prefix("/")).await.unwrap().items.len(), written.len() + 1);
}

//! Power loss after every n-th operation on the file: what was acknowledged is there, the rest wholly or not at all.
//! `ISOPOD_SOAK=50` tries 50 ways of tearing what was not synced at each operation.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]
mod simulated;
mod suite;

use futures::future::join_all;
use isopod_store::embedded::{Embedded, Options};
use isopod_store::seal::KeyRing;
use isopod_store::{KeyValue, Op, Range, Revision, Store as _, TxnOutcome};
use simulated::SimFile;
use std::collections::BTreeMap;
use suite::{delete, prefix, put};

type Picture = BTreeMap<String, String>;

fn open(file: &SimFile) -> isopod_store::Result<Embedded> {
    // Secrets are sealed with a key that each opening can rebuild.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, "00000001 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    Embedded::open_file(file.raw(), KeyRing::load(&path).unwrap(), &Options::default())
}

/// The file of an empty store. (A new store is made under another name and then renamed.)
fn empty() -> Vec<u8> {
    let file = SimFile::new(vec![], None);
    drop(open(&file).unwrap());
    file.after_power_loss(0)
}

/// Transactions of one to three writes, large values among them so that the file grows, secrets, deletions, compactions.
fn script() -> Vec<Vec<Op>> {
    let step = |at: usize| match at % 6 {
        0 => vec![put(&format!("/registry/pods/{at}"), "new"), put("/registry/pods/shared", &at.to_string())],
        1 => vec![put("/registry/big", &"x".repeat(3000 * at))],
        2 => vec![put("/registry/secrets/s", &format!("secret {at}")), delete("/registry/pods/0")],
        3 => vec![put("/registry/pods/0", &at.to_string())],
        4 => vec![delete("/registry/pods/shared"), delete("/registry/big"), put("/registry/a", &at.to_string())],
        _ => vec![put("/registry/z", &at.to_string())],
    };
    (0..30).map(step).collect()
}

const COMPACT_AFTER: [usize; 2] = [12, 22];

/// What the store holds at each revision.
fn pictures() -> BTreeMap<Revision, Picture> {
    let mut pictures = BTreeMap::from([(1, Picture::new())]);
    for ops in script() {
        let (revision, mut picture) =
            pictures.last_key_value().map(|(revision, picture)| (*revision, picture.clone())).unwrap();
        for op in ops {
            match op {
                Op::Put(key, value) => {
                    picture.insert(key.to_string(), String::from_utf8(value.to_vec()).unwrap());
                }
                Op::Delete(key) => {
                    picture.remove(&*key);
                }
            }
        }
        pictures.insert(revision + 1, picture);
    }
    pictures
}

fn picture(items: Vec<KeyValue>) -> Picture {
    items.into_iter().map(|item| (item.key.to_string(), String::from_utf8(item.value.to_vec()).unwrap())).collect()
}

/// Runs the script until the disk dies; gives the last acknowledged revision, 0 if the store did not even open.
async fn run_script(file: &SimFile) -> Revision {
    let Ok(store) = open(file) else { return 0 };
    let mut acknowledged = store.revision().await.unwrap();
    for (at, ops) in script().into_iter().enumerate() {
        match store.txn(vec![], ops).await {
            Ok(TxnOutcome::Committed(revision)) => acknowledged = revision,
            Ok(failed) => panic!("{failed:?}"),
            Err(_) => break,
        }
        if COMPACT_AFTER.contains(&at) && store.compact(acknowledged - 3).await.is_err() {
            break;
        }
    }
    assert_eq!(store.revision().await.unwrap(), acknowledged, "memory shows only what was acknowledged");
    acknowledged
}

/// Every revision that is kept reads as it was written.
async fn check(store: &Embedded, acknowledged: Revision, expected: &BTreeMap<Revision, Picture>) {
    let stats = store.stats().await.unwrap();
    assert!(stats.revision >= acknowledged, "{} is back at {}", acknowledged, stats.revision);
    assert!(stats.revision <= acknowledged.max(1) + 1, "{} was asked for, {} found", acknowledged, stats.revision);
    for revision in stats.oldest.max(1)..=stats.revision {
        let range = Range { revision: Some(revision), ..prefix("/") };
        assert_eq!(&picture(store.range(range).await.unwrap().items), &expected[&revision], "at {revision}");
    }
}

/// How many ways of losing part of what was not synced are tried for each operation: more in a soak.
fn torn_images() -> u64 {
    std::env::var("ISOPOD_SOAK").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2)
}

#[tokio::test]
async fn soak_after_every_operation() {
    let expected = pictures();
    let whole = SimFile::new(empty(), None);
    assert_eq!(run_script(&whole).await, *expected.last_key_value().unwrap().0);
    let operations = whole.operations();
    assert!(operations > 150, "{operations}");
    for dies_at in 1..=operations {
        let file = SimFile::new(empty(), Some(dies_at));
        let acknowledged = run_script(&file).await;
        let torn = (0..torn_images()).map(|image| image << 32 | dies_at as u64 | 1 << 16);
        for seed in [0, 1].into_iter().chain(torn) {
            let image = file.after_power_loss(seed);
            let store = match open(&SimFile::new(image, None)) {
                Ok(store) => store,
                Err(error) => panic!("after operation {dies_at} of {operations}, seed {seed}: {error}"),
            };
            check(&store, acknowledged, &expected).await;
            let before = store.revision().await.unwrap();
            assert_eq!(store.txn(vec![], vec![put("/more", "1")]).await.unwrap(), TxnOutcome::Committed(before + 1));
        }
    }
}

#[tokio::test]
async fn soak_again_while_recovering() {
    let expected = pictures();
    let whole = SimFile::new(empty(), None);
    run_script(&whole).await;
    let step = if torn_images() > 2 { 1 } else { 7 };
    for dies_at in (1..=whole.operations()).step_by(step) {
        let file = SimFile::new(empty(), Some(dies_at));
        let acknowledged = run_script(&file).await;
        let mut image = file.after_power_loss(dies_at as u64);
        for again_at in 1..1000 {
            let file = SimFile::new(image.clone(), Some(again_at));
            let recovered = open(&file).is_ok();
            if recovered && file.operations() < again_at {
                break;
            }
            image = file.after_power_loss((dies_at * 1000 + again_at) as u64);
        }
        check(&open(&SimFile::new(image, None)).unwrap(), acknowledged, &expected).await;
    }
}

#[tokio::test]
async fn concurrent_transactions_are_whole_or_absent() {
    const CLIENTS: usize = 4;
    let mut any_lost = false;
    for dies_at in (20..220).step_by(3) {
        let file = SimFile::new(empty(), Some(dies_at));
        let mut acknowledged = BTreeMap::new();
        let mut asked = 0;
        if let Ok(store) = open(&file) {
            for round in 0..20 {
                let client = async |client: usize| {
                    let id = round * CLIENTS + client;
                    let ops = vec![put(&format!("/{id}/a"), "x"), put(&format!("/{id}/b"), &"y".repeat(2000))];
                    (id, store.txn(vec![], ops).await)
                };
                asked += CLIENTS;
                for (id, result) in join_all((0..CLIENTS).map(client)).await {
                    if let Ok(TxnOutcome::Committed(revision)) = result {
                        acknowledged.insert(id, revision);
                    }
                }
            }
        }
        any_lost |= acknowledged.len() < asked;
        let store = open(&SimFile::new(file.after_power_loss(dies_at as u64), None)).unwrap();
        for id in 0..asked {
            let found = store.range(prefix(&format!("/{id}/"))).await.unwrap().items;
            let revisions: Vec<_> = found.iter().map(|item| item.mod_revision).collect();
            match acknowledged.get(&id) {
                Some(revision) => assert_eq!(revisions, [*revision; 2], "transaction {id}, crash at {dies_at}"),
                None => assert!(revisions.is_empty() || revisions.len() == 2 && revisions[0] == revisions[1]),
            }
        }
    }
    assert!(any_lost, "the crashes came before the end");
}

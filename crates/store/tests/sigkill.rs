//! SIGKILL at random moments under write load: what was acknowledged is there, whole. `ISOPOD_SOAK=300` does it 300 times.
//!
//! (The kernel keeps the page cache of a killed process; power loss is `power_loss.rs`.)
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]
mod suite;

use isopod_store::embedded::{Embedded, History, Options};
use isopod_store::{Store as _, TxnOutcome};
use rand::Rng as _;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use suite::{delete, prefix, put};

const VICTIM: &str = "ISOPOD_STORE_VICTIM";
const WRITERS: usize = 8;
const DEFAULT_ROUNDS: usize = 5;

fn options() -> Options {
    // Compaction runs all the time.
    Options { history: History { max_events: 200, ..History::default() }, ..Options::default() }
}

/// Writes until it is killed, and prints each acknowledged transaction. Does nothing when run as a test.
#[test]
fn victim() {
    let Ok(directory) = std::env::var(VICTIM) else { return };
    let store = Arc::new(Embedded::open(Path::new(&directory), &options()).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // Makes names that no earlier victim used.
        let first = store.revision().await.unwrap();
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&store), first, writer)));
        let writers: Vec<_> = writers.collect();
        // The key that seals secrets changes all the while.
        loop {
            tokio::time::sleep(Duration::from_millis(rand::rng().random_range(1..40))).await;
            store.rotate().await.unwrap();
            if writers.iter().all(|writer| writer.is_finished()) {
                break;
            }
        }
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write(store: Arc<Embedded>, first: u64, writer: usize) {
    for at in 0u64.. {
        let id = format!("{first}-{writer}-{at}");
        let shared = format!("/registry/secrets/{writer}");
        let mut ops =
            vec![put(&format!("/registry/pods/{id}/a"), &id), put(&format!("/registry/pods/{id}/b"), &id.repeat(50))];
        ops.push(if at % 5 == 4 { delete(&shared) } else { put(&shared, &id) });
        match store.txn(vec![], ops).await.unwrap() {
            TxnOutcome::Committed(revision) => println!("ack {id} {revision}"),
            failed => panic!("{failed:?}"),
        }
    }
}

#[tokio::test]
async fn soak_acknowledged_writes_survive() {
    let rounds = std::env::var("ISOPOD_SOAK").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(DEFAULT_ROUNDS);
    let mut directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..rounds {
        if round % 20 == 19 {
            (directory, acknowledged) = (tempfile::tempdir().unwrap(), BTreeMap::new());
        }
        let before = acknowledged.len();
        // Now and then it is killed while it opens the store.
        let after = Duration::from_millis(rand::rng().random_range(if round % 4 == 3 { 0..60 } else { 60..400 }));
        kill_a_victim(directory.path(), after, &mut acknowledged);
        check(directory.path(), &acknowledged).await;
        println!("round {round}: killed after {after:?}, {} writes acknowledged", acknowledged.len() - before);
    }
}

fn kill_a_victim(directory: &Path, after: Duration, acknowledged: &mut BTreeMap<String, u64>) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    std::thread::sleep(after);
    victim.kill().unwrap();
    victim.wait().unwrap();
    for line in reader.join().unwrap() {
        // The last line may be cut short: then its write need not count. The test runner's own words are no acknowledgement.
        if let Some((id, revision)) = line.rsplit_once("ack ").and_then(|(_, ack)| ack.split_once(' ')) {
            acknowledged.insert(id.to_owned(), revision.parse().unwrap_or(0));
        }
    }
}

async fn check(directory: &Path, acknowledged: &BTreeMap<String, u64>) {
    let store = Embedded::open(directory, &options()).unwrap();
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for item in store.range(prefix("/registry/pods/")).await.unwrap().items {
        let id = item.key.split('/').nth(3).unwrap();
        assert!(item.value.starts_with(id.as_bytes()));
        found.entry(id.to_owned()).or_default().push(item.mod_revision);
    }
    for (id, revisions) in &found {
        assert!(revisions.len() == 2 && revisions[0] == revisions[1], "half of {id}: {revisions:?}");
    }
    for (id, revision) in acknowledged {
        let revisions = found.get(id).unwrap_or_else(|| panic!("{id} was acknowledged and is gone"));
        // A revision that was cut short is a prefix of the real one, or missing.
        assert!(
            revisions[0].to_string().starts_with(&revision.to_string()) || *revision == 0,
            "{id} {revision} {revisions:?}"
        );
    }
    let newest = found.values().flatten().max().copied().unwrap_or(1);
    assert_eq!(store.revision().await.unwrap(), newest, "every transaction writes a pod");
}

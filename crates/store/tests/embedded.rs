//! The embedded engine: the common suite, then what is its own (restart, limits of history, slow watchers, secrets on disk).
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]
mod suite;

use futures::StreamExt as _;
use isopod_store::embedded::{Embedded, History, Options};
use isopod_store::{Error, Range, Store as _};
use std::sync::Arc;
use std::time::Duration;
use suite::{delete, line, prefix, put, write};

fn open(path: &std::path::Path) -> Embedded {
    Embedded::open(path, &Options::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let at = tempfile::tempdir().unwrap();
    suite::run(Arc::new(open(at.path()))).await;
}

#[tokio::test]
async fn a_restart_keeps_objects_and_history() {
    let at = tempfile::tempdir().unwrap();
    let store = open(at.path());
    let one = write(&store, vec![put("/a", "1"), put("/b", "1"), put("/c", "1")]).await;
    let two = write(&store, vec![put("/a", "2"), delete("/b")]).await;
    let before = (store.range(prefix("/")).await.unwrap().items, store.stats().await.unwrap());
    drop(store);

    let store = open(at.path());
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.keys, stats.revision, stats.oldest), (2, two, before.1.oldest));
    assert!(stats.disk_bytes > 0);
    assert_eq!(store.range(prefix("/")).await.unwrap().items, before.0);
    let old = store.range(Range { revision: Some(one), ..prefix("/") }).await.unwrap();
    assert_eq!(old.items.len(), 3);
    let mut watch = store.watch("/", one).await.unwrap();
    let events = watch.next().await.unwrap().unwrap();
    assert_eq!(events.iter().map(line).collect::<Vec<_>>(), ["+/a=2 [1]", "-/b [1]"]);

    // What is compacted stays compacted; an object untouched for long stays; the revision never goes back.
    let three = write(&store, vec![delete("/a")]).await;
    store.compact(three).await.unwrap();
    drop((store, watch));
    let store = open(at.path());
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.keys, stats.revision, stats.oldest), (1, three, three));
    let gone = store.range(Range { revision: Some(two), ..prefix("/") }).await.unwrap_err();
    assert!(matches!(gone, Error::Compacted { .. }), "{gone}");
    assert_eq!(write(&store, vec![put("/a", "4")]).await, three + 1);
}

#[tokio::test]
async fn history_is_bounded_and_a_slow_watcher_is_let_go() {
    let at = tempfile::tempdir().unwrap();
    let history = History { max_events: 2000, ..History::default() };
    let store = Embedded::open(at.path(), &Options { history, ..Options::default() }).unwrap();
    let start = store.revision().await.unwrap();
    let mut slow = store.watch("/", start).await.unwrap();
    let mut quick = store.watch("/", start).await.unwrap();
    let quick = tokio::spawn(async move {
        let mut seen = 0;
        while seen < 5000 {
            seen += quick.next().await.unwrap().unwrap().len();
        }
        drop(quick);
    });
    for round in 0..50 {
        write(&store, (0..100).map(|at| put(&format!("/{at:03}"), &round.to_string())).collect()).await;
    }
    tokio::time::timeout(Duration::from_secs(20), quick).await.expect("the quick one is not held up").unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.keys, 100);
    let kept = stats.revision - stats.oldest;
    // The writer lets history go after it has told the watchers: one more may be there.
    assert!((10..=21).contains(&kept), "{kept} transactions of 100 events");
    let next = slow.next().await.unwrap();
    assert!(matches!(next, Err(Error::TooSlow)), "{next:?}");
    assert!(slow.next().await.is_none());
}

#[tokio::test]
async fn a_watcher_that_falls_behind_the_ring_catches_up_from_history() {
    let at = tempfile::tempdir().unwrap();
    let store = open(at.path());
    let mut watch = store.watch("/", store.revision().await.unwrap()).await.unwrap();
    write(&store, vec![put("/0", "first")]).await;
    watch.next().await.unwrap().unwrap();
    for at in 0..1500 {
        write(&store, vec![put("/1", &at.to_string())]).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 1500 {
        seen.extend(watch.next().await.unwrap().unwrap().iter().map(|event| event.revision));
    }
    assert_eq!(seen.len(), 1500);
    assert!(seen.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

#[tokio::test]
async fn closing_ends_watches() {
    let at = tempfile::tempdir().unwrap();
    let store = open(at.path());
    let mut watch = store.watch("/", 1).await.unwrap();
    drop(store);
    assert!(matches!(watch.next().await, Some(Err(Error::Closed))));
    assert!(watch.next().await.is_none());
}

fn files_contain(directory: &std::path::Path, text: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text)
    })
}

#[tokio::test]
async fn secrets_are_sealed_on_disk_and_keys_rotate() {
    let at = tempfile::tempdir().unwrap();
    let secret = "/registry/secrets/default/token";
    let store = open(at.path());
    write(&store, vec![put(secret, "hunter2-hunter2"), put("/registry/pods/default/a", "plain-as-day")]).await;
    let one = write(&store, vec![put(secret, "hunter3-hunter3")]).await;
    assert_eq!(&store.get(secret).await.unwrap().unwrap().value[..], b"hunter3-hunter3");
    drop(store);
    assert!(files_contain(at.path(), b"plain-as-day"), "the search finds what is there");
    assert!(!files_contain(at.path(), b"hunter"));

    let key_file = at.path().join("encryption.key");
    let old_keys = std::fs::read(&key_file).unwrap();
    let store = open(at.path());
    store.rotate().await.unwrap();
    write(&store, vec![put("/registry/secrets/default/other", "hunter4-hunter4")]).await;
    drop(store);
    assert!(!files_contain(at.path(), b"hunter"));
    let new_keys = std::fs::read(&key_file).unwrap();
    assert_ne!(old_keys, new_keys);
    let store = open(at.path());
    assert_eq!(&store.get(secret).await.unwrap().unwrap().value[..], b"hunter3-hunter3");
    let old = store.range(Range { revision: Some(one - 1), ..prefix(secret) }).await.unwrap();
    assert_eq!(&old.items[0].value[..], b"hunter2-hunter2");
    drop(store);

    // The old key alone opens nothing any more; nor does a directory whose key was lost, and no new one is made up.
    std::fs::write(&key_file, old_keys).unwrap();
    let refused = Embedded::open(at.path(), &Options::default()).unwrap_err();
    assert!(refused.to_string().contains("which is not in the encryption key file"), "{refused}");
    std::fs::remove_file(&key_file).unwrap();
    assert!(matches!(Embedded::open(at.path(), &Options::default()), Err(Error::Sealed { .. })));
    assert!(!key_file.exists());
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(elsewhere.path(), new_keys).unwrap();
    let given = Options { key_file: Some(elsewhere.path().to_owned()), ..Options::default() };
    Embedded::open(at.path(), &given).unwrap();
    let missing = Options { key_file: Some(at.path().join("mistyped")), ..Options::default() };
    assert!(matches!(Embedded::open(at.path(), &missing), Err(Error::KeyFile { .. })));
    assert!(!at.path().join("mistyped").exists());
}

fn fixture() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// Writes the fixture of a new format: `cargo test -p isopod-store --test embedded -- --ignored write_the_fixture`.
#[tokio::test]
#[ignore = "writes into the source tree, once for each format"]
async fn write_the_fixture() {
    let store = open(&fixture());
    write(&store, vec![put("/registry/pods/default/a", "1"), put("/registry/pods/default/b", "1")]).await;
    write(&store, vec![put("/registry/secrets/default/s", "hunter2"), delete("/registry/pods/default/b")]).await;
    write(&store, vec![put("/registry/pods/default/a", "2")]).await;
    store.compact(2).await.unwrap();
    drop(store);
    std::fs::remove_file(fixture().join("lock")).unwrap();
}

#[tokio::test]
async fn a_directory_of_format_1_is_opened() {
    let at = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), at.path().join(entry.file_name())).unwrap();
    }
    let store = open(at.path());
    let items = store.range(prefix("/")).await.unwrap().items;
    let shown = items.iter().map(|item| {
        let value = String::from_utf8_lossy(&item.value);
        format!("{}={value} created {} changed {}", item.key, item.create_revision, item.mod_revision)
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        ["/registry/pods/default/a=2 created 2 changed 4", "/registry/secrets/default/s=hunter2 created 3 changed 3"]
    );
    let mut watch = store.watch("/", 2).await.unwrap();
    let mut lines = Vec::new();
    while lines.len() < 3 {
        lines.extend(watch.next().await.unwrap().unwrap().iter().map(line));
    }
    let expected =
        ["-/registry/pods/default/b [1]", "+/registry/secrets/default/s=hunter2 []", "+/registry/pods/default/a=2 [1]"];
    assert_eq!(lines, expected);
    assert_eq!(write(&store, vec![put("/more", "1")]).await, 5);
}

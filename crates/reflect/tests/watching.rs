//! The watch loop against a scripted server: streaming lists and their fallback, resuming, 410, silence, coalescing, expectations.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test may stop at what it did not expect"
)]
#![expect(clippy::unwrap_used, reason = "a test")]
use futures::stream::{BoxStream, StreamExt};
use isopod_reflect::{Expectations, Key, Reflector, Source, SourceError};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::WatchEvent;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What the server does at the next request.
enum Answer {
    List(Vec<ConfigMap>, &'static str),
    /// These events, then the stream ends; or it stays open.
    Watch(Vec<WatchEvent<ConfigMap>>, bool),
    Refuse(SourceError),
}

#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// `list`, `stream`, `watch VERSION`
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn new(answers: Vec<Answer>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into())), asked: Arc::default() }
    }
}

#[async_trait::async_trait]
impl Source<ConfigMap> for Script {
    async fn list(&self) -> Result<(Vec<ConfigMap>, String), SourceError> {
        self.asked.lock().push("list".into());
        let answer = self.answers.lock().pop_front();
        match answer {
            Some(Answer::List(items, version)) => Ok((items, version.into())),
            Some(Answer::Refuse(e)) => Err(e),
            _ => std::future::pending().await,
        }
    }
    async fn watch(
        &self,
        version: Option<&str>,
        _timeout: u32,
    ) -> Result<BoxStream<'static, Result<WatchEvent<ConfigMap>, SourceError>>, SourceError> {
        self.asked.lock().push(version.map_or("stream".into(), |v| format!("watch {v}")));
        let answer = self.answers.lock().pop_front();
        match answer {
            Some(Answer::Watch(events, open)) => {
                let events = futures::stream::iter(events.into_iter().map(Ok));
                Ok(if open { events.chain(futures::stream::pending()).boxed() } else { events.boxed() })
            }
            Some(Answer::Refuse(e)) => Err(e),
            _ => Ok(futures::stream::pending().boxed()),
        }
    }
}

fn map(name: &str, version: &str) -> ConfigMap {
    serde_json::from_value(
        json!({"metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": version,
        "labels": {"first": &name[..1]}}}),
    )
    .unwrap()
}

fn bookmark(version: &str, end: bool) -> WatchEvent<ConfigMap> {
    let annotations = if end { json!({"k8s.io/initial-events-end": "true"}) } else { json!({}) };
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": version, "annotations": annotations}});
    serde_json::from_value(json!({"type": "BOOKMARK", "object": object})).unwrap()
}

fn gone() -> WatchEvent<ConfigMap> {
    serde_json::from_value(
        json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}}),
    )
    .unwrap()
}

fn names(reflector: &Reflector<ConfigMap>) -> Vec<String> {
    let mut names: Vec<String> = reflector.list().iter().map(|m| m.metadata.name.clone().unwrap()).collect();
    names.sort();
    names
}

/// Lets the paused clock run until the loop has nothing to do.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(120)).await;
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_is_one_picture_and_is_followed() {
    use WatchEvent::{Added, Deleted, Modified};
    let script = Script::new(vec![
        Answer::Watch(
            vec![
                Added(map("a", "3")),
                Added(map("b", "5")),
                bookmark("7", true),
                Modified(map("a", "8")),
                Deleted(map("b", "9")),
            ],
            false,
        ),
        Answer::Watch(vec![Added(map("c", "12")), bookmark("40", false)], false),
    ]);
    let reflector = Reflector::start(Box::new(script.clone()));
    let mut changes = reflector.subscribe();
    reflector.synced().await;
    settle().await;
    assert_eq!(names(&reflector), ["a", "c"]);
    assert_eq!(reflector.resource_version(), 40);
    assert_eq!(*script.asked.lock(), ["stream", "watch 9", "watch 40"], "it goes on where it was");
    // Nobody listened meanwhile: b came and went, a is told once, as it is now.
    let told: Vec<_> = changes
        .take()
        .into_iter()
        .map(|c| (c.key.name.to_string(), c.old.is_some(), c.new.and_then(|n| n.metadata.resource_version.clone())))
        .collect();
    let mut sorted = told.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [("a".into(), false, Some("8".into())), ("b".into(), false, None), ("c".into(), false, Some("12".into()))]
    );
    // Who comes later hears what there is.
    let mut later = reflector.subscribe();
    assert_eq!(later.take().len(), 2);
    assert!(later.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_streaming_lists_it_lists() {
    let script = Script::new(vec![
        Answer::Refuse(SourceError::NoStreamingList),
        Answer::List(vec![map("a", "3")], "4"),
        Answer::Watch(vec![WatchEvent::Added(map("b", "5"))], true),
    ]);
    let reflector = Reflector::start(Box::new(script.clone()));
    settle().await;
    assert_eq!(names(&reflector), ["a", "b"]);
    assert_eq!(*script.asked.lock(), ["stream", "list", "watch 4"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_listed_anew_and_differences_are_told() {
    let script = Script::new(vec![
        Answer::Watch(
            vec![WatchEvent::Added(map("a", "3")), WatchEvent::Added(map("b", "3")), bookmark("4", true), gone()],
            true,
        ),
        Answer::Watch(
            vec![WatchEvent::Added(map("b", "3")), WatchEvent::Added(map("c", "50")), bookmark("60", true)],
            true,
        ),
    ]);
    let reflector = Reflector::start(Box::new(script.clone()));
    let mut changes = reflector.subscribe();
    reflector.synced().await;
    changes.take();
    settle().await;
    assert_eq!(names(&reflector), ["b", "c"]);
    let mut told: Vec<_> = changes.take().into_iter().map(|c| (c.key.name.to_string(), c.new.is_some())).collect();
    told.sort();
    assert_eq!(told, [("a".into(), false), ("c".into(), true)], "b did not change");
    assert_eq!(*script.asked.lock(), ["stream", "stream"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_yet_is_asked_again_with_patience() {
    let refuse = || Answer::Refuse(SourceError::Status("not yet".into()));
    let script = Script::new(vec![refuse(), refuse(), refuse(), Answer::Watch(vec![bookmark("1", true)], true)]);
    let reflector = Reflector::start(Box::new(script.clone()));
    assert!(!reflector.is_synced());
    let start = tokio::time::Instant::now();
    reflector.synced().await;
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(150) && waited < Duration::from_secs(1), "{waited:?}");
    assert_eq!(script.asked.lock().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn indexes_follow() {
    let script = Script::new(vec![Answer::Watch(
        vec![
            WatchEvent::Added(map("a1", "3")),
            WatchEvent::Added(map("a2", "3")),
            bookmark("4", true),
            WatchEvent::Added(map("b1", "5")),
            WatchEvent::Deleted(map("a1", "6")),
        ],
        true,
    )]);
    let reflector = Reflector::start(Box::new(script));
    reflector.add_index("first", |m: &ConfigMap| m.metadata.labels.iter().flatten().map(|(_, v)| v.clone()).collect());
    settle().await;
    let count = |v: &str| reflector.by_index("first", v).len();
    assert_eq!((count("a"), count("b"), count("c")), (1, 1, 0));
    // An index that comes late is as good.
    reflector.add_index("late", |m: &ConfigMap| m.metadata.name.iter().cloned().collect());
    assert_eq!(reflector.by_index("late", "b1").len(), 1);
    assert!(reflector.by_index("none", "b1").is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_twice_before_it_is_seen() {
    let script = Script::new(vec![Answer::Watch(vec![WatchEvent::Added(map("a", "3")), bookmark("4", true)], true)]);
    let reflector = Reflector::start(Box::new(script));
    settle().await;
    let expected: Expectations<&str> = Expectations::default();
    assert!(!expected.outstanding(&"me", &reflector));
    expected.wrote(&"me", &map("b", "9").metadata);
    assert!(expected.outstanding(&"me", &reflector), "version 9 is not here yet");
    assert!(!expected.outstanding(&"other", &reflector));
    expected.forget(&"me");
    expected.wrote(&"me", &map("a", "3").metadata);
    assert!(!expected.outstanding(&"me", &reflector), "the mirror was faster");
    expected.deleted(&"me", Key::new("ns", "a"), Some("a".into()));
    assert!(expected.outstanding(&"me", &reflector), "it is still there");
    expected.forget(&"me");
    expected.deleted(&"me", Key::new("ns", "a"), Some("an older one".into()));
    assert!(!expected.outstanding(&"me", &reflector), "that one is gone, this is another");
    // What never comes does not hold us up for ever.
    expected.wrote(&"me", &map("b", "99").metadata);
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert!(!expected.outstanding(&"me", &reflector));
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_it() {
    let script = Script::new(vec![Answer::Watch(vec![bookmark("4", true)], true)]);
    let reflector = Reflector::start(Box::new(script));
    let mut changes = reflector.subscribe();
    reflector.synced().await;
    drop(reflector);
    assert!(changes.next_batch().await.is_none());
}

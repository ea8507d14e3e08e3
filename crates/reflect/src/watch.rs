//! The loop that keeps a mirror true.
//!
//! ```text
//! Unsynced ─ streaming list, or list ─▶ Following(version) ─ stream ends ─▶ Following(version)   (resumes)
//!     ▲                                        │
//!     └──────────────── 410 Gone ──────────────┘   (what is mirrored stays readable meanwhile)
//! ```
use crate::backoff::Backoff;
use crate::reflector::Shared;
use crate::source::{Source, SourceError};
use crate::{HasMeta, Key};
use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::WatchEvent;
use rand::Rng;
use std::collections::HashMap;
use std::sync::Weak;

/// Seconds a watch is asked to last, as client-go: spread, so that not all end together. kube allows at most 294.
const TIMEOUT: std::ops::Range<u32> = 240..294;
/// Marks the bookmark after the last initial event.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Where the loop is.
enum State {
    /// Nothing is known, or what is known cannot be followed any more.
    Unsynced,
    /// True up to this version.
    Following(String),
}

type Events<K> = BoxStream<'static, Result<WatchEvent<K>, SourceError>>;

/// Runs until the last handle to the mirror is gone.
pub(crate) async fn run<K: HasMeta>(source: Box<dyn Source<K>>, shared: Weak<Shared<K>>) {
    let mut state = State::Unsynced;
    let mut streaming = true;
    let mut failures = 0u32;
    while shared.strong_count() > 0 {
        let before = match &state {
            State::Following(version) => version.clone(),
            State::Unsynced => String::new(),
        };
        let ended = step(&*source, &shared, &mut state, streaming).await;
        let moved = matches!(&state, State::Following(version) if *version != before);
        if moved {
            failures = 0;
        }
        match ended {
            // A watch that ends at once, again and again, must not spin.
            Ok(()) if moved => {}
            Ok(()) => failures = failures.saturating_add(1),
            Err(SourceError::Gone) => {
                state = State::Unsynced;
                failures = failures.saturating_add(1);
            }
            Err(SourceError::NoStreamingList) => {
                streaming = false;
                continue;
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::debug!(%error, kind = std::any::type_name::<K>(), failures, "watch failed");
            }
        }
        if failures > 0 {
            tokio::time::sleep(Backoff::WATCH.delay(failures)).await;
        }
    }
}

/// One list or watch, to its end. `state` is always as far as the mirror has come.
async fn step<K: HasMeta>(
    source: &dyn Source<K>,
    shared: &Weak<Shared<K>>,
    state: &mut State,
    streaming: bool,
) -> Result<(), SourceError> {
    let timeout = rand::rng().random_range(TIMEOUT);
    let mut events = match &*state {
        State::Following(version) => source.watch(Some(version), timeout).await?,
        State::Unsynced if streaming => {
            let mut events = source.watch(None, timeout).await?;
            let Some(version) = initial_events(&mut events, shared).await? else { return Ok(()) };
            *state = State::Following(version);
            events
        }
        State::Unsynced => {
            let (objects, version) = source.list().await?;
            install(shared, objects, &version);
            *state = State::Following(version);
            return Ok(());
        }
    };
    follow(&mut events, shared, state).await
}

/// Collects initial events up to their end mark and installs them as one picture. `None`: the stream ended before it.
async fn initial_events<K: HasMeta>(
    events: &mut Events<K>,
    shared: &Weak<Shared<K>>,
) -> Result<Option<String>, SourceError> {
    let mut objects: HashMap<Key, K> = HashMap::new();
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(o) | WatchEvent::Modified(o) => {
                objects.insert(Key::of(o.object_meta()), o);
            }
            WatchEvent::Deleted(o) => {
                objects.remove(&Key::of(o.object_meta()));
            }
            WatchEvent::Bookmark(b) if b.metadata.annotations.get(INITIAL_EVENTS_END).is_some_and(|v| v == "true") => {
                install(shared, objects.into_values().collect(), &b.metadata.resource_version);
                return Ok(Some(b.metadata.resource_version));
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(status_error(&status)),
        }
    }
    Ok(None)
}

fn install<K: HasMeta>(shared: &Weak<Shared<K>>, objects: Vec<K>, version: &str) {
    if let Some(shared) = shared.upgrade() {
        shared.mirror.write().replace(objects, version.parse().unwrap_or(0));
        shared.synced.send_replace(true);
    }
}

async fn follow<K: HasMeta>(
    events: &mut Events<K>,
    shared: &Weak<Shared<K>>,
    state: &mut State,
) -> Result<(), SourceError> {
    while let Some(event) = events.next().await {
        let event = event?;
        let Some(shared) = shared.upgrade() else { return Ok(()) };
        let mut mirror = shared.mirror.write();
        let version = match event {
            WatchEvent::Added(o) | WatchEvent::Modified(o) => {
                let version = o.object_meta().resource_version.clone();
                mirror.upsert(o);
                version
            }
            WatchEvent::Deleted(o) => {
                let version = o.object_meta().resource_version.clone();
                mirror.remove(o);
                version
            }
            WatchEvent::Bookmark(b) => {
                mirror.advance(b.metadata.resource_version.parse().unwrap_or(0));
                Some(b.metadata.resource_version)
            }
            WatchEvent::Error(status) => return Err(status_error(&status)),
        };
        if let Some(version) = version {
            *state = State::Following(version);
        }
    }
    Ok(())
}

fn status_error(status: &kube::core::Status) -> SourceError {
    if status.code == 410 || status.reason == "Expired" || status.reason == "Gone" {
        return SourceError::Gone;
    }
    SourceError::Status(status.message.clone())
}

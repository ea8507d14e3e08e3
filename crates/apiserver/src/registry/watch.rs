//! Watches: changes as they happen, in the form the client asked for (`endpoints/handlers/watch.go`, cacher.go).
//!
//! `Initial => Replay => Live`, bookmarks between, and an end by time, by slowness, or by the client's leaving.
use super::list::filter;
use super::store_error;
use super::view::Viewer;
use crate::body::{Body, BoxError};
use crate::handler::Call;
use crate::negotiate::{Encoding, Shape};
use crate::query::ListOptions;
use crate::respond;
use crate::watch_cache::{
    Cache, CacheEvent, Cached, Caches, Delivery, EventKind, Filter, FrameKey, Start, Watch, WatchError,
};
use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode};
use isopod_api::status::ApiError;
use isopod_store::Revision;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval};
use tokio_util::sync::CancellationToken;

pub(crate) async fn watch(call: &Call) -> Result<Response<Body>, ApiError> {
    if call.form.encoding != Encoding::Json {
        return Err(ApiError::not_acceptable(&["application/json", "application/json;stream=watch"]));
    }
    let options = ListOptions::from_query(&call.query, true)?;
    let filter = Arc::new(filter(&call.resource, call, &options)?);
    let Some(cache) = &call.resource.cache else { return Err(ApiError::generic(405)) };
    let caches = &call.server.caches;
    let asked = options.resource_version;
    // "The newest" means what is newest now; any other start is served from what the cache shows.
    match asked {
        None => caches.wait_for(call.server.store.revision().await.map_err(store_error)?).await?,
        Some(_) => caches.wait_for(1).await.or(Ok::<(), ApiError>(()))?,
    }
    let start = match (options.send_initial_events, asked) {
        (Some(true), Some(v)) if v > 0 => {
            caches.wait_for(v).await?;
            Start::Everything
        }
        (Some(true), _) | (None, None | Some(0)) => Start::Everything,
        (Some(false), None | Some(0)) => Start::Now,
        (_, Some(v)) => Start::After(v),
    };
    let timeout = timeout(call, &options);
    let viewer = call.viewer()?;
    let begun = match cache.watch(&filter, start, caches.applied()) {
        Err(old @ WatchError::TooOld { asked, .. }) => from_history(call, cache, &filter, asked).await.ok_or(old),
        begun => begun,
    };
    let body = match begun {
        Ok(begun) => stream(call, &options, viewer, begun, timeout),
        // Errors after the version was understood are told in the stream (cacher.go, newErrWatcher).
        Err(WatchError::TooOld { asked, oldest }) => {
            let error = ApiError::expired(format!("too old resource version: {asked} ({oldest})"));
            Body::from(error_frame(&error))
        }
    };
    Ok(respond::bytes(StatusCode::OK, "application/json", body))
}

/// How often a watch from far back is begun anew because the cache has moved on meanwhile.
const ATTEMPTS: usize = 3;

/// A watch from before what the cache remembers: what is missing comes from the store's own history, for as long as that goes back
/// (also to before this server was started). `None`: it does not.
async fn from_history(call: &Call, cache: &Cache, filter: &Arc<Filter>, asked: Revision) -> Option<Watch> {
    let folder = format!("/registry/{}/", cache.storage());
    for _ in 0..ATTEMPTS {
        let floor = cache.floor();
        let older = call.server.store.changes(&folder, asked, floor).await.ok()?;
        if let Ok(mut begun) = cache.watch(filter, Start::After(floor.max(asked)), call.server.caches.applied()) {
            let older = older.iter().filter_map(CacheEvent::from_store).map(Arc::new);
            begun.replay = older.chain(begun.replay).collect();
            return Some(begun);
        }
    }
    None
}

fn timeout(call: &Call, options: &ListOptions) -> Duration {
    match options.timeout_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0) {
        Some(seconds) => Duration::from_secs(seconds),
        None => call.server.config.watch_timeout.mul_f64(rand::random_range(1.0..2.0)),
    }
}

fn error_frame(error: &ApiError) -> String {
    format!("{}\n", json!({"type": "ERROR", "object": error.to_status()}))
}

/// Text that is sent at once when several events wait.
const PIECE: usize = 64 * 1024;
/// The last bookmark comes this long before the end (`bookmarkFrequency`, `nextBookmarkTime`).
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

struct Watcher {
    viewer: Viewer,
    caches: Arc<Caches>,
    initial: std::vec::IntoIter<Arc<Cached>>,
    initial_revision: Revision,
    /// The bookmark after the initial events is still to be sent (`sendInitialEvents`).
    initial_bookmark: bool,
    replay: VecDeque<Arc<CacheEvent>>,
    replay_filter: Arc<Filter>,
    queue: mpsc::Receiver<Delivery>,
    /// A table's columns have been sent.
    columns_sent: bool,
    bookmarks: Option<Interval>,
    end: Instant,
    last_bookmark: bool,
    finished: bool,
    seen: Revision,
    closing: CancellationToken,
}

fn stream(call: &Call, options: &ListOptions, viewer: Viewer, begun: Watch, timeout: Duration) -> Body {
    let now = Instant::now();
    let end = now.checked_add(timeout).unwrap_or(now);
    let every = call.server.config.bookmark_every;
    let bookmarks = options.allow_bookmarks.then(|| {
        // Spread out: a thousand watchers do not all want theirs in the same millisecond.
        let first = every.mul_f64(rand::random_range(0.75..1.0));
        let mut interval = tokio::time::interval_at(now.checked_add(first).unwrap_or(now), every);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval
    });
    let seen = match options.resource_version {
        Some(v) if begun.initial.objects.is_empty() && options.send_initial_events.is_none() && v > 0 => v,
        _ => begun.initial.revision,
    };
    let watcher = Watcher {
        initial: begun.initial.objects.into_iter(),
        initial_revision: begun.initial.revision,
        initial_bookmark: options.send_initial_events == Some(true) && options.allow_bookmarks,
        replay: begun.replay.into(),
        replay_filter: begun.filter,
        queue: begun.queue,
        columns_sent: false,
        bookmarks,
        end,
        last_bookmark: options.allow_bookmarks && timeout > LAST_BOOKMARK,
        finished: false,
        seen,
        caches: Arc::clone(&call.server.caches),
        closing: call.server.closing.clone(),
        viewer,
    };
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        let piece = watcher.next().await?;
        Some((piece, watcher))
    });
    Body::from_stream(stream.boxed())
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        if self.finished {
            return None;
        }
        match self.advance().await {
            Ok(piece) => piece.map(Ok),
            Err(error) => {
                self.finished = true;
                Some(Ok(error_frame(&error).into()))
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, ApiError> {
        let mut out = Vec::new();
        self.start(&mut out)?;
        if !out.is_empty() {
            return Ok(Some(out.into()));
        }
        let near_end = self.end.checked_sub(LAST_BOOKMARK).filter(|_| self.last_bookmark);
        tokio::select! {
            biased;
            delivery = self.queue.recv() => match delivery {
                Some(delivery) => self.drain(delivery).map(Some),
                // Dropped as too slow, or the cache began anew.
                None => Ok(None),
            },
            () = tokio::time::sleep_until(self.end) => Ok(None),
            () = self.closing.cancelled() => Ok(None),
            () = tokio::time::sleep_until(near_end.unwrap_or(self.end)), if near_end.is_some() => {
                self.last_bookmark = false;
                self.bookmark().map(Some)
            }
            () = tick(self.bookmarks.as_mut()), if self.bookmarks.is_some() => self.bookmark().map(Some),
        }
    }

    /// Initial and replayed events, a piece at a time; nothing once they are through.
    fn start(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        while out.len() < PIECE {
            let Some(object) = self.initial.next() else { break };
            let frame = self.encode(EventKind::Added, &object.json, object.revision)?;
            out.extend_from_slice(&frame);
        }
        if self.initial.len() > 0 {
            return Ok(());
        }
        if std::mem::take(&mut self.initial_bookmark) {
            let mark = self.mark(self.initial_revision, true);
            out.extend_from_slice(mark.as_bytes());
        }
        while out.len() < PIECE {
            let Some(event) = self.replay.pop_front() else { break };
            if let Some(kind) = event.seen_by(&self.replay_filter) {
                let frame = self.frame(kind, &event)?;
                out.extend_from_slice(&frame);
            }
        }
        Ok(())
    }

    /// One delivery and all that wait behind it.
    fn drain(&mut self, (kind, event): Delivery) -> Result<Bytes, ApiError> {
        let first = self.frame(kind, &event)?;
        let Ok(mut next) = self.queue.try_recv() else { return Ok(first) };
        let mut out = Vec::from(first);
        loop {
            let frame = self.frame(next.0, &next.1)?;
            out.extend_from_slice(&frame);
            if out.len() >= PIECE {
                break;
            }
            match self.queue.try_recv() {
                Ok(more) => next = more,
                Err(_) => break,
            }
        }
        Ok(out.into())
    }

    /// The shared text of a change; made here if this is the first watcher in this form.
    fn frame(&mut self, kind: EventKind, event: &CacheEvent) -> Result<Bytes, ApiError> {
        self.seen = self.seen.max(event.revision);
        let shown = event.shown(kind);
        if self.viewer.form.shape == Shape::Table && !self.columns_sent {
            return self.encode(kind, &shown.json, event.revision);
        }
        let form = self.viewer.form;
        let shape = match form.shape {
            Shape::Object => 0,
            Shape::Metadata => 1,
            Shape::Table => 2,
        };
        let key = FrameKey {
            kind,
            resource: Arc::as_ptr(&self.viewer.resource) as usize,
            form: shape | u32::from(form.beta) << 2 | (self.viewer.include as u32) << 3,
        };
        event.frame(key, || self.encode_now(kind, &shown.json, event.revision))
    }

    fn encode(&mut self, kind: EventKind, json: &Bytes, revision: Revision) -> Result<Bytes, ApiError> {
        self.seen = self.seen.max(revision);
        if self.viewer.form.shape != Shape::Table {
            return self.encode_now(kind, json, revision);
        }
        self.viewer.now = jiff::Timestamp::now();
        let headers = !std::mem::replace(&mut self.columns_sent, true);
        let object = self.viewer.watched_table(json, revision, headers)?;
        Ok(wrap(kind, &object))
    }

    fn encode_now(&self, kind: EventKind, json: &Bytes, revision: Revision) -> Result<Bytes, ApiError> {
        let object = match self.viewer.form.shape {
            Shape::Table => {
                let viewer = Viewer { now: jiff::Timestamp::now(), ..self.viewer.clone() };
                viewer.watched_table(json, revision, false)?
            }
            _ => self.viewer.single(json, revision)?,
        };
        Ok(wrap(kind, &object))
    }

    /// Up to where this watcher has seen everything. What is applied is in the queue before it counts as applied: so first ask
    /// how far, then empty the queue.
    fn bookmark(&mut self) -> Result<Bytes, ApiError> {
        let applied = self.caches.applied();
        let mut out = Vec::new();
        while let Ok((kind, event)) = self.queue.try_recv() {
            let frame = self.frame(kind, &event)?;
            out.extend_from_slice(&frame);
        }
        self.seen = self.seen.max(applied);
        let mark = self.mark(self.seen, false);
        out.extend_from_slice(mark.as_bytes());
        Ok(out.into())
    }

    fn mark(&self, revision: Revision, initial_end: bool) -> String {
        let d = self.viewer.resource.descriptor();
        let mut meta = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.viewer.form.shape {
            Shape::Object => json!({"kind": d.kind, "apiVersion": d.api_version(), "metadata": meta}),
            Shape::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": self.viewer.form.meta_version(), "metadata": meta})
            }
            Shape::Table => {
                let inner = json!({"kind": "PartialObjectMetadata", "apiVersion": self.viewer.form.meta_version(), "metadata": meta});
                let cells: Vec<&str> = d.columns.iter().map(|_| "").collect();
                json!({
                    "kind": "Table",
                    "apiVersion": self.viewer.form.meta_version(),
                    "metadata": {"resourceVersion": revision.to_string()},
                    "columnDefinitions": null,
                    "rows": [{"cells": cells, "object": inner}],
                })
            }
        };
        format!("{}\n", json!({"type": "BOOKMARK", "object": object}))
    }
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn wrap(kind: EventKind, object: &Bytes) -> Bytes {
    let mut out = Vec::with_capacity(object.len().saturating_add(40));
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}

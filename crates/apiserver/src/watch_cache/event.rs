//! One change, as watchers see it: encoded once per form, shared by all who watch in that form.
use super::{Cached, Filter};
use bytes::Bytes;
use isopod_store::Revision;
use parking_lot::Mutex;
use std::sync::Arc;

/// What a watcher is told. The same change is `Modified` to one and `Added` or `Deleted` to another, whose selector the object
/// begins or ceases to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Which text of a change: what happened, to which served resource (by its address: there is one of each), in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameKey {
    pub kind: EventKind,
    pub resource: usize,
    pub form: u32,
}

#[derive(Debug)]
pub struct CacheEvent {
    pub revision: Revision,
    /// After the change; of a deletion the last state, at the deletion's revision.
    pub object: Arc<Cached>,
    /// Before the change.
    pub previous: Option<Arc<Cached>>,
    pub deleted: bool,
    /// Few: one for each form that somebody watches in.
    frames: Mutex<Vec<(FrameKey, Bytes)>>,
}

impl CacheEvent {
    pub fn new(revision: Revision, object: Arc<Cached>, previous: Option<Arc<Cached>>, deleted: bool) -> Self {
        Self { revision, object, previous, deleted, frames: Mutex::default() }
    }

    /// A change as the store remembers it; `None` for a deletion whose last state it does not know.
    pub(crate) fn from_store(event: &isopod_store::Event) -> Option<Self> {
        let previous = event.previous.as_ref().map(|kv| Arc::new(Cached::from_stored(kv)));
        let (object, deleted) = match (&event.value, &previous) {
            (Some(kv), _) => (Arc::new(Cached::from_stored(kv)), false),
            (None, Some(previous)) => (Arc::new(previous.at(event.revision)), true),
            (None, None) => return None,
        };
        Some(Self::new(event.revision, object, previous, deleted))
    }

    /// What the change is to somebody with this filter; `None`: nothing.
    pub fn seen_by(&self, filter: &Filter) -> Option<EventKind> {
        let after = !self.deleted && filter.matches(&self.object);
        let before = self.previous.as_ref().is_some_and(|p| filter.matches(p));
        match (before, after) {
            (false, true) => Some(EventKind::Added),
            (true, true) => Some(EventKind::Modified),
            (true, false) => Some(EventKind::Deleted),
            (false, false) => None,
        }
    }

    /// The object that goes with `kind`: what left a watcher's selection is shown as it last was in it
    /// (`convertToWatchEvent` in cacher.go).
    pub fn shown(&self, kind: EventKind) -> &Cached {
        match (&self.previous, kind, self.deleted) {
            (Some(previous), EventKind::Deleted, false) => previous,
            _ => &self.object,
        }
    }

    /// Lets go of the texts: whoever kept up has them.
    pub(super) fn forget_frames(&self) {
        *self.frames.lock() = Vec::new();
    }

    /// The text for `key`, made by `encode` on first use.
    pub fn frame<E>(&self, key: FrameKey, encode: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        let mut frames = self.frames.lock();
        if let Some((_, frame)) = frames.iter().find(|(k, _)| *k == key) {
            return Ok(frame.clone());
        }
        let frame = encode()?;
        frames.push((key, frame.clone()));
        Ok(frame)
    }
}

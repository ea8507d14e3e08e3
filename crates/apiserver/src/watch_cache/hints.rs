//! What a writer already knows of the object it writes, kept until the write comes back as an event: spares the cache a decode.
use super::Info;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// By key: the bytes written and what selectors need of them. At most one for each write in flight: the writer takes a hint
/// back when its write fails.
#[derive(Default)]
pub(crate) struct Hints(Mutex<ByKey>);

type ByKey = HashMap<Arc<str>, (Bytes, Arc<Info>)>;

impl Hints {
    pub(crate) fn put(&self, key: Arc<str>, value: Bytes, info: Arc<Info>) {
        self.0.lock().insert(key, (value, info));
    }
    pub(crate) fn forget(&self, key: &str) {
        self.0.lock().remove(key);
    }
    /// The events of all writes so far have been missed.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
    /// The hint for exactly these bytes. Another writer's is dropped: its event will be read from the bytes.
    pub(crate) fn take(&self, key: &str, value: &Bytes) -> Option<Arc<Info>> {
        let (hinted, info) = self.0.lock().remove(key)?;
        let same = (hinted.as_ptr() == value.as_ptr() && hinted.len() == value.len()) || hinted == value;
        same.then_some(info)
    }
}

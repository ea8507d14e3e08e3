//! Where objects live: revisions, transactions, watches. Keys are paths (`/registry/pods/default/web-1`), values opaque bytes.
//!
//! [`Store`] is the one trait; [`embedded`] keeps every object in memory as shared bytes and every write on disk before it is
//! acknowledged (group commit); `etcd` (a cargo feature) puts the same on an etcd cluster. Both pass one test-suite. [`seal`] encrypts chosen
//! key ranges at rest under either engine.
pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod seal;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::sync::Arc;

/// A point in the history of the store. 0 is before everything, an empty store is at 1 (as in etcd, so that no list ever
/// carries `resourceVersion: "0"`, which means something else); each committed transaction that writes gets the next one.
pub type Revision = u64;

/// One object as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Arc<str>,
    pub value: Bytes,
    pub create_revision: Revision,
    /// Of the last write; what clients see as `resourceVersion`.
    pub mod_revision: Revision,
}

/// What must hold for a transaction to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(Arc<str>),
    /// The key's `mod_revision` is this one.
    ModRevision(Arc<str>, Revision),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put(Arc<str>, Bytes),
    Delete(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// All compares held and all writes are durable, at this revision.
    Committed(Revision),
    /// A compare did not hold; nothing was written. What the compared keys hold now, in the order of the compares.
    Failed { current: Vec<Option<KeyValue>>, revision: Revision },
}

/// What to read: keys with `prefix`, strictly after `after` if given, at most `limit` (0: all).
#[derive(Clone, Debug, Default)]
pub struct Range {
    pub prefix: String,
    pub after: Option<String>,
    pub limit: usize,
    /// `None`: the newest. An older one is served while it is not compacted.
    pub revision: Option<Revision>,
}

#[derive(Clone, Debug)]
pub struct RangeResult {
    /// In key order.
    pub items: Vec<KeyValue>,
    /// The revision of the store that this is a picture of.
    pub revision: Revision,
    /// How many keys under the prefix come after the last one returned.
    pub remaining: usize,
}

/// One change, in order of revision. Changes of one transaction share its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub revision: Revision,
    pub key: Arc<str>,
    /// `None`: the key was deleted.
    pub value: Option<KeyValue>,
    /// What was there before (also the last state of a deleted key); `None`: nothing.
    pub previous: Option<KeyValue>,
}

/// An item of a watch: batches keep order and share their revision boundary (a batch never splits a transaction).
pub type WatchBatch = Arc<[Event]>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The revision asked for is older than the oldest kept.
    #[error("revision {requested} is compacted (oldest kept is {oldest})")]
    Compacted { requested: Revision, oldest: Revision },
    /// The revision asked for has not happened yet.
    #[error("revision {requested} is in the future (current is {current})")]
    Future { requested: Revision, current: Revision },
    /// The watcher did not keep up and was let go; it may resume from the last revision it saw.
    #[error("watcher was too slow")]
    TooSlow,
    /// The disk refused: nothing was acknowledged, reads go on, and the next write tries the disk again.
    #[error("cannot write to {path}: {source}")]
    Disk { path: String, source: std::io::Error },
    /// Another server has the data directory open.
    #[error("{path} is in use by another isopod (pid {pid})")]
    InUse { path: String, pid: String },
    /// The data directory was written by a release that this one does not know.
    #[error("{path} has store format {found:?}; this isopod reads formats up to {supported}")]
    Format { path: String, found: String, supported: u32 },
    #[error("store data is damaged: {0}")]
    Damaged(String),
    #[error("cannot decrypt {key}: {reason}")]
    Sealed { key: String, reason: String },
    /// The file with the encryption keys cannot be read, understood or written.
    #[error("encryption key file {path}: {reason}")]
    KeyFile { path: String, reason: String },
    #[error("store is closed")]
    Closed,
    #[error("etcd: {0}")]
    Etcd(String),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where objects live. Reads never wait for the disk; a write returns only when it is durable.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest committed revision.
    async fn revision(&self) -> Result<Revision>;
    async fn get(&self, key: &str) -> Result<Option<KeyValue>>;
    async fn range(&self, range: Range) -> Result<RangeResult>;
    /// All compares and all writes, or nothing. A transaction that changes nothing (no writes, or only deletes of what is not
    /// there) takes no revision. Of several writes to one key the last counts; events of one transaction come in key order.
    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome>;
    /// Every change to keys with `prefix` after revision `after`, in order, then live ones. The stream ends with an error
    /// ([`Error::TooSlow`], [`Error::Closed`]) when it cannot go on. [`Error::Compacted`] at once if `after` is older than the
    /// oldest revision kept, [`Error::Future`] if it is newer than the current one.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<BoxStream<'static, Result<WatchBatch>>>;
    /// Every change to keys with `prefix` after `after`, up to and with `until`, in order. For who has those since `until` himself
    /// and comes from further back. An engine that does not keep its history at hand says [`Error::Compacted`].
    async fn changes(&self, _prefix: &str, after: Revision, until: Revision) -> Result<Vec<Event>> {
        Err(Error::Compacted { requested: after, oldest: until })
    }
    /// Forgets history before `revision`, which stays readable and watchable from. Already compacted: nothing happens.
    async fn compact(&self, revision: Revision) -> Result<()>;
    /// Bytes on disk, keys, oldest kept revision: for `/metrics` and `isopod status`.
    async fn stats(&self) -> Result<Stats>;
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub keys: usize,
    pub disk_bytes: u64,
    pub oldest: Revision,
    pub revision: Revision,
}

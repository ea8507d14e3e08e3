//! The embedded engine: every object in memory as shared bytes, every write on disk before it is acknowledged.
//!
//! ```text
//! clients -> bounded queue -> writer thread: plan -> table (one commit, one sync) -> memory -> answers -> watchers
//! readers ----------------------------------------------------------------------------^  (never wait for the disk)
//! ```
//!
//! # Invariants
//! - Memory shows only what is durable. It is changed by the writer alone, after the commit.
//! - A write that was answered with an error never shows up later (a crash while the disk fails may keep it: whole, never half).
//! - Nothing a reader or watcher does can hold up the writer for longer than one short section under the lock.
mod directory;
mod file;
mod memory;
mod plan;
mod table;
mod watch;
mod writer;

pub use directory::FORMAT;
pub use file::RawFile;
pub use memory::History;
#[cfg(feature = "etcd")]
pub(crate) use plan::last_of_each_key;

use crate::seal::{KeyRing, Sealer};
use crate::{
    Compare, Error, Event, KeyValue, Op, Range, RangeResult, Result, Revision, Stats, Store, TxnOutcome, WatchBatch,
};
use async_trait::async_trait;
use directory::Directory;
use file::Redo;
use futures::stream::BoxStream;
use memory::{Memory, Scan};
use parking_lot::RwLock;
use plan::Txn;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use table::Table;
use tokio::sync::{mpsc, oneshot};
use watch::{Hub, REPLAY_CHUNK};
use writer::{Request, Writer};

/// Requests that may wait for the writer; more wait to be queued.
const QUEUE: usize = 1024;
/// Keys visited in one section under the lock (some 0.05 ms).
const SCAN_STEP: usize = 256;

/// How to run an [`Embedded`] store.
#[derive(Clone, Debug)]
pub struct Options {
    pub history: History,
    /// Values under these prefixes are encrypted on disk.
    pub sealed_prefixes: Vec<String>,
    /// `--encryption-key-file`; `None`: `encryption.key` in the data directory, made at the first start.
    pub key_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let sealed_prefixes = vec!["/registry/secrets/".to_owned()];
        Self { history: History::default(), sealed_prefixes, key_file: None }
    }
}

/// The embedded engine. Dropping it closes the store: queued writes are still carried out, watches end.
#[derive(Debug)]
pub struct Embedded {
    memory: Arc<RwLock<Memory>>,
    hub: Arc<Hub>,
    redo: Arc<Redo>,
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    /// Let go after the writer has ended.
    _directory: Option<Directory>,
}

impl Embedded {
    /// Opens the store in `path`, made if need be. Reads all of it: blocks for some milliseconds.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let directory = Directory::open(path)?;
        let ring = directory.keys(options.key_file.as_deref())?;
        let key_path = directory.key_path(options.key_file.as_deref());
        let file = Arc::new(directory.database()?);
        let name = directory.database_path().display().to_string();
        Self::start(name, file, ring, Some(key_path), options, Some(directory))
    }

    /// A store in `file`, whatever that is: for tests that take the disk away. Without a key file the given keys are used.
    pub fn open_file(file: Arc<dyn RawFile>, keys: KeyRing, options: &Options) -> Result<Self> {
        Self::start("store".to_owned(), file, Some(keys), None, options, None)
    }

    fn start(
        name: String,
        file: Arc<dyn RawFile>,
        ring: Option<KeyRing>,
        key_path: Option<PathBuf>,
        options: &Options,
        directory: Option<Directory>,
    ) -> Result<Self> {
        let prefixes = options.sealed_prefixes.clone();
        let have_keys = ring.is_some();
        let mut sealer = Sealer::new(ring.unwrap_or_default(), prefixes.clone());
        let mut table = Table::open(name, file)?;
        let (memory, garbage) = table.load(&sealer, Instant::now())?;
        // Only now, when nothing on disk was sealed with a key that has gone missing.
        if let (false, Some(path), false) = (have_keys, &key_path, prefixes.is_empty()) {
            let ring = KeyRing::generate()?;
            ring.save(path)?;
            sealer = Sealer::new(ring, prefixes.clone());
        }
        let memory = Arc::new(RwLock::new(memory));
        let hub = Arc::new(Hub::default());
        let redo = table.redo();
        let writer = Writer {
            memory: Arc::clone(&memory),
            hub: Arc::clone(&hub),
            table,
            sealer,
            sealed_prefixes: prefixes,
            key_path,
            history: options.history,
            garbage: garbage.into(),
        };
        let (requests, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("isopod-store".to_owned());
        let writer = thread
            .spawn(move || writer.run(queue))
            .map_err(|source| Error::Disk { path: "store thread".to_owned(), source })?;
        Ok(Self { memory, hub, redo, requests: Some(requests), writer: Some(writer), _directory: directory })
    }

    /// Seals everything under the sealed prefixes with a new key and drops the old ones from the key file.
    pub async fn rotate(&self) -> Result<()> {
        self.ask(Request::Rotate).await
    }

    async fn ask<T>(&self, request: impl FnOnce(writer::Reply<T>) -> Request) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(Error::Closed)?;
        requests.send(request(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// One picture of the store, read in chunks at its revision; `None` if that was compacted meanwhile.
    fn read(&self, range: &Range, revision: Revision) -> Option<RangeResult> {
        let mut scan = Scan { at: range.after.as_deref().map(Arc::from), ..Scan::default() };
        loop {
            let memory = self.memory.read();
            if memory.oldest() > revision {
                return None;
            }
            if !memory.scan(&range.prefix, range.limit, revision, SCAN_STEP, &mut scan) {
                return Some(RangeResult { items: scan.items, revision, remaining: scan.remaining });
            }
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
        self.hub.close();
    }
}

#[async_trait]
impl Store for Embedded {
    async fn revision(&self) -> Result<Revision> {
        Ok(self.memory.read().revision())
    }

    async fn get(&self, key: &str) -> Result<Option<KeyValue>> {
        Ok(self.memory.read().get(key))
    }

    async fn range(&self, range: Range) -> Result<RangeResult> {
        loop {
            let (oldest, current) = {
                let memory = self.memory.read();
                (memory.oldest(), memory.revision())
            };
            match range.revision {
                Some(requested) if requested < oldest => return Err(Error::Compacted { requested, oldest }),
                Some(requested) if requested > current => return Err(Error::Future { requested, current }),
                _ => {}
            }
            // Compacted while reading: an old revision is refused by the next turn, the newest is read anew.
            if let Some(result) = self.read(&range, range.revision.unwrap_or(current)) {
                return Ok(result);
            }
        }
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome> {
        self.ask(|reply| Request::Txn(Txn { compares, ops }, reply)).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<BoxStream<'static, Result<WatchBatch>>> {
        watch::watch(&self.memory, &self.hub, prefix, after)
    }

    async fn changes(&self, prefix: &str, after: Revision, until: Revision) -> Result<Vec<Event>> {
        let (mut found, mut seen) = (Vec::new(), after);
        loop {
            let memory = self.memory.read();
            let until = until.min(memory.revision());
            let Some((events, reached)) = memory.events(prefix, seen, until, REPLAY_CHUNK) else {
                return Err(Error::Compacted { requested: after, oldest: memory.oldest() });
            };
            drop(memory);
            found.extend(events);
            if reached >= until {
                return Ok(found);
            }
            seen = reached;
        }
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.ask(|reply| Request::Compact(revision, reply)).await
    }

    async fn stats(&self) -> Result<Stats> {
        let disk_bytes = self.redo.file().allocated().unwrap_or(0);
        let memory = self.memory.read();
        Ok(Stats { keys: memory.live(), disk_bytes, oldest: memory.oldest(), revision: memory.revision() })
    }
}

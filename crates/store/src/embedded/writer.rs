//! The one writer: a thread that takes what is queued, decides it, makes it durable with one sync, shows it to readers, answers
//! the clients and wakes the watchers. While it waits for the disk the next batch gathers: that is the group commit.
use super::memory::{History, Memory, RowKey};
use super::plan::{Decision, Plan, Txn, plan};
use super::table::{Commit, Table};
use super::watch::Hub;
use crate::seal::{KeyRing, Sealer};
use crate::{Error, Result, Revision, TxnOutcome, WatchBatch};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// Transactions in one commit at most…
const BATCH: usize = 1024;
/// …and no more once they carry this much: it bounds what a commit holds in memory (three times: queue, pages, redo).
const BATCH_BYTES: usize = 8 << 20;
/// Events compacted in one section under the lock (some 0.3 ms).
const COMPACT_STEP: usize = 1024;
/// Rows freed by compaction that one commit removes beside its own work, at least.
const GARBAGE_STEP: usize = 256;

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What is asked of the writer.
#[derive(Debug)]
pub(crate) enum Request {
    Txn(Txn, Reply<TxnOutcome>),
    Compact(Revision, Reply<()>),
    /// Seal everything with a new key.
    Rotate(Reply<()>),
}

pub(crate) struct Writer {
    pub memory: Arc<RwLock<Memory>>,
    pub hub: Arc<Hub>,
    pub table: Table,
    pub sealer: Sealer,
    pub sealed_prefixes: Vec<String>,
    pub key_path: Option<PathBuf>,
    pub history: History,
    pub garbage: VecDeque<RowKey>,
}

impl Writer {
    /// Until the store is dropped.
    pub fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let (mut txns, mut bytes, mut next) = (Vec::new(), 0usize, Some(first));
            while let Some(request) = next {
                match request {
                    Request::Txn(txn, reply) => {
                        bytes = bytes.saturating_add(size(&txn));
                        txns.push((txn, reply));
                    }
                    // What was asked before it comes before it.
                    Request::Compact(revision, reply) => {
                        self.batch(std::mem::take(&mut txns));
                        answer(reply, self.compact(revision));
                    }
                    Request::Rotate(reply) => {
                        self.batch(std::mem::take(&mut txns));
                        answer(reply, self.rotate());
                    }
                }
                let full = txns.len() >= BATCH || bytes >= BATCH_BYTES;
                next = if full { None } else { requests.try_recv().ok() };
            }
            self.batch(txns);
        }
        self.hub.close();
    }

    /// One commit.
    fn batch(&mut self, txns: Vec<(Txn, Reply<TxnOutcome>)>) {
        if txns.is_empty() {
            return;
        }
        let (txns, replies): (Vec<_>, Vec<_>) = txns.into_iter().unzip();
        let (Plan { decisions, events }, base) = {
            let memory = self.memory.read();
            (plan(|key| memory.get(key), memory.revision(), txns), memory.revision())
        };
        let events: WatchBatch = events.into();
        let result = if events.is_empty() { Ok(()) } else { self.commit(base, &events) };
        if result.is_ok() && !events.is_empty() {
            self.memory.write().apply(Arc::clone(&events), Instant::now());
        }
        for (decision, reply) in decisions.into_iter().zip(replies) {
            answer(reply, settle(decision, &result));
        }
        if result.is_ok() && !events.is_empty() {
            self.hub.publish(&events);
            self.forget_old();
        }
    }

    fn commit(&mut self, base: Revision, events: &WatchBatch) -> Result<()> {
        let some = GARBAGE_STEP.max(events.len().saturating_mul(2)).min(self.garbage.len());
        let garbage: Vec<RowKey> = self.garbage.iter().take(some).cloned().collect();
        let oldest = self.memory.read().oldest();
        let result = self.table.commit(&Commit { base, events, garbage: &garbage, oldest }, &self.sealer);
        match &result {
            Ok(()) => drop(self.garbage.drain(..some)),
            Err(error) => tracing::error!(%error, writes = events.len(), "store: nothing was written"),
        }
        result
    }

    /// Keeps history within its limits. Its rows go with the commits that follow.
    fn forget_old(&mut self) {
        let overdue = self.memory.read().overdue(&self.history, Instant::now());
        if let Some(to) = overdue {
            self.compact_memory(to);
        }
    }

    fn compact_memory(&mut self, to: Revision) {
        let (mut garbage, mut more) = (Vec::new(), true);
        while more {
            let mut dropped = Vec::new();
            more = self.memory.write().compact(to, COMPACT_STEP, &mut garbage, &mut dropped);
        }
        self.garbage.extend(garbage);
    }

    fn compact(&mut self, to: Revision) -> Result<()> {
        let current = self.memory.read().revision();
        if to > current {
            return Err(Error::Future { requested: to, current });
        }
        self.compact_memory(to);
        self.remove_garbage()
    }

    fn remove_garbage(&mut self) -> Result<()> {
        let base = self.memory.read().revision();
        let nothing: WatchBatch = Arc::from([]);
        while !self.garbage.is_empty() {
            self.commit(base, &nothing)?;
        }
        Ok(())
    }

    /// A new key in front, everything sealed with it, then the old keys dropped. Killed at any point, the key file opens what is
    /// on disk: a key is in it before it seals, and leaves it after the last row that needs it.
    fn rotate(&mut self) -> Result<()> {
        let Some(path) = self.key_path.clone() else {
            return Err(Error::KeyFile { path: "(none)".to_owned(), reason: "this store has no key file".to_owned() });
        };
        let both = KeyRing::load(&path)?.with_new_key()?;
        both.save(&path)?;
        self.sealer = Sealer::new(both, self.sealed_prefixes.clone());
        self.remove_garbage()?;
        let (rows, base) = {
            let memory = self.memory.read();
            (memory.versions(|key| self.sealer.covers(key)), memory.revision())
        };
        for some in rows.chunks(BATCH) {
            self.table.rewrite(base, some, &self.sealer)?;
        }
        let new = KeyRing::load(&path)?.only_first();
        new.save(&path)?;
        self.sealer = Sealer::new(new, self.sealed_prefixes.clone());
        Ok(())
    }
}

fn size(txn: &Txn) -> usize {
    let sizes = txn.ops.iter().map(|op| match op {
        crate::Op::Put(key, value) => key.len().saturating_add(value.len()),
        crate::Op::Delete(key) => key.len(),
    });
    sizes.fold(0, usize::saturating_add)
}

/// What the client is told, given what became of the batch.
fn settle(decision: Decision, result: &Result<()>) -> Result<TxnOutcome> {
    match result {
        Err(error) if decision.rests_on_batch => Err(again(error)),
        _ => Ok(decision.outcome),
    }
}

/// The same error for one more client (`io::Error` cannot be cloned).
fn again(error: &Error) -> Error {
    match error {
        Error::Disk { path, source } => {
            let source = source.raw_os_error().map_or_else(
                || std::io::Error::new(source.kind(), source.to_string()),
                std::io::Error::from_raw_os_error,
            );
            Error::Disk { path: path.clone(), source }
        }
        Error::Sealed { key, reason } => Error::Sealed { key: key.clone(), reason: reason.clone() },
        other => Error::Damaged(other.to_string()),
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T>) {
    // The client may have gone away; its write stands.
    drop(reply.send(result));
}

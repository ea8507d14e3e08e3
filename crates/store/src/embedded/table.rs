//! The rows on disk: one redb table of every version that history still reaches, keyed by revision and key, as in etcd.
//!
//! New rows go to the right edge of the tree, an object's bytes are written once, and history survives a restart. Rows that
//! compaction has freed are removed together with later commits, at no sync of their own.
//!
//! Why redb and not a log of our own: it is a kept library, crash-safe by checksummed copy-on-write, and with group commit the
//! engine is not what a write waits for. Measured once with `benches/store.rs` (3 KB objects; this crate and redb optimised, the
//! rest not; a two-core machine busy with other work, 6 ms a sync): creates with 1, 16 and 64 clients went at 1.0, 9 and 20
//! times the rate of one bare fdatasync per write. On a quiet disk one commit was seen at 0.34 ms against 0.14 ms for a
//! log-structured engine: what a log of our own might win for a lone client, at the price of our own recovery code.
use super::file::{Backend, RawFile, Redo};
use super::memory::{Memory, RowKey};
use crate::seal::Sealer;
use crate::{Error, Event, KeyValue, Result, Revision};
use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use std::{fmt, io};

const ROWS: TableDefinition<'static, (u64, &str), &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const OLDEST: &str = "oldest";
/// All objects are in memory, so redb's own cache only serves the upper levels of its tree.
const CACHE_BYTES: usize = 4 << 20;
/// An empty store is at revision 1, as in etcd.
const FIRST_REVISION: Revision = 1;
/// Far from overflow, further than any cluster gets: a larger revision on disk is damage.
const MAX_REVISION: Revision = u64::MAX / 2;

/// What a row holds before its payload: the kind in one byte, the create revision in eight (little endian).
const DELETED: u8 = 0;
const PLAIN: u8 = 1;
const SEALED: u8 = 2;

pub(crate) struct Table {
    path: String,
    redo: Arc<Redo>,
    /// `None` after the disk failed: opened again by the next write.
    database: Option<Database>,
    /// The last commit failed, so that it is unknown whether its rows are there.
    unsure: bool,
}

/// One commit.
pub(crate) struct Commit<'a> {
    /// The newest revision before it.
    pub base: Revision,
    pub events: &'a [Event],
    pub garbage: &'a [RowKey],
    /// History reaches back to here at most, once `garbage` is gone.
    pub oldest: Revision,
}

impl Table {
    /// Opens or creates the database in `file`. `path` is for messages.
    pub fn open(path: String, file: Arc<dyn RawFile>) -> Result<Self> {
        let mut table = Self { path, redo: Redo::new(file), database: None, unsure: false };
        table.attempt(|table| {
            // A crash may have come between the creation of the file and that of the tables.
            let fresh = matches!(
                table.open_database()?.begin_read()?.open_table(META),
                Err(redb::TableError::TableDoesNotExist(_))
            );
            if fresh { table.change(|_, meta| Ok(meta.insert(OLDEST, 0).map(|_| ())?)) } else { Ok(()) }
        })?;
        Ok(table)
    }

    /// Reads everything; also gives the rows that no read can reach any more.
    pub fn load(&mut self, sealer: &Sealer, now: Instant) -> Result<(Memory, Vec<RowKey>)> {
        self.attempt(|table| table.load_rows(sealer, now))
    }

    /// Makes the commit durable, all of it or nothing. After an error the next one tries the disk again.
    pub fn commit(&mut self, commit: &Commit<'_>, sealer: &Sealer) -> Result<()> {
        let mut rows = Vec::with_capacity(commit.events.len());
        for event in commit.events {
            rows.push(encode(event, sealer)?);
        }
        self.attempt(|table| {
            let unsure = table.unsure;
            table.change(|stored, meta| {
                if unsure {
                    forget_unacknowledged(stored, meta, commit.base)?;
                }
                for (event, row) in commit.events.iter().zip(&rows) {
                    stored.insert((event.revision, &*event.key), row.as_slice())?;
                }
                for (revision, key) in commit.garbage {
                    stored.remove((*revision, &**key))?;
                }
                if !commit.garbage.is_empty() {
                    meta.insert(OLDEST, commit.oldest)?;
                }
                Ok(())
            })?;
            table.unsure = false;
            Ok(())
        })
    }

    /// Writes rows that are there already once more, sealed as the sealer does it now.
    pub fn rewrite(&mut self, base: Revision, rows: &[(RowKey, Revision, Bytes)], sealer: &Sealer) -> Result<()> {
        let event = |((revision, key), create_revision, value): &(RowKey, Revision, Bytes)| {
            let (key, create_revision) = (Arc::clone(key), *create_revision);
            let value =
                KeyValue { key: Arc::clone(&key), value: value.clone(), create_revision, mod_revision: *revision };
            Event { revision: *revision, key, value: Some(value), previous: None }
        };
        let events: Vec<_> = rows.iter().map(event).collect();
        self.commit(&Commit { base, events: &events, garbage: &[], oldest: 0 }, sealer)
    }

    /// The file itself, to ask for its size without waiting for a commit.
    pub fn redo(&self) -> Arc<Redo> {
        Arc::clone(&self.redo)
    }

    fn load_rows(&mut self, sealer: &Sealer, now: Instant) -> Result<(Memory, Vec<RowKey>), Failure> {
        let read = self.open_database()?.begin_read()?;
        let oldest = read.open_table(META)?.get(OLDEST)?.map_or(0, |oldest| oldest.value());
        let rows = read.open_table(ROWS)?;
        let newest = rows.last()?.map_or(0, |(key, _)| key.value().0).max(oldest).max(FIRST_REVISION);
        if newest > MAX_REVISION {
            return Err(damaged(format!("revision {newest} cannot be")));
        }
        let mut memory = Memory::new(oldest, oldest.max(FIRST_REVISION));
        let (mut garbage, mut events) = (Vec::new(), Vec::<Event>::new());
        for row in rows.iter()? {
            let (row_key, row) = row?;
            let (revision, key) = row_key.value();
            let put = decode(key, row.value(), sealer)?;
            if events.last().is_some_and(|last| last.revision != revision) {
                memory.apply(std::mem::take(&mut events).into(), now);
            }
            let previous = memory.get(key);
            let key = previous.as_ref().map_or_else(|| Arc::from(key), |previous| Arc::clone(&previous.key));
            if revision <= oldest {
                garbage.extend(memory.load_base(&key, revision, put));
                continue;
            }
            let value = put.map(|(create_revision, value)| KeyValue {
                key: Arc::clone(&key),
                value,
                create_revision,
                mod_revision: revision,
            });
            events.push(Event { revision, key, value, previous });
        }
        if !events.is_empty() {
            memory.apply(events.into(), now);
        }
        Ok((memory, garbage))
    }

    /// Carries out `work`; after a failure the database is let go, to be opened again by the next attempt. A panic inside redb
    /// (its file was altered under it) counts as damage.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T> {
        let result = catch_unwind(AssertUnwindSafe(|| work(self)))
            .unwrap_or_else(|_| Err(damaged("the database gave up on its file".to_owned())));
        result.map_err(|failure| {
            self.unsure = true;
            if let Some(database) = self.database.take()
                && catch_unwind(AssertUnwindSafe(|| drop(database))).is_err()
            {
                tracing::error!(path = self.path, "the database panicked while it was closed");
            }
            match failure {
                Failure::Disk(source) => self.disk(source),
                Failure::Other(error) => error,
            }
        })
    }

    fn disk(&self, source: io::Error) -> Error {
        Error::Disk { path: self.path.clone(), source }
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        self.redo.recover()?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        self.database = Some(builder.create_with_backend(Backend(Arc::clone(&self.redo)))?);
        Ok(())
    }

    fn open_database(&mut self) -> Result<&Database, Failure> {
        if self.database.is_none() {
            self.reopen()?;
        }
        self.database.as_ref().ok_or_else(|| damaged("the database is closed".to_owned()))
    }

    fn change(
        &mut self,
        work: impl FnOnce(
            &mut redb::Table<'_, (u64, &'static str), &'static [u8]>,
            &mut redb::Table<'_, &'static str, u64>,
        ) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let write = self.open_database()?.begin_write()?;
        {
            let mut rows = write.open_table(ROWS)?;
            let mut meta = write.open_table(META)?;
            work(&mut rows, &mut meta)?;
        }
        write.commit()?;
        Ok(())
    }
}

/// A commit that failed may have reached the disk nevertheless. Its writers were told that it did not, so it must not.
fn forget_unacknowledged(
    rows: &mut redb::Table<'_, (u64, &'static str), &'static [u8]>,
    meta: &redb::Table<'_, &'static str, u64>,
    base: Revision,
) -> Result<(), Failure> {
    rows.retain_in((base.saturating_add(1), "").., |_, _| false)?;
    let oldest = meta.get(OLDEST)?.map_or(0, |oldest| oldest.value());
    let newest = rows.last()?.map_or(0, |(key, _)| key.value().0).max(oldest).max(FIRST_REVISION);
    if newest != base {
        return Err(damaged(format!("revision {base} was committed, but the disk is back at {newest}")));
    }
    Ok(())
}

fn encode(event: &Event, sealer: &Sealer) -> Result<Vec<u8>> {
    let Some(value) = &event.value else { return Ok(vec![DELETED]) };
    let create_revision = value.create_revision.to_le_bytes();
    if sealer.covers(&event.key) {
        let payload = sealer.seal(&event.key, &value.value)?;
        return Ok([&[SEALED], &create_revision[..], &payload].concat());
    }
    Ok([&[PLAIN], &create_revision[..], &value.value].concat())
}

fn decode(key: &str, row: &[u8], sealer: &Sealer) -> Result<Option<(Revision, Bytes)>> {
    let cut_short = || Error::Damaged(format!("the row of {key} is cut short"));
    let (&kind, rest) = row.split_first().ok_or_else(cut_short)?;
    if kind == DELETED {
        return Ok(None);
    }
    let (create_revision, payload) = rest.split_first_chunk::<8>().ok_or_else(cut_short)?;
    let value = match kind {
        PLAIN => Bytes::copy_from_slice(payload),
        SEALED => Bytes::from(sealer.open(key, payload)?),
        _ => return Err(Error::Damaged(format!("the row of {key} is of unknown kind {kind}"))),
    };
    Ok(Some((u64::from_le_bytes(*create_revision), value)))
}

/// Why work on the database ended: the disk, or something that trying again does not mend.
enum Failure {
    Disk(io::Error),
    Other(Error),
}

fn damaged(reason: String) -> Failure {
    Failure::Other(Error::Damaged(reason))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// redb's errors, of whatever operation.
fn from_redb(error: redb::Error) -> Failure {
    match error {
        // "Not a database": redb reports it as an I/O error, but no disk is at fault.
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => damaged(error.to_string()),
        redb::Error::Io(error) => Failure::Disk(error),
        redb::Error::PreviousIo => Failure::Disk(io::Error::other("an earlier write failed")),
        other => damaged(other.to_string()),
    }
}

macro_rules! failures {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                from_redb(error.into())
            }
        }
    )*};
}
failures!(StorageError, TableError, TransactionError, CommitError, DatabaseError);

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("path", &self.path).field("open", &self.database.is_some()).finish()
    }
}

//! The file layer under the database, as a seam: the real file here, one that loses power or runs full in the tests.
//!
//! [`Redo`] makes a failed write or sync repairable. After a failed fsync Linux marks the pages clean although they never
//! reached the disk, so a database that merely tries again would build on pages that a power loss takes away ("fsyncgate",
//! <https://wiki.postgresql.org/wiki/Fsync_Errors>). So whatever was written since the last successful sync is remembered, and
//! written and synced once more before the database is opened again: then the disk holds what the page cache shows.
use parking_lot::Mutex;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A file whose writes are durable once `sync` has returned.
#[expect(clippy::len_without_is_empty, reason = "nobody asks")]
pub trait RawFile: std::fmt::Debug + Send + Sync + 'static {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Fills `out` from `offset`.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// `fdatasync(2)`.
    fn sync(&self) -> io::Result<()>;
    /// Bytes it takes on disk.
    fn allocated(&self) -> io::Result<u64> {
        self.len()
    }
}

impl RawFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocated(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        Ok(self.metadata()?.blocks().saturating_mul(512))
    }
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

/// A file and what was asked of it since its last successful sync: as much as one commit writes.
#[derive(Debug)]
pub(crate) struct Redo {
    file: Arc<dyn RawFile>,
    unsynced: Mutex<Vec<Change>>,
}

impl Redo {
    pub fn new(file: Arc<dyn RawFile>) -> Arc<Self> {
        Arc::new(Self { file, unsynced: Mutex::new(Vec::new()) })
    }

    pub fn file(&self) -> &dyn RawFile {
        &*self.file
    }

    /// Does once more what was not synced, and syncs it.
    pub fn recover(&self) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock();
        for change in unsynced.iter() {
            match change {
                Change::Write(offset, data) => self.file.write(*offset, data)?,
                Change::SetLen(len) => self.file.set_len(*len)?,
            }
        }
        self.file.sync()?;
        unsynced.clear();
        Ok(())
    }
}

/// What redb is given: it owns its backend, while [`Redo`] outlives a database that failed.
#[derive(Debug)]
pub(crate) struct Backend(pub Arc<Redo>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.unsynced.lock().push(Change::SetLen(len));
        self.0.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.file.sync()?;
        self.0.unsynced.lock().clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.unsynced.lock().push(Change::Write(offset, data.to_vec()));
        self.0.file.write(offset, data)
    }
}

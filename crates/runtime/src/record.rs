//! What is known of a sandbox and its containers, on disk: `state.json` in the sandbox's directory.
//!
//! The supervisor of a pod writes it before it answers; a node agent that finds the supervisor dead reads it. A reader
//! sees the old record or the new one, whole, whenever a process is killed: written beside and renamed. What must be known after
//! the power has gone as well, an exit, is synced before and after; that a container runs is not true then anyway.
use crate::{ContainerStatus, SandboxStatus};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Version of the format that this build writes. Fields may be added within a version, and are then optional.
const VERSION: u32 = 1;
const NAME: &str = "state.json";
const NEW: &str = "state.json.new";

/// The contents of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub sandbox: SandboxStatus,
    pub containers: Vec<ContainerStatus>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    record: &'a Record,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Why there is no record to be had.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot read or write {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not a record", path.display())]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("{} has version {version}, this build knows {VERSION}", path.display())]
    Newer { path: PathBuf, version: u32 },
}

impl Record {
    /// Makes it the directory's record, durably.
    pub fn save(&self, directory: &Path) -> Result<(), RecordError> {
        self.write(directory, Durability::PowerLoss)
    }

    /// Makes it the directory's record for as long as the machine runs.
    pub fn save_for_now(&self, directory: &Path) -> Result<(), RecordError> {
        self.write(directory, Durability::Kill)
    }

    fn write(&self, directory: &Path, durability: Durability) -> Result<(), RecordError> {
        let path = directory.join(NAME);
        let bytes = serde_json::to_vec(&Written { version: VERSION, record: self })
            .map_err(|source| RecordError::Malformed { path: path.clone(), source })?;
        replace(directory, &path, &bytes, durability).map_err(|source| RecordError::Io { path, source })
    }

    /// The directory's record. None: there never was one.
    pub fn load(directory: &Path) -> Result<Option<Self>, RecordError> {
        let path = directory.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RecordError::Io { path, source }),
        };
        // The version alone first: what a newer one says need not look like ours.
        match serde_json::from_slice(&bytes) {
            Ok(Version { version }) if version > VERSION => return Err(RecordError::Newer { path, version }),
            Ok(_) => {}
            Err(source) => return Err(RecordError::Malformed { path, source }),
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|source| RecordError::Malformed { path, source })
    }
}

/// What a record outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    Kill,
    PowerLoss,
}

/// One writer at a time in a process; of several processes only one ever writes a sandbox's record, its supervisor or who buries
/// that.
static WRITING: Mutex<()> = Mutex::new(());

fn replace(directory: &Path, path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let new = directory.join(NEW);
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    if durability == Durability::Kill {
        return fs::rename(&new, path);
    }
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContainerState, ExitCause, SandboxState};

    /// As the first build wrote it. It must be read for as long as pods of that build may run.
    const VERSION_ONE: &str = r#"{"version":1,
      "sandbox":{"id":"pod-1","state":"ready","createdAt":"2026-01-01T00:00:00Z","netnsPath":"/n",
        "config":{"uid":"u","name":"pod","network":{"path":"/n"},"pid":"sandbox","later":true}},
      "containers":[{"id":"web-1","sandbox":"pod-1","state":"exited","createdAt":"2026-01-01T00:00:00Z",
        "startedAt":"2026-01-01T00:00:01Z","pid":null,
        "exit":{"at":"2026-01-01T00:00:02Z","status":{"signal":9},"cause":"outOfMemory"},
        "config":{"name":"web","args":["/app"],"mounts":[{"source":{"bind":"/a"},"target":"/b"}]}}]}"#;

    #[test]
    fn version_one_is_read_and_comes_back_the_same() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NAME), VERSION_ONE).unwrap();
        let record = Record::load(directory.path()).unwrap().unwrap();
        assert_eq!((record.sandbox.state, record.sandbox.config.uid.as_str()), (SandboxState::Ready, "u"));
        let web = &record.containers[0];
        let exit = web.exit.as_ref().map(|exit| (exit.status.code(), exit.cause.clone()));
        assert_eq!((web.state, exit), (ContainerState::Exited, Some((137, ExitCause::OutOfMemory))));
        record.save(directory.path()).unwrap();
        assert_eq!(Record::load(directory.path()).unwrap(), Some(record));
    }

    #[test]
    fn a_torn_write_leaves_the_old_record() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Record::load(directory.path()).unwrap(), None);
        fs::write(directory.path().join(NAME), VERSION_ONE).unwrap();
        fs::write(directory.path().join(NEW), &VERSION_ONE[..40]).unwrap();
        let record = Record::load(directory.path()).unwrap().unwrap();
        record.save(directory.path()).unwrap();
        assert!(!directory.path().join(NEW).exists(), "the leftover became the record");
        let empty = Record { containers: Vec::new(), ..record };
        empty.save_for_now(directory.path()).unwrap();
        assert_eq!(Record::load(directory.path()).unwrap(), Some(empty));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let load = |text: &str| {
            fs::write(directory.path().join(NAME), text).unwrap();
            Record::load(directory.path()).unwrap_err()
        };
        assert!(matches!(load(r#"{"version":2,"pods":[]}"#), RecordError::Newer { version: 2, .. }));
        assert!(matches!(load(&VERSION_ONE[..100]), RecordError::Malformed { .. }));
        assert!(matches!(load(r#"{"version":1}"#), RecordError::Malformed { .. }));
        assert!(matches!(load(""), RecordError::Malformed { .. }));
        assert!(matches!(Record::load(&directory.path().join(NAME)), Err(RecordError::Io { .. })));
    }
}

//! The [`Runtime`] of this machine: real containers, each pod's in the hands of a supervisor process of its own.
//!
//! A [`Local`] keeps next to nothing: sandboxes are directories below the state directory, and what is in one is known by its
//! supervisor ([`client`] asks it) or, when that is gone, by the record it wrote. So any number of `Local` values, one after the
//! other or at once, see the same containers, and none of them dies with one.
mod client;
mod runtime;
mod session;
mod sweep;
mod watcher;

use crate::{
    ContainerId, Event, NetworkNamespace, Result, RuntimeError, SandboxConfig, SandboxId, SandboxState,
    cgroup_fs::Cgroups,
    cri_log::Rotation,
    protocol::{Reply, Request, Setup},
    record::Record,
    shim,
};
use client::{Client, Unreachable, unavailable};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, sync::broadcast};

/// Events that a reader may be behind: some 40 pods starting at once with 4 containers each tell 320.
const EVENTS: usize = 1024;
/// How long making a sandbox may take on a machine that is busy with a hundred others.
const BEGIN_TIME: Duration = Duration::from_secs(60);
/// How long dying processes may hold a cgroup.
const CGROUP_TIME: Duration = Duration::from_secs(10);

/// Where and how.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// Sandboxes live below it. On a disk, not in memory: containers' changes to their files are here too.
    pub state_dir: PathBuf,
    /// The binary that can be a shim: `isopod shim …`.
    pub shim_binary: PathBuf,
    pub log_rotation: Rotation,
}

impl LocalConfig {
    /// This very program is the shim.
    pub fn new(state_dir: impl Into<PathBuf>) -> io::Result<Self> {
        let shim_binary = std::env::current_exe()?;
        Ok(Self { state_dir: state_dir.into(), shim_binary, log_rotation: Rotation::default() })
    }
}

/// Real containers.
#[derive(Debug, Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: LocalConfig,
    cgroups: Cgroups,
    events: broadcast::Sender<Event>,
    index: Mutex<Index>,
}

/// What would have to be searched for on disk again and again.
#[derive(Debug, Default)]
struct Index {
    /// Which sandbox a container is in.
    containers: BTreeMap<ContainerId, SandboxId>,
    /// Uid and attempt of sandboxes that are being made or exist.
    names: BTreeMap<(String, u32), SandboxId>,
}

/// A sandbox as it is found.
#[derive(Debug)]
enum Found {
    Alive(Box<Client>),
    /// Its supervisor has ended; this is what it wrote last.
    Dead(Box<Record>),
}

impl Local {
    /// Finds what runs, and sweeps what was left over by what does not.
    pub async fn open(config: LocalConfig) -> Result<Self> {
        let sandboxes = config.state_dir.join("sandboxes");
        tokio::fs::create_dir_all(&sandboxes).await.map_err(|error| unavailable("make the state directory", &error))?;
        // Absolute, because supervisors have another working directory.
        let state_dir = std::fs::canonicalize(&config.state_dir)
            .map_err(|error| unavailable("find the state directory", &error))?;
        let config = LocalConfig { state_dir, ..config };
        let (events, _) = broadcast::channel(EVENTS);
        let shared = Shared { config, cgroups: Cgroups::of_this_machine()?, events, index: Mutex::default() };
        let local = Self { shared: Arc::new(shared) };
        local.sweep().await?;
        Ok(local)
    }

    /// Stops and removes every sandbox, for a cluster that is to be no more.
    pub async fn remove_all(&self) -> Result<()> {
        let ids = self.ids().await?;
        let removed = futures::future::join_all(ids.iter().map(|id| crate::Runtime::remove_sandbox(self, id))).await;
        removed.into_iter().collect()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Nothing can panic while it is held.
        self.shared.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sandboxes_dir(&self) -> PathBuf {
        self.shared.config.state_dir.join("sandboxes")
    }

    fn directory(&self, id: &SandboxId) -> Result<PathBuf> {
        // An id is a name that we made, not a path.
        if id.0.is_empty() || !id.0.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(RuntimeError::NotFound { what: "sandbox".into(), id: id.0.clone() });
        }
        Ok(self.sandboxes_dir().join(&id.0))
    }

    async fn find(&self, id: &SandboxId) -> Result<Found> {
        let directory = self.directory(id)?;
        match Client::connect(&directory).await {
            Ok(client) => Ok(Found::Alive(Box::new(client))),
            Err(Unreachable::Gone) => {
                let record =
                    Record::load(&directory).map_err(|error| unavailable("read the sandbox's record", &error))?;
                let record =
                    record.ok_or_else(|| RuntimeError::NotFound { what: "sandbox".into(), id: id.0.clone() })?;
                Ok(Found::Dead(Box::new(record)))
            }
            Err(Unreachable::Failed(error)) => Err(error),
        }
    }

    /// What is known of a sandbox, dead or alive.
    async fn record(&self, id: &SandboxId) -> Result<Record> {
        // A supervisor that ends while it is asked has hung up; the second time it is known to be gone, and the disk is asked.
        if let Ok(record) = self.record_now(id).await {
            return Ok(record);
        }
        self.record_now(id).await
    }

    async fn record_now(&self, id: &SandboxId) -> Result<Record> {
        match self.find(id).await? {
            Found::Alive(mut client) => match client.ask(&Request::State).await? {
                Reply::State { record } => Ok(*record),
                other => Err(unavailable("read the sandbox's state", &format!("{other:?}"))),
            },
            Found::Dead(record) if record.sandbox.state == SandboxState::Ready => self.bury(id).await,
            Found::Dead(record) => Ok(*record),
        }
    }

    /// All sandboxes' directories.
    async fn ids(&self) -> Result<Vec<SandboxId>> {
        let failed = |error: io::Error| unavailable("list sandboxes", &error);
        let mut entries = tokio::fs::read_dir(self.sandboxes_dir()).await.map_err(failed)?;
        let mut ids = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(failed)? {
            ids.extend(entry.file_name().to_str().map(|name| SandboxId(name.to_owned())));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    async fn records(&self) -> Result<Vec<Record>> {
        let ids = self.ids().await?;
        let mut records = Vec::new();
        for found in futures::future::join_all(ids.iter().map(|id| self.record(id))).await {
            match found {
                Ok(record) => records.push(record),
                // Removed meanwhile, or not made to the end yet.
                Err(RuntimeError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    fn sandbox_of(&self, id: &ContainerId) -> Option<SandboxId> {
        self.index().containers.get(id).cloned()
    }

    /// The sandbox of a container that must exist; another `Local` may have made it.
    async fn owner(&self, id: &ContainerId) -> Result<SandboxId> {
        if let Some(sandbox) = self.sandbox_of(id) {
            return Ok(sandbox);
        }
        for record in self.records().await? {
            if record.containers.iter().any(|status| status.id == *id) {
                self.index().containers.insert(id.clone(), record.sandbox.id.clone());
                return Ok(record.sandbox.id);
            }
        }
        Err(RuntimeError::NotFound { what: "container".into(), id: id.0.clone() })
    }

    /// A connection to the supervisor of a container.
    async fn supervisor_of(&self, id: &ContainerId) -> Result<Client> {
        let sandbox = self.owner(id).await?;
        match self.find(&sandbox).await? {
            Found::Alive(client) => Ok(*client),
            Found::Dead(record) => {
                let status = record.containers.iter().find(|status| status.id == *id);
                let status =
                    status.ok_or_else(|| RuntimeError::NotFound { what: "container".into(), id: id.0.clone() })?;
                let state = match status.state {
                    crate::ContainerState::Exited => crate::ContainerState::Exited,
                    _ => crate::ContainerState::Unknown,
                };
                Err(RuntimeError::WrongState { id: id.0.clone(), state: state.to_string(), wanted: "running".into() })
            }
        }
    }

    /// Starts a supervisor and waits until its sandbox is there. It inherits `log` as its stderr, and the lock on it.
    async fn begin(&self, id: &SandboxId, directory: &Path, config: SandboxConfig, log: File) -> Result<()> {
        let rotation = self.shared.config.log_rotation;
        let setup = Setup {
            directory: directory.into(),
            id: id.clone(),
            config,
            log_max_bytes: rotation.max_bytes,
            log_max_files: rotation.max_files,
        };
        let text = serde_json::to_vec(&setup).map_err(|error| RuntimeError::invalid("config", error.to_string()))?;
        let mut child = tokio::process::Command::new(&self.shared.config.shim_binary)
            .args(["shim", "supervise"])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(|error| unavailable(&format!("run {}", self.shared.config.shim_binary.display()), &error))?;
        let failed = |error: io::Error| unavailable("start the pod's supervisor", &error);
        let begun = async {
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(&text).await.map_err(failed)?;
            }
            child.wait_with_output().await.map_err(failed)
        };
        let output = tokio::time::timeout(BEGIN_TIME, begun).await.map_err(|_| RuntimeError::Unavailable {
            message: "the pod's supervisor took too long to start".into(),
        })??;
        serde_json::from_slice::<Result<()>>(&output.stdout).unwrap_or_else(|_| {
            Err(RuntimeError::Unavailable { message: "the pod's supervisor died before its sandbox was made".into() })
        })
    }

    /// Waits until dying processes have let a cgroup go. What joined it after its processes were killed is killed, too.
    async fn remove_cgroup(&self, path: &str) -> Result<()> {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(2);
        loop {
            if self.shared.cgroups.remove(path)? {
                return Ok(());
            }
            if waited > CGROUP_TIME {
                let left = self.shared.cgroups.processes(path).into_iter().map(describe).collect::<Vec<_>>().join(", ");
                let message = format!("processes in cgroup {path} do not die: {left}");
                return Err(RuntimeError::Unavailable { message });
            }
            self.shared.cgroups.kill_once(path);
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    fn cgroup_of(&self, record: &Record) -> String {
        shim::sandbox_cgroup(&record.sandbox.id, &record.sandbox.config)
    }
}

/// `417 (httpd) D`, as far as the kernel still knows it.
fn describe(pid: i32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let end = stat.rfind(')').map_or(0, |at| at.saturating_add(3));
    stat.get(..end).map_or_else(|| pid.to_string(), str::to_owned)
}

/// Random, so that no two ever are the same on one machine.
fn new_id() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// Whether the caller's network namespace path makes sense at all.
fn check(config: &SandboxConfig) -> Result<()> {
    if let NetworkNamespace::Path(path) = &config.network
        && !path.exists()
    {
        return Err(RuntimeError::invalid("network", format!("{} does not exist", path.display())));
    }
    Ok(())
}

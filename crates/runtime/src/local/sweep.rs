//! What crashes leave behind: supervisors that died, sandboxes half made or half removed.
use super::{BEGIN_TIME, Client, Local, Unreachable, unavailable};
use crate::{
    ContainerState, Result, RuntimeError, SandboxId, SandboxState,
    record::{Record, RecordError},
    shim,
};
use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions, TryLockError},
    io::ErrorKind,
    path::Path,
    time::Duration,
};

/// Names a sandbox's cgroup, in its directory, from before anything of it is made.
pub(super) const CGROUP_NOTE: &str = "cgroup";

/// How often a sandbox that is being made is looked at.
const AGAIN: Duration = Duration::from_millis(100);

/// How often a directory is removed in which something appears meanwhile.
const REMOVE_TRIES: u32 = 20;

/// Opens a sandbox's `shim.log` with its lock, which is held by whoever makes or keeps the sandbox. None: somebody does.
pub(super) fn hold(directory: &Path) -> Result<Option<File>> {
    let open = OpenOptions::new().append(true).create(true).open(directory.join("shim.log"));
    let file = open.map_err(|error| unavailable("open the supervisor's log", &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unavailable("lock the supervisor's log", &error)),
    }
}

impl Local {
    /// Looks at every sandbox there is: adopts the living, buries the dead, removes what is neither.
    pub(super) async fn sweep(&self) -> Result<()> {
        for id in self.ids().await? {
            let Ok(directory) = self.directory(&id) else { continue };
            match Client::connect(&directory).await {
                Ok(client) => {
                    self.watch(id.clone(), client);
                    match self.record(&id).await {
                        Ok(record) => self.adopt(&directory, &record).await,
                        Err(error) => tracing::warn!(sandbox = %id, %error, "cannot adopt a sandbox"),
                    }
                }
                Err(Unreachable::Gone) => self.sweep_dead(&id, &directory).await,
                Err(Unreachable::Failed(error)) => {
                    tracing::warn!(sandbox = %id, %error, "a pod's supervisor does not answer");
                }
            }
        }
        self.sweep_steps();
        Ok(())
    }

    /// Cgroups of build steps whose helper was killed before it could clean up.
    fn sweep_steps(&self) {
        for name in self.shared.cgroups.topmost() {
            let Some(helper) = name.strip_prefix(shim::STEP_CGROUP_PREFIX).and_then(|rest| rest.split('-').next())
            else {
                continue;
            };
            if !Path::new("/proc").join(helper).exists() {
                let path = format!("/{name}");
                self.shared.cgroups.kill(&path);
                if let Err(error) = self.shared.cgroups.remove(&path) {
                    tracing::warn!(cgroup = name, %error, "cannot remove what a build step has left");
                }
            }
        }
    }

    async fn sweep_dead(&self, id: &SandboxId, directory: &Path) {
        match Record::load(directory) {
            Ok(Some(record)) => {
                let buried = if record.sandbox.state == SandboxState::Ready { self.bury(id).await } else { Ok(record) };
                match buried {
                    Ok(record) => self.adopt(directory, &record).await,
                    Err(error) => tracing::warn!(sandbox = %id, %error, "cannot clean up after a dead supervisor"),
                }
            }
            // Making it, or removing it, was not finished; or the power went while the record was only in memory.
            Ok(None) | Err(RecordError::Malformed { .. }) => {
                match hold(directory) {
                    Ok(Some(_)) => {}
                    Ok(None) => return self.look_again(id.clone()),
                    Err(error) => tracing::warn!(sandbox = %id, %error, "cannot see whose a sandbox is"),
                }
                if let Err(error) = self.remove_remains(id, directory).await {
                    tracing::warn!(sandbox = %id, %error, "cannot remove what is left of a sandbox");
                }
            }
            Err(error) => tracing::warn!(sandbox = %id, %error, "cannot read a sandbox's record"),
        }
    }

    /// The node agent that began it is gone, but its supervisor is still about to make it: that will succeed or fail.
    fn look_again(&self, id: SandboxId) {
        let local = self.clone();
        tokio::spawn(async move {
            let Ok(directory) = local.directory(&id) else { return };
            let begun = tokio::time::Instant::now();
            while begun.elapsed() < BEGIN_TIME {
                tokio::time::sleep(AGAIN).await;
                if let Ok(client) = Client::connect(&directory).await {
                    local.watch(id.clone(), client);
                    if let Ok(record) = local.record(&id).await {
                        local.adopt(&directory, &record).await;
                    }
                    return;
                }
                if matches!(hold(&directory), Ok(Some(_)) | Err(_)) {
                    // Boxed, because it can lead here again.
                    return Box::pin(local.sweep_dead(&id, &directory)).await;
                }
            }
        });
    }

    /// Takes a sandbox into the index, and removes directories of containers that it does not know.
    async fn adopt(&self, directory: &Path, record: &Record) {
        let known: BTreeSet<&str> = record.containers.iter().map(|status| status.id.0.as_str()).collect();
        if let Ok(entries) = std::fs::read_dir(directory.join("containers")) {
            for entry in entries.flatten() {
                if entry.file_name().to_str().is_none_or(|name| !known.contains(name)) {
                    let cgroup = format!("{}/{}", self.cgroup_of(record), entry.file_name().to_string_lossy());
                    let removed = (self.remove_cgroup(&cgroup).await, remove_directory(&entry.path()).await);
                    if let (_, Err(error)) | (Err(error), _) = removed {
                        tracing::warn!(path = %entry.path().display(), %error, "cannot remove a leftover");
                    }
                }
            }
        }
        let sandbox = &record.sandbox;
        let mut index = self.index();
        index.names.insert((sandbox.config.uid.clone(), sandbox.config.attempt), sandbox.id.clone());
        index.containers.extend(record.containers.iter().map(|status| (status.id.clone(), sandbox.id.clone())));
    }

    /// The supervisor died without being told to: what ran is killed, what became of it is unknown, and that is written
    /// down. Idempotent.
    pub(super) async fn bury(&self, id: &SandboxId) -> Result<Record> {
        let directory = self.directory(id)?;
        let record = Record::load(&directory).map_err(|error| unavailable("read the sandbox's record", &error))?;
        let mut record = record.ok_or_else(|| RuntimeError::NotFound { what: "sandbox".into(), id: id.0.clone() })?;
        let cgroup = self.cgroup_of(&record);
        let (cgroups, at) = (self.shared.cgroups.clone(), directory.clone());
        let killed = tokio::task::spawn_blocking(move || {
            cgroups.kill(&cgroup);
            shim::release_mounts(&at);
        });
        killed.await.map_err(|error| unavailable("kill what is left of a sandbox", &error))?;
        record.sandbox.state = SandboxState::NotReady;
        record.sandbox.netns_path = None;
        for container in &mut record.containers {
            if container.state == ContainerState::Running {
                container.state = ContainerState::Unknown;
                container.pid = None;
            }
        }
        match record.save(&directory) {
            // Removed meanwhile.
            Err(RecordError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(RuntimeError::NotFound { what: "sandbox".into(), id: id.0.clone() });
            }
            saved => saved.map_err(|error| unavailable("write the sandbox's record", &error))?,
        }
        Ok(record)
    }

    /// Everything of a sandbox that is to be no more. Where it is interrupted, the next start goes on.
    pub(super) async fn remove_remains(&self, id: &SandboxId, directory: &Path) -> Result<()> {
        if let Ok(cgroup) = tokio::fs::read_to_string(directory.join(CGROUP_NOTE)).await {
            self.shared.cgroups.kill(&cgroup);
            self.remove_cgroup(&cgroup).await?;
            self.shared.cgroups.prune(&cgroup);
        }
        shim::release_mounts(directory);
        remove_directory(directory).await?;
        let mut index = self.index();
        index.names.retain(|_, known| known != id);
        index.containers.retain(|_, known| known != id);
        Ok(())
    }
}

/// With all below it, which containers may have filled with anything. Idempotent.
pub(super) async fn remove_directory(path: &Path) -> Result<()> {
    for tries in 0.. {
        match tokio::fs::remove_dir_all(path).await {
            // Whoever noticed the supervisor's death at the same moment has written that down here.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && tries < REMOVE_TRIES => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(unavailable(&format!("remove {}", path.display()), &error));
            }
            _ => break,
        }
    }
    Ok(())
}

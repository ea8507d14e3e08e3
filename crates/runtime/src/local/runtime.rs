//! [`Runtime`] for [`Local`]: each call is one request to one supervisor, or one look at what a dead one has left.
use super::{
    Found, Local, check,
    client::unavailable,
    new_id, session,
    sweep::{self, CGROUP_NOTE, remove_directory},
};
use crate::{
    Command, ContainerConfig, ContainerId, ContainerState, ContainerStatus, Event, ExecConfig, Output, Resources,
    Result, Runtime, RuntimeError, RuntimeInfo, SandboxConfig, SandboxId, SandboxState, SandboxStatus, Session, Signal,
    Stats, Streams, disk_usage,
    protocol::{Reply, Request},
};
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use jiff::Timestamp;
use std::{net::IpAddr, path::Path, time::Duration};
use tokio::sync::broadcast::error::RecvError;

/// How long a supervisor may take to kill its containers; longer, and it hangs.
const SHUTDOWN_TIME: Duration = Duration::from_secs(60);

impl Local {
    async fn ask(&self, id: &ContainerId, request: Request) -> Result<()> {
        self.supervisor_of(id).await?.ask(&request).await.map(drop)
    }

    async fn status_of(&self, id: &ContainerId) -> Result<ContainerStatus> {
        let sandbox = self.owner(id).await?;
        let found = self.record(&sandbox).await?.containers.into_iter().find(|status| status.id == *id);
        found.ok_or_else(|| RuntimeError::NotFound { what: "container".into(), id: id.0.clone() })
    }

    async fn make_sandbox(&self, id: &SandboxId, config: SandboxConfig) -> Result<()> {
        let directory = self.directory(id)?;
        tokio::fs::create_dir(&directory).await.map_err(|error| unavailable("make the sandbox's directory", &error))?;
        let cgroup = crate::shim::sandbox_cgroup(id, &config);
        tokio::fs::write(directory.join(CGROUP_NOTE), &cgroup)
            .await
            .map_err(|error| unavailable("note the sandbox's cgroup", &error))?;
        let log = sweep::hold(&directory)?
            .ok_or_else(|| RuntimeError::Unavailable { message: "the new sandbox is somebody else's".into() })?;
        let begun = self.begin(id, &directory, config, log).await;
        if begun.is_err() {
            self.shared.cgroups.kill(&cgroup);
            self.remove_cgroup(&cgroup).await?;
            self.shared.cgroups.prune(&cgroup);
            self.remove_remains(id, &directory).await?;
        }
        begun
    }
}

#[async_trait]
impl Runtime for Local {
    async fn info(&self) -> Result<RuntimeInfo> {
        Ok(RuntimeInfo {
            name: "isopod".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            cgroups: self.shared.cgroups.layout().version(),
            seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        })
    }

    async fn create_sandbox(&self, config: SandboxConfig) -> Result<SandboxId> {
        check(&config)?;
        let (id, name) = (SandboxId(new_id()), (config.uid.clone(), config.attempt));
        {
            let mut index = self.index();
            if index.names.contains_key(&name) {
                let id = format!("{}/{}", name.0, name.1);
                return Err(RuntimeError::AlreadyExists { what: "sandbox".into(), id });
            }
            index.names.insert(name.clone(), id.clone());
        }
        // In a task of its own: a caller that goes away must not leave half a sandbox.
        let (local, of_task) = (self.clone(), id.clone());
        let made = tokio::spawn(async move {
            let made = local.make_sandbox(&of_task, config).await;
            match &made {
                Ok(()) => local.watch_sandbox(&of_task).await,
                Err(_) => local.index().names.retain(|_, known| *known != of_task),
            }
            made
        });
        made.await.map_err(|error| unavailable("make the sandbox", &error))??;
        Ok(id)
    }

    async fn set_addresses(&self, id: &SandboxId, addresses: Vec<IpAddr>) -> Result<()> {
        match self.find(id).await? {
            Found::Alive(mut client) => client.ask(&Request::SetAddresses { addresses }).await.map(drop),
            Found::Dead(_) => {
                let (state, wanted) = ("not ready".into(), "ready".into());
                Err(RuntimeError::WrongState { id: id.0.clone(), state, wanted })
            }
        }
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        match self.find(id).await {
            Err(RuntimeError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(Found::Dead(record)) => {
                if record.sandbox.state == SandboxState::Ready {
                    gone_is_done(self.bury(id).await)?;
                }
                Ok(())
            }
            Ok(Found::Alive(mut client)) => {
                match tokio::time::timeout(SHUTDOWN_TIME, client.ask_patiently(&Request::Shutdown)).await {
                    Ok(Ok(_)) => Ok(()),
                    // It may have been on its way down already, and gone before it could answer.
                    Ok(Err(error)) => match self.find(id).await {
                        Ok(Found::Alive(_)) => Err(error),
                        _ => gone_is_done(self.record(id).await),
                    },
                    Err(_) => {
                        tracing::warn!(sandbox = %id, "a pod's supervisor does not end: killing it");
                        self.bury(id).await.map(drop)
                    }
                }
            }
        }
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        let Ok(directory) = self.directory(id) else { return Ok(()) };
        if !directory.exists() {
            return Ok(());
        }
        self.stop_sandbox(id).await?;
        self.remove_remains(id, &directory).await
    }

    async fn sandbox(&self, id: &SandboxId) -> Result<SandboxStatus> {
        self.record(id).await.map(|record| record.sandbox)
    }

    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self.records().await?.into_iter().map(|record| record.sandbox).collect())
    }

    async fn create_container(&self, sandbox: &SandboxId, config: ContainerConfig) -> Result<ContainerId> {
        let mut client = match self.find(sandbox).await? {
            Found::Alive(client) => client,
            Found::Dead(_) => {
                let (state, wanted) = ("not ready".into(), "ready".into());
                return Err(RuntimeError::WrongState { id: sandbox.0.clone(), state, wanted });
            }
        };
        let id = ContainerId(new_id());
        client.ask(&Request::Create { id: id.clone(), config: Box::new(config) }).await?;
        self.index().containers.insert(id.clone(), sandbox.clone());
        Ok(id)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        let mut client = self.supervisor_of(id).await?;
        client.ask_patiently(&Request::Start { id: id.clone() }).await.map(drop)
    }

    async fn signal_container(&self, id: &ContainerId, signal: Signal) -> Result<()> {
        self.ask(id, Request::Signal { id: id.clone(), signal }).await
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let mut client = match self.supervisor_of(id).await {
            Ok(client) => client,
            Err(RuntimeError::NotFound { .. } | RuntimeError::WrongState { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let grace_millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        client.ask_patiently(&Request::Stop { id: id.clone(), grace_millis }).await.map(drop)
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        let sandbox = match self.owner(id).await {
            Ok(sandbox) => sandbox,
            Err(RuntimeError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let directory = self.directory(&sandbox)?;
        let cgroup = match self.find(&sandbox).await {
            Err(RuntimeError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
            Ok(Found::Alive(mut client)) => {
                let Reply::State { record } = client.ask(&Request::State).await? else { return Ok(()) };
                client.ask_patiently(&Request::Remove { id: id.clone() }).await?;
                self.cgroup_of(&record)
            }
            Ok(Found::Dead(mut record)) => {
                if record.sandbox.state == SandboxState::Ready {
                    *record = self.bury(&sandbox).await?;
                }
                record.containers.retain(|status| status.id != *id);
                record.save(&directory).map_err(|error| unavailable("write the sandbox's record", &error))?;
                self.cgroup_of(&record)
            }
        };
        self.remove_cgroup(&format!("{cgroup}/{id}")).await?;
        remove_directory(&directory.join("containers").join(&id.0)).await?;
        self.index().containers.remove(id);
        Ok(())
    }

    async fn container(&self, id: &ContainerId) -> Result<ContainerStatus> {
        self.status_of(id).await
    }

    async fn containers(&self, sandbox: Option<&SandboxId>) -> Result<Vec<ContainerStatus>> {
        let records = match sandbox {
            Some(id) => match self.record(id).await {
                Ok(record) => vec![record],
                Err(RuntimeError::NotFound { .. }) => Vec::new(),
                Err(error) => return Err(error),
            },
            None => self.records().await?,
        };
        let mut all: Vec<_> = records.into_iter().flat_map(|record| record.containers).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(all)
    }

    async fn stats(&self, id: &ContainerId) -> Result<Stats> {
        let sandbox = self.owner(id).await?;
        let record = self.record(&sandbox).await?;
        let status = record.containers.iter().find(|status| status.id == *id);
        let state = status.map_or(ContainerState::Unknown, |status| status.state);
        let wrong =
            || RuntimeError::WrongState { id: id.0.clone(), state: state.to_string(), wanted: "running".into() };
        if state != ContainerState::Running {
            return Err(wrong());
        }
        let usage = self.shared.cgroups.usage(&format!("{}/{id}", self.cgroup_of(&record))).ok_or_else(wrong)?;
        let upper = self.directory(&sandbox)?.join("containers").join(&id.0).join("upper");
        let written = tokio::task::spawn_blocking(move || disk_usage(&upper));
        Ok(Stats {
            at: Timestamp::now(),
            cpu_nanos: usage.cpu_nanos,
            memory_working_set_bytes: usage.memory_usage_bytes.saturating_sub(usage.memory_inactive_file_bytes),
            memory_usage_bytes: usage.memory_usage_bytes,
            pids: usage.pids,
            writable_bytes: written.await.unwrap_or(0),
        })
    }

    async fn update_resources(&self, id: &ContainerId, resources: Resources) -> Result<()> {
        self.ask(id, Request::Update { id: id.clone(), resources }).await
    }

    async fn limit_group(&self, cgroup: &str, resources: &Resources) -> Result<()> {
        self.shared.cgroups.limit_group(&format!("/{}", cgroup.trim_matches('/')), resources)
    }

    async fn exec_sync(&self, id: &ContainerId, command: Command) -> Result<Output> {
        let client = self.supervisor_of(id).await?;
        session::exec_sync(client, id.clone(), command).await
    }

    async fn exec(&self, id: &ContainerId, config: ExecConfig) -> Result<Session> {
        let client = self.supervisor_of(id).await?;
        session::exec(client, id.clone(), config).await
    }

    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<Session> {
        let client = self.supervisor_of(id).await?;
        session::attach(client, id.clone(), streams).await
    }

    async fn reopen_log(&self, id: &ContainerId) -> Result<()> {
        self.ask(id, Request::ReopenLog { id: id.clone() }).await
    }

    fn events(&self) -> BoxStream<'static, Event> {
        let reader = self.shared.events.subscribe();
        futures::stream::unfold(reader, |mut reader| async {
            match reader.recv().await {
                Ok(event) => Some((event, reader)),
                Err(RecvError::Lagged(_)) => Some((Event::Missed, reader)),
                Err(RecvError::Closed) => None,
            }
        })
        .boxed()
    }
}

/// Stopping what somebody else removes at the same moment is a success.
fn gone_is_done<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(RuntimeError::NotFound { .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

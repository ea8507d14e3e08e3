//! The sandboxes and containers of a [`FakeRuntime`](super::FakeRuntime): plain state, no waiting.
use super::script::Script;
use crate::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, Event, Exit, ExitCause, ExitStatus,
    NetworkNamespace, Result, RuntimeError, SandboxConfig, SandboxId, SandboxState, SandboxStatus, Signal,
};
use bytes::Bytes;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
};
use tokio::sync::{broadcast, watch};

/// Calls of [`Runtime`](crate::Runtime) that a test can make fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    CreateSandbox,
    SetAddresses,
    StopSandbox,
    RemoveSandbox,
    List,
    CreateContainer,
    StartContainer,
    SignalContainer,
    StopContainer,
    RemoveContainer,
    Stats,
    UpdateResources,
    Exec,
    Attach,
    ReopenLog,
}

pub(super) struct World {
    pub scripts: BTreeMap<String, Script>,
    pub calls: Vec<String>,
    pub failures: BTreeMap<Operation, VecDeque<RuntimeError>>,
    pub containers: BTreeMap<ContainerId, Container>,
    pub events: broadcast::Sender<Event>,
    sandboxes: BTreeMap<SandboxId, SandboxStatus>,
    made: u64,
}

pub(super) struct Container {
    pub status: ContainerStatus,
    pub script: Script,
    pub stdin: Vec<u8>,
    pub output: broadcast::Sender<Bytes>,
    /// Set once, when it has ended.
    pub ended: watch::Sender<Option<ExitStatus>>,
}

/// Events and chunks of output that a slow reader may be behind before it misses some: far above any test's needs.
pub(super) const BACKLOG: usize = 1024;

impl World {
    pub fn new() -> Self {
        Self {
            scripts: BTreeMap::new(),
            calls: Vec::new(),
            failures: BTreeMap::new(),
            containers: BTreeMap::new(),
            events: broadcast::channel(BACKLOG).0,
            sandboxes: BTreeMap::new(),
            made: 0,
        }
    }

    /// Notes the call, and fails it if a test has asked for that.
    pub fn enter(&mut self, operation: Operation, subject: &str) -> Result<()> {
        if operation != Operation::List {
            self.calls.push(format!("{operation:?} {subject}"));
        }
        self.failures.get_mut(&operation).and_then(VecDeque::pop_front).map_or(Ok(()), Err)
    }

    fn next_id(&mut self, name: &str) -> String {
        self.made += 1;
        format!("{name}-{:04}", self.made)
    }

    pub fn create_sandbox(&mut self, config: SandboxConfig, now: Timestamp) -> Result<SandboxId> {
        if config.uid.is_empty() {
            return Err(RuntimeError::invalid("uid", "must not be empty"));
        }
        let taken = |other: &&SandboxStatus| other.config.uid == config.uid && other.config.attempt == config.attempt;
        if let Some(other) = self.sandboxes.values().find(taken) {
            return Err(RuntimeError::AlreadyExists { what: "sandbox".into(), id: other.id.0.clone() });
        }
        let id = SandboxId(self.next_id(&config.name));
        let netns_path = match &config.network {
            NetworkNamespace::Private => Some(PathBuf::from(format!("/fake/netns/{id}"))),
            NetworkNamespace::Host => None,
            NetworkNamespace::Path(path) => Some(path.clone()),
        };
        let status = SandboxStatus { id: id.clone(), state: SandboxState::Ready, created_at: now, config, netns_path };
        self.sandboxes.insert(id.clone(), status);
        Ok(id)
    }

    pub fn sandbox(&self, id: &SandboxId) -> Result<&SandboxStatus> {
        self.sandboxes.get(id).ok_or_else(|| RuntimeError::NotFound { what: "sandbox".into(), id: id.0.clone() })
    }

    pub fn sandboxes(&self) -> Vec<SandboxStatus> {
        self.sandboxes.values().cloned().collect()
    }

    pub fn stop_sandbox(&mut self, id: &SandboxId, now: Timestamp) {
        let running: Vec<_> = self.containers_of(Some(id)).into_iter().map(|status| status.id).collect();
        for container in running {
            self.end(&container, ExitStatus::Signal(Signal::KILL), ExitCause::Ended, now);
        }
        let Some(sandbox) = self.sandboxes.get_mut(id) else { return };
        if sandbox.state == SandboxState::Ready {
            sandbox.state = SandboxState::NotReady;
            sandbox.netns_path = None;
            self.tell(Event::SandboxStopped { sandbox: id.clone() });
        }
    }

    pub fn remove_sandbox(&mut self, id: &SandboxId, now: Timestamp) {
        self.stop_sandbox(id, now);
        self.containers.retain(|_, container| container.status.sandbox != *id);
        self.sandboxes.remove(id);
    }

    pub fn create_container(
        &mut self,
        sandbox: &SandboxId,
        config: ContainerConfig,
        now: Timestamp,
    ) -> Result<ContainerId> {
        let ready = self.sandbox(sandbox)?.state == SandboxState::Ready;
        if !ready {
            return Err(wrong_state(&sandbox.0, "stopped", "ready"));
        }
        if config.args.is_empty() {
            return Err(RuntimeError::invalid("args", "no command specified"));
        }
        let taken = |other: &&Container| {
            other.status.sandbox == *sandbox
                && other.status.config.name == config.name
                && other.status.config.attempt == config.attempt
        };
        if let Some(other) = self.containers.values().find(taken) {
            return Err(RuntimeError::AlreadyExists { what: "container".into(), id: other.status.id.0.clone() });
        }
        let id = ContainerId(self.next_id(&config.name));
        let script = self.scripts.get(&config.name).cloned().unwrap_or_default();
        let status = ContainerStatus {
            id: id.clone(),
            sandbox: sandbox.clone(),
            state: ContainerState::Created,
            config,
            created_at: now,
            started_at: None,
            exit: None,
            pid: None,
        };
        let (output, ended) = (broadcast::channel(BACKLOG).0, watch::channel(None).0);
        self.containers.insert(id.clone(), Container { status, script, stdin: Vec::new(), output, ended });
        Ok(id)
    }

    /// Starts it; the answer is when it will end by itself, if it will.
    pub fn start(&mut self, id: &ContainerId, now: Timestamp) -> Result<Option<(std::time::Duration, ExitStatus)>> {
        let pid = u32::try_from(self.made).unwrap_or(u32::MAX);
        let container = self.container_mut(id)?;
        if container.status.state != ContainerState::Created {
            return Err(wrong_state(&id.0, container.status.state, "created"));
        }
        if let Some(message) = container.script.start_error.clone() {
            let cause = ExitCause::StartFailed { message: message.clone() };
            self.finish(id, ExitStatus::Code(128), cause, now);
            return Err(RuntimeError::Start { message });
        }
        container.status.state = ContainerState::Running;
        container.status.started_at = Some(now);
        container.status.pid = Some(pid);
        let (ends, sandbox) = (container.script.ends, container.status.sandbox.clone());
        self.tell(Event::Started { sandbox, container: id.clone() });
        Ok(ends)
    }

    pub fn container(&self, id: &ContainerId) -> Result<&Container> {
        self.containers.get(id).ok_or_else(|| missing(id))
    }

    pub fn container_mut(&mut self, id: &ContainerId) -> Result<&mut Container> {
        self.containers.get_mut(id).ok_or_else(|| missing(id))
    }

    pub fn running(&mut self, id: &ContainerId) -> Result<&mut Container> {
        let container = self.container_mut(id)?;
        match container.status.state {
            ContainerState::Running => Ok(container),
            state => Err(wrong_state(&id.0, state, "running")),
        }
    }

    pub fn containers_of(&self, sandbox: Option<&SandboxId>) -> Vec<ContainerStatus> {
        let wanted = |status: &&ContainerStatus| sandbox.is_none_or(|id| status.sandbox == *id);
        self.containers.values().map(|container| &container.status).filter(wanted).cloned().collect()
    }

    /// Ends a running container; others are left as they are.
    pub fn end(&mut self, id: &ContainerId, status: ExitStatus, cause: ExitCause, now: Timestamp) {
        if self.containers.get(id).is_some_and(|container| container.status.state == ContainerState::Running) {
            self.finish(id, status, cause, now);
        }
    }

    fn finish(&mut self, id: &ContainerId, status: ExitStatus, cause: ExitCause, now: Timestamp) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let exit = Exit { at: now, status, cause };
        container.status.state = ContainerState::Exited;
        container.status.pid = None;
        container.status.exit = Some(exit.clone());
        container.ended.send_replace(Some(status));
        let sandbox = container.status.sandbox.clone();
        self.tell(Event::Exited { sandbox, container: id.clone(), exit });
    }

    /// Nobody listening is no error.
    fn tell(&self, event: Event) {
        let _no_reader = self.events.send(event);
    }
}

fn missing(id: &ContainerId) -> RuntimeError {
    RuntimeError::NotFound { what: "container".into(), id: id.0.clone() }
}

fn wrong_state(id: &str, state: impl std::fmt::Display, wanted: &str) -> RuntimeError {
    RuntimeError::WrongState { id: id.to_owned(), state: state.to_string(), wanted: wanted.to_owned() }
}

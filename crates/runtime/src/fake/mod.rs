//! A [`Runtime`] without processes: state in memory, programs that follow a [`Script`], tokio's clock.
//!
//! For tests of the node agent (with tokio's paused clock, minutes pass at once and every timestamp is the same in every run). It
//! keeps the contract of [`Runtime`] and shows what was asked of it: [`FakeRuntime::calls`]. Clones share one world, so
//! a clone handed to a second node agent is a runtime that has survived the first.
mod script;
mod sessions;
#[cfg(test)]
mod tests;
mod world;

pub use script::{FakeCommand, OnStop, Script};
pub use world::Operation;

use crate::{
    CgroupVersion, Command, ContainerConfig, ContainerId, ContainerState, ContainerStatus, Event, ExecConfig,
    ExitCause, ExitStatus, MAX_OUTPUT, Output, Resources, Result, Runtime, RuntimeError, RuntimeInfo, SandboxConfig,
    SandboxId, SandboxStatus, Session, Signal, Stats, Streams,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use jiff::Timestamp;
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};
use world::World;

/// 2026-01-01T00:00:00Z, when the world of every fake begins.
const BEGINNING: i64 = 1_767_225_600;

/// See the [module](self).
#[derive(Clone)]
pub struct FakeRuntime {
    world: Arc<Mutex<World>>,
    began: Instant,
    beginning: Timestamp,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeRuntime {
    /// An empty world. Its methods need a tokio runtime with time.
    pub fn new() -> Self {
        Self::beginning_at(Timestamp::from_second(BEGINNING).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// An empty world whose time begins at `at`: for what stands above and looks at the real clock.
    pub fn beginning_at(at: Timestamp) -> Self {
        Self { world: Arc::new(Mutex::new(World::new())), began: Instant::now(), beginning: at }
    }

    /// Containers of this name, made from now on, follow `script`.
    pub fn script(&self, container_name: &str, script: Script) {
        self.lock().scripts.insert(container_name.to_owned(), script);
    }

    /// The next call of this kind that has not got a failure yet fails with `error` and does nothing.
    pub fn fail_next(&self, operation: Operation, error: RuntimeError) {
        self.lock().failures.entry(operation).or_default().push_back(error);
    }

    /// All calls so far that were to change or enter something, in order: `StartContainer web-0002`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// Its program ends by itself, now.
    pub fn exit(&self, id: &ContainerId, code: u8) {
        let now = self.now();
        self.lock().end(id, ExitStatus::Code(code), ExitCause::Ended, now);
    }

    /// The kernel kills it for want of memory, now.
    pub fn out_of_memory(&self, id: &ContainerId) {
        let now = self.now();
        self.lock().end(id, ExitStatus::Signal(Signal::KILL), ExitCause::OutOfMemory, now);
    }

    /// Its program prints; whoever is attached reads it.
    pub fn print(&self, id: &ContainerId, text: &str) {
        if let Ok(container) = self.lock().container(id) {
            let _nobody_attached = container.output.send(Bytes::copy_from_slice(text.as_bytes()));
        }
    }

    /// What attached clients have written to its stdin.
    pub fn stdin(&self, id: &ContainerId) -> Vec<u8> {
        self.lock().container(id).map(|container| container.stdin.clone()).unwrap_or_default()
    }

    /// The fake's time.
    pub fn now(&self) -> Timestamp {
        self.beginning.checked_add(self.began.elapsed()).unwrap_or(self.beginning)
    }

    /// A panic under this lock is a failed test already; what it left is still worth reading.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, call: String) {
        self.lock().calls.push(call);
    }

    fn keep_stdin(&self, id: &ContainerId, chunk: &[u8]) {
        if let Ok(container) = self.lock().container_mut(id) {
            container.stdin.extend_from_slice(chunk);
        }
    }

    fn end_after(&self, id: &ContainerId, after: Duration, status: ExitStatus) {
        if after.is_zero() {
            self.lock().end(id, status, ExitCause::Ended, self.now());
            return;
        }
        let (fake, id) = (self.clone(), id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            fake.lock().end(&id, status, ExitCause::Ended, fake.now());
        });
    }

    /// Delivers a signal; the answer tells of the container's end.
    fn deliver(&self, id: &ContainerId, signal: Signal) -> Result<watch::Receiver<Option<ExitStatus>>> {
        let (reaction, ended) = {
            let mut world = self.lock();
            let container = world.running(id)?;
            let stop_signal = container.status.config.stop_signal.unwrap_or(Signal::TERM);
            (script::reaction(&container.script, stop_signal, signal), container.ended.subscribe())
        };
        if let Some((after, status)) = reaction {
            self.end_after(id, after, status);
        }
        Ok(ended)
    }

    /// What a command will do, and news of its container's end.
    fn find_command(
        &self,
        id: &ContainerId,
        args: &[String],
    ) -> Result<(FakeCommand, watch::Receiver<Option<ExitStatus>>)> {
        let mut world = self.lock();
        world.enter(Operation::Exec, &format!("{id} {}", args.join(" ")))?;
        let container = world.running(id)?;
        let command = container.script.commands.get(args).cloned().ok_or_else(|| RuntimeError::Start {
            message: format!("exec: {:?}: executable file not found in $PATH", args.first().map_or("", String::as_str)),
        })?;
        Ok((command, container.ended.subscribe()))
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn info(&self) -> Result<RuntimeInfo> {
        let version = env!("CARGO_PKG_VERSION").into();
        Ok(RuntimeInfo { name: "fake".into(), version, cgroups: CgroupVersion::V2, seccomp: false })
    }

    async fn create_sandbox(&self, config: SandboxConfig) -> Result<SandboxId> {
        let (now, mut world) = (self.now(), self.lock());
        world.enter(Operation::CreateSandbox, &config.name)?;
        world.create_sandbox(config, now)
    }

    async fn set_addresses(&self, id: &SandboxId, addresses: Vec<IpAddr>) -> Result<()> {
        let mut world = self.lock();
        world.enter(Operation::SetAddresses, &format!("{id} {addresses:?}"))?;
        world.sandbox(id).map(|_| ())
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        let (now, mut world) = (self.now(), self.lock());
        world.enter(Operation::StopSandbox, &id.0)?;
        world.stop_sandbox(id, now);
        Ok(())
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        let (now, mut world) = (self.now(), self.lock());
        world.enter(Operation::RemoveSandbox, &id.0)?;
        world.remove_sandbox(id, now);
        Ok(())
    }

    async fn sandbox(&self, id: &SandboxId) -> Result<SandboxStatus> {
        self.lock().sandbox(id).cloned()
    }

    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        let mut world = self.lock();
        world.enter(Operation::List, "sandboxes")?;
        Ok(world.sandboxes())
    }

    async fn create_container(&self, sandbox: &SandboxId, config: ContainerConfig) -> Result<ContainerId> {
        let (now, mut world) = (self.now(), self.lock());
        world.enter(Operation::CreateContainer, &format!("{sandbox} {}", config.name))?;
        world.create_container(sandbox, config, now)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        let ends = {
            let (now, mut world) = (self.now(), self.lock());
            world.enter(Operation::StartContainer, &id.0)?;
            world.start(id, now)?
        };
        if let Some((after, status)) = ends {
            self.end_after(id, after, status);
        }
        Ok(())
    }

    async fn signal_container(&self, id: &ContainerId, signal: Signal) -> Result<()> {
        self.lock().enter(Operation::SignalContainer, &format!("{id} {signal}"))?;
        self.deliver(id, signal).map(drop)
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let signal = {
            let mut world = self.lock();
            world.enter(Operation::StopContainer, &format!("{id} {}s", grace.as_secs()))?;
            match world.container(id) {
                Ok(container) if container.status.state == ContainerState::Running => {
                    container.status.config.stop_signal.unwrap_or(Signal::TERM)
                }
                _ => return Ok(()),
            }
        };
        let mut ended = match self.deliver(id, if grace.is_zero() { Signal::KILL } else { signal }) {
            Ok(ended) => ended,
            // It ended by itself meanwhile.
            Err(_) => return Ok(()),
        };
        if tokio::time::timeout(grace, sessions::end_of(&mut ended)).await.is_err() {
            self.end_after(id, Duration::ZERO, ExitStatus::Signal(Signal::KILL));
        }
        Ok(())
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        let (now, mut world) = (self.now(), self.lock());
        world.enter(Operation::RemoveContainer, &id.0)?;
        world.end(id, ExitStatus::Signal(Signal::KILL), ExitCause::Ended, now);
        world.containers.remove(id);
        Ok(())
    }

    async fn container(&self, id: &ContainerId) -> Result<ContainerStatus> {
        self.lock().container(id).map(|container| container.status.clone())
    }

    async fn containers(&self, sandbox: Option<&SandboxId>) -> Result<Vec<ContainerStatus>> {
        let mut world = self.lock();
        world.enter(Operation::List, "containers")?;
        Ok(world.containers_of(sandbox))
    }

    /// One CPU in full use since the start, and 1 MiB of memory.
    async fn stats(&self, id: &ContainerId) -> Result<Stats> {
        let (now, mut world) = (self.now(), self.lock());
        world.enter(Operation::Stats, &id.0)?;
        let started = world.running(id)?.status.started_at.unwrap_or(now);
        Ok(Stats {
            at: now,
            cpu_nanos: u64::try_from(now.duration_since(started).as_nanos()).unwrap_or(0),
            memory_working_set_bytes: 1 << 20,
            memory_usage_bytes: 1 << 20,
            pids: 1,
            writable_bytes: 0,
        })
    }

    async fn update_resources(&self, id: &ContainerId, resources: Resources) -> Result<()> {
        let mut world = self.lock();
        world.enter(Operation::UpdateResources, &id.0)?;
        let status = &mut world.container_mut(id)?.status;
        match status.state {
            ContainerState::Created | ContainerState::Running => status.config.resources.update(resources),
            state => {
                let (id, wanted) = (id.0.clone(), "created or running".into());
                return Err(RuntimeError::WrongState { id, state: state.to_string(), wanted });
            }
        }
        Ok(())
    }

    async fn exec_sync(&self, id: &ContainerId, command: Command) -> Result<Output> {
        let (found, mut ended) = self.find_command(id, &command.args)?;
        let timeout = command.timeout.unwrap_or(Duration::MAX);
        tokio::select! {
            () = tokio::time::sleep(found.takes.min(timeout)) => {}
            _ = sessions::end_of(&mut ended) => {
                return Ok(Output { status: ExitStatus::Signal(Signal::KILL), stdout: Vec::new(), stderr: Vec::new() });
            }
        }
        if found.takes > timeout {
            return Err(RuntimeError::Timeout { millis: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) });
        }
        let FakeCommand { status, mut stdout, mut stderr, .. } = found;
        stdout.truncate(MAX_OUTPUT);
        stderr.truncate(MAX_OUTPUT);
        Ok(Output { status, stdout, stderr })
    }

    async fn exec(&self, id: &ContainerId, config: ExecConfig) -> Result<Session> {
        let (command, ended) = self.find_command(id, &config.args)?;
        Ok(sessions::exec(self, id.clone(), command, config.streams, ended))
    }

    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<Session> {
        let (streams, output, ended) = {
            let mut world = self.lock();
            world.enter(Operation::Attach, &id.0)?;
            let container = world.running(id)?;
            let config = &container.status.config;
            let streams = Streams { tty: config.tty, stdin: streams.stdin && config.stdin, ..streams };
            (streams, container.output.subscribe(), container.ended.subscribe())
        };
        Ok(sessions::attach(self, id.clone(), streams, output, ended))
    }

    async fn reopen_log(&self, id: &ContainerId) -> Result<()> {
        let mut world = self.lock();
        world.enter(Operation::ReopenLog, &id.0)?;
        world.running(id).map(|_| ())
    }

    fn events(&self) -> BoxStream<'static, Event> {
        let reader = self.lock().events.subscribe();
        futures::stream::unfold(reader, |mut reader| async {
            match reader.recv().await {
                Ok(event) => Some((event, reader)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Event::Missed, reader)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }
}

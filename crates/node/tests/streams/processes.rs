//! A fake runtime whose commands are real processes of this machine.
use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::BoxStream;
use isopod_runtime::fake::FakeRuntime;
use isopod_runtime::{
    Command, ContainerConfig, ContainerId, ContainerStatus, Event, ExecConfig, ExitStatus, Output, Resources, Result,
    Runtime, RuntimeError, RuntimeInfo, SandboxConfig, SandboxId, SandboxStatus, Session, Signal, Stats, Streams,
};
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

/// Everything is the fake's but exec without a terminal.
pub struct Processes(pub FakeRuntime);

#[async_trait]
impl Runtime for Processes {
    async fn exec(&self, id: &ContainerId, config: ExecConfig) -> Result<Session> {
        if config.streams.tty {
            return self.0.exec(id, config).await;
        }
        let (program, args) = config.args.split_first().ok_or_else(|| RuntimeError::invalid("args", "empty"))?;
        let stdio = |on: bool| if on { Stdio::piped() } else { Stdio::null() };
        let mut child = tokio::process::Command::new(program)
            .args(args)
            .stdin(stdio(config.streams.stdin))
            .stdout(stdio(config.streams.stdout))
            .stderr(stdio(config.streams.stderr))
            .kill_on_drop(true)
            .spawn()
            .map_err(|_| RuntimeError::Start {
                message: format!("exec: {program:?}: executable file not found in $PATH"),
            })?;
        Ok(Session {
            stdin: child.stdin.take().map(|s| Box::new(s) as _),
            stdout: child.stdout.take().map(|s| Box::new(s) as _),
            stderr: child.stderr.take().map(|s| Box::new(s) as _),
            resize: None,
            exit: async move {
                let status = child.wait().await.unwrap();
                Ok(ExitStatus::Code(u8::try_from(status.code().unwrap_or(137)).unwrap()))
            }
            .boxed(),
        })
    }

    async fn info(&self) -> Result<RuntimeInfo> {
        self.0.info().await
    }
    async fn create_sandbox(&self, config: SandboxConfig) -> Result<SandboxId> {
        self.0.create_sandbox(config).await
    }
    async fn set_addresses(&self, id: &SandboxId, addresses: Vec<IpAddr>) -> Result<()> {
        self.0.set_addresses(id, addresses).await
    }
    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.0.stop_sandbox(id).await
    }
    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.0.remove_sandbox(id).await
    }
    async fn sandbox(&self, id: &SandboxId) -> Result<SandboxStatus> {
        self.0.sandbox(id).await
    }
    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        self.0.sandboxes().await
    }
    async fn create_container(&self, sandbox: &SandboxId, config: ContainerConfig) -> Result<ContainerId> {
        self.0.create_container(sandbox, config).await
    }
    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        self.0.start_container(id).await
    }
    async fn signal_container(&self, id: &ContainerId, signal: Signal) -> Result<()> {
        self.0.signal_container(id, signal).await
    }
    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.0.stop_container(id, grace).await
    }
    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.0.remove_container(id).await
    }
    async fn container(&self, id: &ContainerId) -> Result<ContainerStatus> {
        self.0.container(id).await
    }
    async fn containers(&self, sandbox: Option<&SandboxId>) -> Result<Vec<ContainerStatus>> {
        self.0.containers(sandbox).await
    }
    async fn stats(&self, id: &ContainerId) -> Result<Stats> {
        self.0.stats(id).await
    }
    async fn update_resources(&self, id: &ContainerId, resources: Resources) -> Result<()> {
        self.0.update_resources(id, resources).await
    }
    async fn exec_sync(&self, id: &ContainerId, command: Command) -> Result<Output> {
        self.0.exec_sync(id, command).await
    }
    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<Session> {
        self.0.attach(id, streams).await
    }
    async fn reopen_log(&self, id: &ContainerId) -> Result<()> {
        self.0.reopen_log(id).await
    }
    fn events(&self) -> BoxStream<'static, Event> {
        self.0.events()
    }
}

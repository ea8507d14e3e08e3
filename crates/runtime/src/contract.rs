//! The one seam between node agent and containers: [`Runtime`].
use crate::{
    Command, ContainerConfig, ContainerId, ContainerStatus, ExecConfig, Exit, Output, Resources, Result, SandboxConfig,
    SandboxId, SandboxStatus, Session, Signal, Stats, Streams,
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, time::Duration};

/// What runs containers. In the shape of Kubernetes' CRI (`cri-api/pkg/apis/runtime/v1`), so that a CRI runtime can
/// stand behind it, and without any Kubernetes object in it.
///
/// What every implementation holds to:
/// - **Sandboxes and containers outlive the caller.** A new `Runtime` value over the same state finds all of them.
/// - **Stopping and removing are idempotent**: what is gone already is a success.
/// - **An exit is never lost**: a container that ended stays listed, with its [`Exit`], until it is removed.
/// - **A call that fails leaves nothing behind**, save `start_container`, whose failure is the container's exit.
/// - **Dropping a call's future** may leave the call done or not done, never half done.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Who this is and what it can do.
    async fn info(&self) -> Result<RuntimeInfo>;

    /// Makes namespaces, cgroup and supervisor. Fails with `AlreadyExists` when the pod's uid has a sandbox of the same
    /// attempt.
    async fn create_sandbox(&self, config: SandboxConfig) -> Result<SandboxId>;

    /// Tells a sandbox its addresses, for `/etc/hosts` of its containers, those that run included.
    async fn set_addresses(&self, id: &SandboxId, addresses: Vec<IpAddr>) -> Result<()>;

    /// Kills whatever still runs in it and takes the namespaces down. Callers that want grace stop the containers first.
    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()>;

    /// Stops it if need be and removes it with all its containers: processes, mounts, cgroups, directories. Log files
    /// stay; they are the caller's.
    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()>;

    async fn sandbox(&self, id: &SandboxId) -> Result<SandboxStatus>;

    /// All of them, in order of id.
    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>>;

    /// Makes root file system and cgroup; nothing runs yet. The sandbox must be ready.
    async fn create_container(&self, sandbox: &SandboxId, config: ContainerConfig) -> Result<ContainerId>;

    /// Runs a created container. Returns when its program runs, or with `Start` when it could not be (the container is
    /// then exited, with `StartFailed`).
    async fn start_container(&self, id: &ContainerId) -> Result<()>;

    /// Sends a signal to the first process. The container must be running.
    async fn signal_container(&self, id: &ContainerId, signal: Signal) -> Result<()>;

    /// Sends the container's stop signal, waits up to `grace` for it to end, then kills all of its processes. Zero
    /// grace kills at once. A second call with less grace shortens the first one's wait.
    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()>;

    /// Kills it if it runs, and removes root file system, cgroup and record.
    async fn remove_container(&self, id: &ContainerId) -> Result<()>;

    async fn container(&self, id: &ContainerId) -> Result<ContainerStatus>;

    /// All of one sandbox, or of all, in order of id.
    async fn containers(&self, sandbox: Option<&SandboxId>) -> Result<Vec<ContainerStatus>>;

    /// Of a running container.
    async fn stats(&self, id: &ContainerId) -> Result<Stats>;

    /// Changes the limits of a created or running container; fields that are none are left as they are.
    async fn update_resources(&self, id: &ContainerId, resources: Resources) -> Result<()>;

    /// Limits a cgroup in which others are: a pod's ([`SandboxConfig::cgroup_parent`]) or one above it. One that is not there is passed
    /// over. The CRI leaves these to the kubelet, which is why a runtime may do nothing.
    async fn limit_group(&self, cgroup: &str, resources: &Resources) -> Result<()> {
        let _kept_by_others = (cgroup, resources);
        Ok(())
    }

    /// Runs a command to its end in a running container.
    async fn exec_sync(&self, id: &ContainerId, command: Command) -> Result<Output>;

    /// Starts a command in a running container and hands over its streams.
    async fn exec(&self, id: &ContainerId, config: ExecConfig) -> Result<Session>;

    /// Connects to a running container's own first process: what it prints from now on, and its stdin if it was made
    /// with one. The container's `tty` decides, not the one in `streams`.
    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<Session>;

    /// After the log file was moved away: go on in a new one at the old path.
    async fn reopen_log(&self, id: &ContainerId) -> Result<()>;

    /// What happens from now on. Bounded: a reader that is too slow gets [`Event::Missed`] and must list again.
    fn events(&self) -> BoxStream<'static, Event>;
}

/// Who a runtime is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeInfo {
    /// `isopod`, before the `://` of every container id that Kubernetes shows.
    pub name: String,
    pub version: String,
    pub cgroups: CgroupVersion,
    /// Whether the kernel filters system calls; without it `RuntimeDefault` is accepted and does nothing.
    pub seccomp: bool,
}

/// How the machine's cgroups are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CgroupVersion {
    /// One mount per controller, perhaps with an extra unified one.
    V1,
    /// One unified mount.
    V2,
}

/// A change that a runtime tells of. Levels, not edges, are the truth: whoever reads one looks at the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    Started {
        sandbox: SandboxId,
        container: ContainerId,
    },
    Exited {
        sandbox: SandboxId,
        container: ContainerId,
        exit: Exit,
    },
    /// The sandbox is no longer ready.
    SandboxStopped {
        sandbox: SandboxId,
    },
    /// The reader was too slow and has lost events.
    Missed,
}

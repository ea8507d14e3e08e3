//! A sandbox: what the containers of one pod share. Namespaces, name, addresses, a parent cgroup and one supervisor.
use crate::Resources;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

/// Names a sandbox; made by the runtime and stable for the sandbox's life, across restarts of node agent and runtime.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SandboxId(pub String);

impl std::fmt::Display for SandboxId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a new sandbox shall be (CRI `PodSandboxConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SandboxConfig {
    /// Who it is for: unique among living sandboxes together with `attempt`.
    pub uid: String,
    /// For people and log paths.
    pub namespace: String,
    pub name: String,
    /// 0 for the pod's first sandbox, one more each time the node agent has to make a new one.
    pub attempt: u32,
    /// Kept and given back, never read by the runtime: the node agent's own notes.
    pub labels: BTreeMap<String, String>,
    /// Name in the sandbox's UTS namespace and `/etc/hostname`; not used with the host's network.
    pub hostname: String,
    pub network: NetworkNamespace,
    pub pid: PidNamespace,
    pub ipc: IpcNamespace,
    /// Contents of `/etc/resolv.conf` in every container of the sandbox.
    pub dns: DnsConfig,
    /// Extra lines of `/etc/hosts`, after the lines for `localhost` and the pod itself.
    pub host_aliases: Vec<HostAlias>,
    /// Namespaced kernel parameters, such as `net.core.somaxconn`.
    pub sysctls: BTreeMap<String, String>,
    /// The pod's cgroup below each controller's mount point (cgroup v1) or the one mount point (v2).
    pub cgroup_parent: String,
    /// Container logs with a relative path go below it.
    pub log_directory: PathBuf,
    /// Limits of the pod's cgroup: for all its containers and its supervisor together.
    pub resources: Resources,
}

/// Whose network a sandbox has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetworkNamespace {
    /// Its own, new, with only loopback up; links and addresses are given to it by the caller (see
    /// [`SandboxStatus::netns_path`]).
    #[default]
    Private,
    /// The machine's own (`hostNetwork`).
    Host,
    /// One made before, by the path of its pinned file.
    Path(PathBuf),
}

/// Whose processes a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PidNamespace {
    /// Only its own.
    #[default]
    Container,
    /// Those of the whole sandbox (`shareProcessNamespace`).
    Sandbox,
    /// The machine's (`hostPID`).
    Host,
}

/// Whose System V and POSIX message queues and shared memory a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IpcNamespace {
    #[default]
    Sandbox,
    Host,
}

/// `resolv.conf(5)` as data.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsConfig {
    pub servers: Vec<IpAddr>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

/// One address with names in `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAlias {
    pub ip: IpAddr,
    pub names: Vec<String>,
}

/// Life of a sandbox.
///
/// `Ready => NotReady`: stopped, or its supervisor died. A sandbox never becomes ready again; it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SandboxState {
    /// Namespaces exist, containers can be made.
    Ready,
    /// No process is left in it; only its directory and what was recorded remain.
    NotReady,
}

/// What a sandbox is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxStatus {
    pub id: SandboxId,
    pub state: SandboxState,
    pub created_at: Timestamp,
    /// As it was asked for.
    pub config: SandboxConfig,
    /// A file by which the network namespace can be entered; none with the host's network or once stopped.
    pub netns_path: Option<PathBuf>,
}

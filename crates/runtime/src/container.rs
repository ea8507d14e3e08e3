//! A container: what runs, as whom, with which files, rights and limits, and what became of it.
use crate::{SandboxId, Signal};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// Names a container; made by the runtime, unique on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl std::fmt::Display for ContainerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a new container shall be (CRI `ContainerConfig`), with the image already resolved to layers, command and user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerConfig {
    /// Unique in the sandbox together with `attempt`.
    pub name: String,
    pub attempt: u32,
    /// Kept and given back, never read by the runtime.
    pub labels: BTreeMap<String, String>,
    /// For people: what the node agent reports as the image. The runtime runs `layers`.
    pub image: String,
    /// Unpacked layer directories, lowest first: the read-only floors of the root file system.
    pub layers: Vec<PathBuf>,
    /// Program and its arguments; never empty.
    pub args: Vec<String>,
    /// In order; a later entry of the same name wins.
    pub env: Vec<EnvVar>,
    /// Made if missing. `/` when empty.
    pub cwd: PathBuf,
    pub mounts: Vec<Mount>,
    /// Sees the processes of this running container of the same sandbox, in place of its own or the sandbox's (CRI
    /// `NamespaceMode::TARGET`).
    pub pid_of: Option<ContainerId>,
    pub security: Security,
    pub resources: Resources,
    pub rlimits: Vec<Rlimit>,
    /// Keep an open stdin for attach; without it the program reads end of file.
    pub stdin: bool,
    /// stdin ends for the program when the first attached client hangs up.
    pub stdin_once: bool,
    /// A pseudo-terminal: stdout and stderr are one stream.
    pub tty: bool,
    /// CRI log file, relative to the sandbox's log directory unless absolute. None: output is only for attach.
    pub log_path: Option<PathBuf>,
    /// What `stop` sends first when it is not told otherwise; SIGTERM when none.
    pub stop_signal: Option<Signal>,
}

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    pub name: String,
    pub value: String,
}

/// A file system put into the container, in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    pub source: MountSource,
    /// Absolute path in the container; its parents are made if missing.
    pub target: PathBuf,
    #[serde(default)]
    pub read_only: bool,
    /// With `read_only`: also whatever is mounted below the source (`mount_setattr(2)` with `AT_RECURSIVE`, KEP-3857).
    #[serde(default)]
    pub recursive_read_only: bool,
    #[serde(default)]
    pub propagation: Propagation,
}

/// Where mounted files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MountSource {
    /// A file or directory of the machine, which must exist.
    Bind(PathBuf),
    /// Memory, bounded when `size_bytes` is given; gone with the container.
    Tmpfs { size_bytes: Option<u64> },
}

/// Whether mounts made later below a bind mount are seen on the other side (`mount_namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// As whom and with which rights a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Security {
    pub user: User,
    /// `fsGroup` and `supplementalGroups`, in addition to those that `/etc/group` of the image gives the user.
    pub supplemental_groups: Vec<u32>,
    /// All capabilities, all devices, no masked paths, no seccomp.
    pub privileged: bool,
    /// To be added to and dropped from the default set; `ALL` is understood; names with or without `CAP_`.
    pub add_capabilities: Vec<String>,
    pub drop_capabilities: Vec<String>,
    pub no_new_privileges: bool,
    pub read_only_root: bool,
    pub seccomp: Seccomp,
    /// Hide and write-protect the paths of `/proc` and `/sys` that show or change the machine.
    pub proc_mount: ProcMount,
}

/// Who a container's first process is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// `runAsUser`; wins over `name`.
    pub uid: Option<u32>,
    /// `runAsGroup`; without it the user's primary group in the image's `/etc/passwd`, or 0.
    pub gid: Option<u32>,
    /// The image's `USER`: `name`, `uid`, `name:group`, `uid:gid`. Root when empty.
    pub name: String,
}

/// System call filter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Seccomp {
    #[default]
    Unconfined,
    /// The runtime's own default profile.
    RuntimeDefault,
    /// A profile file of the machine (`Localhost`).
    Localhost(PathBuf),
}

/// Which of `/proc` is masked (`securityContext.procMount`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProcMount {
    #[default]
    Default,
    Unmasked,
}

/// `getrlimit(2)`. Raising a hard limit is best effort: a machine may not let us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` and so on.
    pub kind: String,
    pub soft: u64,
    pub hard: u64,
}

/// Limits of a container in cgroup v1's words, as the CRI has them; a v2 machine gets the translation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// 2 to 262144, 1024 for one CPU.
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU per period; none is no limit.
    pub cpu_quota: Option<i64>,
    pub cpu_period: Option<u64>,
    /// `0-3,8`.
    pub cpuset_cpus: Option<String>,
    pub memory_limit_bytes: Option<u64>,
    pub pids_limit: Option<u64>,
    /// Bytes by page size (`2MB`, `1GB`).
    pub hugepages: BTreeMap<String, u64>,
    /// -1000 to 1000. Lowering it is best effort.
    pub oom_score_adj: Option<i32>,
}

impl Resources {
    /// Takes over what `change` says, and leaves the rest.
    pub fn update(&mut self, change: Self) {
        fn take<T>(old: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *old = new;
            }
        }
        take(&mut self.cpu_shares, change.cpu_shares);
        take(&mut self.cpu_quota, change.cpu_quota);
        take(&mut self.cpu_period, change.cpu_period);
        take(&mut self.cpuset_cpus, change.cpuset_cpus);
        take(&mut self.memory_limit_bytes, change.memory_limit_bytes);
        take(&mut self.pids_limit, change.pids_limit);
        take(&mut self.oom_score_adj, change.oom_score_adj);
        self.hugepages.extend(change.hugepages);
    }
}

/// Life of a container.
///
/// `Created => (Running | Exited)`: started, or the start failed. `Running => Exited`: its first process ended. An
/// exited container never starts again; the node agent makes a new one with the next `attempt`.
/// `Unknown`: its supervisor is gone and took the exit code with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContainerState {
    Created,
    Running,
    Exited,
    Unknown,
}

impl std::fmt::Display for ContainerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Unknown => "unknown",
        })
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExitStatus {
    Code(u8),
    Signal(Signal),
}

impl ExitStatus {
    /// What a shell and Kubernetes show: the code, or 128 and the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code),
            Self::Signal(signal) => 128 + i32::from(signal.number()),
        }
    }
}

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    pub at: Timestamp,
    pub status: ExitStatus,
    pub cause: ExitCause,
}

/// Why a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExitCause {
    /// Its program ended, by itself or by a signal.
    Ended,
    /// The kernel killed one of its processes for memory, and the first process ended by it.
    OutOfMemory,
    /// It never ran; the message says why. Status is 128, as with containerd.
    StartFailed { message: String },
}

/// What a container is and was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    pub id: ContainerId,
    pub sandbox: SandboxId,
    pub state: ContainerState,
    pub config: ContainerConfig,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub exit: Option<Exit>,
    /// Of its first process, as the machine numbers it, while it runs.
    pub pid: Option<u32>,
}

/// What a container has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    pub at: Timestamp,
    /// CPU time since its start.
    pub cpu_nanos: u64,
    /// Memory that cannot be had back without swapping or killing: usage less inactive file pages.
    pub memory_working_set_bytes: u64,
    pub memory_usage_bytes: u64,
    pub pids: u64,
    /// Bytes in the writable layer.
    pub writable_bytes: u64,
}

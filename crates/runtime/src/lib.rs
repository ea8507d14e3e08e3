//! Containers on one machine, without any Kubernetes object: the node agent translates.
//!
//! # The parts
//! - [`Runtime`]: the one seam between node agent and containers, in the shape of Kubernetes' CRI, and the plain types
//!   it speaks: [`SandboxConfig`], [`ContainerConfig`], [`Session`], [`Event`], [`RuntimeError`].
//! - [`local::Local`]: real containers. It keeps nothing that matters: each sandbox is a directory and a supervisor.
//! - [`shim`]: that supervisor, and the other things this binary becomes as `isopod shim …`. One process with one thread a
//!   pod, parent of its containers, writer of their logs and exits; it outlives whoever started it. libcontainer is called
//!   only in its forks.
//! - [`oneshot`]: a build step in the same isolation, without a sandbox.
//! - [`fake::FakeRuntime`]: the contract kept in memory, for tests of what stands above.
//! - Pure or nearly: [`protocol`] and [`wire`] (what node agent and supervisor say, version by version), [`record`] (a
//!   sandbox's state on disk), [`cri_log`] (log records, rotation), [`cgroups`] (limits on v1, hybrid and v2), [`users`] (who
//!   a process is by the image's own files), [`rights`] (capabilities, masked paths), [`etc`] (hosts, resolv.conf).
//!
//! # The life of a container
//! `create`: the supervisor makes the cgroup with its limits and forks a process that mounts the root file system in a mount
//! namespace of its own; only a descriptor keeps that alive, so nothing is ever in the machine's mount table but one `shm` a
//! pod. `start`: another fork enters it and calls libcontainer, which leaves the first process as the supervisor's child;
//! its last steps (terminal, seccomp, `execve`) are ours and tell the supervisor what went wrong, or by silence that
//! nothing did. `SIGCHLD`: output is drained, the exit written down durably, then told. When a supervisor is killed, the kernel kills
//! its containers with it (`PR_SET_PDEATHSIG`): nothing runs unwatched. What ran is then `Unknown`, and the next look buries it.
//!
//! # Invariants
//! - `shim` and everything below it runs single-threaded, and nothing of it runs in a process with threads.
//! - A supervisor never waits for a client, and a slow client never holds up a container.
//! - Everything of a sandbox is below its directory and its cgroup: removing both removes it.
//! - What version 1 of the protocol says means the same for ever.
//!
//! # Deliberately absent
//! Checkpoints, user namespaces, AppArmor and SELinux profiles, pausing. On cgroup v2 no device
//! program is loaded: the root is mounted `nodev` and `CAP_MKNOD` is not given instead.
#![allow(unsafe_code, reason = "forks, passes descriptors and calls the kernel; each place says why it is sound")]

mod cgroup_fs;
pub mod cgroups;
mod container;
mod contract;
pub mod cri_log;
mod disk;
mod error;
pub mod etc;
pub mod fake;
pub mod local;
pub mod oneshot;
pub mod protocol;
pub mod record;
pub mod rights;
mod sandbox;
mod session;
pub mod shim;
mod signal;
pub mod users;
pub mod wire;

pub use container::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, EnvVar, Exit, ExitCause, ExitStatus, Mount,
    MountSource, ProcMount, Propagation, Resources, Rlimit, Seccomp, Security, Stats, User,
};
pub use contract::{CgroupVersion, Event, Runtime, RuntimeInfo};
pub use disk::disk_usage;
pub use error::{Result, RuntimeError};
pub use sandbox::{
    DnsConfig, HostAlias, IpcNamespace, NetworkNamespace, PidNamespace, SandboxConfig, SandboxId, SandboxState,
    SandboxStatus,
};
pub use session::{Command, ExecConfig, MAX_OUTPUT, Output, Session, Streams, TerminalSize};
pub use signal::{InvalidSignal, Signal};

//! Containers on one machine, without any Kubernetes object: the node agent translates.
//!
//! # What there is
//! - [`Runtime`]: the one seam between node agent and containers, in the shape of Kubernetes' CRI, and the plain types
//!   it speaks: [`SandboxConfig`], [`ContainerConfig`], [`Session`], [`Event`], [`RuntimeError`].
//! - [`fake::FakeRuntime`]: that contract kept in memory, for tests of what stands above.
//! - Parts of the supervisor that need no container, each complete and tested by itself, used by nothing yet:
//!   [`cri_log`] (log records, files, rotation), [`cgroups`] (a pod's cgroups and limits on v1, hybrid and v2),
//!   [`users`] (who a process is by the image's own files), [`rights`] (capabilities, masked paths), [`etc`] (hosts,
//!   resolv.conf, hostname), [`record`] (a sandbox's state on disk, written atomically), [`wire`] (frames and version
//!   handshake of the socket).
//!
//! # What there is not yet
//! **No container runs yet.** The supervisor of a pod (`isopod shim`), its messages beyond the handshake, the OCI spec
//! and seccomp profile of a container and the [`Runtime`] that talks to supervisors are designed in DESIGN.md
//! ("Containers outlive the control plane") and not begun; the dependencies `libcontainer`, `oci-spec`, `seccompiler`
//! and `nix` are for them.
#![allow(unsafe_code, reason = "forks, passes descriptors and calls the kernel; each place says why it is sound")]

mod cgroup_fs;
pub mod cgroups;
mod container;
mod contract;
pub mod cri_log;
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
pub use error::{Result, RuntimeError};
pub use sandbox::{
    DnsConfig, HostAlias, IpcNamespace, NetworkNamespace, PidNamespace, SandboxConfig, SandboxId, SandboxState,
    SandboxStatus,
};
pub use session::{Command, ExecConfig, MAX_OUTPUT, Output, Session, Streams, TerminalSize};
pub use signal::{InvalidSignal, Signal};

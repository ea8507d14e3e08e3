//! One program run to its end in a root file system: a build step (a Dockerfile's `RUN`).
//!
//! The same isolation as a container's (own mounts, processes, IPC and host name; default capabilities, masked paths,
//! nodev root) without a sandbox, a log or a record. It is made by a helper process, this binary re-executed, because
//! making one forks; the helper ends when the caller drops [`Running`] or dies, and takes everything it started with it.
use crate::{EnvVar, ExitStatus, Mount, Result, RuntimeError, User};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tokio::io::AsyncRead;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OneShot {
    /// The binary that can be a shim (`isopod`); usually `std::env::current_exe()`.
    pub shim_binary: PathBuf,
    /// A directory for what the step itself needs while it runs (mount points, notes); emptied at the end.
    pub scratch: PathBuf,
    pub root: Root,
    /// Program and its arguments; never empty.
    pub args: Vec<String>,
    /// In order; a later entry of the same name wins. `PATH` gets its usual value when missing.
    pub env: Vec<EnvVar>,
    /// Made if missing. `/` when empty.
    pub cwd: PathBuf,
    /// As the image says it (`name`, `uid:gid`, …), looked up in the root's own files.
    pub user: User,
    /// Beside `/proc`, `/sys`, `/dev` and the network's files in `/etc`. Targets that had to be made for a mount are
    /// taken away again afterwards if they are empty.
    pub mounts: Vec<Mount>,
    pub network: Network,
    /// Name inside; `buildkitsandbox` in Docker's builder.
    pub hostname: String,
}

/// The root file system that the program sees and changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Root {
    /// A directory, changed in place.
    Directory(PathBuf),
    /// Layer directories, lowest first, which stay as they are; changes go to `upper`. `upper` and `work` exist and are
    /// on one file system; `work` is overlayfs' own.
    Overlay { lowers: Vec<PathBuf>, upper: PathBuf, work: PathBuf },
}

/// Whose network the program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Network {
    /// The machine's, with its `resolv.conf` and `hosts`.
    #[default]
    Host,
    /// Loopback only.
    None,
}

/// A program under way. Dropping it kills the program with all it started.
pub struct Running {
    /// Until end of file. Read both: a program whose output nobody reads stands still.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    helper: Helper,
}

struct Helper;

impl Running {
    /// Waits for the program to end. `Start` when it could not be started.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        let Helper = self.helper;
        Err(unsupported())
    }
}

/// Starts it.
pub async fn run(step: OneShot) -> Result<Running> {
    let _step = step;
    Err(unsupported())
}

fn unsupported() -> RuntimeError {
    RuntimeError::Unsupported { message: "this build of isopod cannot run build steps".into() }
}

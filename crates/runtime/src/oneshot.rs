//! One program run to its end in a root file system: a build step (a Dockerfile's `RUN`).
//!
//! The same isolation as a container's (own mounts, processes, IPC and host name; default capabilities, masked paths,
//! nodev root) without a sandbox, a log or a record. It is made by a helper process, this binary re-executed, because
//! making one forks; the helper ends when the caller drops [`Running`] or dies, and takes everything it started with it.
use crate::{EnvVar, ExitStatus, Mount, Result, RuntimeError, User};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, process::Stdio};
use tokio::{
    io::{AsyncRead, AsyncWriteExt},
    process::{Child, ChildStdin},
};

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
    helper: Child,
    /// The helper ends when this closes.
    _lifeline: ChildStdin,
    outcome: PathBuf,
}

/// Where the helper writes what became of the program, in the scratch directory.
pub(crate) const OUTCOME: &str = "outcome.json";

impl Running {
    /// Waits for the program to end. `Start` when it could not be started.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        let ended = self.helper.wait().await.map_err(|error| unavailable("wait for the build step", &error))?;
        let text = tokio::fs::read(&self.outcome).await.map_err(|error| {
            unavailable(&format!("learn what became of the build step (its helper ended with {ended})"), &error)
        })?;
        let _swept_with_the_scratch = tokio::fs::remove_file(&self.outcome).await;
        serde_json::from_slice::<Result<ExitStatus>>(&text)
            .map_err(|error| RuntimeError::Unavailable { message: format!("the build step's helper: {error}") })?
    }
}

/// Starts it.
pub async fn run(step: OneShot) -> Result<Running> {
    if step.args.is_empty() {
        return Err(RuntimeError::invalid("args", "must name a program"));
    }
    tokio::fs::create_dir_all(&step.scratch)
        .await
        .map_err(|error| unavailable("make the scratch directory", &error))?;
    let outcome = step.scratch.join(OUTCOME);
    let mut line = serde_json::to_vec(&step).map_err(|error| RuntimeError::invalid("step", error.to_string()))?;
    line.push(b'\n');
    let mut helper = tokio::process::Command::new(&step.shim_binary)
        .args(["shim", "oneshot"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| unavailable(&format!("run {}", step.shim_binary.display()), &error))?;
    let streams = (helper.stdin.take(), helper.stdout.take(), helper.stderr.take());
    let (Some(mut lifeline), Some(stdout), Some(stderr)) = streams else {
        return Err(RuntimeError::Unavailable { message: "the build step's helper has no streams".into() });
    };
    lifeline.write_all(&line).await.map_err(|error| unavailable("tell the helper its step", &error))?;
    Ok(Running { stdout: Box::new(stdout), stderr: Box::new(stderr), helper, _lifeline: lifeline, outcome })
}

fn unavailable(what: &str, error: &std::io::Error) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("cannot {what}: {error}") }
}

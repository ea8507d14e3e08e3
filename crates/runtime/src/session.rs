//! Commands run in a container, and the streams between a person and a process.
use crate::{ExitStatus, Result};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

/// A command whose whole output is wanted, as probes and hooks do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    pub args: Vec<String>,
    /// The command is killed, with all it started, when it takes longer. None waits for ever.
    pub timeout: Option<Duration>,
}

/// What such a command said. Each stream is cut at [`MAX_OUTPUT`] bytes; the rest is read and thrown away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Enough for a probe's message and a hook's complaint; a hundred commands at once hold at most 100 × 2 × 64 KiB = 12.5 MiB.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// An interactive command (`kubectl exec`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecConfig {
    pub args: Vec<String>,
    pub streams: Streams,
}

/// Which streams a client wants. With `tty`, stderr comes with stdout and a wish for it is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// A live connection to a process in a container. Dropping it ends an exec's command (SIGHUP with a terminal, SIGKILL
/// otherwise) and only detaches from an attached container.
pub struct Session {
    /// Shut it down to give the process its end of file.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Only with a terminal.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// Resolves once the process has ended; output may still be waiting to be read then.
    pub exit: BoxFuture<'static, Result<ExitStatus>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("tty", &self.resize.is_some())
            .finish_non_exhaustive()
    }
}

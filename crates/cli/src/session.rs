//! A person's terminal joined to a process in a container, for `exec` and `attach`.
//!
//! With a terminal at both ends ours is raw while the session lasts. Whatever ends it (the process, the connection, an error, a signal)
//! the terminal is as it was before the command returns: [`Raw`] gives it back when it is dropped, and signals end the session by
//! returning, with exit code 1. A session that reads no terminal changes none, so signals may end it as they end any program.
use crate::connect::Session;
use crate::error::{CliError, Result};
use futures::SinkExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use serde_json::Value;
use std::io::IsTerminal as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

/// Bytes in flight in each direction.
const BUFFER: usize = 64 * 1024;

/// The flags that both commands have.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Streams {
    /// The container; if not said the annotated one, or the first.
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass standard input on.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Standard input is a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Only what the process says.
    #[arg(short, long)]
    pub quiet: bool,
    /// How long a pod is waited for.
    #[arg(long, default_value = "1m0s", value_name = "TIME")]
    pub pod_running_timeout: String,
}

impl Streams {
    /// Whether there is a terminal to pass on, if one is wanted. Without standard input there is none to speak of.
    pub fn terminal(&self, wanted: bool) -> bool {
        if !wanted || !self.stdin {
            return false;
        }
        let is_terminal = std::io::stdin().is_terminal();
        if !is_terminal && !self.quiet {
            eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
        }
        is_terminal
    }

    /// The container in this pod; a choice of ours is told.
    pub fn container_in(&self, pod: &Value) -> Result<String> {
        let (container, note) = crate::pods::container(pod, self.container.as_deref())?;
        if let Some(note) = note.filter(|_| !self.quiet) {
            eprintln!("{note}");
        }
        Ok(container)
    }

    /// What kube asks of the server.
    pub fn params(&self, container: &str, tty: bool) -> AttachParams {
        AttachParams {
            container: Some(container.to_owned()),
            stdin: self.stdin,
            stdout: true,
            // A terminal has one output.
            stderr: !tty,
            tty,
            max_stdin_buf_size: Some(BUFFER),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: Some(BUFFER),
        }
    }
}

/// The pods of the namespace a pod is in.
pub fn api(session: &Session, pod: &Value) -> Api<Pod> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or(&session.namespace);
    Api::namespaced(session.client.clone(), namespace)
}

/// The terminal in raw mode, for as long as this lives.
pub struct Raw(());

impl Raw {
    pub fn enter() -> Result<Self> {
        crossterm::terminal::enable_raw_mode()?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = crossterm::terminal::disable_raw_mode() {
            eprintln!("error: the terminal stays raw: {error}; type `reset`");
        }
    }
}

/// Passes everything on in both directions until the process has ended.
pub async fn join(mut process: AttachedProcess, streams: &Streams) -> Result<()> {
    let reads_terminal = streams.stdin && std::io::stdin().is_terminal();
    let status = process.take_status();
    let (stdin, sizes) = (process.stdin(), process.terminal_size());
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let outputs = async {
        let out = async {
            match stdout {
                Some(from) => pass(from, false).await,
                None => Ok(()),
            }
        };
        let err = async {
            match stderr {
                Some(from) => pass(from, true).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(out, err)?;
        Ok::<(), CliError>(())
    };
    let input = async {
        if let Some(mut to) = stdin {
            // The process may be gone before all was typed: that is its right.
            let _rest = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
            let _gone = to.shutdown().await;
        }
        std::future::pending::<()>().await;
    };
    let resizes = async {
        if let Some(to) = sizes {
            report_sizes(to).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = outputs => done?,
        () = input => {}
        () = resizes => {}
        () = ended_by_signal(), if reads_terminal => return Err(CliError::Exit(1)),
    }
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    process.join().await.map_err(|e| CliError::usage(e.to_string()))?;
    result(status)
}

async fn pass(mut from: impl AsyncRead + Unpin, is_error: bool) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..read).filter(|b| !b.is_empty()) else { return Ok(()) };
        if is_error {
            use std::io::Write as _;
            std::io::stderr().lock().write_all(bytes)?;
        } else {
            crate::output::write_bytes(bytes)?;
        }
    }
}

/// The size of our terminal now, and each time it changes.
async fn report_sizes(mut to: impl futures::Sink<TerminalSize> + Unpin) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Ok((width, height)) = crossterm::terminal::size()
            && to.send(TerminalSize { width, height }).await.is_err()
        {
            return;
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}

/// Until a signal wants us gone (`k8s.io/kubectl/pkg/util/interrupt`).
pub async fn ended_by_signal() {
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signal) => signal.recv().await.is_some(),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = wait(SignalKind::interrupt()) => {}
        _ = wait(SignalKind::terminate()) => {}
        _ = wait(SignalKind::hangup()) => {}
        _ = wait(SignalKind::quit()) => {}
    }
}

/// What the server said instead of a session: kubectl tells it without `from server`.
pub fn refused(error: CliError) -> CliError {
    match error {
        CliError::Status { code, message, .. } if code >= 500 => CliError::Usage(message),
        other => other,
    }
}

/// The exit code of the process, told once the terminal is itself again.
pub fn tell(done: Result<()>) -> Result<()> {
    if let Err(CliError::Ended(code)) = done {
        eprintln!("command terminated with exit code {code}");
        return Err(CliError::Exit(code));
    }
    done
}

/// How the process ended, as our own end.
fn result(status: Option<Status>) -> Result<()> {
    let Some(status) = status.filter(|s| s.status.as_deref() == Some("Failure")) else { return Ok(()) };
    let causes = status.details.iter().flat_map(|d| d.causes.iter().flatten());
    let code = causes
        .filter(|c| c.reason.as_deref() == Some("ExitCode"))
        .find_map(|c| c.message.as_deref()?.parse::<u8>().ok());
    match code {
        Some(code) => Err(CliError::Ended(code)),
        None => Err(CliError::usage(status.message.unwrap_or_default())),
    }
}

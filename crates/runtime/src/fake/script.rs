//! What the programs of a [`FakeRuntime`](super::FakeRuntime) do.
use crate::{ExitStatus, Signal};
use std::{collections::BTreeMap, time::Duration};

/// The program of a container, chosen by the container's name. By default it starts, runs for ever, ends with 143 (as
/// SIGTERM does) when told to stop, and has no commands to exec.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// It cannot be started, for this reason.
    pub start_error: Option<String>,
    /// It ends by itself so long after its start.
    pub ends: Option<(Duration, ExitStatus)>,
    pub on_stop: OnStop,
    /// What exec finds in it, by full argument list.
    pub commands: BTreeMap<Vec<String>, FakeCommand>,
}

/// What a program does at its stop signal.
#[derive(Debug, Clone, Copy, Default)]
pub enum OnStop {
    /// Ends at once by the signal.
    #[default]
    Dies,
    /// Cleans up first.
    Exits { after: Duration, status: ExitStatus },
    /// Needs SIGKILL.
    Ignores,
}

/// A command that can be run in a container.
#[derive(Debug, Clone)]
pub struct FakeCommand {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// How long it runs before it ends.
    pub takes: Duration,
    /// Copy stdin to stdout until its end, as `cat` does, before `takes` begins.
    pub echoes: bool,
}

impl FakeCommand {
    /// Ends at once with `code` and says nothing.
    pub fn exits(code: u8) -> Self {
        Self {
            status: ExitStatus::Code(code),
            stdout: Vec::new(),
            stderr: Vec::new(),
            takes: Duration::ZERO,
            echoes: false,
        }
    }

    /// Succeeds at once and prints `text`.
    pub fn prints(text: &str) -> Self {
        Self { stdout: text.as_bytes().to_vec(), ..Self::exits(0) }
    }
}

impl Script {
    /// With one more command to exec.
    pub fn command<const N: usize>(mut self, args: [&str; N], command: FakeCommand) -> Self {
        self.commands.insert(args.map(str::to_owned).to_vec(), command);
        self
    }
}

/// When and how a program ends after `signal`, if it does.
pub(super) fn reaction(script: &Script, stop_signal: Signal, signal: Signal) -> Option<(Duration, ExitStatus)> {
    if signal == Signal::KILL {
        return Some((Duration::ZERO, ExitStatus::Signal(signal)));
    }
    if signal != stop_signal && signal != Signal::TERM {
        return None;
    }
    match script.on_stop {
        OnStop::Dies => Some((Duration::ZERO, ExitStatus::Signal(signal))),
        OnStop::Exits { after, status } => Some((after, status)),
        OnStop::Ignores => None,
    }
}

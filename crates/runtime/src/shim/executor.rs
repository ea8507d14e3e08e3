//! The last steps of a process before it becomes the container's program, inside all its namespaces: terminal, system call
//! filter, rights, `execve`. What goes wrong here is told to the supervisor over the [`note`](super::note) channel.
use super::{
    note::{self, Note},
    program,
};
use caps::{CapSet, Capability};
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::{
    fcntl::OFlag,
    pty::{posix_openpt, ptsname_r, unlockpt},
    sys::{prctl, signal::Signal},
    unistd::execve,
};
use oci_spec::runtime::Spec;
use seccompiler::BpfProgram;
use std::{
    collections::HashMap,
    ffi::CString,
    fs::OpenOptions,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
};

/// How one program is started.
#[derive(Debug, Clone)]
pub struct Launch {
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Gets a terminal, whose master goes to the supervisor.
    pub terminal: bool,
    /// Of system calls, in order; none when nothing is filtered.
    pub filters: Vec<BpfProgram>,
    /// Rights held only for the filter, to be given up after it.
    pub surplus: Vec<Capability>,
    /// Maker's end of the note channel.
    pub channel: RawFd,
}

impl Launch {
    /// Returns only when it failed.
    fn run(&self) -> Result<std::convert::Infallible, String> {
        let path = self.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
        let name = self.args.first().map(String::as_str).unwrap_or_default();
        let file = program::find(name, path)?;
        let text = |text: &str| CString::new(text).map_err(|_| format!("{text:?} contains a NUL byte"));
        let program = text(&file.to_string_lossy())?;
        let args = self.args.iter().map(|arg| text(arg)).collect::<Result<Vec<_>, _>>()?;
        let env = self.env.iter().map(|entry| text(entry)).collect::<Result<Vec<_>, _>>()?;
        if self.terminal {
            self.open_terminal().map_err(|error| format!("cannot open a terminal: {error}"))?;
        }
        // The supervisor holds the container's only record and output: without it nothing may go on.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| format!("prctl: {error}"))?;
        self.restrict()?;
        let Err(error) = execve(&program, &args, &env);
        Err(format!("exec {}: {}", file.display(), error.desc().to_lowercase()))
    }

    fn channel(&self) -> BorrowedFd<'_> {
        // SAFETY: the maker keeps the channel open until it exits, and this process is a fork of it that has not closed it.
        unsafe { BorrowedFd::borrow_raw(self.channel) }
    }

    /// Of the container's own `devpts`, so that its name means something inside.
    fn open_terminal(&self) -> std::io::Result<()> {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
        unlockpt(&master)?;
        let slave = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(ptsname_r(&master)?)?;
        note::tell(self.channel(), &Note::Terminal, Some(master.as_raw_fd()));
        // SAFETY: an ioctl without memory arguments on a descriptor that we own; libcontainer has made us session leader.
        if unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
        nix::unistd::dup2_stdin(slave.as_fd())?;
        nix::unistd::dup2_stdout(slave.as_fd())?;
        nix::unistd::dup2_stderr(slave.as_fd())?;
        Ok(())
    }

    /// Sets the filter and gives up what was kept for it.
    fn restrict(&self) -> Result<(), String> {
        for filter in &self.filters {
            super::seccomp::install(filter).map_err(|error| format!("cannot filter system calls: {error}"))?;
        }
        for right in &self.surplus {
            let drop = |set| caps::drop(None, set, *right).map_err(|error| format!("cannot drop {right}: {error}"));
            drop(CapSet::Bounding)?;
        }
        for right in &self.surplus {
            for set in [CapSet::Effective, CapSet::Permitted] {
                caps::drop(None, set, *right).map_err(|error| format!("cannot drop {right}: {error}"))?;
            }
        }
        Ok(())
    }
}

impl Executor for Launch {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let Err(message) = self.run();
        note::tell(self.channel(), &Note::Failed(message.clone()), None);
        Err(ExecutorError::Other(message))
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    /// The program's environment goes to `execve`; this process's own is empty and stays so.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

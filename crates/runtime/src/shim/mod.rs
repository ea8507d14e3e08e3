//! The supervisor of a pod and the other processes this binary becomes when it is re-executed as `isopod shim …`.
//!
//! Everything here has one thread and forks freely; nothing of it runs in the node agent's process. One supervisor keeps one
//! sandbox: [`sandbox`] makes it, [`supervisor`] is the loop that answers the node agent and hears of dying children,
//! [`maker`] the children that make containers with libcontainer, [`executor`] what they do last.
mod conn;
mod containers;
mod executor;
mod fork;
mod maker;
mod note;
mod oneshot;
mod output;
pub(crate) mod pass;
mod profile;
mod program;
mod root;
mod sandbox;
mod seccomp;
mod sessions;
mod spec;
mod supervisor;
mod tree;

use crate::{Result, RuntimeError, protocol::Setup};
use nix::{
    sys::{
        signal::{SigSet, SigmaskHow, sigprocmask},
        stat::Mode,
    },
    unistd::setsid,
};
use std::{
    ffi::OsString,
    fs::OpenOptions,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
};

pub(crate) use oneshot::CGROUP_PREFIX as STEP_CGROUP_PREFIX;
pub(crate) use output::resize;
pub(crate) use sandbox::{cgroup as sandbox_cgroup, release_mounts};

/// `isopod shim …`: called first thing in `main` with the arguments behind `shim`, before any thread exists. Returns the
/// exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.collect();
    // Whatever was open in the shell that started the server is not for pods.
    // SAFETY: no memory is passed, and this process has opened nothing yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    match args.first().and_then(|mode| mode.to_str()) {
        Some("supervise") => supervise(),
        Some("oneshot") => oneshot::main(),
        _ => {
            let _nobody_reads = writeln!(std::io::stderr(), "usage: isopod shim supervise|oneshot");
            2
        }
    }
}

/// Reads a [`Setup`] from stdin, makes its sandbox, tells on stdout how that went, and keeps it from then on: in a child,
/// so that whoever started us can wait for us at once.
fn supervise() -> i32 {
    let mut text = Vec::new();
    let setup = match std::io::stdin().read_to_end(&mut text).map(|_| serde_json::from_slice::<Setup>(&text)) {
        Ok(Ok(setup)) => setup,
        Ok(Err(error)) => return tell(Err(RuntimeError::invalid("setup", error.to_string()))),
        Err(error) => return tell(Err(RuntimeError::invalid("setup", error.to_string()))),
    };
    drop(text);
    match fork::child(move || daemon(&setup)) {
        Ok(_) => 0,
        Err(error) => tell(Err(RuntimeError::Unavailable { message: format!("cannot fork: {error}") })),
    }
}

fn daemon(setup: &Setup) -> i32 {
    let supervisor = match begin(setup) {
        Ok(supervisor) => supervisor,
        Err(error) => return tell(Err(error)),
    };
    // Nobody may be listening any more; the next node agent adopts what is there.
    tell(Ok(()));
    if silence().is_err() {
        return 1;
    }
    supervisor.run()
}

fn begin(setup: &Setup) -> Result<supervisor::Supervisor> {
    let failed =
        |what: &str, error: nix::Error| RuntimeError::Unavailable { message: format!("cannot {what}: {error}") };
    setsid().map_err(|error| failed("begin a session", error))?;
    // What a terminal or `killall` sends is not for a supervisor; children get their signals back.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).map_err(|error| failed("block signals", error))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| failed("become a subreaper", error))?;
    supervisor::Supervisor::begin(setup)
}

fn tell(outcome: Result<()>) -> i32 {
    let code = i32::from(outcome.is_err());
    let Ok(text) = serde_json::to_vec(&outcome) else { return 1 };
    let mut stdout = std::io::stdout();
    if stdout.write_all(&text).and_then(|()| stdout.flush()).is_ok() { code } else { 1 }
}

/// Gives stdin and stdout back. Stderr is the sandbox's `shim.log`, for what a panic says, and with it we hold the file's lock for
/// as long as we live.
fn silence() -> std::io::Result<()> {
    let null: OwnedFd = OpenOptions::new().read(true).write(true).open("/dev/null")?.into();
    std::env::set_current_dir("/")?;
    nix::unistd::dup2_stdin(null.as_fd())?;
    nix::unistd::dup2_stdout(null.as_fd())?;
    Ok(())
}

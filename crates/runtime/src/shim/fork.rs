//! Child processes of a single-threaded process.
use nix::{
    errno::Errno,
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};
use std::os::fd::RawFd;

/// Runs `body` in a child process, which then ends with the code it returns. The caller must have only one thread.
pub fn child(body: impl FnOnce() -> i32) -> nix::Result<Pid> {
    // SAFETY: shims have one thread, so the child finds every lock and the allocator in a state it can use.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: ends this process at once; what the parent's exit handlers would do is the parent's business.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Closes what was inherited, but for the standard streams and `keep`. A child that lived on with the supervisor's sockets would
/// keep them open after the supervisor's death, and nobody would hear of that.
pub fn close_others(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if first < fd {
            // SAFETY: no memory is passed; this process, a fork that ends with `_exit` or `execve`, uses none of them again.
            unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
        }
        first = fd.saturating_add(1);
    }
}

/// Signals as a new program expects them. The supervisor blocks all, and Rust ignores SIGPIPE; both are inherited.
pub fn default_signals() -> nix::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    unsafe { sigaction(Signal::SIGPIPE, &default) }?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Waits for a child, however often signals come between.
pub fn wait(pid: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(pid, None) {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

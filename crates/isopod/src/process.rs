//! Processes by pid: is it still the one that was meant, ask it to stop, wait until it has.
use crate::datadir::{DataDir, Running};
use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// When a process started, in clock ticks since boot; `None` if there is no such process or nothing of it runs any more.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in parentheses may hold anything: count from the last parenthesis.
    let mut after = stat.rsplit_once(')')?.1.split_whitespace();
    // The first thread of a killed process is a zombie while the others still end, and hold its sockets until they have.
    if matches!(after.next()?, "Z" | "X") && std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.nth(1).is_none() {
        return None;
    }
    after.nth(18)?.parse().ok()
}

pub fn alive(running: &Running) -> bool {
    start_time(running.pid) == Some(running.started)
}

/// The server of this data directory, if it lives.
pub fn find(dir: &DataDir) -> Result<Option<Running>> {
    Ok(dir.running()?.filter(alive))
}

/// Like [`find`], but a server that is just dying is waited for, and is not found.
pub fn find_well(dir: &DataDir) -> Result<Option<Running>> {
    let Some(running) = find(dir)? else { return Ok(None) };
    Ok(if wait_gone(&running, DYING) { None } else { Some(running) })
}

/// How long a killed process may take to be gone: its memory has to be given back first.
const DYING: Duration = Duration::from_millis(100);

/// SIGTERM, then SIGKILL after `patience`. Returns whether it had to be killed.
pub fn stop(running: &Running, patience: Duration) -> Result<bool> {
    let pid = Pid::from_raw(running.pid);
    let send = |signal| match kill(pid, signal) {
        Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
        Err(e) => Err(e).with_context(|| format!("cannot send {signal} to process {pid}")),
    };
    send(Signal::SIGTERM)?;
    if wait_gone(running, patience) {
        return Ok(false);
    }
    send(Signal::SIGKILL)?;
    if wait_gone(running, Duration::from_secs(10)) { Ok(true) } else { bail!("process {pid} does not end") }
}

fn wait_gone(running: &Running, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    while alive(running) {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// One of `up`, `down`, `delete` at a time on one data directory; the others wait their turn.
pub fn lifecycle_lock(dir: &DataDir) -> Result<Flock<File>> {
    lock(&dir.lifecycle_lock())
}

/// One new cluster at a time on this machine (of one user, if not root).
pub fn machine_lock() -> Result<Flock<File>> {
    let uid = nix::unistd::Uid::effective();
    let path =
        if uid.is_root() { "/run/isopod.lock".into() } else { std::env::temp_dir().join(format!("isopod-{uid}.lock")) };
    lock(&path)
}

fn lock(path: &Path) -> Result<Flock<File>> {
    let file = File::create(path).with_context(|| format!("cannot open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, e)| e)
        .with_context(|| format!("cannot lock {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_pid_is_another_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut me =
            Running { pid, started: start_time(pid).unwrap(), version: String::new(), endpoint: String::new() };
        assert!(alive(&me));
        me.started += 1;
        assert!(!alive(&me));
    }

    #[test]
    fn a_process_is_stopped_or_killed() {
        for (program, killed) in [("sleep 60", false), ("trap '' TERM; while :; do sleep 0.05; done", true)] {
            let mut child = std::process::Command::new("sh").args(["-c", program]).spawn().unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            let running =
                Running { pid, started: start_time(pid).unwrap(), version: String::new(), endpoint: String::new() };
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(stop(&running, Duration::from_millis(300)).unwrap(), killed, "{program}");
            child.wait().unwrap();
        }
    }
}

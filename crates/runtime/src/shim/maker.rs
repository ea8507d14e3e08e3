//! Processes that make containers: forks of the supervisor, which has one thread, because libcontainer changes the working
//! directory, namespaces and cgroup of the process that calls it.
use super::{
    executor::Launch,
    fork,
    note::{self, Note},
    root::{self, Stack},
};
use crate::{ContainerConfig, Result, Rlimit, RuntimeError, users::Identity};
use libcontainer::{container::builder::ContainerBuilder, error::LibcontainerError, syscall::syscall::SyscallType};
use nix::{
    sched::{CloneFlags, setns},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{Gid, Pid},
};
use serde::{Deserialize, Serialize};
use std::{
    error::Error,
    fs::{self, File},
    io::Read,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

/// A container's directory: bundle, layers' links, changes.
#[derive(Debug, Clone)]
pub struct Home(pub PathBuf);

impl Home {
    pub fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }
    pub fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }
    pub fn links(&self) -> PathBuf {
        self.0.join("lower")
    }
    /// libcontainer's own state.
    pub fn state(&self) -> PathBuf {
        self.0.join("oci")
    }
}

/// The name under which libcontainer knows a container in its own state directory.
const NAME: &str = "container";

/// A root file system that is mounted, in a mount namespace that only this holds.
#[derive(Debug)]
pub struct Root {
    pub mounts: OwnedFd,
    pub identity: Identity,
}

#[derive(Serialize, Deserialize)]
struct Prepared {
    identity: std::result::Result<(u32, u32, Vec<u32>, String), RuntimeError>,
}

/// Mounts the root file system and looks the user up in it.
pub fn prepare(home: &Home, config: &ContainerConfig) -> Result<Root> {
    for directory in [home.rootfs(), home.upper(), home.work()] {
        fs::create_dir_all(&directory).map_err(|error| io_failed("make directory", &error))?;
    }
    if let Some(top) = config.layers.last() {
        root::take_over(top, &home.upper())?;
    }
    let (ours, theirs) = note::channel().map_err(|error| failed("make a channel", error))?;
    let (mut reader, writer) = std::io::pipe().map_err(|error| io_failed("make a pipe", &error))?;
    let pid = fork::child(|| {
        fork::close_others(&[writer.as_raw_fd(), theirs.as_raw_fd()]);
        let (prepared, mounts) = match prepare_inside(home, config) {
            Ok((who, mounts)) => (
                Prepared { identity: Ok((who.uid, who.gid, who.groups.into_iter().collect(), who.home)) },
                Some(mounts),
            ),
            Err(error) => (Prepared { identity: Err(error) }, None),
        };
        let written = serde_json::to_writer(&writer, &prepared);
        if let Some(mounts) = mounts {
            note::tell(theirs.as_fd(), &Note::Terminal, Some(mounts.as_raw_fd()));
        }
        i32::from(written.is_err())
    });
    drop(writer);
    drop(theirs);
    let pid = pid.map_err(|error| failed("fork", error))?;
    let mut text = Vec::new();
    let read = reader.read_to_end(&mut text);
    let received = note::take(&ours);
    let _ended = fork::wait(pid);
    read.map_err(|error| io_failed("hear of the root file system", &error))?;
    let prepared: Prepared = serde_json::from_slice(&text).map_err(|_| RuntimeError::Unavailable {
        message: "the process that mounts the root file system died".into(),
    })?;
    let (uid, gid, groups, home) = prepared.identity?;
    let identity = Identity { uid, gid, groups: groups.into_iter().collect(), home };
    match received {
        note::Received::Note(_, Some(mounts)) => Ok(Root { mounts, identity }),
        _ => Err(RuntimeError::Unavailable { message: "the root file system was not handed over".into() }),
    }
}

fn prepare_inside(home: &Home, config: &ContainerConfig) -> Result<(Identity, OwnedFd)> {
    let (links, upper, work, target) = (home.links(), home.upper(), home.work(), home.rootfs());
    root::enter_private_mounts(config, &target)?;
    root::mount_overlay(&Stack { layers: &config.layers, links: &links, upper: &upper, work: &work }, &target)?;
    let identity = root::identify(&target, &config.security.user, &config.security.supplemental_groups)?;
    root::make_cwd(&target, &super::spec::cwd(config)?)?;
    let mounts = File::open("/proc/self/ns/mnt").map_err(|error| io_failed("open mount namespace", &error))?;
    Ok((identity, mounts.into()))
}

/// Standard streams of the new process.
#[derive(Debug)]
pub struct Stdio {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

impl Stdio {
    fn fds(&self) -> [RawFd; 3] {
        [self.stdin.as_raw_fd(), self.stdout.as_raw_fd(), self.stderr.as_raw_fd()]
    }

    /// Nothing to read, and what is written is thrown away.
    pub fn null() -> std::io::Result<Self> {
        let open = || fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        Ok(Self { stdin: open()?, stdout: open()?, stderr: open()? })
    }
}

/// What the new process inherits from the one that makes it.
#[derive(Debug, Clone)]
pub struct Inheritance {
    pub oom_score_adj: Option<i32>,
    pub rlimits: Vec<Rlimit>,
}

/// Starts the first process of a container whose bundle is in `home`. Returns the maker's pid; the rest is told in notes.
pub fn start(
    home: &Home,
    mounts: &OwnedFd,
    launch: Launch,
    stdio: Stdio,
    inheritance: &Inheritance,
) -> nix::Result<Pid> {
    fork::child(move || {
        fork::close_others(&[&stdio.fds()[..], &[launch.channel, mounts.as_raw_fd()]].concat());
        make(launch, inheritance, |launch| {
            setns(mounts, CloneFlags::CLONE_NEWNS).map_err(|error| error.to_string())?;
            let builder = builder(home, launch, stdio).map_err(|error| chain(&error))?;
            let mut container = builder
                .as_init(&home.0)
                .with_systemd(false)
                .with_detach(true)
                .as_sibling(true)
                .build()
                .map_err(|error| chain(&error))?;
            let pid = container.pid().ok_or("the container has no process")?.as_raw();
            container.start().map_err(|error| chain(&error))?;
            Ok(pid)
        })
    })
}

/// Starts another process in a container that runs. `process` is a file with the OCI spec's `process`.
pub fn join(home: &Home, process: &Path, launch: Launch, stdio: Stdio, inheritance: &Inheritance) -> nix::Result<Pid> {
    fork::child(move || {
        fork::close_others(&[&stdio.fds()[..], &[launch.channel]].concat());
        make(launch, inheritance, |launch| {
            let builder = builder(home, launch, stdio).map_err(|error| chain(&error))?;
            let pid = builder.as_tenant().with_process(Some(process)).with_detach(true).as_sibling(true).build();
            pid.map(|pid| pid.as_raw()).map_err(|error| chain(&error))
        })
    })
}

fn make(
    launch: Launch,
    inheritance: &Inheritance,
    body: impl FnOnce(Launch) -> std::result::Result<i32, String>,
) -> i32 {
    let channel = launch.channel;
    // SAFETY: the supervisor's fork has the channel open, and nothing in this process closes it.
    let tell = |note: &Note| note::tell(unsafe { std::os::fd::BorrowedFd::borrow_raw(channel) }, note, None);
    if let Err(error) = fork::default_signals() {
        tell(&Note::Failed(format!("cannot reset signals: {error}")));
        return 1;
    }
    inherit(inheritance);
    match body(launch) {
        Ok(pid) => {
            tell(&Note::Pid(pid));
            0
        }
        Err(message) => {
            tell(&Note::Failed(message));
            1
        }
    }
}

fn builder(home: &Home, launch: Launch, stdio: Stdio) -> std::result::Result<ContainerBuilder, LibcontainerError> {
    let builder = ContainerBuilder::new(NAME.into(), SyscallType::default()).with_root_path(home.state())?;
    let builder = builder.with_executor(launch);
    Ok(builder.with_stdin(stdio.stdin).with_stdout(stdio.stdout).with_stderr(stdio.stderr))
}

/// Limits and scores, as far as the machine lets us: without `CAP_SYS_RESOURCE` a hard limit cannot be raised, nor a
/// score lowered.
fn inherit(inheritance: &Inheritance) {
    let score = inheritance.oom_score_adj.unwrap_or(0);
    let _best_effort = fs::write("/proc/self/oom_score_adj", score.to_string());
    let _none = nix::unistd::setgroups(&[] as &[Gid]);
    for limit in &inheritance.rlimits {
        let Some(resource) = resource(&limit.kind) else { continue };
        if setrlimit(resource, limit.soft, limit.hard).is_err()
            && let Ok((_, most)) = getrlimit(resource)
        {
            let _best_effort = setrlimit(resource, limit.soft.min(most), limit.hard.min(most));
        }
    }
}

fn resource(kind: &str) -> Option<Resource> {
    Some(match kind.strip_prefix("RLIMIT_").unwrap_or(kind).to_ascii_uppercase().as_str() {
        "AS" => Resource::RLIMIT_AS,
        "CORE" => Resource::RLIMIT_CORE,
        "CPU" => Resource::RLIMIT_CPU,
        "DATA" => Resource::RLIMIT_DATA,
        "FSIZE" => Resource::RLIMIT_FSIZE,
        "LOCKS" => Resource::RLIMIT_LOCKS,
        "MEMLOCK" => Resource::RLIMIT_MEMLOCK,
        "MSGQUEUE" => Resource::RLIMIT_MSGQUEUE,
        "NICE" => Resource::RLIMIT_NICE,
        "NOFILE" => Resource::RLIMIT_NOFILE,
        "NPROC" => Resource::RLIMIT_NPROC,
        "RSS" => Resource::RLIMIT_RSS,
        "RTPRIO" => Resource::RLIMIT_RTPRIO,
        "RTTIME" => Resource::RLIMIT_RTTIME,
        "SIGPENDING" => Resource::RLIMIT_SIGPENDING,
        "STACK" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

/// An error with all its causes, without saying a cause twice.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = next.source();
    }
    text
}

fn failed(what: &str, error: nix::Error) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("cannot {what}: {}", error.desc()) }
}

fn io_failed(what: &str, error: &std::io::Error) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("cannot {what}: {error}") }
}

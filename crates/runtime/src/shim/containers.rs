//! The life of containers in a supervisor: made, started, stopped, ended, forgotten.
use super::{
    conn::Mode,
    executor::Launch,
    maker::{self, Home, Inheritance, Root, Stdio},
    note,
    output::{Input, Piece, Source},
    seccomp, spec,
    supervisor::{Launching, Supervisor, unavailable},
};
use crate::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, Event, Exit, ExitCause, ExitStatus, MountSource,
    PidNamespace, Resources, Result, RuntimeError, SandboxState, Signal, cri_log::LogFile, protocol::Reply, rights,
    users::Identity, wire::Kind,
};
use caps::Capability;
use jiff::Timestamp;
use nix::{sys::signal, unistd::Pid};
use std::{
    fs,
    os::fd::OwnedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

/// A container's live part; what is told and kept is in the record.
#[derive(Debug)]
pub struct Cell {
    home: Home,
    /// Until it is started.
    root: Option<OwnedFd>,
    identity: Identity,
    pub cgroup: String,
    pub launching: Option<Launching>,
    pub pid: Option<i32>,
    pub input: Input,
    pub outputs: Vec<Source>,
    /// For its size.
    pub terminal: Option<OwnedFd>,
    pub log: Option<LogFile>,
    /// When all of it is to be killed.
    pub kill_at: Option<Instant>,
    starter: Option<u64>,
    stoppers: Vec<u64>,
    removers: Vec<u64>,
}

impl Supervisor {
    pub(super) fn status(&mut self, id: &ContainerId) -> Result<&mut ContainerStatus> {
        self.record
            .containers
            .iter_mut()
            .find(|status| status.id == *id)
            .ok_or_else(|| RuntimeError::NotFound { what: "container".into(), id: id.0.clone() })
    }

    /// Mounts the root file system, makes the cgroup, and writes it down.
    pub(super) fn create(&mut self, id: ContainerId, config: ContainerConfig) -> Result<()> {
        self.check(&id, &config)?;
        let home = Home(self.directory.join("containers").join(&id.0));
        let cgroup = format!("{}/{id}", self.sandbox.cgroup);
        match self.make(&home, &cgroup, &config) {
            Ok(root) => {
                let cell = Cell {
                    home,
                    root: Some(root.mounts),
                    identity: root.identity,
                    cgroup,
                    launching: None,
                    pid: None,
                    input: Input::default(),
                    outputs: Vec::new(),
                    terminal: None,
                    log: None,
                    kill_at: None,
                    starter: None,
                    stoppers: Vec::new(),
                    removers: Vec::new(),
                };
                self.cells.insert(id.clone(), cell);
                self.record.containers.push(ContainerStatus {
                    id,
                    sandbox: self.record.sandbox.id.clone(),
                    state: ContainerState::Created,
                    config,
                    created_at: Timestamp::now(),
                    started_at: None,
                    exit: None,
                    pid: None,
                });
                self.note_down();
                Ok(())
            }
            Err(error) => {
                let _swept_at_open = fs::remove_dir_all(&home.0);
                let _swept_with_the_sandbox = self.sandbox.cgroups.remove(&cgroup);
                Err(error)
            }
        }
    }

    fn check(&self, id: &ContainerId, config: &ContainerConfig) -> Result<()> {
        let sandbox = &self.record.sandbox;
        if sandbox.state != SandboxState::Ready {
            let (id, wanted) = (sandbox.id.0.clone(), "ready".into());
            return Err(RuntimeError::WrongState { id, state: "not ready".into(), wanted });
        }
        let taken = self.record.containers.iter().find(|known| {
            known.id == *id || (known.config.name == config.name && known.config.attempt == config.attempt)
        });
        if taken.is_some() {
            let id = format!("{}/{}", config.name, config.attempt);
            return Err(RuntimeError::AlreadyExists { what: "container".into(), id });
        }
        for (index, mount) in config.mounts.iter().enumerate() {
            if let MountSource::Bind(source) = &mount.source
                && !source.exists()
            {
                let message = format!("{} does not exist", source.display());
                return Err(RuntimeError::invalid(format!("mounts[{index}].source"), message));
            }
        }
        rights::capabilities(&config.security)?;
        spec::cwd(config)?;
        if config.args.is_empty() {
            return Err(RuntimeError::invalid("args", "must name a program"));
        }
        Ok(())
    }

    fn make(&self, home: &Home, cgroup: &str, config: &ContainerConfig) -> Result<Root> {
        self.sandbox.cgroups.create(cgroup)?;
        self.sandbox.cgroups.limit(cgroup, &config.resources)?;
        maker::prepare(home, config)
    }

    /// Begins to start it; the client hears when it runs or cannot.
    pub(super) fn start(&mut self, number: u64, id: &ContainerId) {
        let begun = self.begin_start(id);
        match begun {
            Ok(()) => {
                if let Some(cell) = self.cells.get_mut(id) {
                    cell.starter = Some(number);
                }
                self.hold(number);
            }
            Err(error @ RuntimeError::Start { .. }) => {
                self.start_failed(id, error.to_string());
                self.reply(number, &Reply::Failed { error });
            }
            Err(error) => self.reply(number, &Reply::Failed { error }),
        }
    }

    fn begin_start(&mut self, id: &ContainerId) -> Result<()> {
        let status = self.status(id)?;
        let (state, config) = (status.state, status.config.clone());
        let busy = self.cells.get(id).is_none_or(|cell| cell.launching.is_some());
        if state != ContainerState::Created || busy {
            let state = if busy && state == ContainerState::Created { "starting".into() } else { state.to_string() };
            return Err(RuntimeError::WrongState { id: id.0.clone(), state, wanted: "created".into() });
        }
        let starting = |error: RuntimeError| RuntimeError::Start { message: error.to_string() };
        let launching = self.launch_first(id, &config).map_err(starting)?;
        if let Some(cell) = self.cells.get_mut(id) {
            cell.launching = Some(launching);
        }
        Ok(())
    }

    fn launch_first(&mut self, id: &ContainerId, config: &ContainerConfig) -> Result<Launching> {
        let around = self.surroundings(id, config)?;
        let bundle = spec::container(config, &around)?;
        let missing = || RuntimeError::NotFound { what: "container".into(), id: id.0.clone() };
        let log = config.log_path.as_ref().map(|path| self.record.sandbox.config.log_directory.join(path));
        let rotation = self.rotation;
        let cell = self.cells.get_mut(id).ok_or_else(missing)?;
        write_json(&cell.home.0.join("config.json"), &bundle)?;
        if let Some(path) = log {
            let opened = LogFile::open(&path, rotation);
            cell.log = Some(opened.map_err(|error| unavailable(&format!("open log {}", path.display()), &error))?);
        }
        let stdio = cell.open_stdio(config)?;
        let root = cell.root.take().ok_or_else(missing)?;
        let (ours, theirs) = note::channel().map_err(|error| unavailable("make a channel", &error))?;
        let launch = launch(config, &around, &config.args, note::raw(&theirs), config.tty)?;
        let maker = maker::start(&cell.home, &root, launch, stdio, &inheritance(config))
            .map_err(|error| unavailable("fork", &error))?;
        Ok(Launching::new(ours, maker))
    }

    /// What the spec of a container, or of a command in it, needs to know.
    pub(super) fn surroundings(&self, id: &ContainerId, config: &ContainerConfig) -> Result<spec::Surroundings> {
        let cell =
            self.cells.get(id).ok_or_else(|| RuntimeError::NotFound { what: "container".into(), id: id.0.clone() })?;
        let layout = self.sandbox.cgroups.layout();
        let mut shared = self.sandbox.shared();
        if let Some(target) = &config.pid_of {
            let Some(pid) = self.cells.get(target).and_then(|cell| cell.pid) else {
                let message = format!("container {target} does not run");
                return Err(RuntimeError::invalid("pidOf", message));
            };
            shared.retain(|(kind, _)| *kind != "pid");
            shared.push(("pid", format!("/proc/{pid}/ns/pid").into()));
        }
        Ok(spec::Surroundings {
            rootfs: cell.home.rootfs(),
            identity: cell.identity.clone(),
            hostname: self.sandbox.hostname(),
            shared,
            own_pid: config.pid_of.is_none() && self.sandbox.config.pid == PidNamespace::Container,
            files: self.sandbox.files(),
            cgroup: cell.cgroup.clone(),
            cgroup_version: layout.version(),
            cgroup_directories: layout.directories(&cell.cgroup)?,
            available: available(),
            devices: if config.security.privileged { machine_devices() } else { Vec::new() },
        })
    }

    pub(super) fn hear_of_start(&mut self, id: &ContainerId) {
        let Some(cell) = self.cells.get_mut(id) else { return };
        if !cell.launching.as_mut().is_some_and(Launching::listen) {
            return;
        }
        let Some(launching) = cell.launching.take() else { return };
        let starter = cell.starter.take();
        let reply = match (launching.error, launching.pid) {
            (None, Some(pid)) => {
                cell.pid = Some(pid);
                cell.take_terminal(launching.terminal);
                self.started(id, pid);
                Reply::Done
            }
            (why, pid) => {
                if let Some(pid) = pid {
                    let _gone = signal::kill(Pid::from_raw(pid), signal::Signal::SIGKILL);
                }
                let why = why.unwrap_or_else(|| "the process that starts it died".into());
                let message = format!("unable to start container process: error during container init: {why}");
                self.start_failed(id, message.clone());
                Reply::Failed { error: RuntimeError::Start { message } }
            }
        };
        if let Some(number) = starter {
            self.reply(number, &reply);
        }
        if let Some(pid) = launching.pid {
            self.claim(pid);
        }
    }

    fn started(&mut self, id: &ContainerId, pid: i32) {
        if let Ok(status) = self.status(id) {
            status.state = ContainerState::Running;
            status.started_at = Some(Timestamp::now());
            status.pid = u32::try_from(pid).ok();
        }
        self.note_down();
        self.tell(Event::Started { sandbox: self.record.sandbox.id.clone(), container: id.clone() });
    }

    fn start_failed(&mut self, id: &ContainerId, message: String) {
        if let Some(cell) = self.cells.get(id) {
            self.sandbox.cgroups.kill(&cell.cgroup);
        }
        self.finish(id, ExitStatus::Code(128), ExitCause::StartFailed { message });
    }

    pub(super) fn give_start_up(&mut self, id: &ContainerId) {
        let Some(cell) = self.cells.get_mut(id) else { return };
        let Some(launching) = &mut cell.launching else { return };
        let _gone = signal::kill(launching.maker, signal::Signal::SIGKILL);
        launching.error.get_or_insert_with(|| "it took too long".into());
        // Its death closes the channel, unless the kernel holds it; we do not wait for that again.
        launching.deadline += Duration::from_secs(3600);
        self.sandbox.cgroups.kill(&cell.cgroup);
    }

    pub(super) fn pump(&mut self, id: &ContainerId, kind: Kind) {
        let now = Timestamp::now();
        let Some(cell) = self.cells.get_mut(id) else { return };
        let Some(index) = cell.outputs.iter().position(|source| source.kind() == kind) else { return };
        let Some(source) = cell.outputs.get_mut(index) else { return };
        match source.pump(cell.log.as_mut(), now) {
            Piece::Bytes(bytes) => self.show(id, kind, &bytes),
            Piece::Nothing => {}
            Piece::End => {
                source.finish(cell.log.as_mut(), now);
                cell.outputs.remove(index);
            }
        }
    }

    fn show(&mut self, id: &ContainerId, kind: Kind, bytes: &[u8]) {
        for conn in self.conns.values_mut() {
            if matches!(&conn.mode, Mode::Attached(attached) if attached == id) {
                conn.stream(kind, bytes);
            }
        }
    }

    /// Its first process has ended, and with it the container.
    pub(super) fn container_ended(&mut self, id: &ContainerId, status: ExitStatus) {
        let Some(cell) = self.cells.get(id) else { return };
        let joined = self.record.containers.iter().any(|c| c.id == *id && c.config.pid_of.is_some());
        if joined || self.sandbox.config.pid != PidNamespace::Container {
            // In a namespace of its own the kernel has done this.
            self.sandbox.cgroups.kill(&cell.cgroup);
        }
        let killed = status.code() == 128 + 9 && self.sandbox.cgroups.oom_kills(&cell.cgroup) > 0;
        self.finish(id, status, if killed { ExitCause::OutOfMemory } else { ExitCause::Ended });
    }

    fn finish(&mut self, id: &ContainerId, status: ExitStatus, cause: ExitCause) {
        let now = Timestamp::now();
        let Some(cell) = self.cells.get_mut(id) else { return };
        cell.pid = None;
        cell.kill_at = None;
        cell.root = None;
        cell.input = Input::default();
        cell.terminal = None;
        let mut left = Vec::new();
        for mut source in std::mem::take(&mut cell.outputs) {
            let kind = source.kind();
            left.extend(source.drain(cell.log.as_mut(), now).into_iter().map(|piece| (kind, piece)));
        }
        cell.log = None;
        let (stoppers, removers) = (std::mem::take(&mut cell.stoppers), std::mem::take(&mut cell.removers));
        for (kind, piece) in left {
            self.show(id, kind, &piece);
        }
        let exit = Exit { at: now, status, cause };
        if let Ok(known) = self.status(id) {
            known.state = ContainerState::Exited;
            known.pid = None;
            known.exit = Some(exit.clone());
        }
        self.save();
        self.tell(Event::Exited { sandbox: self.record.sandbox.id.clone(), container: id.clone(), exit });
        for conn in self.conns.values_mut() {
            if matches!(&conn.mode, Mode::Attached(attached) if attached == id) {
                conn.reply(&Reply::Exited { status });
                conn.last = true;
            }
        }
        for number in stoppers {
            self.reply(number, &Reply::Done);
        }
        for number in removers {
            self.forget(id);
            self.reply(number, &Reply::Done);
        }
    }

    pub(super) fn signal(&mut self, id: &ContainerId, signal: Signal) -> Result<()> {
        let state = self.status(id)?.state;
        let Some(pid) = self.cells.get(id).and_then(|cell| cell.pid) else {
            let state = state.to_string();
            return Err(RuntimeError::WrongState { id: id.0.clone(), state, wanted: "running".into() });
        };
        send(pid, signal).map_err(|error| unavailable("signal the container", &error))
    }

    /// Asks it to end and lets the client wait for that.
    pub(super) fn stop(&mut self, number: u64, id: &ContainerId, grace: Duration) {
        let signal = self.status(id).ok().and_then(|status| status.config.stop_signal).unwrap_or(Signal::TERM);
        let Some(cell) = self.cells.get_mut(id).filter(|cell| cell.pid.is_some() || cell.launching.is_some()) else {
            return self.reply(number, &Reply::Done);
        };
        cell.stoppers.push(number);
        let deadline = Instant::now().checked_add(grace);
        cell.kill_at = match (cell.kill_at, deadline) {
            (Some(before), Some(deadline)) => Some(before.min(deadline)),
            (before, deadline) => before.or(deadline),
        };
        if let Some(pid) = cell.pid.filter(|_| !grace.is_zero()) {
            let _gone = send(pid, signal);
        }
        self.hold(number);
    }

    pub(super) fn kill(&mut self, id: &ContainerId) {
        let Some(cell) = self.cells.get_mut(id) else { return };
        // The kernel may take a while to let it die; asking again and again helps nobody.
        cell.kill_at = Some(Instant::now() + Duration::from_secs(10));
        if let Some(pid) = cell.pid {
            let _gone = send(pid, Signal::KILL);
        }
    }

    pub(super) fn remove(&mut self, number: u64, id: &ContainerId) {
        match self.cells.get_mut(id) {
            Some(cell) if cell.pid.is_some() || cell.launching.is_some() => {
                cell.kill_at = Some(Instant::now());
                cell.removers.push(number);
                self.hold(number);
            }
            _ => {
                self.forget(id);
                self.reply(number, &Reply::Done);
            }
        }
    }

    fn forget(&mut self, id: &ContainerId) {
        self.cells.remove(id);
        self.record.containers.retain(|status| status.id != *id);
        self.note_down();
    }

    pub(super) fn update(&mut self, id: &ContainerId, resources: Resources) -> Result<()> {
        let state = self.status(id)?.state;
        let Some(cell) = self.cells.get(id).filter(|_| state != ContainerState::Exited) else {
            let (id, wanted) = (id.0.clone(), "created or running".into());
            return Err(RuntimeError::WrongState { id, state: state.to_string(), wanted });
        };
        self.sandbox.cgroups.limit(&cell.cgroup, &resources)?;
        if let (Some(pid), Some(score)) = (cell.pid, resources.oom_score_adj) {
            let _best_effort = fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string());
        }
        self.status(id)?.config.resources.update(resources);
        self.note_down();
        Ok(())
    }

    pub(super) fn reopen_log(&mut self, id: &ContainerId) -> Result<()> {
        let state = self.status(id)?.state;
        let Some(cell) = self.cells.get_mut(id).filter(|cell| cell.pid.is_some()) else {
            let (state, wanted) = (state.to_string(), "running".into());
            return Err(RuntimeError::WrongState { id: id.0.clone(), state, wanted });
        };
        match &mut cell.log {
            Some(log) => log.reopen().map_err(|error| unavailable("reopen the log", &error)),
            None => Ok(()),
        }
    }
}

impl Cell {
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The container's ends of its streams; ours are kept. A terminal comes later.
    fn open_stdio(&mut self, config: &ContainerConfig) -> Result<Stdio> {
        let mut stdio = Stdio::null().map_err(|error| unavailable("open /dev/null", &error))?;
        if config.tty {
            return Ok(stdio);
        }
        let pipe = || std::io::pipe().map_err(|error| unavailable("make a pipe", &error));
        let source = |fd: OwnedFd, kind| Source::new(fd, kind).map_err(|error| unavailable("prepare a stream", &error));
        let ((stdout, stdout_writer), (stderr, stderr_writer)) = (pipe()?, pipe()?);
        self.outputs = vec![source(stdout.into(), Kind::Stdout)?, source(stderr.into(), Kind::Stderr)?];
        (stdio.stdout, stdio.stderr) = (stdout_writer.into(), stderr_writer.into());
        if config.stdin {
            let (reader, writer) = pipe()?;
            self.input = Input::new(writer.into()).map_err(|error| unavailable("prepare a stream", &error))?;
            stdio.stdin = reader.into();
        }
        Ok(stdio)
    }

    fn take_terminal(&mut self, terminal: Option<OwnedFd>) {
        let Some(terminal) = terminal else { return };
        if let (Ok(output), Ok(input)) = (terminal.try_clone(), terminal.try_clone()) {
            self.outputs.extend(Source::new(output, Kind::Stdout).ok());
            self.input = Input::new(input).unwrap_or_default();
        }
        self.terminal = Some(terminal);
    }
}

/// Capabilities that we have.
pub(super) fn available() -> std::collections::BTreeSet<String> {
    let held = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
    held.into_iter().map(|capability| capability.to_string()).collect()
}

/// How a program of a container is started.
pub(super) fn launch(
    config: &ContainerConfig,
    around: &spec::Surroundings,
    args: &[String],
    channel: std::os::fd::RawFd,
    terminal: bool,
) -> Result<Launch> {
    let held = rights::capabilities(&config.security)?;
    let wanted = if config.security.privileged { &crate::Seccomp::Unconfined } else { &config.security.seccomp };
    let filters = seccomp::compile(wanted, &held)?;
    let surplus = [("CAP_SYS_ADMIN", Capability::CAP_SYS_ADMIN), ("CAP_SETPCAP", Capability::CAP_SETPCAP)];
    let surplus = surplus.into_iter().filter(|(name, _)| spec::filter_needs_rights(config) && !held.contains(name));
    Ok(Launch {
        args: args.to_vec(),
        env: spec::environment(config, around),
        terminal,
        filters,
        surplus: surplus.map(|(_, right)| right).collect(),
        channel,
    })
}

pub(super) fn inheritance(config: &ContainerConfig) -> Inheritance {
    Inheritance { oom_score_adj: config.resources.oom_score_adj, rlimits: config.rlimits.clone() }
}

pub(super) fn write_json(path: &PathBuf, value: &serde_json::Value) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(|error| unavailable("write the spec", &error))?;
    fs::write(path, text).map_err(|error| unavailable(&format!("write {}", path.display()), &error))
}

/// Real-time signals are not in `nix`'s enum.
fn send(pid: i32, signal: Signal) -> std::io::Result<()> {
    // SAFETY: a system call without memory arguments; the process is our child and not reaped yet, so the number is its own.
    if unsafe { libc::kill(pid, i32::from(signal.number())) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Character and block devices below `/dev`, for privileged containers, without terminals and what is mounted there.
fn machine_devices() -> Vec<(PathBuf, char, i64, i64)> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let (mut devices, mut directories) = (Vec::new(), vec![PathBuf::from("/dev")]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            let kind = metadata.file_type();
            let skip = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/console", "/dev/.lxc"];
            if skip.iter().any(|skip| path.starts_with(skip)) {
                continue;
            }
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
                let letter = if kind.is_char_device() { 'c' } else { 'b' };
                devices.push((path, letter, i64::from(major), i64::from(minor)));
            }
        }
    }
    devices.sort();
    devices
}

//! Commands run in a container, and clients attached to it.
use super::{
    conn::Mode,
    containers::{inheritance, launch, write_json},
    maker::{self, Stdio},
    note,
    output::{self, MAX_INPUT},
    spec,
    supervisor::{Launching, Supervisor, unavailable},
    tree,
};
use crate::{
    ContainerId, ContainerState, ExitStatus, Result, RuntimeError, Streams, TerminalSize,
    protocol::{Reply, Request},
    wire::{Frame, Kind},
};
use nix::{sys::signal, unistd::Pid};
use std::{fs, os::fd::OwnedFd, path::PathBuf, time::Duration};

/// A command in a container.
#[derive(Debug)]
pub struct Exec {
    container: ContainerId,
    conn: u64,
    tty: bool,
    pub launching: Option<Launching>,
    pub pid: Option<i32>,
    /// The OCI `process` it is made from; removed once it runs.
    file: PathBuf,
    /// Its client is gone.
    abandoned: bool,
}

impl Supervisor {
    pub(super) fn exec(&mut self, number: u64, id: ContainerId, args: Vec<String>, streams: Streams) {
        let fds = self.conns.get_mut(&number).map(|conn| std::mem::take(&mut conn.fds)).unwrap_or_default();
        match self.begin_exec(number, &id, &args, streams, fds.into()) {
            Ok(exec) => {
                self.execs.insert(number, exec);
                if let Some(conn) = self.conns.get_mut(&number) {
                    conn.mode = Mode::Exec(number);
                }
            }
            Err(error) => self.reply(number, &Reply::Failed { error }),
        }
    }

    fn begin_exec(
        &mut self,
        number: u64,
        id: &ContainerId,
        args: &[String],
        streams: Streams,
        fds: Vec<OwnedFd>,
    ) -> Result<Exec> {
        let status = self.status(id)?;
        let (state, config) = (status.state, status.config.clone());
        if state != ContainerState::Running {
            let (state, wanted) = (state.to_string(), "running".into());
            return Err(RuntimeError::WrongState { id: id.0.clone(), state, wanted });
        }
        let mut config = config;
        config.tty = streams.tty;
        let around = self.surroundings(id, &config)?;
        let process = spec::process(&config, &around, args)?;
        let home = self.cells.get(id).map(|cell| cell.home().clone());
        let home = home.ok_or_else(|| RuntimeError::NotFound { what: "container".into(), id: id.0.clone() })?;
        let stdio = stdio(streams, fds)?;
        let file = home.0.join(format!("exec-{number}.json"));
        write_json(&file, &process)?;
        let (ours, theirs) = note::channel().map_err(|error| unavailable("make a channel", &error))?;
        let launch = launch(&config, &around, args, note::raw(&theirs), streams.tty)?;
        let mut inheritance = inheritance(&config);
        inheritance.rlimits.clone_from(&config.rlimits);
        let maker =
            maker::join(&home, &file, launch, stdio, &inheritance).map_err(|error| unavailable("fork", &error))?;
        let launching = Some(Launching::new(ours, maker));
        Ok(Exec { container: id.clone(), conn: number, tty: streams.tty, launching, pid: None, file, abandoned: false })
    }

    pub(super) fn hear_of_exec(&mut self, number: u64) {
        let Some(exec) = self.execs.get_mut(&number) else { return };
        if !exec.launching.as_mut().is_some_and(Launching::listen) {
            return;
        }
        let Some(launching) = exec.launching.take() else { return };
        let _already_gone = fs::remove_file(&exec.file);
        match (launching.error, launching.pid) {
            (None, Some(pid)) => {
                exec.pid = Some(pid);
                let abandoned = exec.abandoned;
                if let Some(conn) = self.conns.get_mut(&exec.conn) {
                    conn.reply_with(&Reply::Running, launching.terminal);
                }
                if abandoned {
                    self.kill_exec(number);
                }
                self.claim(pid);
            }
            (why, pid) => {
                let conn = exec.conn;
                if let Some(pid) = pid {
                    let _gone = signal::kill(Pid::from_raw(pid), signal::Signal::SIGKILL);
                }
                self.execs.remove(&number);
                let why = why.unwrap_or_else(|| "the process that starts it died".into());
                let message = format!("exec failed: unable to start container process: {why}");
                if let Some(conn) = self.conns.get_mut(&conn) {
                    conn.mode = Mode::Open;
                    conn.reply(&Reply::Failed { error: RuntimeError::Start { message } });
                }
                self.take_frames(conn);
            }
        }
    }

    pub(super) fn give_exec_up(&mut self, number: u64) {
        let Some(launching) = self.execs.get_mut(&number).and_then(|exec| exec.launching.as_mut()) else { return };
        let _gone = signal::kill(launching.maker, signal::Signal::SIGKILL);
        launching.error.get_or_insert_with(|| "it took too long".into());
        launching.deadline += Duration::from_secs(3600);
    }

    pub(super) fn exec_ended(&mut self, number: u64, status: ExitStatus) {
        let Some(exec) = self.execs.remove(&number) else { return };
        if let Some(conn) = self.conns.get_mut(&exec.conn) {
            conn.mode = Mode::Open;
            conn.reply(&Reply::Exited { status });
        }
        self.take_frames(exec.conn);
    }

    /// Its client has gone away. With a terminal the kernel has hung up: the master was the client's.
    pub(super) fn hung_up(&mut self, number: u64) {
        let Some(exec) = self.execs.get_mut(&number) else { return };
        exec.abandoned = true;
        match exec.pid {
            Some(pid) if exec.tty => {
                let _gone = signal::kill(Pid::from_raw(pid), signal::Signal::SIGHUP);
            }
            _ => self.kill_exec(number),
        }
    }

    fn kill_exec(&mut self, number: u64) {
        let Some((pid, container)) = self.execs.get(&number).and_then(|exec| Some((exec.pid?, &exec.container))) else {
            return;
        };
        let Some(cell) = self.cells.get(container) else { return };
        tree::kill_tree(pid, || self.sandbox.cgroups.processes(&cell.cgroup));
    }

    pub(super) fn attach(&mut self, number: u64, id: &ContainerId, wanted: Streams) {
        let config = match self.status(id) {
            Ok(status) if status.state == ContainerState::Running => status.config.clone(),
            Ok(status) => {
                let (state, wanted) = (status.state.to_string(), "running".into());
                let error = RuntimeError::WrongState { id: id.0.clone(), state, wanted };
                return self.reply(number, &Reply::Failed { error });
            }
            Err(error) => return self.reply(number, &Reply::Failed { error }),
        };
        let streams = Streams { stdin: wanted.stdin && config.stdin, tty: config.tty, ..wanted };
        if let Some(conn) = self.conns.get_mut(&number) {
            conn.mode = Mode::Attached(id.clone());
            conn.feeds = streams.stdin;
            conn.reply(&Reply::Attached { streams });
        }
    }

    pub(super) fn hear_attached(&mut self, id: &ContainerId, frame: &Frame) {
        let once = self.status(id).is_ok_and(|status| status.config.stdin_once);
        let Some(cell) = self.cells.get_mut(id) else { return };
        match frame.kind {
            // End of file: other clients may still write, unless the container was made for one.
            Kind::Stdin if frame.payload.is_empty() => {
                if once && cell.terminal.is_none() {
                    cell.input.end();
                }
            }
            Kind::Stdin => cell.input.push(frame.payload.get(..MAX_INPUT).unwrap_or(&frame.payload)),
            Kind::Message => {
                if let (Ok(Request::Resize { width, height }), Some(terminal)) = (frame.read(), &cell.terminal) {
                    output::resize(std::os::fd::AsFd::as_fd(terminal), TerminalSize { width, height });
                }
            }
            Kind::Stdout | Kind::Stderr => {}
        }
    }

    /// A client that fed its stdin has hung up.
    pub(super) fn detached(&mut self, id: &ContainerId) {
        let once = self.status(id).is_ok_and(|status| status.config.stdin_once);
        if let Some(cell) = self.cells.get_mut(id).filter(|cell| once && cell.terminal.is_none()) {
            cell.input.end();
        }
    }
}

/// The client's descriptors for the streams it wants, in order.
fn stdio(streams: Streams, fds: Vec<OwnedFd>) -> Result<Stdio> {
    let mut stdio = Stdio::null().map_err(|error| unavailable("open /dev/null", &error))?;
    if streams.tty {
        return Ok(stdio);
    }
    let wanted = [streams.stdin, streams.stdout, streams.stderr];
    if fds.len() != wanted.iter().filter(|wanted| **wanted).count() {
        return Err(RuntimeError::invalid("streams", "must come with one descriptor each"));
    }
    let mut fds = fds.into_iter();
    for (stream, wanted) in [&mut stdio.stdin, &mut stdio.stdout, &mut stdio.stderr].into_iter().zip(wanted) {
        if let Some(fd) = wanted.then(|| fds.next()).flatten() {
            *stream = fd;
        }
    }
    Ok(stdio)
}

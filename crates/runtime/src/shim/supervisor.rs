//! The loop of a supervisor: clients, dying children, output, deadlines. It never waits for any one of them.
use super::{
    conn::{Conn, Mode},
    containers::Cell,
    note,
    sandbox::Sandbox,
    sessions::Exec,
};
use crate::{
    ContainerId, Event, ExitStatus, Result, RuntimeError, SandboxState, SandboxStatus, Signal,
    cri_log::Rotation,
    protocol::{Reply, Request, SOCKET, Setup},
    record::{Record, RecordError},
    wire::{Hello, Kind, VERSIONS, Welcome},
};
use jiff::Timestamp;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{self, SigSet},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a container or command may take from fork to `execve`; a mount on a dead network file system hangs for ever.
const LAUNCH_TIME: Duration = Duration::from_secs(120);
/// How long clients may take to read the last words of a supervisor that ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// A process on its way from fork to `execve`.
#[derive(Debug)]
pub struct Launching {
    pub channel: OwnedFd,
    pub maker: Pid,
    pub pid: Option<i32>,
    pub error: Option<String>,
    pub terminal: Option<OwnedFd>,
    pub deadline: Instant,
}

impl Launching {
    pub fn new(channel: OwnedFd, maker: Pid) -> Self {
        let deadline = Instant::now() + LAUNCH_TIME;
        Self { channel, maker, pid: None, error: None, terminal: None, deadline }
    }

    /// Takes the notes that are there. True: there will be no more.
    pub fn listen(&mut self) -> bool {
        loop {
            match note::take(&self.channel) {
                note::Received::Note(note::Note::Pid(pid), _) => self.pid = Some(pid),
                // The first reason is the cause, later ones are its consequences.
                note::Received::Note(note::Note::Failed(why), _) => drop(self.error.get_or_insert(why)),
                note::Received::Note(note::Note::Terminal, fd) => self.terminal = fd,
                note::Received::Nothing => return false,
                note::Received::Closed => return true,
            }
        }
    }
}

/// What a descriptor in the poll set belongs to.
#[derive(Debug, Clone)]
enum Token {
    Listener,
    Children,
    Conn(u64),
    Output(ContainerId, Kind),
    Input(ContainerId),
    Start(ContainerId),
    ExecStart(u64),
}

/// A pod's supervisor.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) directory: PathBuf,
    pub(super) sandbox: Sandbox,
    pub(super) record: Record,
    pub(super) rotation: Rotation,
    pub(super) cells: BTreeMap<ContainerId, Cell>,
    pub(super) execs: BTreeMap<u64, Exec>,
    pub(super) conns: BTreeMap<u64, Conn>,
    next: u64,
    listener: UnixListener,
    children: SignalFd,
    /// Children that died before we were told their pid.
    unclaimed: BTreeMap<i32, ExitStatus>,
    /// Who wants to hear that all is down.
    shutdown: Option<Vec<u64>>,
}

impl Supervisor {
    /// Makes the sandbox and begins to listen.
    pub fn begin(setup: &Setup) -> Result<Self> {
        let mut sandbox = Sandbox::establish(&setup.directory, &setup.id, &setup.config)?;
        let begun = Self::listen(setup, &sandbox);
        let (listener, children) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                sandbox.release();
                return Err(error);
            }
        };
        let status = SandboxStatus {
            id: setup.id.clone(),
            state: SandboxState::Ready,
            created_at: Timestamp::now(),
            config: setup.config.clone(),
            netns_path: sandbox.netns_path(),
        };
        let this = Self {
            directory: setup.directory.clone(),
            sandbox,
            record: Record { sandbox: status, containers: Vec::new() },
            rotation: Rotation { max_bytes: setup.log_max_bytes, max_files: setup.log_max_files },
            cells: BTreeMap::new(),
            execs: BTreeMap::new(),
            conns: BTreeMap::new(),
            next: 0,
            listener,
            children,
            unclaimed: BTreeMap::new(),
            shutdown: None,
        };
        this.record.save_for_now(&this.directory).map_err(|error| unavailable("write the record", &error))?;
        Ok(this)
    }

    fn listen(setup: &Setup, _: &Sandbox) -> Result<(UnixListener, SignalFd)> {
        // From inside the directory: a socket's path has 108 bytes at most.
        std::env::set_current_dir(&setup.directory).map_err(|error| unavailable("enter the directory", &error))?;
        let listener = UnixListener::bind(Path::new(SOCKET)).map_err(|error| unavailable("listen", &error))?;
        listener.set_nonblocking(true).map_err(|error| unavailable("listen", &error))?;
        let mut mask = SigSet::empty();
        mask.add(signal::Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let children = SignalFd::with_flags(&mask, flags).map_err(|error| unavailable("watch children", &error))?;
        Ok((listener, children))
    }

    /// Until somebody asks for the end. Returns the exit code.
    pub fn run(mut self) -> i32 {
        loop {
            for (token, flags) in self.wait() {
                self.handle(&token, flags);
            }
            self.reap();
            self.keep_deadlines();
            self.bury();
            if self.is_down() {
                return self.end();
            }
        }
    }

    fn wait(&mut self) -> Vec<(Token, PollFlags)> {
        let timeout = self.nearest_deadline().map_or(PollTimeout::NONE, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let (tokens, mut fds): (Vec<Token>, Vec<PollFd<'_>>) =
            self.interests().into_iter().map(|(token, fd, flags)| (token, PollFd::new(fd, flags))).unzip();
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return Vec::new(),
            Err(error) => {
                eprintln!("poll: {error}");
                std::thread::sleep(Duration::from_millis(100));
                return Vec::new();
            }
        }
        let ready = tokens.into_iter().zip(fds).filter_map(|(token, fd)| Some((token, fd.revents()?)));
        ready.filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn interests(&self) -> Vec<(Token, BorrowedFd<'_>, PollFlags)> {
        let mut all = vec![
            (Token::Listener, self.listener.as_fd(), PollFlags::POLLIN),
            (Token::Children, self.children.as_fd(), PollFlags::POLLIN),
        ];
        for (number, conn) in &self.conns {
            let mut flags = PollFlags::empty();
            let full = match &conn.mode {
                Mode::Attached(id) => self.cells.get(id).is_some_and(|cell| cell.input.is_full()),
                Mode::Waiting => true,
                _ => false,
            };
            flags.set(PollFlags::POLLIN, !full);
            flags.set(PollFlags::POLLOUT, conn.wants_to_write());
            all.push((Token::Conn(*number), conn.fd(), flags));
        }
        for (id, cell) in &self.cells {
            for source in &cell.outputs {
                all.push((Token::Output(id.clone(), source.kind()), source.fd(), PollFlags::POLLIN));
            }
            if let Some(fd) = cell.input.wants_to_write() {
                all.push((Token::Input(id.clone()), fd, PollFlags::POLLOUT));
            }
            if let Some(launching) = &cell.launching {
                all.push((Token::Start(id.clone()), launching.channel.as_fd(), PollFlags::POLLIN));
            }
        }
        for (number, exec) in &self.execs {
            if let Some(launching) = &exec.launching {
                all.push((Token::ExecStart(*number), launching.channel.as_fd(), PollFlags::POLLIN));
            }
        }
        all
    }

    fn handle(&mut self, token: &Token, flags: PollFlags) {
        match token {
            Token::Listener => self.accept(),
            Token::Children => while let Ok(Some(_)) = self.children.read_signal() {},
            Token::Conn(number) => self.serve(*number, flags),
            Token::Output(id, kind) => self.pump(id, *kind),
            Token::Input(id) => {
                if let Some(cell) = self.cells.get_mut(id) {
                    cell.input.write();
                }
            }
            Token::Start(id) => self.hear_of_start(id),
            Token::ExecStart(number) => self.hear_of_exec(*number),
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.next += 1;
                self.conns.insert(self.next, Conn::new(stream));
            }
        }
    }

    fn serve(&mut self, number: u64, flags: PollFlags) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        if flags.intersects(PollFlags::POLLOUT) {
            conn.write();
        }
        if flags.intersects(PollFlags::POLLIN) {
            conn.read();
        } else if flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
            conn.broken = true;
        }
        self.take_frames(number);
    }

    /// Acts on all frames that a connection may have acted on now.
    pub(super) fn take_frames(&mut self, number: u64) {
        while let Some(conn) = self.conns.get_mut(&number).filter(|conn| !conn.broken && conn.mode != Mode::Waiting) {
            let Some(frame) = conn.next_frame() else { return };
            match (conn.mode.clone(), frame.kind) {
                (Mode::New, Kind::Message) => {
                    let welcome =
                        frame.read::<Hello>().map_or(Welcome { version: None }, |hello| hello.answer(VERSIONS));
                    conn.message(&welcome);
                    conn.mode = Mode::Open;
                    conn.last = welcome.version.is_none();
                    conn.broken |= conn.last && conn.is_done();
                }
                (Mode::Open, Kind::Message) => match frame.read::<Request>() {
                    Ok(request) => self.answer(number, request),
                    Err(error) => {
                        let message = format!("this supervisor does not know the request: {error}");
                        conn.reply(&Reply::Failed { error: RuntimeError::Unsupported { message } });
                    }
                },
                (Mode::Attached(id), _) => self.hear_attached(&id, &frame),
                // What a newer client says to a command or to a reader of events is not understood and does no harm.
                (Mode::Exec(_) | Mode::Events, _) => {}
                (Mode::New | Mode::Open | Mode::Waiting, _) => conn.broken = true,
            }
        }
    }

    fn answer(&mut self, number: u64, request: Request) {
        let done = match request {
            Request::State => return self.reply(number, &Reply::State { record: Box::new(self.record.clone()) }),
            Request::Events => {
                let state = Reply::State { record: Box::new(self.record.clone()) };
                if let Some(conn) = self.conns.get_mut(&number) {
                    conn.mode = Mode::Events;
                    conn.reply(&state);
                }
                return;
            }
            Request::SetAddresses { addresses } => self.sandbox.write_etc(&addresses),
            Request::Create { id, config } => self.create(id, *config),
            Request::Start { id } => return self.start(number, &id),
            Request::Signal { id, signal } => self.signal(&id, signal),
            Request::Stop { id, grace_millis } => return self.stop(number, &id, Duration::from_millis(grace_millis)),
            Request::Remove { id } => return self.remove(number, &id),
            Request::Update { id, resources } => self.update(&id, resources),
            Request::ReopenLog { id } => self.reopen_log(&id),
            Request::Exec { id, args, streams } => return self.exec(number, id, args, streams),
            Request::Attach { id, streams } => return self.attach(number, &id, streams),
            Request::Resize { .. } => Err(RuntimeError::invalid("do", "only an attached connection resizes")),
            Request::Shutdown => return self.begin_shutdown(number),
        };
        self.reply(number, &done.map_or_else(|error| Reply::Failed { error }, |()| Reply::Done));
    }

    /// Answers, and goes on with what the client has sent meanwhile.
    pub(super) fn reply(&mut self, number: u64, reply: &Reply) {
        if let Some(conn) = self.conns.get_mut(&number) {
            conn.reply(reply);
            if conn.mode == Mode::Waiting {
                conn.mode = Mode::Open;
                self.take_frames(number);
            }
        }
    }

    /// Lets a client wait for its answer.
    pub(super) fn hold(&mut self, number: u64) {
        if let Some(conn) = self.conns.get_mut(&number) {
            conn.mode = Mode::Waiting;
        }
    }

    /// Tells all who listen.
    pub(super) fn tell(&mut self, event: Event) {
        let reply = Reply::Event { event };
        for conn in self.conns.values_mut().filter(|conn| conn.mode == Mode::Events) {
            conn.reply(&reply);
        }
    }

    /// Makes the record durable. A disk that cannot take it does not stop the pod; the next change tries again.
    pub(super) fn save(&self) {
        report(self.record.save(&self.directory));
    }

    /// Writes down what is true only while the machine runs: no waiting for the disk on the way to a running container.
    pub(super) fn note_down(&self) {
        report(self.record.save_for_now(&self.directory));
    }

    fn reap(&mut self) {
        while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            let (pid, status) = match status {
                WaitStatus::Exited(pid, code) => (pid, ExitStatus::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX))),
                WaitStatus::Signaled(pid, signal, _) => {
                    let number = u8::try_from(signal as i32).ok().and_then(|number| Signal::try_from(number).ok());
                    (pid, ExitStatus::Signal(number.unwrap_or(Signal::KILL)))
                }
                WaitStatus::StillAlive => break,
                _ => continue,
            };
            if !self.ended(pid.as_raw(), status) && self.is_launching() {
                self.unclaimed.insert(pid.as_raw(), status);
            }
        }
        if !self.is_launching() {
            self.unclaimed.clear();
        }
    }

    fn is_launching(&self) -> bool {
        self.cells.values().any(|cell| cell.launching.is_some())
            || self.execs.values().any(|exec| exec.launching.is_some())
    }

    /// False: it is none of the processes we know.
    fn ended(&mut self, pid: i32, status: ExitStatus) -> bool {
        let cell = self.cells.iter().find(|(_, cell)| cell.pid == Some(pid)).map(|(id, _)| id.clone());
        let exec = self.execs.iter().find(|(_, exec)| exec.pid == Some(pid)).map(|(number, _)| *number);
        match (cell, exec) {
            (Some(id), _) => self.container_ended(&id, status),
            (None, Some(number)) => self.exec_ended(number, status),
            (None, None) => return false,
        }
        true
    }

    /// A process of which we have just heard may have died before.
    pub(super) fn claim(&mut self, pid: i32) {
        if let Some(status) = self.unclaimed.remove(&pid) {
            self.ended(pid, status);
        }
    }

    fn nearest_deadline(&self) -> Option<Instant> {
        let starts = self.cells.values().filter_map(|cell| Some(cell.launching.as_ref()?.deadline));
        let stops = self.cells.values().filter(|cell| cell.pid.is_some()).filter_map(|cell| cell.kill_at);
        let execs = self.execs.values().filter_map(|exec| Some(exec.launching.as_ref()?.deadline));
        starts.chain(stops).chain(execs).min()
    }

    fn keep_deadlines(&mut self) {
        let now = Instant::now();
        let late =
            |launching: &Option<Launching>| launching.as_ref().is_some_and(|launching| launching.deadline <= now);
        let starts: Vec<_> =
            self.cells.iter().filter(|(_, cell)| late(&cell.launching)).map(|(id, _)| id.clone()).collect();
        for id in starts {
            self.give_start_up(&id);
        }
        let execs: Vec<_> =
            self.execs.iter().filter(|(_, exec)| late(&exec.launching)).map(|(number, _)| *number).collect();
        for number in execs {
            self.give_exec_up(number);
        }
        let stops: Vec<_> = self
            .cells
            .iter()
            .filter(|(_, cell)| cell.pid.is_some() && cell.kill_at.is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in stops {
            self.kill(&id);
        }
    }

    /// Forgets connections that are done, and what hung on them.
    fn bury(&mut self) {
        let done: Vec<u64> = self.conns.iter().filter(|(_, conn)| conn.is_done()).map(|(number, _)| *number).collect();
        for number in done {
            match self.conns.remove(&number).map(|conn| (conn.mode, conn.feeds)) {
                Some((Mode::Exec(exec), _)) => self.hung_up(exec),
                Some((Mode::Attached(id), true)) => self.detached(&id),
                _ => {}
            }
        }
    }

    fn begin_shutdown(&mut self, number: u64) {
        self.hold(number);
        self.shutdown.get_or_insert_default().push(number);
        let all: Vec<_> = self.cells.keys().cloned().collect();
        for id in all {
            if let Some(cell) = self.cells.get_mut(&id) {
                cell.kill_at = Some(Instant::now());
            }
        }
    }

    fn is_down(&self) -> bool {
        self.shutdown.is_some() && self.cells.values().all(|cell| cell.pid.is_none() && cell.launching.is_none())
    }

    fn end(mut self) -> i32 {
        self.cells.clear();
        self.sandbox.release();
        self.record.sandbox.state = SandboxState::NotReady;
        self.record.sandbox.netns_path = None;
        self.save();
        let _already_gone = std::fs::remove_file(self.directory.join(SOCKET));
        self.tell(Event::SandboxStopped { sandbox: self.record.sandbox.id.clone() });
        for number in self.shutdown.take().unwrap_or_default() {
            if let Some(conn) = self.conns.get_mut(&number) {
                conn.reply(&Reply::Done);
            }
        }
        let deadline = Instant::now() + FAREWELL;
        while self.conns.values().any(|conn| !conn.broken && conn.wants_to_write()) && Instant::now() < deadline {
            self.conns.values_mut().for_each(Conn::write);
            std::thread::sleep(Duration::from_millis(5));
        }
        0
    }
}

fn report(saved: std::result::Result<(), RecordError>) {
    if let Err(error) = saved {
        eprintln!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
    }
}

pub(super) fn unavailable(what: &str, error: &impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("cannot {what}: {error}") }
}

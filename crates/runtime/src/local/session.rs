//! Commands and attached clients, seen from the node agent: pipes and terminals that end in the container, and a connection
//! whose end ends the command.
use super::client::{Client, unavailable};
use crate::{
    Command, ContainerId, ExecConfig, ExitStatus, MAX_OUTPUT, Output, Result, RuntimeError, Session, Streams,
    TerminalSize,
    protocol::{Reply, Request},
    wire::Kind,
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, unix::AsyncFd},
    net::unix::pipe,
    sync::mpsc,
};

/// How long what a command has started may keep its output open after it has ended itself.
const OUTPUT_TIME: Duration = Duration::from_secs(1);
/// Sizes that a terminal has not taken yet.
const SIZES: usize = 8;
/// Between a connection and whoever reads an attached container's output.
const PIPE: usize = 64 * 1024;

/// Runs a command to its end.
pub async fn exec_sync(client: Client, id: ContainerId, command: Command) -> Result<Output> {
    let timeout = command.timeout;
    let run = run(client, id, command.args);
    match timeout {
        None => run.await,
        Some(timeout) => tokio::time::timeout(timeout, run).await.unwrap_or_else(|_| {
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            Err(RuntimeError::Timeout { millis })
        }),
    }
}

async fn run(client: Client, id: ContainerId, args: Vec<String>) -> Result<Output> {
    let streams = Streams { stdout: true, stderr: true, ..Default::default() };
    let session = exec(client, id, ExecConfig { args, streams }).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut exit = session.exit;
    let status = {
        let output = async {
            tokio::join!(read_some(session.stdout, &mut stdout), read_some(session.stderr, &mut stderr));
        };
        tokio::pin!(output);
        tokio::select! {
            status = &mut exit => {
                let _still_open = tokio::time::timeout(OUTPUT_TIME, output).await;
                status?
            }
            () = &mut output => exit.await?,
        }
    };
    Ok(Output { status, stdout, stderr })
}

/// Reads to the end and keeps the first [`MAX_OUTPUT`] bytes.
async fn read_some(stream: Option<Box<dyn AsyncRead + Send + Unpin>>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let room = MAX_OUTPUT.saturating_sub(kept.len()).min(length);
        kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
    }
}

/// Starts a command and hands its streams over.
pub async fn exec(mut client: Client, id: ContainerId, config: ExecConfig) -> Result<Session> {
    let streams = config.streams;
    let failed = |error: io::Error| unavailable("make a pipe", &error);
    let mut session =
        Session { stdin: None, stdout: None, stderr: None, resize: None, exit: Box::pin(std::future::pending()) };
    let mut theirs: Vec<OwnedFd> = Vec::new();
    if !streams.tty {
        if streams.stdin {
            let (reader, writer) = io::pipe().map_err(failed)?;
            session.stdin = Some(Box::new(pipe::Sender::from_owned_fd(writer.into()).map_err(failed)?));
            theirs.push(reader.into());
        }
        for (wanted, stream) in [(streams.stdout, &mut session.stdout), (streams.stderr, &mut session.stderr)] {
            if wanted {
                let (reader, writer) = io::pipe().map_err(failed)?;
                *stream = Some(Box::new(pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?));
                theirs.push(writer.into());
            }
        }
    }
    client.send(&Request::Exec { id, args: config.args, streams }, &theirs).await?;
    drop(theirs);
    match client.answer().await? {
        Reply::Running => {}
        other => return Err(unexpected(&other)),
    }
    if streams.tty {
        let master =
            client.take_fd().ok_or_else(|| RuntimeError::Unavailable { message: "no terminal came".into() })?;
        let terminal = Terminal::new(master).map_err(|error| unavailable("use the terminal", &error))?;
        session.stdin = streams.stdin.then(|| Box::new(terminal.clone()) as Box<dyn AsyncWrite + Send + Unpin>);
        session.stdout = streams.stdout.then(|| Box::new(terminal.clone()) as Box<dyn AsyncRead + Send + Unpin>);
        session.resize = Some(terminal.resizer());
    }
    session.exit = Box::pin(async move { exited(&mut client).await });
    Ok(session)
}

async fn exited(client: &mut Client) -> Result<ExitStatus> {
    match client.answer().await? {
        Reply::Exited { status } => Ok(status),
        other => Err(unexpected(&other)),
    }
}

/// Connects to what a container's first process prints and reads.
pub async fn attach(mut client: Client, id: ContainerId, wanted: Streams) -> Result<Session> {
    let streams = match client.ask(&Request::Attach { id, streams: wanted }).await? {
        Reply::Attached { streams } => streams,
        other => return Err(unexpected(&other)),
    };
    let (stdout, from_stdout) = tokio::io::duplex(PIPE);
    let (stderr, from_stderr) = tokio::io::duplex(PIPE);
    let (stdin, to_stdin) = tokio::io::duplex(PIPE);
    let (resize, sizes) = mpsc::channel(SIZES);
    let pump = Pump {
        stdout: streams.stdout.then_some(stdout),
        stderr: (streams.stderr && !streams.tty).then_some(stderr),
        stdin: streams.stdin.then_some(stdin),
        sizes,
    };
    Ok(Session {
        stdin: streams.stdin.then(|| Box::new(to_stdin) as Box<dyn AsyncWrite + Send + Unpin>),
        stdout: streams.stdout.then(|| Box::new(from_stdout) as Box<dyn AsyncRead + Send + Unpin>),
        stderr: (streams.stderr && !streams.tty).then(|| Box::new(from_stderr) as Box<dyn AsyncRead + Send + Unpin>),
        resize: streams.tty.then_some(resize),
        exit: detached(tokio::spawn(pump.run(client))),
    })
}

/// The pump's end, which stops the pump when nobody waits for it any more.
fn detached(
    task: tokio::task::JoinHandle<Result<ExitStatus>>,
) -> futures::future::BoxFuture<'static, Result<ExitStatus>> {
    struct Abort(tokio::task::JoinHandle<Result<ExitStatus>>);
    impl Drop for Abort {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut task = Abort(task);
    Box::pin(async move { (&mut task.0).await.unwrap_or_else(|error| Err(unavailable("stay attached", &error))) })
}

/// Carries an attached container's streams.
struct Pump {
    stdout: Option<tokio::io::DuplexStream>,
    stderr: Option<tokio::io::DuplexStream>,
    stdin: Option<tokio::io::DuplexStream>,
    sizes: mpsc::Receiver<TerminalSize>,
}

impl Pump {
    async fn run(mut self, mut client: Client) -> Result<ExitStatus> {
        let mut buffer = vec![0; 16 * 1024];
        let mut resizes = true;
        loop {
            let input = async {
                match &mut self.stdin {
                    Some(stdin) => stdin.read(&mut buffer).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                frame = client.next() => {
                    let Some(frame) = frame? else {
                        return Err(RuntimeError::Unavailable { message: "the pod's supervisor has hung up".into() });
                    };
                    let stream = match frame.kind {
                        Kind::Stdout => &mut self.stdout,
                        Kind::Stderr => &mut self.stderr,
                        Kind::Stdin => continue,
                        Kind::Message => match frame.read() {
                            Ok(Reply::Exited { status }) => return Ok(status),
                            _ => continue,
                        },
                    };
                    if let Some(open) = stream
                        && open.write_all(&frame.payload).await.is_err()
                    {
                        *stream = None;
                    }
                }
                read = input => {
                    let length = read.unwrap_or(0);
                    let sent = client.send_input(buffer.get(..length).unwrap_or_default()).await;
                    if length == 0 || sent.is_err() {
                        self.stdin = None;
                    }
                }
                size = self.sizes.recv(), if resizes => match size {
                    Some(TerminalSize { width, height }) => {
                        let _hung_up = client.send_message(&Request::Resize { width, height }).await;
                    }
                    None => resizes = false,
                }
            }
        }
    }
}

/// The master of a command's terminal.
#[derive(Debug, Clone)]
struct Terminal {
    fd: Arc<AsyncFd<OwnedFd>>,
}

impl Terminal {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // SAFETY: an owned descriptor that nobody takes out of the `AsyncFd` again stays open until it is deregistered.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self { fd: Arc::new(fd) })
    }

    /// Takes sizes for as long as the terminal is used.
    fn resizer(&self) -> mpsc::Sender<TerminalSize> {
        let (sender, mut sizes) = mpsc::channel(SIZES);
        let terminal = Arc::downgrade(&self.fd);
        tokio::spawn(async move {
            while let Some(size) = sizes.recv().await {
                let Some(terminal) = terminal.upgrade() else { return };
                crate::shim::resize(terminal.get_ref().as_fd(), size);
            }
        });
        sender
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let mut piece = vec![0; buffer.remaining().min(16 * 1024)];
            match guard.try_io(|fd| nix::unistd::read(fd.get_ref(), &mut piece).map_err(io::Error::from)) {
                Ok(Ok(length)) => {
                    buffer.put_slice(piece.get(..length).unwrap_or_default());
                    return Poll::Ready(Ok(()));
                }
                // EIO: the last process that had the terminal open has ended.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            match guard.try_io(|fd| nix::unistd::write(fd.get_ref(), bytes).map_err(io::Error::from)) {
                Ok(done) => return Poll::Ready(done),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A terminal's input ends with what its user types (`^D`), not with a closed descriptor.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn unexpected(reply: &Reply) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("the pod's supervisor gave an answer to another question: {reply:?}") }
}

//! The node agent's end of a supervisor's socket.
use crate::{
    Result, RuntimeError,
    protocol::{Reply, Request, SOCKET},
    shim::pass,
    wire::{Decoder, Frame, Hello, Kind, VERSIONS, Welcome},
};
use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
    time::Duration,
};
use tokio::{io::Interest, net::UnixStream};

/// A supervisor answers at once what does not depend on its containers.
const ANSWER_TIME: Duration = Duration::from_secs(30);
const PIECE: usize = 16 * 1024;

/// Why there is no connection.
#[derive(Debug)]
pub enum Unreachable {
    /// Nobody listens: there is no supervisor (any more).
    Gone,
    Failed(RuntimeError),
}

/// A connection that both sides agree on.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
    fds: VecDeque<OwnedFd>,
}

impl Client {
    /// Connects to the supervisor of the sandbox in this directory.
    pub async fn connect(directory: &Path) -> std::result::Result<Self, Unreachable> {
        let stream = match dial(directory).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Err(Unreachable::Gone);
            }
            Err(error) => return Err(Unreachable::Failed(unavailable("reach the pod's supervisor", &error))),
        };
        let mut client = Self { stream, decoder: Decoder::default(), fds: VecDeque::new() };
        client.greet().await?;
        Ok(client)
    }

    async fn greet(&mut self) -> std::result::Result<(), Unreachable> {
        self.send_frame(&message(&Hello::ours()).map_err(Unreachable::Failed)?, None).await.map_err(gone)?;
        let Some(frame) = self.next().await.map_err(Unreachable::Failed)? else { return Err(Unreachable::Gone) };
        let welcome: Welcome = frame.read().map_err(|error| Unreachable::Failed(unavailable("greet", &error)))?;
        if welcome.version.is_some_and(|version| VERSIONS.contains(&version)) {
            return Ok(());
        }
        let message = "the pod's supervisor speaks none of our versions".into();
        Err(Unreachable::Failed(RuntimeError::Unsupported { message }))
    }

    /// One request, one answer, within the time a supervisor needs at most.
    pub async fn ask(&mut self, request: &Request) -> Result<Reply> {
        match tokio::time::timeout(ANSWER_TIME, self.ask_patiently(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(RuntimeError::Unavailable { message: "the pod's supervisor does not answer".into() }),
        }
    }

    /// One request, and its answer whenever it comes.
    pub async fn ask_patiently(&mut self, request: &Request) -> Result<Reply> {
        self.send(request, &[]).await?;
        self.answer().await
    }

    pub async fn send(&mut self, request: &Request, fds: &[OwnedFd]) -> Result<()> {
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        self.send_frame(&message(request)?, Some(&raw))
            .await
            .map_err(|error| unavailable("ask the pod's supervisor", &error))
    }

    /// The next message.
    pub async fn answer(&mut self) -> Result<Reply> {
        let Some(frame) = self.next().await? else {
            return Err(RuntimeError::Unavailable { message: "the pod's supervisor has hung up".into() });
        };
        match frame.read().map_err(|error| unavailable("understand the pod's supervisor", &error))? {
            Reply::Failed { error } => Err(error),
            reply => Ok(reply),
        }
    }

    /// The next frame. None: the supervisor has hung up.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(error) => return Err(unavailable("read from the pod's supervisor", &error)),
            }
            let mut buffer = vec![0; PIECE];
            let read = self.stream.async_io(Interest::READABLE, || {
                pass::receive(self.stream.as_fd(), &mut buffer).map_err(io::Error::from)
            });
            match read.await {
                Ok((0, _)) => return Ok(None),
                Ok((length, fds)) => {
                    self.decoder.push(buffer.get(..length).unwrap_or_default());
                    self.fds.extend(fds);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(unavailable("read from the pod's supervisor", &error)),
            }
        }
    }

    /// A descriptor that came with what was read.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }

    /// Sends a piece of stdin, or its end when empty.
    pub async fn send_input(&self, bytes: &[u8]) -> io::Result<()> {
        let frame = Frame { kind: Kind::Stdin, payload: bytes.to_vec() };
        self.send_bytes(&frame.encode().map_err(io::Error::other)?, &[]).await
    }

    pub async fn send_message(&self, request: &Request) -> io::Result<()> {
        self.send_bytes(&message(request).map_err(io::Error::other)?, &[]).await
    }

    async fn send_frame(&mut self, bytes: &[u8], fds: Option<&[i32]>) -> io::Result<()> {
        self.send_bytes(bytes, fds.unwrap_or_default()).await
    }

    async fn send_bytes(&self, mut bytes: &[u8], mut fds: &[i32]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || pass::send(self.stream.as_fd(), bytes, fds).map_err(io::Error::from))
                .await?;
            bytes = bytes.get(sent..).unwrap_or_default();
            fds = &[];
        }
        Ok(())
    }
}

/// Through the directory's descriptor: a socket's path has 108 bytes at most, a data directory's may have more.
async fn dial(directory: &Path) -> io::Result<UnixStream> {
    let directory: File =
        std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(directory)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd())).await
}

fn message(message: &impl serde::Serialize) -> Result<Vec<u8>> {
    Frame::message(message)
        .and_then(|frame| frame.encode())
        .map_err(|error| RuntimeError::invalid("request", error.to_string()))
}

fn gone(error: io::Error) -> Unreachable {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Unreachable::Gone,
        _ => Unreachable::Failed(unavailable("greet the pod's supervisor", &error)),
    }
}

pub fn unavailable(what: &str, error: &impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("cannot {what}: {error}") }
}

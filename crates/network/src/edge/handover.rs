//! A process takes over from the one before: its sockets and all it was told. Blocking, before anything else runs.
use super::protocol::{Call, Reply, Request, SocketName, State, encode, length_of};
use super::sockets;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The other side only copies what it knows.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was taken over, and the way to say that it is served.
pub struct Taken {
    pub state: State,
    pub sockets: Vec<(SocketName, OwnedFd)>,
    from: UnixStream,
}

impl Taken {
    pub fn served(mut self) -> io::Result<()> {
        self.from.write_all(b"s")
    }
}

pub fn take_over(socket: &Path) -> io::Result<Taken> {
    let mut from = UnixStream::connect(socket)?;
    from.set_read_timeout(Some(PATIENCE))?;
    from.set_write_timeout(Some(PATIENCE))?;
    from.write_all(&encode(&Request::from(Call::HandOver))?)?;
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut json = vec![0; length_of(length)?];
    from.read_exact(&mut json)?;
    let state = match serde_json::from_slice(&json)? {
        Reply::State(state) => *state,
        Reply::Failed { message } => return Err(io::Error::other(message)),
        other => return Err(io::Error::other(format!("expected its state, got {other:?}"))),
    };
    let descriptors = sockets::receive(&from, state.sockets.len())?;
    let sockets = state.sockets.iter().cloned().zip(descriptors).collect();
    Ok(Taken { state, sockets, from })
}

/// The other end: after the state was written. Resolves to whether the sockets are served.
pub fn hand_over(mut to: UnixStream, descriptors: &[OwnedFd]) -> io::Result<()> {
    to.set_nonblocking(false)?;
    to.set_read_timeout(Some(PATIENCE))?;
    to.set_write_timeout(Some(PATIENCE))?;
    sockets::send(&to, descriptors)?;
    to.read_exact(&mut [0])
}

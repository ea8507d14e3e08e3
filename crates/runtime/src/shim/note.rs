//! What the processes that make a container tell their supervisor, over a socket that closes by itself once the program runs.
use crate::shim::pass;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Longest note: an error with a path in it.
const MAX_NOTE: usize = 16 * 1024;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Note {
    /// The first process, as the machine numbers it.
    Pid(i32),
    /// It will not run, and this is why.
    Failed(String),
    /// The master of the process's terminal comes with this.
    Terminal,
}

/// What came.
#[derive(Debug)]
pub enum Received {
    Note(Note, Option<OwnedFd>),
    /// Nothing yet.
    Nothing,
    /// All who could say something have closed: they ended, or became the program.
    Closed,
}

/// Supervisor's end and maker's end; both close on exec. Messages keep their bounds.
pub fn channel() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Tells it. Nobody left to listen is no error: the supervisor is gone.
pub fn tell(channel: BorrowedFd<'_>, note: &Note, fd: Option<RawFd>) {
    let mut bytes = serde_json::to_vec(note).unwrap_or_default();
    if bytes.len() > MAX_NOTE {
        bytes = serde_json::to_vec(&Note::Failed("the reason is too long to tell".into())).unwrap_or_default();
    }
    let _nobody_listens = pass::send(channel, &bytes, fd.as_slice());
}

/// Takes the next note, if it is there.
pub fn take(channel: &OwnedFd) -> Received {
    let mut buffer = vec![0; MAX_NOTE];
    match pass::receive(channel.as_fd(), &mut buffer) {
        Ok((0, _)) => Received::Closed,
        Ok((length, fds)) => match serde_json::from_slice(buffer.get(..length).unwrap_or_default()) {
            Ok(note) => Received::Note(note, fds.into_iter().next()),
            Err(_) => Received::Nothing,
        },
        Err(error) if pass::would_block(error) => Received::Nothing,
        Err(_) => Received::Closed,
    }
}

/// For processes that inherit the channel by fork and know only its number.
pub fn raw(channel: &OwnedFd) -> RawFd {
    channel.as_raw_fd()
}

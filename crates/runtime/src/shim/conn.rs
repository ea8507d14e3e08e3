//! One client's connection: frames in and out without ever waiting for it.
use super::pass;
use crate::{
    protocol::Reply,
    wire::{Decoder, Frame, Kind, WireError},
};
use std::{
    collections::VecDeque,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

/// A client that has not read so much is too slow and is closed: it can connect again and look at the state.
pub const MAX_WAITING: usize = 1 << 20;
/// Read in one go.
const PIECE: usize = 16 * 1024;

/// What a connection has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Has not said which versions it speaks.
    New,
    /// Takes requests.
    Open,
    /// Waits for the answer to one; what comes meanwhile stays unread.
    Waiting,
    /// Belongs to a command by its number.
    Exec(u64),
    Attached(crate::ContainerId),
    Events,
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    stream: UnixStream,
    pub mode: Mode,
    /// Attached with stdin.
    pub feeds: bool,
    decoder: Decoder,
    /// Came with the bytes read so far.
    pub fds: VecDeque<OwnedFd>,
    out: VecDeque<(Vec<u8>, usize, Option<OwnedFd>)>,
    waiting: usize,
    /// Close once all is written.
    pub last: bool,
    pub broken: bool,
}

impl Conn {
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            mode: Mode::New,
            feeds: false,
            decoder: Decoder::default(),
            fds: VecDeque::new(),
            out: VecDeque::new(),
            waiting: 0,
            last: false,
            broken: false,
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub fn wants_to_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether it may go.
    pub fn is_done(&self) -> bool {
        self.broken || (self.last && self.out.is_empty())
    }

    /// Reads what is there, once.
    pub fn read(&mut self) {
        let mut buffer = [0; PIECE];
        match pass::receive(self.stream.as_fd(), &mut buffer) {
            Ok((0, _)) => self.broken = true,
            Ok((length, fds)) => {
                self.decoder.push(buffer.get(..length).unwrap_or_default());
                self.fds.extend(fds);
                // No request has more; a client that sends them on and on is none of ours.
                self.broken |= self.fds.len() > pass::MAX_FDS;
            }
            Err(error) if pass::would_block(error) => {}
            Err(_) => self.broken = true,
        }
    }

    pub fn next_frame(&mut self) -> Option<Frame> {
        match self.decoder.next_frame() {
            Ok(frame) => frame,
            Err(_) => {
                self.broken = true;
                None
            }
        }
    }

    pub fn reply(&mut self, reply: &Reply) {
        self.frame(Frame::message(reply), None);
    }

    pub fn reply_with(&mut self, reply: &Reply, fd: Option<OwnedFd>) {
        self.frame(Frame::message(reply), fd);
    }

    pub fn message(&mut self, message: &impl serde::Serialize) {
        self.frame(Frame::message(message), None);
    }

    /// A piece of a program's output.
    pub fn stream(&mut self, kind: Kind, bytes: &[u8]) {
        self.frame(Ok(Frame { kind, payload: bytes.to_vec() }), None);
    }

    fn frame(&mut self, frame: Result<Frame, WireError>, fd: Option<OwnedFd>) {
        let Ok(bytes) = frame.and_then(|frame| frame.encode()) else {
            self.broken = true;
            return;
        };
        self.waiting += bytes.len();
        self.out.push_back((bytes, 0, fd));
        self.write();
        // One whole answer may be longer; a second one does not get in behind it.
        self.broken |= self.waiting > MAX_WAITING && self.out.len() > 1;
    }

    /// Writes what the client takes now.
    pub fn write(&mut self) {
        while let Some((bytes, done, fd)) = self.out.front_mut() {
            let raw = if *done == 0 { fd.as_ref().map(AsRawFd::as_raw_fd) } else { None };
            match pass::send(self.stream.as_fd(), bytes.get(*done..).unwrap_or_default(), raw.as_slice()) {
                Ok(sent) => {
                    *done += sent;
                    self.waiting = self.waiting.saturating_sub(sent);
                    if *done < bytes.len() {
                        return;
                    }
                    self.out.pop_front();
                }
                Err(error) if pass::would_block(error) => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }
}

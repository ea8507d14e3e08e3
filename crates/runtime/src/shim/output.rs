//! What a container prints, on its way to log file and attached clients, and what it is given to read.
use crate::{
    TerminalSize,
    cri_log::{LineSplitter, LogFile, Stream},
    wire::Kind,
};
use jiff::Timestamp;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::{read, write},
};
use std::{
    collections::VecDeque,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// Read in one go.
const PIECE: usize = 16 * 1024;
/// What is left when a program has ended fits a pipe (64 KiB, 1 MiB at most); what forks on and holds the pipe may write on.
const LAST_PIECES: usize = 128;
/// Input that the program has not read. More is not taken from the client.
pub const MAX_INPUT: usize = 64 * 1024;

/// One stream of output.
#[derive(Debug)]
pub struct Source {
    fd: OwnedFd,
    kind: Kind,
    lines: LineSplitter,
}

/// What a read of it gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

impl Source {
    pub fn new(fd: OwnedFd, kind: Kind) -> nix::Result<Self> {
        unblock(&fd)?;
        let stream = if kind == Kind::Stderr { Stream::Stderr } else { Stream::Stdout };
        Ok(Self { fd, kind, lines: LineSplitter::new(stream) })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Reads once and logs what came.
    pub fn pump(&mut self, log: Option<&mut LogFile>, now: Timestamp) -> Piece {
        let mut buffer = [0; PIECE];
        match read(&self.fd, &mut buffer) {
            Ok(0) => Piece::End,
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                if let Some(log) = log {
                    write_records(log, self.lines.push(bytes, now));
                }
                Piece::Bytes(bytes.to_vec())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Piece::Nothing,
            // EIO: nobody has the terminal open any more.
            Err(_) => Piece::End,
        }
    }

    /// The program has ended: reads what is left, and no more than that.
    pub fn drain(&mut self, mut log: Option<&mut LogFile>, now: Timestamp) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        while pieces.len() < LAST_PIECES {
            match self.pump(log.as_deref_mut(), now) {
                Piece::Bytes(bytes) => pieces.push(bytes),
                Piece::Nothing | Piece::End => break,
            }
        }
        self.finish(log, now);
        pieces
    }

    /// Logs a line without its end.
    pub fn finish(&mut self, log: Option<&mut LogFile>, now: Timestamp) {
        if let (Some(log), Some(record)) = (log, self.lines.finish(now)) {
            write_records(log, vec![record]);
        }
    }
}

/// A full disk costs log lines, not the container.
fn write_records(log: &mut LogFile, records: Vec<Vec<u8>>) {
    for record in records {
        if let Err(error) = log.write(&record) {
            eprintln!("cannot write log: {error}");
        }
    }
}

/// The program's stdin.
#[derive(Debug, Default)]
pub struct Input {
    fd: Option<OwnedFd>,
    buffer: VecDeque<u8>,
    /// Close once all is written.
    ends: bool,
}

impl Input {
    pub fn new(fd: OwnedFd) -> nix::Result<Self> {
        unblock(&fd)?;
        Ok(Self { fd: Some(fd), ..Self::default() })
    }

    /// The descriptor, if there is something to write.
    pub fn wants_to_write(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| !self.buffer.is_empty()).map(AsFd::as_fd)
    }

    pub fn is_full(&self) -> bool {
        self.buffer.len() >= MAX_INPUT
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_some() && !self.ends {
            self.buffer.extend(bytes);
            self.write();
        }
    }

    /// End of file, behind what is still to be written.
    pub fn end(&mut self) {
        self.ends = true;
        self.write();
    }

    pub fn write(&mut self) {
        while let (Some(fd), (front, _)) = (&self.fd, self.buffer.as_slices()) {
            if front.is_empty() {
                break;
            }
            match write(fd, front) {
                Ok(length) => drop(self.buffer.drain(..length)),
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                Err(_) => {
                    // Nobody will read it.
                    self.buffer.clear();
                    self.fd = None;
                }
            }
        }
        if self.ends {
            self.fd = None;
        }
    }
}

/// Tells a terminal its size; its program gets SIGWINCH.
pub fn resize(terminal: BorrowedFd<'_>, size: TerminalSize) {
    let size = libc::winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one `winsize`, which lives until the call returns.
    let _not_a_terminal = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
}

fn unblock(fd: &OwnedFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

//! A netlink socket that sends and waits. The kernel works inside `sendmsg`: its answers lie in the receive queue when that
//! returns, so nothing here ever blocks for long.
use super::message::{Header, Message};
use netlink_sys::{Socket as Kernel, SocketAddr};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A whole rule set goes into one message: 10,000 endpoints are some 2 MB.
const SEND_BUFFER: usize = 64 << 20;
const RECEIVE_BUFFER: usize = 8 << 20;

/// One message of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

/// A socket bound to the network namespace of the thread that opened it.
pub(crate) struct Socket {
    inner: Kernel,
    sequence: u32,
    port: u32,
}

impl Socket {
    /// `protocol` is `libc::NETLINK_ROUTE`, `libc::NETLINK_NETFILTER`, ….
    pub(crate) fn open(protocol: libc::c_int) -> io::Result<Self> {
        let mut inner = Kernel::new(protocol as isize)?;
        let port = inner.bind_auto()?.port_number();
        inner.set_non_blocking(true)?;
        inner.set_cap_ack(true)?;
        // Best effort: without CAP_NET_ADMIN over the machine the default stays, which is enough for small clusters.
        let _ = setsockopt(&inner, SndBufForce, &SEND_BUFFER);
        let _ = setsockopt(&inner, RcvBufForce, &RECEIVE_BUFFER);
        Ok(Self { inner, sequence: 1, port })
    }

    /// The number the kernel knows this socket by: it stands in the events this socket caused.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Listens to a multicast group: [`Socket::receive`] gives what is said there.
    pub(crate) fn subscribe(&mut self, group: u32) -> io::Result<()> {
        self.inner.add_membership(group)
    }

    /// The next datagram, or `WouldBlock`.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<u8>> {
        self.inner.recv_from_full().map(|(bytes, _)| bytes)
    }

    /// Sends one request and waits until the kernel has done it. For dumps (`NLM_F_DUMP`), all messages of the answer.
    pub(crate) fn request(&mut self, mut message: Message) -> io::Result<Vec<Answer>> {
        message.add_flags(libc::NLM_F_REQUEST | libc::NLM_F_ACK);
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        message.finish(sequence, &mut bytes);
        self.send(&bytes)?;
        let mut answers = Vec::new();
        loop {
            let (bytes, _) = self.inner.recv_from_full()?;
            let mut rest = bytes.as_slice();
            while let Some((header, payload, after)) = Header::take(rest) {
                rest = after;
                if header.sequence != sequence {
                    continue; // an answer to an earlier request that was given up
                }
                match i32::from(header.kind) {
                    libc::NLMSG_DONE => return Ok(answers),
                    libc::NLMSG_ERROR => return result(payload).map(|()| answers),
                    _ => answers.push(Answer { kind: header.kind, payload: payload.to_vec() }),
                }
            }
        }
    }

    /// Sends messages as one write: one transaction for nf_tables. The last one but `closing` must be answered; the first refusal
    /// is the result.
    pub(crate) fn transaction(&mut self, messages: Vec<Message>, closing: usize) -> io::Result<()> {
        let asked = messages.len().saturating_sub(closing + 1);
        let mut bytes = Vec::with_capacity(messages.iter().map(Message::len).sum());
        let mut acknowledged = 0;
        for (place, mut message) in messages.into_iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1).max(1);
            message.add_flags(libc::NLM_F_REQUEST);
            if place == asked {
                message.add_flags(libc::NLM_F_ACK);
                acknowledged = self.sequence;
            }
            message.finish(self.sequence, &mut bytes);
        }
        self.send(&bytes)?;
        let mut done = false;
        let mut refusal = None;
        loop {
            let bytes = match self.inner.recv_from_full() {
                Ok((bytes, _)) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let mut rest = bytes.as_slice();
            while let Some((header, payload, after)) = Header::take(rest) {
                rest = after;
                if i32::from(header.kind) != libc::NLMSG_ERROR {
                    continue;
                }
                match result(payload) {
                    Ok(()) => done |= header.sequence == acknowledged,
                    Err(error) => refusal = refusal.or(Some(error)),
                }
            }
        }
        match refusal {
            Some(error) => Err(error),
            None if done => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel did not answer")),
        }
    }

    /// Throws away what an earlier request may have left, then sends.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.inner.recv_from_full() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
        self.inner.send_to(bytes, &SocketAddr::new(0, 0), 0).map(|_| ())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// The number in a `struct nlmsgerr`: zero is an acknowledgement.
fn result(payload: &[u8]) -> io::Result<()> {
    match payload.get(..4).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "a cut-off answer of the kernel")),
    }
}

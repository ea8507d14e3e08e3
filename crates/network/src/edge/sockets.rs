//! Listening sockets, and how they go from one process to another (`SCM_RIGHTS`, unix(7)).
use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// Connections not yet accepted; the kernel cuts it to its own limit.
const BACKLOG: i32 = 4_096;
/// Descriptors in one message; the kernel takes 253 (`SCM_MAX_FD`).
const AT_ONCE: usize = 128;

fn socket(at: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
    // The cluster's addresses may come to this machine after us.
    if at.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

pub fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(at, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

pub fn datagrams(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(at, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&at.into())?;
    Ok(socket.into())
}

pub fn send(over: &UnixStream, descriptors: &[OwnedFd]) -> io::Result<()> {
    for some in descriptors.chunks(AT_ONCE) {
        let raw: Vec<RawFd> = some.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        sendmsg::<UnixAddr>(over.as_raw_fd(), &[IoSlice::new(b"s")], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    }
    Ok(())
}

pub fn receive(over: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut received = Vec::new();
    while received.len() < count {
        let mut byte = [0];
        let mut buffer = [IoSliceMut::new(&mut byte)];
        let mut space = cmsg_space!([RawFd; AT_ONCE]);
        let message = recvmsg::<UnixAddr>(over.as_raw_fd(), &mut buffer, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let before = received.len();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                received.extend(raw.into_iter().map(own));
            }
        }
        if received.len() == before {
            return Err(io::Error::other("the other process ended while it handed over"));
        }
    }
    Ok(received)
}

#[expect(unsafe_code, reason = "a descriptor that comes in a message is a number until somebody owns it")]
fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor in our table for this message; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

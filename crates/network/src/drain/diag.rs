//! The kernel's sock_diag (`include/uapi/linux/{inet_diag,sock_diag,tcp}.h`): asking and parsing, nothing decided.
//!
//! Parsed by hand instead of with `netlink-packet-sock-diag`: of each socket ten numbers matter, `tcp_info` is longer or shorter
//! by kernel, and a dump may be of thousands of sockets, every 20 ms.
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, sockopt,
};
use nix::sys::time::TimeVal;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const INET_DIAG_INFO: u16 = 2;
const NETLINK_HEADER: usize = 16;
/// `struct inet_diag_msg`.
const DIAG_MESSAGE: usize = 72;
/// All but TIME_WAIT (6) and CLOSE (7); `TCP_NEW_SYN_RECV` (12) is how half-open connections are kept since Linux 4.4.
const STATES: u32 = 0x1fff & !(1 << 6) & !(1 << 7);
/// The kernel sends dumps in pieces of at most 32 KiB.
const PIECE: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    Other,
}

impl State {
    /// `include/net/tcp_states.h`
    fn of(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => Self::Other,
        }
    }
}

/// One TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    pub state: State,
    /// Its own end.
    pub address: IpAddr,
    pub port: u16,
    /// Unread bytes; of a listener, connections to be accepted.
    pub receive_queue: u32,
    /// Bytes not yet acknowledged by the peer; of a listener, its backlog.
    pub send_queue: u32,
    /// 0: no process has it (yet, or any more).
    pub inode: u32,
    pub info: Option<Info>,
}

/// Of `struct tcp_info`. Times are milliseconds ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    pub since_sent: u32,
    pub since_received: u32,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

/// All TCP sockets of the calling thread's network namespace.
pub fn dump() -> io::Result<Vec<Socket>> {
    let socket = open()?;
    let mut sockets = Vec::new();
    let mut piece = vec![0; PIECE];
    for family in [libc::AF_INET, libc::AF_INET6] {
        send(socket.as_raw_fd(), &request(u8::try_from(family).unwrap_or(0)), MsgFlags::empty())?;
        loop {
            let length = recv(socket.as_raw_fd(), &mut piece, MsgFlags::empty())?;
            let received = piece.get(..length).filter(|r| !r.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
            if parse(received, &mut sockets)? {
                break;
            }
        }
    }
    Ok(sockets)
}

fn open() -> io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
    let socket = socket::socket(family, SockType::Raw, flags, SockProtocol::NetlinkSockDiag)?;
    // The kernel answers at once; should it ever not, a drain must not hang in a thread that nobody can cancel.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(5, 0))?;
    Ok(socket)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(family: u8) -> Vec<u8> {
    const LENGTH: u32 = 72;
    let mut bytes = Vec::with_capacity(LENGTH as usize);
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, libc::IPPROTO_TCP as u8, 1 << (INET_DIAG_INFO - 1), 0]);
    bytes.extend(STATES.to_ne_bytes());
    bytes.resize(LENGTH as usize, 0);
    bytes
}

/// Parses one piece of a dump. True: it was the last.
pub fn parse(mut bytes: &[u8], sockets: &mut Vec<Socket>) -> io::Result<bool> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("sock_diag: {what}"));
    while !bytes.is_empty() {
        let length = u32_at(bytes, 0).and_then(|n| usize::try_from(n).ok());
        let (Some(length), Some(kind)) = (length, u16_at(bytes, 4)) else { return Err(broken("a cut header")) };
        let body = bytes.get(NETLINK_HEADER..length).ok_or_else(|| broken("a cut message"))?;
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let number = u32_at(body, 0).map_or(0, u32::cast_signed);
                return Err(io::Error::from_raw_os_error(number.checked_neg().unwrap_or(0)));
            }
            SOCK_DIAG_BY_FAMILY => sockets.push(tcp_socket(body).ok_or_else(|| broken("a cut socket"))?),
            _ => {}
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

/// `struct inet_diag_msg`: family, state, timer, retransmits; ports (big endian), addresses, interface, cookie; expiry, queues,
/// user, inode; then attributes.
fn tcp_socket(body: &[u8]) -> Option<Socket> {
    let (family, state) = (*body.first()?, *body.get(1)?);
    let port = u16::from_be_bytes(body.get(4..6)?.try_into().ok()?);
    let address = if i32::from(family) == libc::AF_INET6 {
        IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(body.get(8..24)?).ok()?))
    } else {
        IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(body.get(8..12)?).ok()?))
    };
    Some(Socket {
        state: State::of(state),
        address,
        port,
        receive_queue: u32_at(body, 56)?,
        send_queue: u32_at(body, 60)?,
        inode: u32_at(body, 68)?,
        info: attribute(body.get(DIAG_MESSAGE..)?, INET_DIAG_INFO).and_then(info),
    })
}

fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length)?;
        if u16_at(bytes, 2)? == wanted {
            return Some(value);
        }
        bytes = bytes.get(aligned(length)..)?;
    }
}

/// `tcpi_last_data_sent`, `tcpi_last_data_recv`, `tcpi_bytes_sent` (Linux 4.19), `tcpi_bytes_received`.
fn info(bytes: &[u8]) -> Option<Info> {
    Some(Info {
        since_sent: u32_at(bytes, 44)?,
        since_received: u32_at(bytes, 52)?,
        bytes_sent: u64_at(bytes, 200)?,
        bytes_received: u64_at(bytes, 128)?,
    })
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(NETLINK_HEADER + body.len()).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(NETLINK_HEADER, 0);
        bytes.extend(body);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn body(info: usize) -> Vec<u8> {
        let mut body = vec![0u8; DIAG_MESSAGE];
        body[0] = 2;
        body[1] = 1;
        body[4..6].copy_from_slice(&8080u16.to_be_bytes());
        body[8..12].copy_from_slice(&[10, 1, 0, 2]);
        body[56..60].copy_from_slice(&5u32.to_ne_bytes());
        body[60..64].copy_from_slice(&6u32.to_ne_bytes());
        body[68..72].copy_from_slice(&7u32.to_ne_bytes());
        body.extend([5, 0, 9, 0, 1, 0, 0, 0]); // an attribute nobody asked for
        body.extend(u16::try_from(info + 4).unwrap().to_ne_bytes());
        body.extend(INET_DIAG_INFO.to_ne_bytes());
        let mut tcp = vec![0u8; info];
        for (at, value) in [(44usize, 11u64), (52, 12), (128, 13), (200, 14)] {
            if info >= at + 8 {
                tcp[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_ne_bytes());
            }
        }
        body.extend(tcp);
        body
    }

    #[test]
    fn parses_what_the_kernel_sends() {
        let mut found = Vec::new();
        let mut piece = message(SOCK_DIAG_BY_FAMILY, &body(232));
        piece.extend(message(SOCK_DIAG_BY_FAMILY, &body(100)));
        assert!(!parse(&piece, &mut found).unwrap(), "more to come");
        assert!(parse(&message(NLMSG_DONE, &[0; 4]), &mut found).unwrap());
        let whole = Socket {
            state: State::Established,
            address: "10.1.0.2".parse().unwrap(),
            port: 8080,
            receive_queue: 5,
            send_queue: 6,
            inode: 7,
            info: Some(Info { since_sent: 11, since_received: 12, bytes_received: 13, bytes_sent: 14 }),
        };
        assert_eq!(
            found,
            [whole, Socket { info: None, ..whole }],
            "an old kernel's tcp_info is too short to be believed"
        );
        let refused = parse(&message(NLMSG_ERROR, &(-1i32).to_ne_bytes()), &mut found).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(0u8.., 0..300), cut in 0usize..200) {
            let mut found = Vec::new();
            let _any = parse(&bytes, &mut found);
            let mut piece = message(SOCK_DIAG_BY_FAMILY, &body(232));
            piece.truncate(cut);
            let _any = parse(&piece, &mut found);
        }
    }
}

//! Connections the kernel tracks: found by who answers them, and forgotten.
//!
//! The kernel filters while it lists (`CTA_FILTER`, Linux 5.8), so that the table's 262,144 places cost one walk in the kernel and not
//! a copy each; kernels that do not know the filter list everything, which is filtered here again.
//!
//! What one filtered listing costs (2 cores, 262,144 buckets, median of 15): 9 ms with an empty table, which is the walk over the buckets
//! alone, 16 ms with 50,000 flows and 56 ms with 250,000; the 250 or 1,250 flows of the pod asked for add 1 to 4 ms. Without the
//! filter it is 128 and 621 ms (read by a script). A pod that drains asks once it has been quiet, mostly once in all, and gets one
//! listing with all that ask at the same time ([`Unanswered`]): what draining costs does not grow with the number of pods. Events instead
//! would cost each connection of the machine something, for these few looks.
use crate::contract::Protocol;
use crate::netlink::{Attributes, Message, Socket};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const PROTOINFO: u16 = 4;
const PROTOINFO_TCP: u16 = 1;
const TCP_STATE: u16 = 1;
/// Seconds until the kernel forgets the flow by itself.
const TIMEOUT: u16 = 7;
const ID: u16 = 12;
const STATUS: u16 = 3;
const STATUS_MASK: u16 = 26;
/// `IPS_SEEN_REPLY`, a bit of [`STATUS`].
const SEEN_REPLY: u32 = 1 << 1;
const FILTER: u16 = 25;
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;
/// Each question walks the whole table in the kernel: for more endpoints than this all of it is read once.
const ONE_BY_ONE: usize = 4;
/// Compare the source address only.
const BY_SOURCE: u32 = 1;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const PROTO_NUMBER: u16 = 1;
const PROTO_SOURCE: u16 = 2;
const PROTO_DESTINATION: u16 = 3;
/// `include/uapi/linux/netfilter/nf_conntrack_tcp.h`: a SYN was sent and nothing came back.
const SYN_SENT: u8 = 1;
/// Both sides have said good-bye, or one has reset it: it has ended.
const TIME_WAIT: u8 = 7;
const CLOSE: u8 = 8;
/// How long the kernel keeps such a flow after its last packet, in seconds: a setting, and its default.
const SYN_SENT_SETTING: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_syn_sent";
const SYN_SENT_SECONDS: u32 = 120;
/// A client that still wants the connection repeats its SYN after one second, and then after another one or two (RFC 6298;
/// `tcp_syn_linear_timeouts`); the kernel tells whole seconds, rounded down.
const REPEATED_WITHIN: u32 = 3;
const GET: i32 = 1;
const DELETE: i32 = 2;

/// One direction of a tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub(crate) protocol: u8,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
}

/// A tracked connection as it was asked for and as it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) original: Tuple,
    pub(crate) reply: Tuple,
    /// Of TCP.
    state: Option<u8>,
    /// Seconds the kernel will keep it if no packet comes.
    left: Option<u32>,
    raw: Vec<u8>,
    /// The kernel's own name for this one connection.
    id: Vec<u8>,
}

impl Flow {
    fn has_ended(&self) -> bool {
        matches!(self.state, Some(TIME_WAIT | CLOSE))
    }
}

/// Which end an address is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It began the connection.
    Client,
    /// It answers.
    Server,
}

/// Forgets all connections that the address answers or began, but for those that have ended: they stand in nobody's way, as a new SYN
/// takes their place, and that is why they must be left alone. The kernel deletes by tuple and id, and the id is made of the tuple and the
/// entry's place in memory, which the one that takes its place mostly gets too. Deleting what ended a moment ago would hit a connection
/// that has just begun from the same port, to another pod.
pub(crate) fn forget(address: Ipv4Addr, end: End) -> io::Result<usize> {
    let mut socket = Socket::open(libc::NETLINK_NETFILTER)?;
    let flows = list(&mut socket, address, end)?;
    let live = || flows.iter().filter(|flow| !flow.has_ended());
    live().try_for_each(|flow| delete(&mut socket, flow))?;
    Ok(live().count())
}

/// Forgets UDP flows that were translated to one of these endpoints: nothing else ends them as long as the client goes on sending.
pub(crate) fn forget_udp(endpoints: &[SocketAddrV4]) -> io::Result<usize> {
    let mut socket = Socket::open(libc::NETLINK_NETFILTER)?;
    let mut flows = Vec::new();
    if endpoints.len() <= ONE_BY_ONE {
        for endpoint in endpoints {
            flows.extend(list(&mut socket, *endpoint.ip(), End::Server)?);
        }
    } else {
        flows.extend(socket.request(question(None))?.iter().filter_map(|answer| flow(&answer.payload)));
    }
    let mut count = 0;
    for flow in flows {
        let translated = flow.original.destination != flow.reply.source;
        if is(Protocol::Udp, flow.reply.protocol) && translated && endpoints.contains(&flow.reply.source) {
            delete(&mut socket, &flow)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Where clients send to and rules lead elsewhere: an address of nobody, or a port of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Front {
    Address(SocketAddrV4),
    /// At all addresses of this machine.
    Port(u16),
}

/// Forgets UDP flows to these fronts that are led nowhere: they began before the rules did, and as long as their client goes on
/// sending, the rules are not asked.
pub(crate) fn forget_udp_before(fronts: &[Front]) -> io::Result<usize> {
    let mut socket = Socket::open(libc::NETLINK_NETFILTER)?;
    let mut count = 0;
    for flow in socket.request(question(None))?.iter().filter_map(|answer| flow(&answer.payload)) {
        let to = flow.original.destination;
        let meant =
            || fronts.contains(&Front::Address(to)) || fronts.contains(&Front::Port(to.port())) && is_own(*to.ip());
        if is(Protocol::Udp, flow.original.protocol) && to == flow.reply.source && meant() {
            delete(&mut socket, &flow)?;
            count += 1;
        }
    }
    Ok(count)
}

/// All TCP connections that have got no answer yet: few, however many there are, and the kernel picks them while it walks its table.
#[derive(Debug)]
pub(crate) struct Unanswered {
    flows: Vec<Flow>,
    /// How long the kernel keeps them, in seconds.
    kept: u32,
}

impl Unanswered {
    pub(crate) fn list() -> io::Result<Self> {
        let kept = std::fs::read_to_string(SYN_SENT_SETTING).ok().and_then(|text| text.trim().parse().ok());
        let mut socket = Socket::open(libc::NETLINK_NETFILTER)?;
        let mut message = message(GET, libc::NLM_F_DUMP);
        message.put_be32(STATUS, 0).put_be32(STATUS_MASK, SEEN_REPLY);
        // Kernels before 5.16 know nothing of this filter and list everything.
        let flows = socket.request(message)?.iter().filter_map(|answer| flow(&answer.payload)).collect::<Vec<_>>();
        let waits = |flow: &Flow| is(Protocol::Tcp, flow.reply.protocol) && flow.state == Some(SYN_SENT);
        Ok(Self { flows: flows.into_iter().filter(waits).collect(), kept: kept.unwrap_or(SYN_SENT_SECONDS) })
    }

    /// Of those to `address` at these ports: counts the ones whose client will still repeat its SYN, and forgets the others. Not those
    /// that begin on this machine without translation: they are the HTTP proxy's, which tries elsewhere.
    pub(crate) fn at(&self, address: Ipv4Addr, ports: &[u16]) -> io::Result<usize> {
        let mut count = 0;
        for flow in &self.flows {
            let asked = *flow.reply.source.ip() == address && ports.contains(&flow.reply.source.port());
            let translated = flow.original.destination != flow.reply.source;
            if !asked || (!translated && is_own(*flow.original.source.ip())) {
                continue;
            }
            if flow.left.is_some_and(|left| self.kept.saturating_sub(left) > REPEATED_WITHIN) {
                delete(&mut Socket::open(libc::NETLINK_NETFILTER)?, flow)?;
            } else {
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Whether the address is one of this machine: only then can a socket have it.
fn is_own(address: Ipv4Addr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

fn is(protocol: Protocol, number: u8) -> bool {
    let wanted = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
        Protocol::Sctp => libc::IPPROTO_SCTP,
    };
    wanted == i32::from(number)
}

fn list(socket: &mut Socket, address: Ipv4Addr, end: End) -> io::Result<Vec<Flow>> {
    let answers = match socket.request(question(Some((address, end)))) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => {
            socket.request(question(None))?
        }
        other => other?,
    };
    let flows = answers.iter().filter_map(|answer| flow(&answer.payload));
    Ok(flows
        .filter(|flow| match end {
            End::Client => *flow.original.source.ip() == address,
            End::Server => *flow.reply.source.ip() == address,
        })
        .collect())
}

fn question(filter: Option<(Ipv4Addr, End)>) -> Message {
    let mut message = message(GET, libc::NLM_F_DUMP);
    if let Some((address, end)) = filter {
        let (tuple, flags) = match end {
            End::Client => (TUPLE_ORIG, [BY_SOURCE, 0]),
            End::Server => (TUPLE_REPLY, [0, BY_SOURCE]),
        };
        message.nest(tuple, |t| {
            t.nest(TUPLE_IP, |ip| {
                ip.put(IP_SOURCE, &address.octets());
            });
        });
        let [original, reply] = flags;
        message.nest(FILTER, |f| {
            f.put_u32(FILTER_ORIG_FLAGS, original).put_u32(FILTER_REPLY_FLAGS, reply);
        });
    }
    message
}

fn delete(socket: &mut Socket, flow: &Flow) -> io::Result<()> {
    match socket.request(deletion(flow)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()), // it ended by itself
        other => other.map(drop),
    }
}

/// The id goes with it: since the flow was listed, its client may have begun another connection from the same port, to another
/// endpoint, and that one must live. (The same place in memory makes the same id: see [`forget`].)
fn deletion(flow: &Flow) -> Message {
    let mut message = message(DELETE, 0);
    message.nest(TUPLE_ORIG, |t| {
        t.raw(&flow.raw);
    });
    message.put(ID, &flow.id);
    message
}

fn message(kind: i32, flags: i32) -> Message {
    Message::new((libc::NFNL_SUBSYS_CTNETLINK << 8 | kind) as u16, flags, &[libc::AF_INET as u8, 0, 0, 0])
}

fn flow(payload: &[u8]) -> Option<Flow> {
    let attributes = Attributes(payload.get(4..)?);
    let raw = attributes.find(TUPLE_ORIG)?;
    let tcp = attributes.inside(PROTOINFO).and_then(|info| info.inside(PROTOINFO_TCP));
    Some(Flow {
        state: tcp.and_then(|tcp| tcp.find(TCP_STATE)?.first().copied()),
        left: attributes.find(TIMEOUT).and_then(|v| <[u8; 4]>::try_from(v).ok()).map(u32::from_be_bytes),
        original: tuple(Attributes(raw))?,
        reply: tuple(attributes.inside(TUPLE_REPLY)?)?,
        raw: raw.to_vec(),
        id: attributes.find(ID)?.to_vec(),
    })
}

fn tuple(attributes: Attributes<'_>) -> Option<Tuple> {
    let (ip, proto) = (attributes.inside(TUPLE_IP)?, attributes.inside(TUPLE_PROTO)?);
    let address = |kind| ip.find(kind).and_then(|v| <[u8; 4]>::try_from(v).ok()).map(Ipv4Addr::from);
    // ICMP has no ports
    let port = |kind| proto.find(kind).and_then(|v| <[u8; 2]>::try_from(v).ok()).map_or(0, u16::from_be_bytes);
    Some(Tuple {
        protocol: *proto.find(PROTO_NUMBER)?.first()?,
        source: SocketAddrV4::new(address(IP_SOURCE)?, port(PROTO_SOURCE)),
        destination: SocketAddrV4::new(address(IP_DESTINATION)?, port(PROTO_DESTINATION)),
    })
}

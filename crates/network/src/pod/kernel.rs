//! Links, addresses, routes and neighbours, as rtnetlink has them (`linux/rtnetlink.h`, `linux/if_link.h`).
use crate::netlink::{Answer, Attributes, Message, Socket};
use crate::range::Range;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Marks routes as made by isopod (`rtm_protocol`; above 4 and unused in iproute2's table).
pub(crate) const PROTOCOL: u8 = 105;

const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = libc::IFF_UP as u32;
/// The carrier itself; `IFF_RUNNING` follows it up to a second later.
const IFF_LOWER_UP: u32 = 1 << 16;

/// A link as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    /// Up and with a carrier.
    pub(crate) running: bool,
    pub(crate) loopback: bool,
    /// It sends: a link whose carrier came after it was set up drops everything until the kernel has got round to it.
    pub(crate) sends: bool,
}

/// An IPv4 address as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) link: u32,
    pub(crate) address: Ipv4Addr,
    pub(crate) global: bool,
}

/// An IPv4 route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Range,
    /// None: unreachable.
    pub(crate) link: Option<u32>,
    pub(crate) via: Option<Ipv4Addr>,
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) metric: u32,
    pub(crate) protocol: u8,
}

impl Route {
    pub(crate) fn to(destination: Range, link: Option<u32>) -> Self {
        Self { destination, link, via: None, source: None, metric: 0, protocol: PROTOCOL }
    }
}

/// One end of a veth pair to be made.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) name: &'a str,
    pub(crate) hardware: [u8; 6],
}

/// A conversation with rtnetlink of the namespace it was opened in.
pub(crate) struct Rtnetlink(Socket);

impl Rtnetlink {
    pub(crate) fn open() -> io::Result<Self> {
        Socket::open(libc::NETLINK_ROUTE).map(Self)
    }

    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let message = Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &link_header(0, 0, 0));
        Ok(self.0.request(message)?.iter().filter_map(link).collect())
    }

    pub(crate) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = Message::new(libc::RTM_GETLINK, 0, &link_header(0, 0, 0));
        message.put_text(libc::IFLA_IFNAME, name);
        match self.0.request(message) {
            Ok(answers) => Ok(answers.iter().find_map(link)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A pair of links; `far` is born inside `namespace`, so that its name never stands in this one.
    pub(crate) fn add_veth(
        &mut self,
        near: End<'_>,
        far: End<'_>,
        namespace: BorrowedFd<'_>,
        mtu: u32,
    ) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &link_header(0, 0, 0));
        message.put_text(libc::IFLA_IFNAME, near.name).put(libc::IFLA_ADDRESS, &near.hardware);
        message.put_u32(libc::IFLA_MTU, mtu);
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.put(libc::IFLA_INFO_KIND, b"veth").nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&link_header(0, 0, 0)).put_text(libc::IFLA_IFNAME, far.name);
                    peer.put(libc::IFLA_ADDRESS, &far.hardware).put_u32(libc::IFLA_MTU, mtu);
                    peer.put_u32(libc::IFLA_NET_NS_FD, namespace.as_raw_fd().cast_unsigned());
                });
            });
        });
        self.0.request(message).map(drop)
    }

    pub(crate) fn add_bridge(&mut self, name: &str) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &link_header(0, 0, 0));
        message.put_text(libc::IFLA_IFNAME, name);
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.put(libc::IFLA_INFO_KIND, b"bridge");
        });
        self.0.request(message).map(drop)
    }

    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.0.request(Message::new(libc::RTM_NEWLINK, 0, &link_header(index, IFF_UP, IFF_UP))).map(drop)
    }

    /// The same by number, which no later link has.
    pub(crate) fn delete_link_number(&mut self, index: u32) -> io::Result<()> {
        tolerate(self.0.request(Message::new(libc::RTM_DELLINK, 0, &link_header(index, 0, 0))), &[libc::ENODEV])
    }

    /// A link that is gone already is deleted.
    pub(crate) fn delete_link(&mut self, name: &str) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_DELLINK, 0, &link_header(0, 0, 0));
        message.put_text(libc::IFLA_IFNAME, name);
        tolerate(self.0.request(message), &[libc::ENODEV])
    }

    pub(crate) fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let message = Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0]);
        Ok(self.0.request(message)?.iter().filter_map(address).collect())
    }

    /// Gives a link an address of its own, without a route to neighbours.
    pub(crate) fn add_address(&mut self, link: u32, address: Ipv4Addr) -> io::Result<()> {
        let mut header = vec![libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_UNIVERSE];
        header.extend_from_slice(&link.to_ne_bytes());
        let mut message = Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &header);
        message.put(libc::IFA_LOCAL, &address.octets()).put(libc::IFA_ADDRESS, &address.octets());
        self.0.request(message).map(drop)
    }

    /// Routes of the main table.
    pub(crate) fn routes(&mut self) -> io::Result<Vec<Route>> {
        let message =
            Message::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &[libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        Ok(self.0.request(message)?.iter().filter_map(route).collect())
    }

    pub(crate) fn set_route(&mut self, route: &Route) -> io::Result<()> {
        self.0.request(route_message(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, route)).map(drop)
    }

    /// A route that is gone already is deleted.
    pub(crate) fn delete_route(&mut self, route: &Route) -> io::Result<()> {
        tolerate(self.0.request(route_message(libc::RTM_DELROUTE, 0, route)), &[libc::ESRCH, libc::ENODEV])
    }

    /// Writes down who answers for an address on a link: nothing has to be resolved.
    pub(crate) fn set_neighbour(&mut self, link: u32, address: Ipv4Addr, hardware: [u8; 6]) -> io::Result<()> {
        let mut header = vec![libc::AF_INET as u8, 0, 0, 0];
        header.extend_from_slice(&link.to_ne_bytes());
        header.extend_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
        header.extend_from_slice(&[0, 0]);
        let mut message = Message::new(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &header);
        message.put(libc::NDA_DST, &address.octets()).put(libc::NDA_LLADDR, &hardware);
        self.0.request(message).map(drop)
    }
}

fn tolerate(result: io::Result<Vec<Answer>>, gone: &[i32]) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error().is_some_and(|code| gone.contains(&code)) => Ok(()),
        other => other.map(drop),
    }
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    let (_, rest) = header.split_at_mut(4);
    for (place, value) in rest.chunks_exact_mut(4).zip([index, flags, change]) {
        place.copy_from_slice(&value.to_ne_bytes());
    }
    header
}

/// `struct rtmsg` with its attributes.
fn route_message(kind: u16, flags: i32, route: &Route) -> Message {
    let (scope, type_) = match (route.link, route.via) {
        (None, None) => (libc::RT_SCOPE_UNIVERSE, libc::RTN_UNREACHABLE),
        (_, Some(_)) => (libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST),
        (Some(_), None) => (libc::RT_SCOPE_LINK, libc::RTN_UNICAST),
    };
    let mut header =
        vec![libc::AF_INET as u8, route.destination.bits(), 0, 0, libc::RT_TABLE_MAIN, route.protocol, scope, type_];
    header.extend_from_slice(&[0; 4]);
    let mut message = Message::new(kind, flags, &header);
    message.put(libc::RTA_DST, &route.destination.network().octets());
    if let Some(link) = route.link {
        message.put_u32(libc::RTA_OIF, link);
    }
    if let Some(via) = route.via {
        message.put(libc::RTA_GATEWAY, &via.octets());
    }
    if let Some(source) = route.source {
        message.put(libc::RTA_PREFSRC, &source.octets());
    }
    if route.metric != 0 {
        message.put_u32(libc::RTA_PRIORITY, route.metric);
    }
    message
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn link(answer: &Answer) -> Option<Link> {
    if answer.kind != libc::RTM_NEWLINK {
        return None;
    }
    let (index, flags) = (u32_at(&answer.payload, 4)?, u32_at(&answer.payload, 8)?);
    let attributes = Attributes(answer.payload.get(16..)?);
    Some(Link {
        index,
        name: attributes.text(libc::IFLA_IFNAME)?.to_owned(),
        mtu: attributes.u32(libc::IFLA_MTU).unwrap_or(1500),
        running: flags & IFF_UP != 0 && flags & IFF_LOWER_UP != 0,
        loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
        sends: attributes.text(libc::IFLA_QDISC) != Some("noop"),
    })
}

fn address(answer: &Answer) -> Option<Address> {
    if answer.kind != libc::RTM_NEWADDR {
        return None;
    }
    let attributes = Attributes(answer.payload.get(8..)?);
    let found = attributes.find(libc::IFA_LOCAL).or_else(|| attributes.find(libc::IFA_ADDRESS))?;
    Some(Address {
        link: u32_at(&answer.payload, 4)?,
        address: ipv4(found)?,
        global: answer.payload.get(3) == Some(&libc::RT_SCOPE_UNIVERSE),
    })
}

fn route(answer: &Answer) -> Option<Route> {
    let header = answer.payload.get(..12)?;
    if answer.kind != libc::RTM_NEWROUTE || header.get(4) != Some(&libc::RT_TABLE_MAIN) {
        return None;
    }
    let attributes = Attributes(answer.payload.get(12..)?);
    let network = attributes.find(libc::RTA_DST).and_then(ipv4).unwrap_or(Ipv4Addr::UNSPECIFIED);
    Some(Route {
        destination: Range::new(network, *header.get(1)?),
        link: attributes.u32(libc::RTA_OIF),
        via: attributes.find(libc::RTA_GATEWAY).and_then(ipv4),
        source: attributes.find(libc::RTA_PREFSRC).and_then(ipv4),
        metric: attributes.u32(libc::RTA_PRIORITY).unwrap_or(0),
        protocol: *header.get(5)?,
    })
}

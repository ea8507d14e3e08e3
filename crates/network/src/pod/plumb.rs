//! The pieces of a machine's pod network, made and taken away: the link that carries the service range, one link per pod.
use super::config::{NetworkConfig, hardware};
use super::kernel::{End, Route, Rtnetlink};
use super::reaper::{Reaper, Remains};
use super::sysctl;
use super::uplink::{self, Uplink};
use crate::contract::{NetworkError, Result};
use crate::netns;
use crate::range::Range;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// What a pod routes everything to: a link-local address that only has to be the same in every pod (as Calico's).
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The pod's end of its link.
const POD_LINK: &str = "eth0";
/// First bytes of hardware addresses: locally administered, one pair for each end.
const POD_END: [u8; 2] = [0x0a, 0x58];
const NODE_END: [u8; 2] = [0x0e, 0x58];
/// Closed connections stay this long in connection tracking at most: the default of two minutes fills its table of 262,144 at
/// 2,200 connections a second.
const TIME_WAIT_SECONDS: u32 = 15;

/// Link watch runs at once, at most a second later.
const SENDING_PAUSE: Duration = Duration::from_millis(1);
const SENDING_ATTEMPTS: u32 = 1500;

pub(crate) fn kernel(context: impl Into<String>) -> impl FnOnce(io::Error) -> NetworkError {
    let context = context.into();
    move |source| NetworkError::Kernel { context, source }
}

/// What the machine has without any pod: forwarding, the link of the service range, no way out for pods that are gone.
/// Idempotent.
pub(crate) fn lay_ground(config: &NetworkConfig, net: &mut Rtnetlink) -> Result<Option<Uplink>> {
    let links = net.links().map_err(kernel("list links"))?;
    let addresses = net.addresses().map_err(kernel("list addresses"))?;
    let routes = net.routes().map_err(kernel("list routes"))?;
    let uplink = uplink::choose(&links, &addresses, &routes);
    let name = config.bridge();
    let ours = links.iter().find(|link| link.name == name).map(|link| link.index);
    for range in [config.service_cidr, config.pod_cidr] {
        let taken = routes.iter().find(|r| r.destination == range && r.link.is_some() && r.link != ours);
        if let Some(route) = taken {
            let holder =
                links.iter().find(|link| Some(link.index) == route.link).map_or("?", |link| link.name.as_str());
            return Err(NetworkError::Invalid {
                context: format!("range {range}"),
                message: format!("is already routed to {holder}: another cluster or network has it"),
            });
        }
    }
    sysctl::set("ipv4/ip_forward", 1)?;
    sysctl::at_most("netfilter/nf_conntrack_tcp_timeout_time_wait", TIME_WAIT_SECONDS);
    if ours.is_none() {
        net.add_bridge(&name).map_err(kernel(format!("add link {name}")))?;
        sysctl::prefer(&format!("ipv6/conf/{name}/disable_ipv6"), 1);
    }
    let index = require(net, &name)?;
    net.set_up(index).map_err(kernel(format!("set up {name}")))?;
    let own = config.bridge_address();
    for address in std::iter::once(own).chain(config.own_addresses.iter().copied()) {
        net.add_address(index, address).map_err(kernel(format!("add address {address} to {name}")))?;
    }
    let services = Route { source: Some(own), ..Route::to(config.service_cidr, Some(index)) };
    net.set_route(&services).map_err(kernel(format!("route {} to {name}", config.service_cidr)))?;
    let gone = Route::to(config.pod_cidr, None);
    net.set_route(&gone).map_err(kernel(format!("route {} to nowhere", config.pod_cidr)))?;
    if let Some(uplink) = &uplink {
        // A node port asked for on 127.0.0.1 may lead to a pod on another node.
        sysctl::prefer(&format!("ipv4/conf/{}/route_localnet", uplink.link.name), 1);
    }
    Ok(uplink)
}

/// Takes away what [`lay_ground`] made, and all links of pods.
pub(crate) fn clear_ground(config: &NetworkConfig, net: &mut Rtnetlink) -> Result<()> {
    for link in net.links().map_err(kernel("list links"))? {
        if config.owns_link(&link.name) || link.name == config.bridge() {
            net.delete_link(&link.name).map_err(kernel(format!("delete link {}", link.name)))?;
        }
    }
    let gone = Route::to(config.pod_cidr, None);
    net.delete_route(&gone).map_err(kernel(format!("delete route {}", config.pod_cidr)))?;
    set_peers(config, net, &[])
}

/// Makes the routes to other nodes' pods exactly these.
pub(crate) fn set_peers(config: &NetworkConfig, net: &mut Rtnetlink, peers: &[(Range, Ipv4Addr)]) -> Result<()> {
    let ours = |route: &Route| {
        route.protocol == super::kernel::PROTOCOL
            && route.via.is_some()
            && config.cluster_cidr.overlaps(&route.destination)
    };
    let present: Vec<Route> = net.routes().map_err(kernel("list routes"))?.into_iter().filter(ours).collect();
    for route in &present {
        if !peers.iter().any(|(range, _)| *range == route.destination) {
            net.delete_route(route).map_err(kernel(format!("delete route {}", route.destination)))?;
        }
    }
    for (range, via) in peers {
        if !present.iter().any(|route| route.destination == *range && route.via == Some(*via)) {
            let route = Route { via: Some(*via), ..Route::to(*range, None) };
            net.set_route(&route).map_err(kernel(format!("route {range} via {via}")))?;
        }
    }
    Ok(())
}

/// Connects the namespace to the machine. Idempotent: a pod that is connected stays untouched.
pub(crate) fn connect(
    config: &NetworkConfig,
    net: &mut Rtnetlink,
    pod: Ipv4Addr,
    netns: &Path,
    mtu: u32,
) -> Result<()> {
    let name = config.link(pod);
    let context = || format!("connect {} by {name}", netns.display());
    let connected = net.link(&name).map_err(kernel(context()))?.is_some()
        && netns::within(netns, || is_connected(pod)).map_err(kernel(context()))?;
    if !connected {
        net.delete_link(&name).map_err(kernel(context()))?;
        let namespace = File::open(netns).map_err(kernel(context()))?;
        let near = End { name: &name, hardware: hardware(NODE_END, pod) };
        let far = End { name: POD_LINK, hardware: hardware(POD_END, pod) };
        match net.add_veth(near, far, namespace.as_fd(), mtu) {
            // It was attached before, and its old link is not reaped yet.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                netns::within(netns, || Rtnetlink::open()?.delete_link(POD_LINK)).map_err(kernel(context()))?;
                net.add_veth(near, far, namespace.as_fd(), mtu)
            }
            other => other,
        }
        .map_err(kernel(context()))?;
    }
    let index = require(net, &name)?;
    // Before the link is up: nothing else may be sent on it.
    sysctl::prefer(&format!("ipv6/conf/{name}/disable_ipv6"), 1);
    sysctl::prefer(&format!("ipv4/conf/{name}/rp_filter"), 1); // a pod speaks for its own address only
    sysctl::set(&format!("ipv4/conf/{name}/route_localnet"), 1)?; // node ports on 127.0.0.1
    net.set_up(index).map_err(kernel(context()))?;
    net.set_neighbour(index, pod, hardware(POD_END, pod)).map_err(kernel(context()))?;
    let route = Route { source: Some(config.bridge_address()), ..Route::to(pod.into(), Some(index)) };
    net.set_route(&route).map_err(kernel(context()))?;
    if !connected {
        netns::within(netns, || furnish(pod)).map_err(kernel(context()))?;
        until_sending(net, &name).map_err(kernel(context()))?;
    }
    Ok(())
}

/// Waits until the machine's end sends. It was set up before it had a carrier, and until the kernel's link watch has run, what is sent
/// to the pod is lost without a word: a probe's first SYN, to be repeated a second later. Asking makes newer kernels (6.8) run it.
fn until_sending(net: &mut Rtnetlink, name: &str) -> io::Result<()> {
    for _ in 0..SENDING_ATTEMPTS {
        if net.link(name)?.is_none_or(|link| link.sends) {
            return Ok(());
        }
        std::thread::sleep(SENDING_PAUSE);
    }
    tracing::warn!(name, "the link does not send yet");
    Ok(())
}

/// Takes the machine's way to the pod away; its link goes soon after.
pub(crate) fn disconnect(config: &NetworkConfig, net: &mut Rtnetlink, pod: Ipv4Addr, reaper: &Reaper) -> Result<()> {
    let name = config.link(pod);
    let context = || format!("delete link {name}");
    let Some(link) = net.link(&name).map_err(kernel(context()))? else { return Ok(()) };
    net.delete_route(&Route::to(pod.into(), Some(link.index))).map_err(kernel(context()))?;
    reaper.take(Remains { address: pod, link: link.index }, net);
    Ok(())
}

/// Whether this namespace has the pod's link with its address and default route.
fn is_connected(pod: Ipv4Addr) -> io::Result<bool> {
    let mut net = Rtnetlink::open()?;
    let Some(link) = net.link(POD_LINK)? else { return Ok(false) };
    let addressed = net.addresses()?.iter().any(|a| a.link == link.index && a.address == pod);
    Ok(link.running && addressed && net.routes()?.iter().any(|r| r.destination.bits() == 0 && r.via == Some(GATEWAY)))
}

/// A new namespace's loopback is down.
pub(crate) fn loopback_up() -> io::Result<()> {
    let mut net = Rtnetlink::open()?;
    match net.link("lo")? {
        Some(loopback) => net.set_up(loopback.index),
        None => Ok(()),
    }
}

/// The pod's side: its address, and everything else behind the gateway.
fn furnish(pod: Ipv4Addr) -> io::Result<()> {
    loopback_up()?;
    let mut net = Rtnetlink::open()?;
    let link = net.link(POD_LINK)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    net.add_address(link.index, pod)?;
    net.set_up(link.index)?;
    net.set_neighbour(link.index, GATEWAY, hardware(NODE_END, pod))?;
    net.set_route(&Route::to(GATEWAY.into(), Some(link.index)))?;
    net.set_route(&Route { via: Some(GATEWAY), ..Route::to(Range::new(Ipv4Addr::UNSPECIFIED, 0), Some(link.index)) })
}

fn require(net: &mut Rtnetlink, name: &str) -> Result<u32> {
    let context = || format!("find link {name}");
    let found = net.link(name).map_err(kernel(context()))?;
    found.map(|link| link.index).ok_or_else(|| kernel(context())(io::Error::from_raw_os_error(libc::ENODEV)))
}

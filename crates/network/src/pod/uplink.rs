//! By which link and address this machine is reached: a pure choice from what rtnetlink lists.
use super::kernel::{Address, Link, Route};
use std::net::Ipv4Addr;

/// The link that leads out, and the machine's address on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uplink {
    pub(crate) link: Link,
    pub(crate) address: Ipv4Addr,
}

/// The link of the default route with the lowest metric; without one, the first running link with a global address. Links of
/// isopod clusters (this one or a neighbour) do not count.
pub(crate) fn choose(links: &[Link], addresses: &[Address], routes: &[Route]) -> Option<Uplink> {
    let usable = |link: &&Link| link.running && !link.loopback && !link.name.starts_with("iso");
    let on = |link: &Link| addresses.iter().find(|a| a.link == link.index && a.global).map(|a| a.address);
    let mut defaults: Vec<&Route> = routes.iter().filter(|r| r.destination.bits() == 0 && r.link.is_some()).collect();
    defaults.sort_by_key(|route| route.metric);
    let by_default = defaults.into_iter().find_map(|route| {
        let link = links.iter().filter(usable).find(|link| Some(link.index) == route.link)?;
        Some(Uplink { link: link.clone(), address: route.source.or_else(|| on(link))? })
    });
    by_default.or_else(|| {
        links.iter().filter(usable).find_map(|link| Some(Uplink { link: link.clone(), address: on(link)? }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, running: bool) -> Link {
        Link { index, name: name.into(), mtu: 1500, running, loopback: name == "lo", sends: true }
    }

    fn address(link: u32, last: u8, global: bool) -> Address {
        Address { link, address: Ipv4Addr::new(10, 0, 0, last), global }
    }

    fn default(link: u32, metric: u32) -> Route {
        Route { metric, ..Route::to("0.0.0.0/0".parse().unwrap(), Some(link)) }
    }

    #[test]
    fn the_default_route_decides() {
        let links = [link(1, "lo", true), link(2, "docker0", false), link(3, "wlan0", true), link(4, "eth0", true)];
        let addresses = [address(1, 1, false), address(2, 2, true), address(3, 3, true), address(4, 4, true)];
        let chosen =
            |routes: &[Route]| choose(&links, &addresses, routes).map(|u| (u.link.name, u.address.octets()[3]));
        assert_eq!(chosen(&[default(3, 600), default(4, 100)]), Some(("eth0".into(), 4)));
        assert_eq!(chosen(&[default(3, 600)]), Some(("wlan0".into(), 3)));
        assert_eq!(chosen(&[]), Some(("wlan0".into(), 3)), "no default route: the first that runs");
        assert_eq!(chosen(&[default(2, 0)]), Some(("wlan0".into(), 3)), "docker0 has no carrier");
        let sourced = Route { source: Some(Ipv4Addr::new(10, 0, 0, 9)), ..default(4, 0) };
        assert_eq!(chosen(&[sourced]), Some(("eth0".into(), 9)));
    }

    #[test]
    fn loopback_and_neighbour_clusters_are_no_uplink() {
        let links = [link(1, "lo", true), link(2, "isoabcdef", true)];
        assert_eq!(choose(&links, &[address(1, 1, true), address(2, 2, true)], &[default(1, 0)]), None);
    }
}

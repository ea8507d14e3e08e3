//! Where the requests of one Service port may go, and which endpoint gets the next. Pure.
use crate::contract::Endpoint;
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// What is spoken on a Service port (`appProtocol`, KEP-3726).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1, upgrades (WebSocket) included.
    Http,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
}

impl Protocol {
    /// `None`: not for this proxy.
    pub fn of_app_protocol(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => Some(Self::Http),
            "kubernetes.io/h2c" => Some(Self::H2c),
            _ => None,
        }
    }
}

/// One Service port as this node has to balance it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backends {
    pub protocol: Protocol,
    /// Only those that may be used from here at all (traffic policies).
    pub endpoints: Vec<Endpoint>,
    /// `sessionAffinity: ClientIP`: a client's requests go to one endpoint as long as it is there.
    pub affinity: bool,
}

/// Those endpoints that take requests now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eligible {
    pub protocol: Protocol,
    pub addresses: Vec<SocketAddr>,
    pub affinity: bool,
}

impl Backends {
    /// The ready ones; if there are none, those that terminate and still answer (KEP-1669).
    pub fn eligible(&self) -> Eligible {
        let addresses = |wanted: &dyn Fn(&Endpoint) -> bool| {
            let mut addresses: Vec<_> = self.endpoints.iter().filter(|e| wanted(e)).map(|e| e.address).collect();
            addresses.sort_unstable();
            addresses.dedup();
            addresses
        };
        let mut found = addresses(&|e| e.ready);
        if found.is_empty() {
            found = addresses(&|e| e.serving && e.terminating);
        }
        Eligible { protocol: self.protocol, addresses: found, affinity: self.affinity }
    }
}

impl Eligible {
    /// The endpoint for a request. `turn` goes up with every request; `tried` are those that refused this one already.
    pub fn choose(&self, turn: usize, client: IpAddr, tried: &[SocketAddr]) -> Option<SocketAddr> {
        if self.affinity {
            // Rendezvous hashing: only the clients of an endpoint that goes are moved.
            let weight = |address: &SocketAddr| {
                let mut hasher = DefaultHasher::new();
                (client, address).hash(&mut hasher);
                hasher.finish()
            };
            return self.addresses.iter().filter(|a| !tried.contains(a)).max_by_key(|a| weight(a)).copied();
        }
        let count = self.addresses.len();
        let turns = (0..count).map(|n| turn.wrapping_add(n).checked_rem(count).unwrap_or(0));
        turns.filter_map(|n| self.addresses.get(n)).find(|a| !tried.contains(a)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 1, 0, n], 80))
    }

    /// `c`: of r(eady), s(erving), t(erminating).
    fn backends(all: &[(u8, &str)]) -> Backends {
        let endpoint = |(n, c): &(u8, &str)| Endpoint {
            address: at(*n),
            local: true,
            ready: c.contains('r'),
            serving: c.contains('s'),
            terminating: c.contains('t'),
        };
        Backends { protocol: Protocol::Http, endpoints: all.iter().map(endpoint).collect(), affinity: false }
    }

    #[test]
    fn ready_ones_or_else_terminating_ones_that_serve() {
        let eligible = |all: &[(u8, &str)]| backends(all).eligible().addresses;
        assert_eq!(eligible(&[(3, "rs"), (1, "rs"), (2, "st"), (4, "")]), [at(1), at(3)]);
        assert_eq!(eligible(&[(1, "t"), (2, "st"), (4, "")]), [at(2)]);
        assert_eq!(eligible(&[(4, ""), (5, "s")]), [] as [SocketAddr; 0], "unready and not terminating: nobody");
    }

    #[test]
    fn requests_are_spread_and_refusals_avoided() {
        let all = backends(&[(1, "r"), (2, "r"), (3, "r")]).eligible();
        let client = [192, 0, 2, 1].into();
        let chosen: Vec<_> = (4..10).filter_map(|turn| all.choose(turn, client, &[])).collect();
        assert_eq!(chosen, [at(2), at(3), at(1), at(2), at(3), at(1)]);
        assert_eq!(all.choose(usize::MAX, client, &[at(1)]), Some(at(2)));
        assert_eq!(all.choose(0, client, &[at(1), at(2), at(3)]), None);
        assert_eq!(backends(&[]).eligible().choose(7, client, &[]), None);
    }

    #[test]
    fn clients_with_affinity_stay() {
        let sticky = |all: &[(u8, &str)]| Eligible { affinity: true, ..backends(all).eligible() };
        let (four, three) =
            (sticky(&[(1, "r"), (2, "r"), (3, "r"), (4, "r")]), sticky(&[(1, "r"), (2, "r"), (3, "r")]));
        let (mut moved, mut used) = (0, std::collections::BTreeSet::new());
        for n in 0..200 {
            let client = [192, 0, 2, n].into();
            let before = four.choose(usize::from(n), client, &[]).unwrap();
            used.insert(before);
            assert_eq!(four.choose(0, client, &[]), Some(before));
            if before != at(4) {
                assert_eq!(three.choose(0, client, &[]), Some(before));
            } else {
                moved += 1;
            }
        }
        assert!(used.len() == 4 && moved > 10 && moved < 120, "{moved}");
    }

    #[test]
    fn app_protocols() {
        let table = [
            ("http", Some(Protocol::Http)),
            ("HTTP", Some(Protocol::Http)),
            ("kubernetes.io/ws", Some(Protocol::Http)),
            ("kubernetes.io/h2c", Some(Protocol::H2c)),
            ("https", None),
            ("kubernetes.io/wss", None),
            ("mysql", None),
        ];
        for (name, expected) in table {
            assert_eq!(Protocol::of_app_protocol(name), expected, "{name}");
        }
    }
}

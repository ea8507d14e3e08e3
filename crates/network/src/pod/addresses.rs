//! Who has which address: a small book on disk, so that a pod keeps its address when the node agent is killed, and no address
//! comes back while somebody may still talk to its last owner.
use super::config::Range;
use crate::contract::{HostPort, NetworkError, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

/// An address rests this long before another pod may have it, if there is any other free address. Longer than clients and DNS
/// caches keep a dead address (negative answers live 5 s, kubelet-like status posts 10 s, TCP SYN retries some 30 s).
pub const REST_SECONDS: u64 = 120;
/// The first addresses of the range: the network's own and the one of the node.
const RESERVED: u64 = 2;

/// One attached pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub pod: String,
    pub address: Ipv4Addr,
    #[serde(default)]
    pub host_ports: Vec<HostPort>,
}

/// Which addresses rest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rest {
    /// Seconds of the wall clock.
    pub now: u64,
    /// Those given back at this time or later rest however long it is ago.
    pub from: Option<u64>,
}

impl Rest {
    fn holds(self, given_back: u64) -> bool {
        self.now.saturating_sub(given_back) < REST_SECONDS || self.from.is_some_and(|from| given_back >= from)
    }
}

/// The book. Times are seconds of the wall clock, given by the caller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Book {
    pub version: u32,
    /// By pod uid.
    pub pods: BTreeMap<String, Entry>,
    /// Addresses that were given back, and when.
    #[serde(default)]
    pub resting: BTreeMap<Ipv4Addr, u64>,
    /// The address given out last: the search goes on behind it.
    #[serde(default)]
    pub last: Option<Ipv4Addr>,
}

impl Book {
    /// Reads the book; an absent one is empty.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| NetworkError::Invalid {
                context: path.display().to_string(),
                message: error.to_string(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self { version: 1, ..Self::default() }),
            Err(source) => Err(NetworkError::Kernel { context: format!("read {}", path.display()), source }),
        }
    }

    /// Replaces the file in one step. Not synced: links do not outlive the machine either.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |source| NetworkError::Kernel { context: format!("write {}", path.display()), source };
        let bytes = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let beside = path.with_extension("new");
        std::fs::write(&beside, bytes).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }

    /// Gives the pod an address and its host ports; the same pod gets the same address again.
    pub fn take(&mut self, range: Range, uid: &str, pod: &str, ports: &[HostPort], rest: Rest) -> Result<Ipv4Addr> {
        self.check_ports(uid, ports)?;
        let address = match self.pods.get(uid) {
            Some(entry) if range.contains(entry.address) => entry.address,
            _ => self.free(range, rest).ok_or_else(|| NetworkError::Exhausted { range: range.to_string() })?,
        };
        self.resting.remove(&address);
        self.last = Some(address);
        self.pods.insert(uid.to_owned(), Entry { pod: pod.to_owned(), address, host_ports: ports.to_vec() });
        Ok(address)
    }

    /// The pod is gone: its address rests.
    pub fn give_back(&mut self, uid: &str, rest: Rest) -> Option<Entry> {
        let entry = self.pods.remove(uid)?;
        self.resting.retain(|_, since| rest.holds(*since));
        self.resting.insert(entry.address, rest.now);
        Some(entry)
    }

    /// The first address behind the last one given out that nobody has and that has rested; else the one that rests longest.
    fn free(&self, range: Range, rest: Rest) -> Option<Ipv4Addr> {
        let taken: std::collections::BTreeSet<Ipv4Addr> = self.pods.values().map(|entry| entry.address).collect();
        let length = range.len();
        // The last address of a range is its broadcast address by old habit: some programs refuse to talk to it.
        let usable = RESERVED..length.saturating_sub(u64::from(length > 4));
        let count = usable.end.saturating_sub(usable.start);
        let after = self.last.and_then(|last| range.place(last)).map_or(0, |p| (p + 1).saturating_sub(usable.start));
        let mut longest: Option<(u64, Ipv4Addr)> = None;
        for step in 0..count {
            let Some(address) = range.nth(usable.start + (after + step) % count) else { continue };
            if taken.contains(&address) {
                continue;
            }
            match self.resting.get(&address) {
                Some(since) if rest.holds(*since) => {
                    if longest.is_none_or(|(other, _)| *since < other) {
                        longest = Some((*since, address));
                    }
                }
                _ => return Some(address),
            }
        }
        longest.map(|(_, address)| address)
    }

    /// A host port belongs to one pod, on all addresses or on one.
    fn check_ports(&self, uid: &str, ports: &[HostPort]) -> Result<()> {
        let all = |port: &HostPort| port.host_ip.is_none_or(|ip| ip.is_unspecified());
        for wanted in ports {
            for (other, entry) in &self.pods {
                let clash = other != uid
                    && entry.host_ports.iter().any(|held| {
                        held.host_port == wanted.host_port
                            && held.protocol == wanted.protocol
                            && (all(held) || all(wanted) || held.host_ip == wanted.host_ip)
                    });
                if clash {
                    return Err(NetworkError::HostPortTaken {
                        port: wanted.host_port,
                        protocol: wanted.protocol,
                        pod: entry.pod.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Protocol;
    use proptest::prelude::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    fn take(book: &mut Book, range: Range, uid: &str, now: u64) -> Result<Ipv4Addr> {
        book.take(range, uid, &format!("default/{uid}"), &[], at(now))
    }

    fn at(now: u64) -> Rest {
        Rest { now, from: None }
    }

    #[test]
    fn addresses_go_round_and_rest() {
        let (mut book, range) = (Book::default(), range("10.1.0.0/29"));
        // .0 is the network, .1 the node, .7 broadcast: five are left
        let given: Vec<_> = (0..5).map(|n| take(&mut book, range, &format!("p{n}"), 0).unwrap().octets()[3]).collect();
        assert_eq!(given, [2, 3, 4, 5, 6]);
        assert!(matches!(take(&mut book, range, "p5", 0), Err(NetworkError::Exhausted { .. })));
        assert_eq!(take(&mut book, range, "p3", 0).unwrap().octets()[3], 5, "the same pod, the same address");
        for (uid, when) in [("p1", 10), ("p0", 20), ("p2", 30)] {
            book.give_back(uid, at(when));
        }
        // nothing has rested: the one that rests longest is taken
        assert_eq!(take(&mut book, range, "p6", 31).unwrap().octets()[3], 3);
        // .2 has rested since 20, .4 since 30: at 141 only .2 is fresh, though the search starts behind .3
        assert_eq!(take(&mut book, range, "p7", 20 + REST_SECONDS).unwrap().octets()[3], 2);
        assert_eq!(book.give_back("nobody", at(1)), None);
    }

    #[test]
    fn addresses_rest_while_a_node_is_cut_off() {
        let (mut book, range) = (Book::default(), range("10.1.0.0/29"));
        for n in 0..5 {
            take(&mut book, range, &format!("p{n}"), 0).unwrap();
        }
        let cut_off = |now| Rest { now, from: Some(100) };
        let take = |book: &mut Book, uid: &str, rest| book.take(range, uid, uid, &[], rest).unwrap().octets()[3];
        book.give_back("p0", at(99));
        book.give_back("p1", cut_off(100));
        book.give_back("p2", cut_off(5_000));
        assert_eq!(book.resting.keys().map(|a| a.octets()[3]).collect::<Vec<_>>(), [3, 4], "p0's has rested");
        assert_eq!(take(&mut book, "new", cut_off(9_000)), 2);
        assert_eq!(take(&mut book, "more", cut_off(9_000)), 3, "no other is free: the one that rests longest");
        assert_eq!(take(&mut book, "most", at(9_000)), 4);
    }

    #[test]
    fn host_ports_belong_to_one_pod() {
        let (mut book, range) = (Book::default(), range("10.1.0.0/24"));
        let port = |ip: Option<&str>, port, protocol| HostPort {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_port: port,
            container_port: 80,
            protocol,
        };
        book.take(range, "a", "default/a", &[port(None, 80, Protocol::Tcp)], at(0)).unwrap();
        book.take(range, "b", "default/b", &[port(Some("127.0.0.1"), 81, Protocol::Tcp)], at(0)).unwrap();
        let ask = |wanted: HostPort| match book.clone().take(range, "c", "default/c", &[wanted], at(0)) {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(ask(port(Some("10.0.0.1"), 80, Protocol::Tcp)), "host port 80/Tcp is taken by pod default/a");
        assert_eq!(ask(port(None, 80, Protocol::Udp)), "ok");
        assert_eq!(ask(port(Some("0.0.0.0"), 81, Protocol::Tcp)), "host port 81/Tcp is taken by pod default/b");
        assert_eq!(ask(port(Some("10.0.0.1"), 81, Protocol::Tcp)), "ok");
        book.take(range, "a", "default/a", &[port(None, 80, Protocol::Tcp)], at(0)).expect("its own port is no clash");
    }

    #[test]
    fn the_book_survives_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("addresses.json");
        let mut book = Book::read(&path).unwrap();
        take(&mut book, range("10.1.0.0/24"), "a", 5).unwrap();
        take(&mut book, range("10.1.0.0/24"), "b", 5).unwrap();
        book.give_back("a", at(7));
        book.write(&path).unwrap();
        assert_eq!(Book::read(&path).unwrap(), book);
        std::fs::write(&path, "{").unwrap();
        assert!(Book::read(&path).is_err());
    }

    proptest! {
        /// No two pods share an address, all are usable ones of the range, and a free address is found whenever there is one.
        #[test]
        fn addresses_are_unique(steps in proptest::collection::vec((0..12u8, any::<bool>(), 0..90u64), 1..120), bits in 27..=29u8) {
            let range = Range::new(Ipv4Addr::new(10, 9, 8, 0), bits);
            let capacity = (range.len() - 3) as usize;
            let (mut book, mut now) = (Book::default(), 0);
            for (pod, attach, wait) in steps {
                now += wait;
                let uid = format!("u{pod}");
                if attach {
                    let known = book.pods.contains_key(&uid);
                    let full = book.pods.len() == capacity;
                    prop_assert_eq!(take(&mut book, range, &uid, now).is_ok(), known || !full);
                } else {
                    book.give_back(&uid, at(now));
                }
                let mut all: Vec<_> = book.pods.values().map(|entry| entry.address).collect();
                prop_assert!(all.iter().all(|a| range.place(*a).is_some_and(|p| p >= 2 && p < range.len() - 1)));
                all.sort();
                all.dedup();
                prop_assert_eq!(all.len(), book.pods.len());
            }
        }
    }
}

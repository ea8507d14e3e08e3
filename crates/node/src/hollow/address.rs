//! Addresses of hollow nodes and pods: unique, private, and reachable by nobody.
//!
//! Nodes are in 198.18.0.0/15 (RFC 2544, benchmarks); node `i` gives its pods the `i`-th /22 of 10.128.0.0/9.
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

/// Pods of one node: a /22, without its first and last address.
const BLOCK: u32 = 1024;
/// 10.128.0.0/9 holds this many blocks.
pub const MOST_NODES: u32 = 8192;

const NODES: u32 = u32::from_be_bytes([198, 18, 0, 1]);
const PODS: u32 = u32::from_be_bytes([10, 128, 0, 0]);

pub fn of_node(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(NODES.saturating_add(index % MOST_NODES))
}

fn block(index: u32) -> u32 {
    PODS.saturating_add((index % MOST_NODES).saturating_mul(BLOCK))
}

/// The node's `podCIDR`.
pub fn range(index: u32) -> String {
    format!("{}/22", Ipv4Addr::from(block(index)))
}

/// Which pod of a node has which address.
#[derive(Debug)]
pub struct Pool {
    first: u32,
    /// Where the search for the next free one begins: an address is not given again at once.
    next: u32,
    used: HashSet<u32>,
    by_pod: HashMap<String, u32>,
}

impl Pool {
    pub fn new(index: u32) -> Self {
        Self { first: block(index), next: 1, used: HashSet::new(), by_pod: HashMap::new() }
    }

    /// The pod's address: the one it has, the one it `had` (before this agent was started) if that is free, or a new one.
    /// `None`: all are taken.
    pub fn address(&mut self, uid: &str, had: Option<&str>) -> Option<Ipv4Addr> {
        if let Some(known) = self.by_pod.get(uid) {
            return Some(Ipv4Addr::from(*known));
        }
        let had = had.and_then(|ip| ip.parse::<Ipv4Addr>().ok()).map(u32::from).filter(|ip| self.owns(*ip));
        let found = had.filter(|ip| !self.used.contains(ip)).or_else(|| self.free())?;
        self.used.insert(found);
        self.by_pod.insert(uid.to_owned(), found);
        Some(Ipv4Addr::from(found))
    }

    fn owns(&self, ip: u32) -> bool {
        ip > self.first && ip < self.first.saturating_add(BLOCK - 1)
    }

    fn free(&mut self) -> Option<u32> {
        for _ in 1..BLOCK - 1 {
            let candidate = self.first.saturating_add(self.next);
            self.next = if self.next >= BLOCK - 2 { 1 } else { self.next.saturating_add(1) };
            if !self.used.contains(&candidate) {
                return Some(candidate);
            }
        }
        None
    }

    pub fn release(&mut self, uid: &str) {
        if let Some(address) = self.by_pod.remove(uid) {
            self.used.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_kept_and_given_back() {
        let mut pool = Pool::new(3);
        assert_eq!(range(3), "10.128.12.0/22");
        let a = pool.address("a", None).unwrap();
        let b = pool.address("b", Some("10.128.12.7")).unwrap();
        assert_eq!((a.to_string(), b.to_string()), ("10.128.12.1".into(), "10.128.12.7".into()));
        assert_eq!(pool.address("a", Some("10.128.12.9")), Some(a));
        // Another node's address, or one that is taken, is not taken over.
        assert_eq!(pool.address("c", Some("10.128.0.5")).unwrap().to_string(), "10.128.12.2");
        assert_eq!(pool.address("d", Some("10.128.12.7")).unwrap().to_string(), "10.128.12.3");
        let all: HashSet<_> = (0..1018).filter_map(|i| pool.address(&format!("x{i}"), None)).collect();
        assert_eq!(all.len(), 1018);
        assert_eq!(pool.address("one too many", None), None);
        pool.release("b");
        assert_eq!(pool.address("e", None), Some(b));
    }

    #[test]
    fn nodes_do_not_share_addresses() {
        assert_eq!(of_node(0).to_string(), "198.18.0.1");
        assert_eq!(of_node(MOST_NODES - 1).to_string(), "198.18.32.0");
        assert_eq!(range(MOST_NODES - 1), "10.255.252.0/22");
    }
}

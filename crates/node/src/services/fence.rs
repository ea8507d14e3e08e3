//! Addresses that a node which is cut off may still send connections to are not given to other pods: pure, and its shell.
//!
//! A drain waits for the proxies of every node, but not for ever: a node that is dead or cut off is left behind. Its kernel goes on
//! balancing by the rules of before, to pods that are gone. That harms nobody as long as nobody answers there: so from the moment one
//! node's watermark falls behind, addresses that pods of this node give back rest until it has caught up (or is no node any more),
//! which it does with its return. The range has room for this (a few hundred addresses for 110 pods); when it has none left, the address
//! that has rested longest is taken.
use crate::drain::watermark::{LEASES, Proxy, of_leases};
use isopod_network::pod::Links;
use isopod_reflect::{Reflectors, Selection};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// A pod leaves the slices some time after its address was given back, so these count from a while before.
const BEFORE: Duration = Duration::from_secs(60);
/// Nothing here is urgent: an address rests for two minutes anyhow.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Since when which node has not caught up.
#[derive(Debug, Default)]
pub struct Fence {
    behind: BTreeMap<String, SystemTime>,
    looked: bool,
}

impl Fence {
    /// Addresses given back at this time or later are to rest. `others`: all other nodes that send connections, dead ones too;
    /// `own`: how far this one has come.
    pub fn look(&mut self, others: &[Proxy], own: u64, now: SystemTime) -> Option<SystemTime> {
        // What was before the first look is not known: it may have been behind for long.
        let since = if self.looked { now.checked_sub(BEFORE) } else { None }.unwrap_or(SystemTime::UNIX_EPOCH);
        self.looked = true;
        let behind: Vec<&str> = others.iter().filter(|p| p.programmed < own).map(|p| p.node.as_str()).collect();
        self.behind.retain(|node, _| behind.contains(&node.as_str()));
        for node in behind {
            self.behind.entry(node.to_owned()).or_insert(since);
        }
        self.behind.values().min().copied()
    }
}

/// Keeps the links told until the mirrors end.
pub async fn follow(own: &str, reflectors: &Reflectors, links: &Links, mut programmed: watch::Receiver<u64>) {
    let leases = reflectors.selected_in::<Lease>(LEASES, Selection::default());
    let nodes = reflectors.of::<Node>();
    tokio::join!(leases.synced(), nodes.synced());
    let (mut fence, mut changes, mut told) = (Fence::default(), leases.subscribe(), None);
    loop {
        let is_other = |p: &Proxy| p.node != own && nodes.get("", &p.node).is_some();
        let others: Vec<Proxy> = of_leases(&leases).filter(is_other).collect();
        let since = fence.look(&others, *programmed.borrow_and_update(), SystemTime::now());
        if since != told {
            tracing::debug!(behind = ?fence.behind.keys(), "addresses given back rest while a node is behind");
            links.rest_from(since);
            told = since;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        tokio::select! {
            changed = programmed.changed() => if changed.is_err() { return },
            batch = changes.next_batch() => if batch.is_none() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_before_a_node_fell_behind_until_it_has_caught_up_or_is_gone() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let proxy = |node: &str, programmed| Proxy { node: node.into(), programmed };
        let mut fence = Fence::default();
        // (seconds, b, c, own) → since
        for (now, b, c, own, since) in [
            (1_000, Some(5), Some(5), 5, None),
            (1_100, Some(5), Some(7), 7, Some(1_040)), // b is behind
            (1_200, Some(5), Some(7), 9, Some(1_040)), // both are
            (1_300, Some(9), Some(7), 9, Some(1_140)), // b is back
            (1_400, Some(9), None, 9, None),           // c was deleted
            (1_500, Some(11), None, 9, None),          // b is faster
        ] {
            let others: Vec<Proxy> = [("b", b), ("c", c)].into_iter().filter_map(|(n, p)| Some(proxy(n, p?))).collect();
            assert_eq!(fence.look(&others, own, at(now)), since.map(at), "at {now}");
        }
        let mut restarted = Fence::default();
        assert_eq!(restarted.look(&[proxy("b", 1)], 2, at(50)), Some(at(0)), "who knows since when");
        assert_eq!(restarted.look(&[proxy("b", 1)], 3, at(90)), Some(at(0)));
        assert_eq!(restarted.look(&[proxy("b", 3)], 3, at(99)), None);
    }
}

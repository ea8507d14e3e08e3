//! Feeds the HTTP proxy, and says how far it has come.
use super::touched::Touched;
use super::{RETRY, Told, backends};
use crate::services::place::Place;
use isopod_network::contract::PortName;
use isopod_network::proxy::Backends;
use isopod_reflect::{Key, Reflectors};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// What was told, by Service.
type Known = BTreeMap<Key, BTreeMap<PortName, Backends>>;

/// Keeps the proxy equal to the mirrors until they end. `programmed` rises to version X when every EndpointSlice up to X is followed
/// by every request: with the kernel's own it is what drain waits for ([`crate::drain::watermark::least`]).
pub async fn feed_proxy(node: &str, reflectors: &Reflectors, told: Arc<dyn Told>, programmed: watch::Sender<u64>) {
    let mut touched = Touched::start(reflectors).await;
    let mut place = Place::of(node, reflectors);
    let (mut known, mut replace) = (Known::new(), true);
    loop {
        let (version, keys) = touched.take();
        let mut changes = Vec::new();
        for key in keys {
            let now = touched.get(&key).map(|(service, slices)| backends::backends(&service, &slices, place.here()));
            changes.extend(change(&mut known, key, now.unwrap_or_default()));
        }
        if replace {
            let all = known.values().flatten();
            changes = all.map(|(name, backends)| (name.clone(), Some(backends.clone()))).collect();
        }
        if replace || !changes.is_empty() {
            let taken = told.proxy(replace, changes).await;
            replace = taken.is_err();
            if let Err(error) = taken {
                tracing::warn!(%error, "the HTTP proxy could not be told: trying again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        programmed.send_if_modified(|held| std::mem::replace(held, version.max(*held)) < version);
        let alive = tokio::select! {
            alive = touched.changed() => alive,
            moved = place.moved() => {
                touched.touch(known.keys().cloned());
                moved
            }
        };
        if !alive {
            return;
        }
    }
}

/// What is different about one Service now.
fn change(known: &mut Known, key: Key, now: BTreeMap<PortName, Backends>) -> Vec<(PortName, Option<Backends>)> {
    let before = known.remove(&key).unwrap_or_default();
    let gone = before.keys().filter(|name| !now.contains_key(name)).map(|name| (name.clone(), None));
    let fresh = now.iter().filter(|(name, backends)| before.get(name) != Some(backends));
    let changes = gone.chain(fresh.map(|(name, backends)| (name.clone(), Some(backends.clone())))).collect();
    if !now.is_empty() {
        known.insert(key, now);
    }
    changes
}

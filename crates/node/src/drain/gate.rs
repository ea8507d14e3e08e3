//! Carries it out: waits for changes, looks at sockets, says what it waits for. Bounded everywhere.
use super::leaving::{self, Seen, words};
use super::{Sight, arriving, bound};
use crate::seams::TrafficGate;
use async_trait::async_trait;
use isopod_network::contract::{Sockets, Traffic};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Between looks at a pod's sockets.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// The same after a look that has shown nothing, and while a connection is on its way, which takes a second or so.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Quiet for this long after the last proxy has acknowledged: drained. Covers packets that were on their way.
const SETTLED: Duration = Duration::from_millis(45);
/// The same while proxies may still send it connections, having nobody else, or not having said that they do not: then a pause must be
/// longer to mean anything.
const DESERTED: Duration = Duration::from_secs(1);
/// `Ready` is posted after this long whatever the proxies say.
const ROUTABLE_WITHIN: Duration = Duration::from_secs(5);

/// What is waited for is told this often, and so not at all if it is soon over.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The real [`TrafficGate`].
pub struct Gate {
    sight: Arc<dyn Sight>,
    sockets: Arc<dyn Sockets>,
}

impl Gate {
    pub fn new(sight: Arc<dyn Sight>, sockets: Arc<dyn Sockets>) -> Self {
        Self { sight, sockets }
    }
}

/// What is waited for now, in words. People are told of what lasts, not of every connection that comes and goes.
#[derive(Default)]
struct Waiting(Mutex<Option<String>>);

impl Waiting {
    fn is(&self, words: Option<String>) {
        *self.0.lock() = words;
    }

    /// Tells what has been waited for, each thing once in a row.
    async fn tell(&self, report: &(dyn Fn(String) + Send + Sync)) -> Infallible {
        let mut last = None;
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            let now = self.0.lock().clone();
            if let Some(words) = now.as_ref().filter(|_| now != last) {
                report(words.clone());
            }
            last = now;
        }
    }
}

#[async_trait]
impl TrafficGate for Gate {
    async fn routable(&self, pod: &Pod) {
        let until = Instant::now() + ROUTABLE_WITHIN;
        if timeout_at(until, self.until_routable(pod)).await.is_err() {
            let pod = pod.metadata.name.as_deref().unwrap_or("");
            tracing::warn!(pod, "posted as ready before every proxy could reach it");
        }
    }

    async fn drained(&self, pod: &Pod, report: &(dyn Fn(String) + Send + Sync)) {
        // Deletion timestamps are wall clock.
        let Some(bound) = bound::bound(pod, Timestamp::now()) else { return };
        let (proxies_until, until) = (Instant::now() + bound.proxies, Instant::now() + bound.whole);
        let waiting = Waiting::default();
        let ended = tokio::select! {
            ended = timeout_at(until, self.until_drained(pod, proxies_until, &waiting)) => ended,
            never = waiting.tell(report) => match never {},
        };
        if ended.is_err() {
            let last = waiting.0.into_inner().unwrap_or_default();
            let last = last.strip_prefix("draining: ").unwrap_or("traffic");
            report(format!("drain timed out after {:?} with {last}", bound.whole));
        }
    }
}

impl Gate {
    async fn until_routable(&self, pod: &Pod) {
        self.sight.synced().await;
        let mut changes = self.sight.changes();
        let mut seen = BTreeMap::new();
        loop {
            changes.mark_unchanged();
            let (services, slices) = (self.sight.services(pod), self.sight.slices(pod));
            let stage = arriving::stage(pod, &services, &slices, &self.sight.proxies(), &mut seen);
            if stage == arriving::Stage::Routable || changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn until_drained(&self, pod: &Pod, proxies_until: Instant, waiting: &Waiting) {
        let uid = pod.metadata.uid.as_deref().unwrap_or("");
        let mut seen = Seen::default();
        if timeout_at(proxies_until, self.sight.synced()).await.is_err() {
            return;
        }
        let mut changes = self.sight.changes();
        loop {
            changes.mark_unchanged();
            let stage = leaving::stage(uid, &self.sight.backings(pod), &self.sight.proxies(), &mut seen);
            waiting.is(words(&stage, None));
            match stage {
                leaving::Stage::Unselected => return,
                leaving::Stage::Away | leaving::Stage::Alone => break,
                leaving::Stage::Published { .. } | leaving::Stage::Programming { .. } => {}
            }
            match timeout_at(proxies_until, changes.changed()).await {
                Ok(Ok(())) => {}
                // Nobody tells of changes any more: the process ends.
                Ok(Err(_)) => return,
                Err(_) => {
                    tracing::warn!(uid, ?stage, "goes on without the acknowledgement of every proxy");
                    break;
                }
            }
        }
        tracing::debug!(uid, "drain: the proxies send nothing new");
        self.until_quiet(pod, seen, waiting).await;
        tracing::debug!(uid, "drain: quiet");
    }

    async fn until_quiet(&self, pod: &Pod, mut seen: Seen, waiting: &Waiting) {
        let uid = pod.metadata.uid.as_deref().unwrap_or("");
        let Some(address) = address(pod).or_else(|| leaving::address(uid, &self.sight.backings(pod))) else { return };
        // As long as slices name it: a Service that goes meanwhile has still had connections.
        let (mut netns, mut ports, mut quiet_since, mut none_coming) = (None, Vec::new(), None, false);
        loop {
            let backings = self.sight.backings(pod);
            let named = leaving::ports(uid, &backings);
            if !named.is_empty() {
                ports = named;
            }
            let stage = leaving::stage(uid, &backings, &self.sight.proxies(), &mut seen);
            let traffic = match self.look(pod, &mut netns, address, &ports).await {
                Look::Traffic(traffic) => traffic,
                Look::Gone => return,
                Look::Unseen => {
                    (quiet_since, none_coming) = (None, false);
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
            };
            waiting.is(words(&stage, Some(traffic)));
            let enough = match stage {
                leaving::Stage::Away | leaving::Stage::Unselected => SETTLED,
                leaving::Stage::Alone | leaving::Stage::Programming { .. } | leaving::Stage::Published { .. } => {
                    DESERTED
                }
            };
            if traffic.waiting > 0 || traffic.in_flight > 0 {
                (quiet_since, none_coming) = (None, false);
            } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= enough {
                // The look that counts is one after that: what was coming when it was taken may have arrived before it was asked.
                if none_coming {
                    return;
                }
                match self.on_the_way(address, &ports).await {
                    Some(0) => {
                        none_coming = true;
                        continue;
                    }
                    coming => waiting.is(words(&stage, coming.map(|n| Traffic { waiting: n, ..traffic }))),
                }
                quiet_since = None;
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// `netns`: where the last look went, if it went well.
    async fn look(&self, pod: &Pod, netns: &mut Option<PathBuf>, address: IpAddr, ports: &[u16]) -> Look {
        if netns.is_none() {
            match self.sight.netns(pod).await {
                Ok(None) => return Look::Gone,
                Ok(found) => *netns = found,
                Err(error) => {
                    tracing::warn!(%error, "sandboxes not listed: looking again");
                    return Look::Unseen;
                }
            }
        }
        let Some(path) = netns.clone() else { return Look::Gone };
        match self.sockets.look(&path, address, ports).await {
            Ok(traffic) => Look::Traffic(traffic),
            Err(error) if error.is_gone() => Look::Gone,
            Err(error) => {
                tracing::warn!(%error, "sockets not seen: looking again");
                *netns = None;
                Look::Unseen
            }
        }
    }

    /// `None`: not known.
    async fn on_the_way(&self, address: IpAddr, ports: &[u16]) -> Option<usize> {
        let seen = self.sockets.on_the_way(address, ports).await;
        seen.inspect_err(|error| tracing::warn!(%error, "connections not seen: looking again")).ok()
    }
}

/// What a look at a pod's sockets has shown.
enum Look {
    Traffic(Traffic),
    /// There is nothing left to look at.
    Gone,
    /// Nothing, which must not be mistaken for quiet: somebody may be in the middle of an answer.
    Unseen,
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()
}

//! What an agent remembers of a pod and the runtime does not: back-off, last errors, probe results, work under way. Lost with the
//! agent, and none the worse for it.
use super::allot::Pending;
use super::observed::hash;
use isopod_api::k8s::api::core::v1::{Container, Pod};
use isopod_runtime::ContainerId;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A back-off starts here, doubles up to the longest, and is forgotten after twice that (`MaxContainerBackOff`, `flowcontrol.Backoff`).
const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_secs(300);
const FORGOTTEN: SignedDuration = SignedDuration::from_secs(600);
/// A container that could not be made is tried again after so long (the kubelet's `backOffPeriod`).
pub const RETRY: SignedDuration = SignedDuration::from_secs(10);
/// How long `ErrImagePull` is shown before it becomes `ImagePullBackOff`.
pub const SHOW_ERROR: SignedDuration = SignedDuration::from_secs(2);

/// One entry of `flowcontrol.Backoff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub delay: SignedDuration,
    updated: Timestamp,
}

impl Backoff {
    /// The next delay after an event at `event`, decided at `now`.
    pub fn next(before: Option<Self>, event: Timestamp, now: Timestamp) -> Self {
        let delay = match before {
            Some(b) if event.duration_since(b.updated) <= FORGOTTEN => b.delay.saturating_mul(2).min(LONGEST),
            _ => FIRST,
        };
        Self { delay, updated: now }
    }

    /// Until when one has to wait after an event at `event`, if at all.
    pub fn until(self, event: Timestamp) -> Option<Timestamp> {
        if event.duration_since(self.updated) > FORGOTTEN {
            return None;
        }
        event.checked_add(self.delay).ok()
    }

    /// For pulls, which wait from the last failure on.
    pub fn until_since_update(self) -> Timestamp {
        self.updated.checked_add(self.delay).unwrap_or(self.updated)
    }
}

/// Why a container does not run, as its `waiting` state shows it (the kubelet's reason cache).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    pub reason: String,
    pub message: String,
}

/// Why a pod is ended though its containers would go on: refused, past its deadline, or evicted. Its status keeps reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    pub reason: String,
    pub message: String,
    /// Seconds; the pod's own when none.
    pub grace: Option<u64>,
    /// For the machine's sake, not by its own fault (`DisruptionTarget`, KEP-3329).
    pub disrupted: bool,
}

/// A failed start, and when the next is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub error: StartError,
    /// None: whenever the restart policy says so.
    pub retry_at: Option<Timestamp>,
    /// What it turns into when it has been shown long enough.
    pub then: Option<(Timestamp, StartError)>,
}

/// What a container's probes say. None: no probe of that kind, or no result yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    pub startup: Option<bool>,
    pub liveness: Option<bool>,
    pub readiness: Option<bool>,
}

/// What is being done with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    Starting,
    Stopping,
}

#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub restarts: BTreeMap<String, Backoff>,
    pub pulls: BTreeMap<String, Backoff>,
    pub failures: BTreeMap<String, Failure>,
    pub probes: BTreeMap<ContainerId, Probed>,
    pub busy: BTreeMap<String, Busy>,
    /// The sandbox (and the volumes before it) is being made.
    pub making_sandbox: bool,
    pub sandbox_retry_at: Option<Timestamp>,
    /// Containers whose back-off has been told of in an event, by the instance that crashed.
    pub told: BTreeSet<ContainerId>,
    /// Every proxy sends connections here.
    pub routable: bool,
    /// It has to end before its time.
    pub evicted: Option<Eviction>,
    /// It asks for other resources than it has, and the node cannot give them.
    pub resize: Option<Pending>,
}

/// Restart back-offs are remembered by container and what it runs: a new image starts anew (`getStableKey`).
pub fn backoff_key(container: &Container) -> String {
    format!("{}_{}", container.name, hash(container))
}

impl Memory {
    /// After an agent's restart, containers that run keep the readiness and the start that the API shows of them
    /// (`ChangeContainerStatusOnKubeletRestart` is off since v1.35): nobody is taken out of service because we were away.
    pub fn adopt(pod: &Pod, ids: &BTreeSet<ContainerId>) -> Self {
        let mut memory = Self::default();
        let status = pod.status.clone().unwrap_or_default();
        let all =
            status.container_statuses.into_iter().flatten().chain(status.init_container_statuses.into_iter().flatten());
        for known in all {
            let id = known.container_id.as_deref().and_then(|id| id.split_once("://")).map(|(_, id)| id);
            let Some(id) = id.map(|id| ContainerId(id.to_owned())).filter(|id| ids.contains(id)) else { continue };
            let startup = (known.started == Some(true)).then_some(true);
            memory.probes.insert(id, Probed { startup, liveness: None, readiness: Some(known.ready) });
        }
        let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
        memory.routable = ready;
        memory
    }

    /// Forgets what concerns instances that are gone.
    pub fn retain(&mut self, ids: &BTreeSet<ContainerId>) {
        self.probes.retain(|id, _| ids.contains(id));
        self.told.retain(|id| ids.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_to_five_minutes_and_is_forgotten_after_ten() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut entry = None;
        let mut delays = Vec::new();
        let mut now = 0;
        for _ in 0..8 {
            let next = Backoff::next(entry, at(now), at(now));
            delays.push(next.delay.as_secs());
            now += next.delay.as_secs();
            entry = Some(next);
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300, 300]);
        let entry = entry.unwrap();
        // It crashes again: after a short life it waits, after a long one it starts anew.
        let base = now - 300;
        assert_eq!(entry.until(at(base + 60)), Some(at(base + 360)));
        assert_eq!(entry.until(at(base + 601)), None);
        assert_eq!(Backoff::next(Some(entry), at(base + 601), at(base + 601)).delay.as_secs(), 10);
        assert_eq!(entry.until_since_update(), at(base + 300));
    }
}

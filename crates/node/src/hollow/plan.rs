//! The life of a hollow pod, as a state machine. No clock, no I/O: what happens next is a function of the pod, its state and now.
//!
//! States say where a pod is, [`super::status`] says how that looks; a status is written when it looks different from what the API
//! holds. States with nothing to show and no time to spend are passed through without being written.
use super::orders::{Failure, Orders};
use isopod_api::k8s::api::core::v1::{ContainerStatus, Pod};
use jiff::{SignedDuration, Timestamp};

/// How long a failed pull is shown before the pod is shown waiting for the next one.
const PULL: SignedDuration = SignedDuration::from_secs(1);
/// Back-off of pulls and crashes: doubled each time up to the limit (`pkg/kubelet/kubelet.go`).
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_secs(300);

/// Where a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Bound to the node; its containers are being made.
    Creating { until: Timestamp },
    /// The last pull failed a moment ago.
    PullFailed { pulls: u32, until: Timestamp },
    /// Waits to pull again.
    PullBackoff { pulls: u32, until: Timestamp },
    /// A ConfigMap or Secret is missing. Stays.
    ConfigError,
    /// An image's name is no image name. Stays.
    InvalidImage,
    /// All containers run. `ready` and `end`: when they will be ready, and when they end; `None`: never.
    Running { since: Timestamp, ready: Option<Timestamp>, end: Option<Timestamp>, restarts: u32 },
    /// The containers ended and wait to be started again.
    CrashBackoff { since: Timestamp, ended: Timestamp, until: Timestamp, restarts: u32 },
    /// All containers ended for good.
    Ended { since: Timestamp, ended: Timestamp, restarts: u32 },
    /// Longer on the node than `activeDeadlineSeconds`. `since`: when its containers were started, if they were.
    DeadlineExceeded { since: Option<Timestamp>, ended: Timestamp },
    /// Succeeded or Failed before this node agent looked; left as it is.
    Past,
    /// Deleted; its containers are stopping.
    Stopping { since: Timestamp, until: Timestamp, restarts: u32 },
    /// Deleted, and its containers have ended: this is shown, then the object can go.
    Stopped { since: Timestamp, ended: Timestamp, restarts: u32 },
    /// Nothing runs any more: the object can go.
    Gone,
}

/// What is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until the pod changes.
    Nothing,
    At(Timestamp),
    /// Delete the object: it is finished.
    Delete,
}

fn after(from: Timestamp, by: SignedDuration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// 10 s, 20 s, … 300 s.
fn backoff(times: u32) -> SignedDuration {
    let factor = 1_i32.checked_shl(times.min(6)).unwrap_or(64);
    FIRST_BACKOFF.checked_mul(factor).map_or(LONGEST_BACKOFF, |d| d.min(LONGEST_BACKOFF))
}

impl State {
    /// Where a pod is that is seen for the first time: new, or known to a node agent before this one.
    pub fn first(pod: &Pod, orders: &Orders, now: Timestamp) -> Self {
        let status = pod.status.as_ref();
        if status.and_then(|s| s.phase.as_deref()).is_some_and(|p| p == "Succeeded" || p == "Failed") {
            return Self::Past;
        }
        let container = status.and_then(|s| s.container_statuses.as_ref()).and_then(|all| all.first());
        if let Some(known) = container.and_then(|c| Self::resumed(c, orders)) {
            return known;
        }
        let started = status.and_then(|s| s.start_time.as_ref()).map_or(now, |t| t.0);
        Self::Creating { until: after(started, orders.start_delay) }
    }

    /// From the status of its first container: all of a hollow pod's containers do the same.
    fn resumed(container: &ContainerStatus, orders: &Orders) -> Option<Self> {
        let restarts = u32::try_from(container.restart_count).unwrap_or(0);
        let state = container.state.as_ref()?;
        if let Some(since) = state.running.as_ref().and_then(|r| r.started_at.as_ref()) {
            return Some(Self::running(since.0, orders, restarts));
        }
        let last = container.last_state.as_ref().and_then(|s| s.terminated.as_ref())?;
        let ended = last.finished_at.as_ref()?.0;
        let since = last.started_at.as_ref().map_or(ended, |t| t.0);
        Some(Self::CrashBackoff { since, ended, until: after(ended, backoff(restarts.saturating_sub(1))), restarts })
    }

    fn running(since: Timestamp, orders: &Orders, restarts: u32) -> Self {
        let ready = (orders.fail != Some(Failure::Unready)).then(|| after(since, orders.ready_delay));
        let end = orders.exit.map(|_| after(since, orders.exit_after));
        Self::Running { since, ready, end, restarts }
    }

    /// The state at `now`: takes every edge whose time has come.
    ///
    /// ```text
    /// ## any => (Stopping | Gone)         the pod was deleted, and something runs or nothing does
    /// ## Stopping => Stopped              the stop delay, or the grace period, is over
    /// ## Creating => (Running | PullFailed | ConfigError | InvalidImage)
    /// ## PullFailed => PullBackoff => PullFailed …
    /// ## Running => Ended                 the containers exit, and the restart policy lets them
    /// ## Running => CrashBackoff | Running  they exit and are started again: the first time at once
    /// ## CrashBackoff => Running
    /// ## (Creating | Pull… | Running | CrashBackoff) => DeadlineExceeded
    /// ```
    pub fn advance(mut self, pod: &Pod, orders: &Orders, now: Timestamp) -> Self {
        // A container that ends the moment it starts is restarted once and then waits: no more than a few edges share a moment.
        for _ in 0..8 {
            let next = self.edge(pod, orders, now);
            if next == self {
                break;
            }
            self = next;
        }
        self
    }

    fn edge(self, pod: &Pod, orders: &Orders, now: Timestamp) -> Self {
        if let Some(stopped) = self.deletion(pod, orders, now) {
            return stopped;
        }
        if let Some(ended) = deadline(pod).filter(|at| self.is_active() && *at <= now) {
            let since = if let Self::Running { since, .. } = self { Some(since) } else { None };
            return Self::DeadlineExceeded { since, ended };
        }
        match self {
            Self::Creating { until } if until <= now => start(pod, orders, until),
            Self::PullFailed { pulls, until } if until <= now => {
                Self::PullBackoff { pulls, until: after(until, backoff(pulls.saturating_sub(1))) }
            }
            Self::PullBackoff { pulls, until } if until <= now => {
                Self::PullFailed { pulls: pulls.saturating_add(1), until: after(until, PULL) }
            }
            Self::Running { since, end: Some(ended), restarts, .. } if ended <= now => {
                end(pod, orders, since, ended, restarts)
            }
            Self::CrashBackoff { until, restarts, .. } if until <= now => {
                Self::running(until, orders, restarts.saturating_add(1))
            }
            other => other,
        }
    }

    /// Where a deleted pod goes; `None` if it is not deleted or stays where it is.
    fn deletion(self, pod: &Pod, orders: &Orders, now: Timestamp) -> Option<Self> {
        let at = pod.metadata.deletion_timestamp.as_ref()?.0;
        match self {
            Self::Gone | Self::Stopped { .. } => None,
            Self::Stopping { since, until, restarts } => {
                (until <= now).then_some(Self::Stopped { since, ended: until, restarts })
            }
            Self::Running { since, restarts, .. } => {
                // The timestamp is the moment at which the grace period ends.
                let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0));
                let asked = at.checked_sub(grace).unwrap_or(now).min(now);
                // The API counts whole seconds: what was asked this second was asked now.
                let asked = if now.duration_since(asked) < SignedDuration::from_secs(1) { now } else { asked };
                let delay = orders.stop_delay.min(grace);
                Some(Self::Stopping { since, until: after(asked, delay), restarts })
            }
            // Nothing runs that would have to stop.
            _ => Some(Self::Gone),
        }
    }

    fn is_active(self) -> bool {
        matches!(
            self,
            Self::Creating { .. }
                | Self::PullFailed { .. }
                | Self::PullBackoff { .. }
                | Self::ConfigError
                | Self::InvalidImage
                | Self::Running { .. }
                | Self::CrashBackoff { .. }
        )
    }

    /// When this state ends, or looks different, by itself.
    pub fn next(self, pod: &Pod, now: Timestamp) -> Next {
        let own = match self {
            Self::Gone | Self::Stopped { .. } => return Next::Delete,
            Self::Creating { until }
            | Self::PullFailed { until, .. }
            | Self::PullBackoff { until, .. }
            | Self::CrashBackoff { until, .. }
            | Self::Stopping { until, .. } => Some(until),
            Self::Running { ready, end, .. } => ready.filter(|at| *at > now).into_iter().chain(end).min(),
            Self::ConfigError
            | Self::InvalidImage
            | Self::Ended { .. }
            | Self::DeadlineExceeded { .. }
            | Self::Past => None,
        };
        let deadline = deadline(pod).filter(|_| self.is_active());
        own.into_iter().chain(deadline).min().map_or(Next::Nothing, Next::At)
    }
}

/// When the pod is too long on the node.
fn deadline(pod: &Pod) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let started = pod.status.as_ref()?.start_time.as_ref()?.0;
    Some(after(started, SignedDuration::from_secs(seconds)))
}

fn start(pod: &Pod, orders: &Orders, at: Timestamp) -> State {
    let spec = pod.spec.as_ref();
    let images = spec.map(|s| s.containers.iter().chain(s.init_containers.iter().flatten())).into_iter().flatten();
    if images.map(|c| c.image.as_deref().unwrap_or("")).any(|image| !super::image::is_valid(image)) {
        return State::InvalidImage;
    }
    match orders.fail {
        Some(Failure::Image) => State::PullFailed { pulls: 1, until: after(at, PULL) },
        Some(Failure::Config) => State::ConfigError,
        Some(Failure::Unready) | None => State::running(at, orders, 0),
    }
}

/// The containers ended: for good, or to be started again.
fn end(pod: &Pod, orders: &Orders, since: Timestamp, ended: Timestamp, restarts: u32) -> State {
    let policy = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always");
    let again = match policy {
        "Never" => false,
        "OnFailure" => orders.exit != Some(0),
        _ => true,
    };
    if !again {
        return State::Ended { since, ended, restarts };
    }
    // The first restart comes at once.
    let wait = if restarts == 0 { SignedDuration::ZERO } else { backoff(restarts.saturating_sub(1)) };
    State::CrashBackoff { since, ended, until: after(ended, wait), restarts }
}

//! Looks at counters, kept so that a later one can be compared with an earlier one.
use super::super::Agent;
use super::machine::Machine;
use isopod_runtime::{ContainerId, Stats};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// As metrics-server's `--metric-resolution`.
const EVERY: Duration = Duration::from_secs(15);
/// The shortest time over which a rate is told: below it, the figure jumps about.
const SHORTEST_WINDOW: Duration = Duration::from_secs(10);
/// A container whose start lies no further back is compared with its start, when nothing had been used: people ask soon.
const FRESH: Duration = Duration::from_secs(60);
/// Better a figure that jumps about than none in the first seconds.
const SHORTEST_EARLY: Duration = Duration::from_secs(1);
/// Looks kept of each thing: two of the regular ones are always older than the shortest window, and requests add theirs only then.
const KEPT: usize = 4;

/// A counter of CPU time when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub at: Timestamp,
    pub cpu_nanos: u64,
}

/// CPU used over a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Billionths of a core.
    pub nano_cores: u64,
    pub window: Duration,
}

/// One container, as it was seen.
#[derive(Clone, Debug)]
pub struct ContainerLook {
    pub name: String,
    pub started: Option<Timestamp>,
    pub stats: Stats,
    pub rate: Option<Rate>,
}

#[derive(Clone, Debug)]
pub struct PodLook {
    pub pod: Arc<Pod>,
    pub containers: Vec<ContainerLook>,
}

/// Everything that was seen at one time.
#[derive(Clone, Debug)]
pub struct Look {
    pub at: Timestamp,
    pub machine: Machine,
    pub rate: Option<Rate>,
    pub pods: Vec<PodLook>,
}

/// Earlier looks.
#[derive(Default)]
pub struct Sampler(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    containers: HashMap<ContainerId, VecDeque<Point>>,
    machine: VecDeque<Point>,
}

/// Keeps a point unless it comes too soon after the last one, so that the earlier ones do not fall out.
fn keep(points: &mut VecDeque<Point>, point: Point) {
    let soon = points.back().is_some_and(|last| elapsed(*last, point.at) < SHORTEST_WINDOW);
    if !soon {
        points.push_back(point);
        if points.len() > KEPT {
            points.pop_front();
        }
    }
}

fn elapsed(from: Point, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from.at)).unwrap_or(Duration::ZERO)
}

/// The rate between now and the newest point that is old enough, or the start of what has just begun.
fn rate(points: &VecDeque<Point>, now: Point, started: Option<Timestamp>) -> Option<Rate> {
    let earlier = points.iter().rev().find(|p| elapsed(**p, now.at) >= SHORTEST_WINDOW).copied();
    let start = started.map(|at| Point { at, cpu_nanos: 0 });
    let fresh = start.filter(|s| (SHORTEST_EARLY..FRESH).contains(&elapsed(*s, now.at)));
    // An agent that has just begun has nothing older.
    let oldest = points.front().filter(|p| elapsed(**p, now.at) >= SHORTEST_EARLY).copied();
    let from = earlier.or(fresh).or(oldest)?;
    let window = elapsed(from, now.at);
    // A counter that has gone back is another's.
    let used = now.cpu_nanos.checked_sub(from.cpu_nanos)?;
    let nano_cores = u128::from(used).checked_mul(1_000_000_000)?.checked_div(window.as_nanos())?;
    Some(Rate { nano_cores: u64::try_from(nano_cores).ok()?, window })
}

/// Looks now and then, for ever.
pub async fn keep_sampling(agent: Arc<Agent>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look(&agent).await;
    }
}

/// Looks at everything that runs.
pub async fn look(agent: &Agent) -> Look {
    let mut pods = Vec::new();
    let mut seen: Vec<(ContainerId, Point)> = Vec::new();
    for pod in agent.running.pods().await {
        let mut containers = Vec::new();
        for (name, started) in containers_of(&pod) {
            if let Some((id, look)) = look_at(agent, &pod, name, started).await {
                seen.push((id, Point { at: look.stats.at, cpu_nanos: look.stats.cpu_nanos }));
                containers.push(look);
            }
        }
        pods.push(PodLook { pod: Arc::new(pod), containers });
    }
    let (at, machine) = (Timestamp::now(), Machine::look());
    let point = Point { at, cpu_nanos: machine.cpu_nanos };
    let mut kept = agent.sampler.0.lock();
    let mut before = std::mem::take(&mut kept.containers);
    let looks = pods.iter_mut().flat_map(|p| &mut p.containers);
    for (look, (id, point)) in looks.zip(seen) {
        let mut points = before.remove(&id).unwrap_or_default();
        look.rate = rate(&points, point, look.started);
        keep(&mut points, point);
        kept.containers.insert(id, points);
    }
    let rate = rate(&kept.machine, point, machine.booted);
    keep(&mut kept.machine, point);
    Look { at, machine, rate, pods }
}

async fn look_at(
    agent: &Agent,
    pod: &Pod,
    name: &str,
    started: Option<Timestamp>,
) -> Option<(ContainerId, ContainerLook)> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let container = agent.running.container(namespace, pod.metadata.name.as_deref()?, name, false).await?;
    if !container.running {
        return None;
    }
    let stats = match agent.runtime.stats(&container.id).await {
        Ok(stats) => stats,
        Err(error) => {
            // It may have ended between the two calls.
            tracing::debug!(%error, container = %container.id, "no statistics");
            return None;
        }
    };
    let started = match started {
        Some(started) => Some(started),
        None => agent.runtime.container(&container.id).await.ok().and_then(|s| s.started_at),
    };
    Some((container.id, ContainerLook { name: name.to_owned(), started, stats, rate: None }))
}

/// All containers that may run, with the start that the pod's status tells.
fn containers_of(pod: &Pod) -> Vec<(&str, Option<Timestamp>)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|c| c.name.as_str());
    let own = spec.containers.iter().map(|c| c.name.as_str());
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| c.name.as_str());
    let lists = pod.status.iter().flat_map(|s| {
        [&s.container_statuses, &s.init_container_statuses, &s.ephemeral_container_statuses]
            .into_iter()
            .flatten()
            .flatten()
    });
    let statuses: Vec<_> = lists.collect();
    let started = |name: &str| {
        let status = statuses.iter().find(|s| s.name == name)?;
        status.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|t| t.0)
    };
    init.chain(own).chain(ephemeral).map(|name| (name, started(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }
    fn point(seconds: i64, cpu_millis: u64) -> Point {
        Point { at: at(seconds), cpu_nanos: cpu_millis * 1_000_000 }
    }

    #[test]
    fn rates_are_told_over_a_window() {
        let points = VecDeque::from([point(0, 0), point(15, 3_000), point(30, 30_000)]);
        let of = |now, started| rate(&points, now, started).map(|r| (r.nano_cores, r.window.as_secs()));
        assert_eq!(of(point(45, 37_500), None), Some((500_000_000, 15)), "against the newest");
        assert_eq!(of(point(35, 13_000), None), Some((500_000_000, 20)), "the newest is too near");
        assert_eq!(of(point(45, 29_000), None), None, "the counter went back");
        let young = VecDeque::from([point(0, 0), point(2, 0)]);
        let early = |now| rate(&young, now, None).map(|r| (r.nano_cores, r.window.as_secs()));
        assert_eq!(early(point(4, 1_000)), Some((250_000_000, 4)), "nothing is old enough");
        assert_eq!(early(point(0, 1_000)), None, "nor is this");
        let none = VecDeque::new();
        let fresh = |now, started| rate(&none, now, Some(started)).map(|r| (r.nano_cores, r.window.as_secs()));
        assert_eq!(fresh(point(4, 1_000), at(0)), Some((250_000_000, 4)), "since its start");
        assert_eq!(fresh(point(400, 1_000), at(0)), None, "its start is long ago");
        assert_eq!(fresh(point(0, 1_000), at(0)), None, "it starts just now");
        assert_eq!(fresh(point(0, 1_000), at(9)), None, "clocks may jump");
    }

    #[test]
    fn frequent_looks_do_not_push_earlier_ones_out() {
        let mut points = VecDeque::new();
        (0..100).for_each(|second| keep(&mut points, point(second, 0)));
        let seconds: Vec<i64> = points.iter().map(|p| p.at.as_second() - at(0).as_second()).collect();
        assert_eq!(seconds, [60, 70, 80, 90]);
    }
}

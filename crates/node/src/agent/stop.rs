//! Stops containers: preStop hook, stop signal, grace period, SIGKILL (the kubelet's `killContainer`); and whole pods: first
//! their traffic, then main containers, then sidecars in reverse order (KEP-753).
use super::context::Context;
use super::hook;
use super::observed::{Kind, find};
use futures::future::join_all;
use isopod_api::k8s::api::core::v1::{Container, Pod};
use isopod_reflect::EventType;
use isopod_runtime::ContainerId;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// However late it is, a program gets this long to end by itself (`minimumGracePeriodInSeconds`).
pub(super) const LEAST: Duration = Duration::from_secs(2);

/// One container to stop.
#[derive(Clone)]
pub(super) struct Kill {
    pub pod: Arc<Pod>,
    pub container: Container,
    pub kind: Kind,
    pub id: ContainerId,
    pub address: IpAddr,
    /// For the event.
    pub message: String,
}

/// Stops it by `end`, for good.
pub(super) async fn kill(ctx: &Context, kill: &Kill, end: Instant) {
    let (_sender, end) = watch::channel(end);
    stop_one(ctx, kill, end, async {}).await;
}

/// preStop, then `turn` (other containers that go first), then the signal; `end` may come nearer meanwhile.
async fn stop_one(ctx: &Context, kill: &Kill, mut end: watch::Receiver<Instant>, turn: impl Future<Output = ()>) {
    let who = (kill.kind, kill.container.name.as_str());
    ctx.tell_of(&kill.pod, who, EventType::Normal, "Killing", &kill.message);
    let hook = kill.container.lifecycle.as_ref().and_then(|l| l.pre_stop.clone());
    let runtime = &ctx.config.runtime;
    if let Some(handler) = hook.filter(|_| *end.borrow() > Instant::now()) {
        let run = hook::run(runtime.as_ref(), &kill.pod, &kill.container, &kill.id, kill.address, &handler);
        tokio::select! {
            result = run => if let Err(error) = result {
                tracing::debug!(container = kill.container.name, error, "preStop hook failed");
                ctx.tell_of(&kill.pod, who, EventType::Warning, "FailedPreStopHook", "PreStopHook failed");
            },
            () = reached(&mut end) => {}
        }
    }
    tokio::select! {
        () = turn => {}
        () = reached(&mut end) => {}
    }
    let left = |end: &watch::Receiver<Instant>| end.borrow().saturating_duration_since(Instant::now()).max(LEAST);
    let mut stops = vec![runtime.stop_container(&kill.id, left(&end))];
    loop {
        let Some(first) = stops.first_mut() else { return };
        tokio::select! {
            result = first => {
                if let Err(error) = result {
                    tracing::warn!(container = %kill.id, %error, "could not stop the container");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    stops = vec![runtime.stop_container(&kill.id, LEAST)];
                    continue;
                }
                return;
            }
            // Somebody is in more of a hurry: a second call shortens the first one's wait.
            Ok(()) = end.changed() => {
                if let Err(error) = runtime.stop_container(&kill.id, left(&end)).await {
                    tracing::warn!(container = %kill.id, %error, "could not stop the container");
                }
            }
        }
    }
}

/// Resolves at `end`, wherever that moves.
async fn reached(end: &mut watch::Receiver<Instant>) {
    loop {
        let at = *end.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep_until(at) => return,
            changed = end.changed() => if changed.is_err() {
                tokio::time::sleep_until(at).await;
                return;
            },
        }
    }
}

/// A pod to end.
pub(super) struct Ending {
    pub pod: Arc<Pod>,
    /// Those that run.
    pub containers: Vec<(String, ContainerId)>,
    pub address: IpAddr,
    /// Let connections finish first.
    pub drain: bool,
    pub end: watch::Receiver<Instant>,
}

/// Ends all containers. Drain, hooks and signals share one grace period.
pub(super) async fn end_pod(ctx: &Context, mut ending: Ending) {
    if ending.drain && !ending.containers.is_empty() {
        let pod = Arc::clone(&ending.pod);
        let report = |what: String| ctx.tell(&pod, EventType::Normal, "Draining", what);
        tokio::select! {
            () = ctx.config.gate.drained(&ending.pod, &report) => {}
            () = reached(&mut ending.end) => {}
        }
    }
    let Some(spec) = ending.pod.spec.as_ref() else { return };
    // Sidecars end after those that were started after them, and after all main containers.
    let sidecars: Vec<String> = spec.init_containers.iter().flatten().map(|c| c.name.clone()).collect();
    let rank = |name: &str, kind: Kind| match kind {
        Kind::Sidecar => sidecars.iter().position(|s| s == name).map_or(0, |i| sidecars.len().saturating_sub(i)),
        Kind::Main | Kind::Init | Kind::Ephemeral => 0,
    };
    let mut kills: Vec<(usize, Kill)> = Vec::new();
    for (name, id) in &ending.containers {
        let (kind, container) =
            find(spec, name).unwrap_or((Kind::Main, Container { name: name.clone(), ..Container::default() }));
        let message = format!("Stopping container {name}");
        let (pod, id, address) = (Arc::clone(&ending.pod), id.clone(), ending.address);
        kills.push((rank(name, kind), Kill { pod, container, kind, id, address, message }));
    }
    // How many of each rank still run: a sidecar's turn comes when all lower ranks have ended.
    let (left, _) = watch::channel(kills.iter().map(|(rank, _)| *rank).collect::<Vec<usize>>());
    let all = kills.iter().map(|(rank, kill)| {
        let (mut waiting, left, end, rank) = (left.subscribe(), &left, ending.end.clone(), *rank);
        async move {
            let turn = async move {
                // The sender lives as long as this.
                let _closed = waiting.wait_for(|left| left.iter().all(|r| *r >= rank)).await;
            };
            stop_one(ctx, kill, end, turn).await;
            left.send_modify(|left| {
                if let Some(at) = left.iter().position(|r| *r == rank) {
                    left.swap_remove(at);
                }
            });
        }
    });
    join_all(all).await;
}

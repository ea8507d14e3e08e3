//! The gate over a scripted cluster and scripted sockets, with a paused clock: what it waits for, says, and how long it takes.
use super::leaving::{self, Backing};
use super::watermark::Proxy;
use super::{Gate, Sight};
use crate::seams::TrafficGate;
use async_trait::async_trait;
use isopod_network::contract::{NetworkError, Sockets, Traffic};
use isopod_runtime::RuntimeError;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Default)]
struct State {
    slice: Option<Arc<EndpointSlice>>,
    proxies: Vec<Proxy>,
    traffic: Option<Traffic>,
    looks: usize,
    /// Connections on their way.
    coming: usize,
    /// One arrives just when it is asked for those on their way.
    arriving: bool,
    /// Looks and listings that go wrong before one goes well.
    failing: usize,
}

impl State {
    fn fails(&mut self) -> bool {
        let fails = self.failing > 0;
        self.failing = self.failing.saturating_sub(1);
        fails
    }
}

/// A Service `web` that selects the pod `p`, one slice, any proxies, any traffic.
struct World {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

impl World {
    fn new() -> Arc<Self> {
        let state = State { traffic: Some(Traffic::default()), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), changes: watch::channel(0).0 })
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changes.send_modify(|n| *n += 1);
    }

    /// The slice at a version; `pods`: uid and r(eady), t(erminating); all serving.
    fn slice(&self, version: u64, pods: &[(&str, &str)]) {
        let endpoints = pods.iter().map(|(uid, c)| {
            json!({"addresses": ["10.1.0.2"], "targetRef": {"uid": uid},
                "conditions": {"ready": c.contains('r'), "serving": true, "terminating": c.contains('t')}})
        });
        let slice = json!({"metadata": {"name": "web-1", "namespace": "ns", "resourceVersion": version.to_string(),
            "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
            "endpoints": endpoints.collect::<Vec<_>>(), "ports": [{"port": 8080}]});
        self.set(|s| s.slice = Some(Arc::new(serde_json::from_value(slice).unwrap())));
    }

    fn programmed(&self, node: &str, programmed: u64) {
        self.set(|s| {
            s.proxies.retain(|p| p.node != node);
            s.proxies.push(Proxy { node: node.into(), programmed });
        });
    }

    fn traffic(&self, waiting: usize, in_flight: usize) {
        self.set(|s| s.traffic = Some(Traffic { waiting, in_flight, idle: 1 }));
    }

    fn gate(self: &Arc<Self>) -> Gate {
        Gate::new(Arc::clone(self) as _, Arc::new(Looking(Arc::clone(self))))
    }

    /// Drains in the background. The end is told with what was said and how long it took.
    fn drain(self: &Arc<Self>, pod: &Pod) -> tokio::task::JoinHandle<(Vec<String>, Duration)> {
        let (gate, pod) = (self.gate(), pod.clone());
        tokio::spawn(async move {
            let (start, said) = (Instant::now(), Mutex::new(Vec::new()));
            gate.drained(&pod, &|words| said.lock().push(words)).await;
            (said.into_inner(), start.elapsed())
        })
    }
}

struct Looking(Arc<World>);

#[async_trait]
impl Sockets for Looking {
    async fn look(&self, netns: &Path, address: IpAddr, ports: &[u16]) -> Result<Traffic, NetworkError> {
        assert_eq!((netns, address, ports), (Path::new("/netns/p"), [10, 1, 0, 2].into(), [8080].as_slice()));
        let mut state = self.0.state.lock();
        state.looks += 1;
        let (context, gone) = ("netns".into(), std::io::ErrorKind::NotFound.into());
        if state.fails() {
            return Err(NetworkError::Invalid { context, message: "out of threads".into() });
        }
        state.traffic.ok_or(NetworkError::Kernel { context, source: gone })
    }

    async fn on_the_way(&self, address: IpAddr, ports: &[u16]) -> Result<usize, NetworkError> {
        assert_eq!((address, ports), ([10, 1, 0, 2].into(), [8080].as_slice()));
        let mut state = self.0.state.lock();
        if std::mem::take(&mut state.arriving) {
            state.traffic = Some(Traffic { waiting: 0, in_flight: 1, idle: 0 });
        }
        Ok(state.coming)
    }
}

#[async_trait]
impl Sight for World {
    async fn synced(&self) {}
    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
    fn slices(&self, _: &Pod) -> Vec<Arc<EndpointSlice>> {
        self.state.lock().slice.iter().cloned().collect()
    }
    fn backings(&self, pod: &Pod) -> Vec<Backing> {
        leaving::backings(self.slices(pod))
    }
    fn services(&self, _: &Pod) -> Vec<Arc<Service>> {
        let service = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"selector": {"app": "web"}}});
        vec![Arc::new(serde_json::from_value(service).unwrap())]
    }
    fn proxies(&self) -> Vec<Proxy> {
        self.state.lock().proxies.clone()
    }
    async fn netns(&self, _: &Pod) -> isopod_runtime::Result<Option<PathBuf>> {
        if self.state.lock().fails() {
            return Err(RuntimeError::Unavailable { message: "another pod's supervisor has hung up".into() });
        }
        Ok(Some("/netns/p".into()))
    }
}

fn pod(annotations: Value, labels: Value) -> Pod {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "p", "labels": labels, "annotations": annotations},
        "spec": {"containers": [], "terminationGracePeriodSeconds": 20}, "status": {"podIP": "10.1.0.2"}});
    serde_json::from_value(pod).unwrap()
}

fn web() -> Pod {
    pod(json!({}), json!({"app": "web"}))
}

/// Lets everybody run until all of them wait for something.
async fn settle(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_slice_then_the_proxies_then_the_sockets() {
    let world = World::new();
    world.slice(6, &[("p", "r"), ("q", "r")]);
    world.programmed("a", 6);
    world.programmed("b", 6);
    world.traffic(1, 2);
    let drained = world.drain(&web());
    settle(1_200).await;
    assert_eq!(world.state.lock().looks, 0, "sockets say nothing while new connections may come");
    world.slice(7, &[("p", "t"), ("q", "r")]);
    settle(1_200).await;
    world.programmed("a", 7);
    settle(1_200).await;
    world.programmed("b", 8);
    settle(1_200).await;
    world.traffic(0, 1);
    settle(1_200).await;
    assert!(!drained.is_finished());
    world.traffic(0, 0);
    let (said, took) = drained.await.unwrap();
    assert_eq!(
        said,
        [
            "draining: waiting for EndpointSlice web-1",
            "draining: waiting for the proxy of a, b",
            "draining: waiting for the proxy of b",
            "draining: 3 connections",
            "draining: 1 connection"
        ]
    );
    assert!(took > Duration::from_millis(6_000) && took < Duration::from_millis(6_200), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_delayed_for_nothing() {
    let world = World::new();
    let (said, took) = world.drain(&web()).await.unwrap();
    assert_eq!((said.len(), took), (0, Duration::ZERO), "no Service selects it");
    world.slice(6, &[("p", "r")]);
    world.programmed("a", 0);
    let off = pod(json!({"isopod.dev/drain": "off"}), json!({"app": "web"}));
    assert_eq!(world.drain(&off).await.unwrap().1, Duration::ZERO, "drain is off");
    world.slice(7, &[("p", "t"), ("q", "r")]);
    world.programmed("a", 7);
    assert!(world.drain(&web()).await.unwrap().1 < Duration::from_millis(100), "no traffic");
    world.set(|s| s.traffic = None);
    assert!(world.drain(&web()).await.unwrap().1 < Duration::from_millis(100), "its namespace is gone");
}

/// Found when slow requests were lost on a busy machine: a listing of sandboxes that failed because another pod's supervisor was just
/// ending counted as "nothing to wait for".
#[tokio::test(start_paused = true)]
async fn what_cannot_be_seen_is_not_quiet() {
    let world = World::new();
    world.slice(7, &[("p", "t"), ("q", "r")]);
    world.programmed("a", 7);
    world.traffic(0, 1);
    world.set(|s| s.failing = 4);
    let drained = world.drain(&web());
    settle(2_000).await;
    assert!(!drained.is_finished(), "the request goes on");
    world.set(|s| s.failing = 3);
    settle(1_000).await;
    world.traffic(0, 0);
    let (_, took) = drained.await.unwrap();
    assert!(took > Duration::from_secs(3) && took < Duration::from_millis(3_200), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_syn_is_waited_for() {
    let world = World::new();
    world.slice(7, &[("p", "t"), ("q", "r")]);
    world.programmed("a", 7);
    world.set(|s| s.coming = 1);
    let drained = world.drain(&web());
    settle(1_500).await;
    assert!(!drained.is_finished(), "its client will repeat it");
    world.set(|s| (s.coming, s.traffic) = (0, Some(Traffic { waiting: 0, in_flight: 1, idle: 0 })));
    settle(1_000).await;
    world.traffic(0, 0);
    let (said, took) = drained.await.unwrap();
    assert_eq!(said, ["draining: 1 connection"]);
    assert!(took > Duration::from_millis(2_500) && took < Duration::from_millis(2_700), "{took:?}");
}

/// It is not on its way any more when that is asked, and was not there yet at the look before.
#[tokio::test(start_paused = true)]
async fn what_arrives_between_two_looks_is_seen() {
    let world = World::new();
    world.slice(7, &[("p", "t"), ("q", "r")]);
    world.programmed("a", 7);
    world.set(|s| s.arriving = true);
    let drained = world.drain(&web());
    settle(2_000).await;
    assert!(!drained.is_finished());
    world.traffic(0, 0);
    let (_, took) = drained.await.unwrap();
    assert!(took > Duration::from_secs(2) && took < Duration::from_millis(2_200), "{took:?}");
}

/// A new one has come, but the proxies do not have it yet: they still send connections to the last one.
#[tokio::test(start_paused = true)]
async fn another_one_takes_over_when_the_proxies_have_it() {
    let world = World::new();
    world.slice(7, &[("p", "t")]);
    world.programmed("a", 7);
    let drained = world.drain(&web());
    settle(300).await;
    world.slice(9, &[("p", "t"), ("q", "r")]);
    settle(200).await;
    assert!(!drained.is_finished(), "a pause of a moment means nothing yet");
    world.programmed("a", 9);
    settle(100).await;
    assert!(drained.is_finished());
}

#[tokio::test(start_paused = true)]
async fn everything_is_bounded() {
    let world = World::new();
    world.slice(7, &[("p", "t"), ("q", "r")]);
    world.programmed("a", 3);
    // Half of the grace period of 20 s is for draining, half of that for proxies.
    let (said, took) = world.drain(&web()).await.unwrap();
    assert_eq!(said, ["draining: waiting for the proxy of a"]);
    // And it may go on sending connections: only a pause of a second is quiet.
    assert!(took >= Duration::from_secs(6) && took < Duration::from_millis(6_200), "{took:?}");
    world.traffic(0, 2);
    let (said, took) = world.drain(&web()).await.unwrap();
    assert_eq!(said.last().unwrap(), "drain timed out after 10s with 2 connections");
    assert!(took >= Duration::from_secs(10) && took < Duration::from_millis(10_200), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_one_answers_as_long_as_it_is_asked() {
    let world = World::new();
    world.slice(7, &[("p", "t")]);
    world.programmed("a", 7);
    let drained = world.drain(&web());
    for _ in 0..6 {
        world.traffic(0, 1);
        settle(500).await;
        world.traffic(0, 0);
        settle(500).await;
    }
    assert!(!drained.is_finished(), "pauses of half a second are none");
    world.slice(9, &[("p", "t"), ("q", "r")]);
    world.programmed("a", 9);
    settle(100).await;
    assert!(drained.is_finished(), "another one has taken over");
    world.slice(10, &[("p", "t")]);
    world.programmed("a", 10);
    let (_, took) = world.drain(&web()).await.unwrap();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(1_100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn ready_waits_for_the_proxies() {
    let world = World::new();
    let (gate, start) = (world.gate(), Instant::now());
    gate.routable(&pod(json!({}), json!({"app": "other"}))).await;
    assert_eq!(start.elapsed(), Duration::ZERO, "no Service selects it");
    gate.routable(&web()).await;
    assert_eq!(start.elapsed(), Duration::from_secs(5), "bounded");
    let start = Instant::now();
    let routable = tokio::spawn(async move { gate.routable(&web()).await });
    world.slice(7, &[("p", "r")]);
    world.programmed("a", 6);
    settle(1_000).await;
    assert!(!routable.is_finished());
    world.programmed("a", 7);
    routable.await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(1), "told, not polled");
}

//! Carries it out: listens to leases and node status, sets timers for silence, and evicts.
use super::eviction::{self, Fate};
use super::plan;
use crate::endpointslice::endpoint::NODE_NOT_READY;
use crate::pod::{self, is_active};
use crate::replicaset::plan::{until, whole_seconds};
use crate::{Error, Spawner, write};
use isopod_reflect::{Backoff, EventType, Key, Queue, Recorder, Reflector, Verdict, index, reference};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
const LEASES: &str = "kube-node-lease";

struct Lifecycle {
    client: kube::Client,
    nodes: Reflector<Node>,
    pods: Reflector<Pod>,
    /// When each node was last heard. By a clock that stands still while the machine sleeps and that nobody sets: a laptop that wakes
    /// up has not heard its own node for hours, and that is nobody's fault.
    heard: Mutex<HashMap<Arc<str>, Instant>>,
    queue: Arc<Queue<Key>>,
}

/// Runs the node lifecycle controller.
pub fn node_lifecycle(spawner: &Spawner) {
    let queue = Queue::new(Backoff::RETRY);
    let leases: Reflector<Lease> = spawner.reflectors.of();
    let lifecycle = Arc::new(Lifecycle {
        client: spawner.client("node-controller"),
        nodes: spawner.reflectors.of(),
        pods: spawner.reflectors.of(),
        heard: Mutex::default(),
        queue: Arc::clone(&queue),
    });
    lifecycle.pods.add_index(index::NODE, index::pod_node);
    spawner.follow(&leases, {
        let lifecycle = Arc::clone(&lifecycle);
        move |change| {
            let renewed = |l: &Option<Arc<Lease>>| l.as_ref().and_then(|l| l.spec.as_ref()?.renew_time.clone());
            if &*change.key.namespace == LEASES && change.new.is_some() && renewed(&change.old) != renewed(&change.new)
            {
                lifecycle.hear(&change.key.name);
            }
        }
    });
    spawner.follow(&lifecycle.nodes, {
        let lifecycle = Arc::clone(&lifecycle);
        move |change| {
            let Some(new) = &change.new else {
                lifecycle.heard.lock().remove(&change.key.name);
                return;
            };
            // Only what the node itself wrote is a sign of life: its heartbeat, not our taints.
            let beat = |n: &Node| {
                let conditions = n.status.as_ref()?.conditions.as_ref()?;
                conditions.iter().find(|c| c.type_ == "Ready")?.last_heartbeat_time.clone()
            };
            if change.old.as_deref().and_then(beat) != beat(new) {
                lifecycle.hear(&change.key.name);
            }
            lifecycle.queue.add(change.key.clone());
        }
    });
    // A pod bound to a node that is already lost must not keep a readiness that nobody checks.
    spawner.follow(&lifecycle.pods, {
        let lifecycle = Arc::clone(&lifecycle);
        move |change| {
            let Some(new) = &change.new else { return };
            let node = pod::node(new);
            if pod::is_ready(new) && lifecycle.nodes.get("", node).is_some_and(|n| plan::pods_unready(&n)) {
                lifecycle.queue.add(Key::new("", node));
            }
        }
    });
    spawner.work(queue, WORKERS, (lifecycle.nodes.clone(), lifecycle.pods.clone(), leases), move |key| {
        let lifecycle = Arc::clone(&lifecycle);
        async move { lifecycle.reconcile(&key).await }
    });
}

/// The time of day so long ago.
fn before(now: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| now.checked_sub(by).ok()).unwrap_or(Timestamp::MIN)
}

impl Lifecycle {
    /// A sign of life. The timer that runs looks at it when it fires; only a node given up is looked at now.
    fn hear(&self, node: &Arc<str>) {
        self.heard.lock().insert(Arc::clone(node), Instant::now());
    }

    async fn reconcile(&self, key: &Key) -> Verdict {
        let Some(node) = self.nodes.get("", &key.name) else { return Verdict::Done };
        let now = Timestamp::now();
        let heard = self.heard.lock().get(&key.name).map(|at| before(now, at.elapsed()));
        let deadline = plan::deadline(&node, heard);
        match self.write(&node, now, deadline <= now).await {
            Ok(()) if deadline > now => Verdict::After(until(deadline, now)),
            Ok(()) => Verdict::Done,
            Err(error) => {
                tracing::debug!(%key, %error, "node not written");
                Verdict::Retry
            }
        }
    }

    async fn write(&self, node: &Node, now: Timestamp, silent: bool) -> Result<(), Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let mut node = node.clone();
        let name = node.metadata.name.clone().unwrap_or_default();
        if silent && let Some(conditions) = plan::silent(&node, now) {
            node.status.get_or_insert_default().conditions = Some(conditions);
            node = match api.replace_status(&name, &PostParams::default(), &node).await {
                Ok(written) => written,
                Err(e) if write::is_gone(&e) => return Ok(()),
                Err(e) => return Err(e.into()),
            };
        }
        if let Some(taints) = plan::taints(&node, now) {
            let patch =
                json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints}});
            write::merge(&api, &node.metadata, patch).await?;
        }
        if plan::pods_unready(&node) {
            self.mark_pods(&name, now).await?;
        }
        Ok(())
    }

    /// `MarkPodsNotReady`: no traffic for what nobody can ask.
    async fn mark_pods(&self, node: &str, now: Timestamp) -> Result<(), Error> {
        for pod in self.pods.by_index(index::NODE, node).iter().filter(|p| pod::is_ready(p)) {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), pod.metadata.namespace.as_deref().unwrap_or(""));
            let mut new = (**pod).clone();
            let conditions = new.status.get_or_insert_default().conditions.get_or_insert_default();
            for c in conditions.iter_mut().filter(|c| c.type_ == "Ready") {
                c.status = "False".into();
                c.reason = Some(NODE_NOT_READY.into());
                c.last_transition_time = Some(Time(whole_seconds(now)));
            }
            match api.replace_status(pod.metadata.name.as_deref().unwrap_or(""), &PostParams::default(), &new).await {
                Ok(_) => {}
                Err(e) if write::is_gone(&e) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

struct Evictor {
    client: kube::Client,
    recorder: Recorder,
    nodes: Reflector<Node>,
    pods: Reflector<Pod>,
}

/// Runs the taint eviction controller.
pub fn taint_eviction(spawner: &Spawner) {
    let queue: Arc<Queue<Key>> = Queue::new(Backoff::RETRY);
    let client = spawner.client("taint-eviction-controller");
    let evictor = Arc::new(Evictor {
        recorder: Recorder::new(client.clone(), "taint-eviction-controller", None),
        client,
        nodes: spawner.reflectors.of(),
        pods: spawner.reflectors.of(),
    });
    evictor.pods.add_index(index::NODE, index::pod_node);
    spawner.follow(&evictor.pods, {
        let (queue, nodes) = (Arc::clone(&queue), evictor.nodes.clone());
        move |change| {
            let Some(new) = change.new.as_ref().filter(|p| is_active(p)) else { return };
            if nodes.get("", pod::node(new)).is_some_and(|n| drives_out(&n)) {
                queue.add(change.key.clone());
            }
        }
    });
    spawner.follow(&evictor.nodes, {
        let (queue, pods) = (Arc::clone(&queue), evictor.pods.clone());
        move |change| {
            let taints = |n: &Option<Arc<Node>>| n.as_ref().and_then(|n| n.spec.as_ref()?.taints.clone());
            if taints(&change.old) != taints(&change.new) {
                pods.by_index(index::NODE, &change.key.name).iter().for_each(|p| queue.add(Key::of(&p.metadata)));
            }
        }
    });
    spawner.work(queue, WORKERS, (evictor.nodes.clone(), evictor.pods.clone()), move |key| {
        let evictor = Arc::clone(&evictor);
        async move { evictor.reconcile(&key).await }
    });
}

fn drives_out(node: &Node) -> bool {
    node.spec.iter().flat_map(|s| s.taints.iter().flatten()).any(|t| t.effect == "NoExecute")
}

impl Evictor {
    async fn reconcile(&self, key: &Key) -> Verdict {
        let Some(pod) = self.pods.get(&key.namespace, &key.name).filter(|p| is_active(p)) else { return Verdict::Done };
        let Some(node) = self.nodes.get("", pod::node(&pod)) else { return Verdict::Done };
        let now = Timestamp::now();
        match eviction::fate(&pod, &node, now) {
            Fate::Stays => Verdict::Done,
            Fate::GoesAt(at) => Verdict::After(until(at, now)),
            Fate::Goes => match self.evict(key, &pod, now).await {
                Ok(()) => Verdict::Done,
                Err(error) => {
                    tracing::debug!(%key, %error, "pod not evicted");
                    Verdict::Retry
                }
            },
        }
    }

    async fn evict(&self, key: &Key, pod: &Pod, now: Timestamp) -> Result<(), Error> {
        self.recorder.record(
            reference(pod),
            EventType::Normal,
            "TaintManagerEviction",
            format!("Marking for deletion Pod {key}"),
        );
        let why = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        disrupt(&self.client, pod, why, now, None).await?;
        delete_pod(&self.client, pod, None).await
    }
}

/// Notes on the pod why it goes (KEP-3329), and in which phase it ends if nobody will say so any more.
pub(crate) async fn disrupt(
    client: &kube::Client,
    pod: &Pod,
    (reason, message): (&str, &str),
    now: Timestamp,
    phase: Option<&str>,
) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or(""));
    let mut new = pod.clone();
    let status = new.status.get_or_insert_default();
    if let Some(phase) = phase {
        status.phase = Some(phase.to_owned());
    }
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|c| c.type_ != "DisruptionTarget");
    conditions.push(PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_transition_time: Some(Time(whole_seconds(now))),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    });
    match api.replace_status(pod.metadata.name.as_deref().unwrap_or(""), &PostParams::default(), &new).await {
        Ok(_) => Ok(()),
        Err(e) if write::is_gone(&e) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

pub(crate) async fn delete_pod(client: &kube::Client, pod: &Pod, grace: Option<u32>) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or(""));
    let preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
    let params = DeleteParams { preconditions, grace_period_seconds: grace, ..DeleteParams::default() };
    match api.delete(pod.metadata.name.as_deref().unwrap_or(""), &params).await {
        Ok(_) => Ok(()),
        Err(e) if write::is_gone(&e) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

//! The thin shell: follows the mirrors, has the planner decide one pod after the other, writes many bindings at once.
//!
//! One task decides; it never waits for a write. A decision is assumed at once, so the next one sees it; should the write fail, the
//! assumption is withdrawn and the pod tried again after its back-off.
use crate::known::{DEFAULT_SCHEDULER, Known};
use crate::plan::{Planner, Refusal, Request};
use crate::pod::PodInfo;
use crate::preempt::{self, Preemption};
use crate::queue::{Event, Moment};
use crate::view::View;
use crate::volumes::{VolumeAction, VolumeNeeds};
use crate::write::{self, WriteError};
use isopod_api::k8s::api::core::v1::{ObjectReference, Pod};
use isopod_reflect::{EventType, Key, Recorder, Reflectors, Subscription};
use kube::Client;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bindings under way at once: they share the store's group commits.
const BINDINGS: usize = 256;
/// Decisions between two looks at what has changed.
const BURST: usize = 64;
/// Conditions and evictions under way at once.
const REPORTS: usize = 32;

/// A write came back that the decision depended on.
struct Done {
    pod: Arc<PodInfo>,
    node: Arc<str>,
    what: What,
    result: Result<(), WriteError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Binding,
    Preemption,
}

struct Scheduler {
    client: Client,
    view: View,
    recorder: Recorder,
    known: Known,
    planner: Planner,
    start: Instant,
    done: mpsc::Sender<Done>,
    binding: usize,
    reports: Arc<Semaphore>,
}

/// Places pods until `shutdown`.
pub async fn run(client: Client, reflectors: Reflectors, shutdown: CancellationToken) {
    let view = View::new(&reflectors);
    tokio::select! {
        () = view.synced() => {}
        () = view.complain() => return,
        () = shutdown.cancelled() => return,
    }
    let (done, results) = mpsc::channel(BINDINGS);
    let scheduler = Scheduler {
        recorder: Recorder::new(client.clone(), DEFAULT_SCHEDULER, None),
        client,
        known: Known::default(),
        planner: Planner::new(rand::random()),
        start: Instant::now(),
        done,
        binding: 0,
        reports: Arc::new(Semaphore::new(REPORTS)),
        view,
    };
    scheduler.run(results, shutdown).await;
}

/// Forgets the changes, keeps that there were any.
fn any<K>(subscription: &mut Subscription<K>) -> bool {
    !subscription.take().is_empty()
}

impl Scheduler {
    async fn run(mut self, mut results: mpsc::Receiver<Done>, shutdown: CancellationToken) {
        let mut pods = self.view.pods.subscribe();
        let mut nodes = self.view.nodes.subscribe();
        let mut namespaces = self.view.namespaces.subscribe();
        let mut claims = self.view.claims.subscribe();
        let mut volumes = self.view.volumes.subscribe();
        let mut classes = self.view.classes.subscribe();
        loop {
            nodes.take().iter().for_each(|c| self.known.observe_node(c));
            namespaces.take().iter().for_each(|c| self.known.observe_namespace(c));
            let now = self.now();
            pods.take().iter().for_each(|c| self.known.observe_pod(c, now));
            if any(&mut claims) | any(&mut volumes) | any(&mut classes) {
                self.known.events.insert(Event::Volumes);
            }
            while let Ok(done) = results.try_recv() {
                self.finish(done);
            }
            let busy = self.decide();
            if shutdown.is_cancelled() {
                return;
            }
            if busy {
                tokio::task::yield_now().await;
                continue;
            }
            let timer = self.known.queue.next().filter(|_| self.binding < BINDINGS).map(|at| self.start + at);
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(done) = results.recv() => self.finish(done),
                Some(batch) = pods.next_batch() => {
                    let now = self.now();
                    batch.iter().for_each(|c| self.known.observe_pod(c, now));
                }
                Some(batch) = nodes.next_batch() => batch.iter().for_each(|c| self.known.observe_node(c)),
                Some(batch) = namespaces.next_batch() => batch.iter().for_each(|c| self.known.observe_namespace(c)),
                Some(_) = claims.next_batch() => { self.known.events.insert(Event::Volumes); }
                Some(_) = volumes.next_batch() => { self.known.events.insert(Event::Volumes); }
                Some(_) = classes.next_batch() => { self.known.events.insert(Event::Volumes); }
                () = sleep_until(timer) => {}
            }
        }
    }

    fn now(&self) -> Moment {
        self.start.elapsed()
    }

    /// Decides on up to a burst of pods. True if there may be more to decide at once.
    fn decide(&mut self) -> bool {
        self.known.wake(self.now());
        for _ in 0..BURST {
            if self.binding >= BINDINGS {
                return false;
            }
            let Some(key) = self.known.queue.pop(self.now()) else { return false };
            self.place(&key);
        }
        true
    }

    fn place(&mut self, key: &Key) {
        let Some(pod) = self.known.pending.get(key).cloned() else {
            self.known.queue.remove(key);
            return;
        };
        let volumes = if pod.claims.is_empty() { VolumeNeeds::default() } else { VolumeNeeds::new(&pod, &self.view) };
        let request = Request { pod: &pod, volumes: &volumes, siblings: self.view.siblings(&pod) };
        match self.planner.place(&mut self.known.cluster, &request, &self.known.nominations) {
            Ok(placement) => {
                let node = self.known.cluster.node(placement.at);
                let actions = node.and_then(|n| volumes.choose(n)).unwrap_or_default();
                self.bind(&pod, placement.node, actions);
            }
            Err(refusal) => self.refuse(&pod, &request, refusal),
        }
    }

    fn bind(&mut self, pod: &Arc<PodInfo>, node: Arc<str>, volumes: Vec<VolumeAction>) {
        self.known.assume(pod, &node);
        self.binding = self.binding.saturating_add(1);
        let (client, view, pod, done) = (self.client.clone(), self.view.clone(), Arc::clone(pod), self.done.clone());
        tokio::spawn(async move {
            let result = write::bind(&client, &view, &pod, &node, &volumes).await;
            // The receiver is gone only when the scheduler is shut down.
            let _stopped = done.send(Done { pod, node, what: What::Binding, result }).await;
        });
    }

    fn finish(&mut self, done: Done) {
        let Done { pod, node, what, result } = done;
        if what == What::Binding {
            self.binding = self.binding.saturating_sub(1);
        }
        match result {
            Ok(()) if what == What::Binding => {
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.recorder.record(reference(&pod), EventType::Normal, "Scheduled", message);
            }
            Ok(()) => {}
            Err(error) if what == What::Preemption => {
                tracing::warn!(pod = %pod.key, %node, %error, "could not preempt");
                self.known.queue.retry(&pod.key, self.now());
            }
            Err(error) => self.binding_failed(&pod, &error),
        }
    }

    fn binding_failed(&mut self, pod: &Arc<PodInfo>, error: &WriteError) {
        if !self.known.unassume(&pod.uid) || error.is_not_found() {
            self.known.queue.remove(&pod.key);
            self.known.pending.remove(&pod.key);
            return;
        }
        let message = format!("running Bind plugin \"DefaultBinder\": {error}");
        tracing::warn!(pod = %pod.key, message);
        // What was heard of the pod while it was assumed was not kept.
        let newest = self.view.pods.get(&pod.key.namespace, &pod.key.name).map(|p| Arc::new(PodInfo::new(&p)));
        let Some(newest) = newest.filter(|p| p.uid == pod.uid && p.node.is_empty() && !p.terminating) else {
            self.known.queue.remove(&pod.key);
            self.known.pending.remove(&pod.key);
            return;
        };
        self.known.pending.insert(pod.key.clone(), newest);
        self.known.queue.retry(&pod.key, self.now());
        self.report(pod, "SchedulerError", message, None);
    }

    /// No node: asks less important pods to leave if that helps, says why, and lets the pod sleep.
    fn refuse(&mut self, pod: &Arc<PodInfo>, request: &Request<'_>, mut refusal: Refusal) {
        let mut nomination = None;
        if refusal.diagnosis.nodes > 0 {
            let budgets = if refusal.resolvable.is_empty() { Vec::new() } else { self.view.budgets() };
            let (cluster, nominations) = (&mut self.known.cluster, &self.known.nominations);
            match preempt::preempt(&mut self.planner, cluster, request, nominations, &refusal, &budgets) {
                Preemption::Victims { node, victims } => {
                    self.nominate(pod, &node);
                    self.evict(pod, Arc::clone(&node), victims);
                    nomination = Some(node.to_string());
                }
                Preemption::Nothing { message, withdraw } => {
                    refusal.diagnosis.preemption = Some(message);
                    if withdraw && (pod.nominated.is_some() || self.known.nominations.node_of(&pod.uid).is_some()) {
                        self.known.nominations.remove(&pod.uid);
                        nomination = Some(String::new());
                    }
                }
            }
        }
        self.known.queue.park(&pod.key, refusal.diagnosis.plugins.clone(), self.now());
        self.report(pod, "Unschedulable", refusal.diagnosis.message(), nomination);
    }

    /// Promises the node to the pod. Less important pods that it was promised to must look elsewhere.
    fn nominate(&mut self, pod: &Arc<PodInfo>, node: &str) {
        for lesser in self.known.nominations.below(pod, node) {
            self.known.nominations.remove(&lesser.uid);
            self.patch(&lesser.key, &lesser.uid, json!({"nominatedNodeName": Value::Null}));
        }
        self.known.nominations.set(pod, Some(node));
    }

    fn evict(&self, pod: &Arc<PodInfo>, node: Arc<str>, victims: Vec<Arc<PodInfo>>) {
        let (client, recorder, done) = (self.client.clone(), self.recorder.clone(), self.done.clone());
        let pod = Arc::clone(pod);
        tokio::spawn(async move {
            let mut result = Ok(());
            for victim in victims.iter().filter(|v| !v.terminating) {
                result = write::evict(&client, victim, &pod.scheduler).await;
                if result.is_err() {
                    break;
                }
                let message = format!("Preempted by pod {} on node {node}", pod.uid);
                recorder.record(reference(victim), EventType::Normal, "Preempted", message);
            }
            let _stopped = done.send(Done { pod, node, what: What::Preemption, result }).await;
        });
    }

    /// The event, and the condition if it says something new. `nomination`: the node, or empty to withdraw.
    fn report(&self, pod: &Arc<PodInfo>, reason: &str, message: String, nomination: Option<String>) {
        self.recorder.record(reference(pod), EventType::Warning, "FailedScheduling", message.clone());
        let known = self.view.pods.get(&pod.key.namespace, &pod.key.name);
        let mut status = json!({});
        if let Some(known) = known.filter(|p| !says(p, reason, &message)) {
            status = json!({"conditions": [condition(&known, reason, &message)]});
        }
        if let Some(node) = nomination {
            let node = if node.is_empty() { Value::Null } else { Value::from(node) };
            status.as_object_mut().map(|s| s.insert("nominatedNodeName".to_owned(), node));
        }
        if status.as_object().is_some_and(|s| !s.is_empty()) {
            self.patch(&pod.key, &pod.uid, status);
        }
    }

    fn patch(&self, key: &Key, uid: &str, status: Value) {
        let (client, view, permits) = (self.client.clone(), self.view.clone(), Arc::clone(&self.reports));
        let (key, uid) = (key.clone(), uid.to_owned());
        tokio::spawn(async move {
            let Ok(_permit) = permits.acquire().await else { return };
            if let Err(error) = write::patch_waiting(&client, &view, &key, &uid, &status).await
                && !error.is_not_found()
            {
                tracing::warn!(pod = %key, %error, "could not say why the pod is not placed");
            }
        });
    }
}

/// For ever, if there is nothing to wait for.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn reference(pod: &PodInfo) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.key.namespace.to_string()),
        name: Some(pod.key.name.to_string()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}

fn says(pod: &Pod, reason: &str, message: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| {
        c.type_ == "PodScheduled"
            && c.status == "False"
            && c.reason.as_deref() == Some(reason)
            && c.message.as_deref() == Some(message)
    })
}

/// The condition PodScheduled; its transition time stays while it was false before.
fn condition(pod: &Pod, reason: &str, message: &str) -> Value {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let before = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    let since = before.and_then(|c| c.last_transition_time.as_ref()).map_or_else(jiff::Timestamp::now, |t| t.0);
    json!({
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
        "lastProbeTime": Value::Null,
        "lastTransitionTime": since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "observedGeneration": pod.metadata.generation,
    })
}

//! One pod's task: looks, thinks ([`plan`], [`status`]), and has things done; never waits for what it has done.
//!
//! ```text
//! Running     ## => Ending    deleted, gone from the API, evicted, past its deadline, or all containers have ended for good
//! Ending      ## => TakingDown   no container runs any more
//! TakingDown  ## => Down         sandbox stopped, network and volumes gone; logs and records stay for people to read
//! Down        ## => (gone)       the API object is deleted (by us, if it was marked) and the rest is removed
//! ```
//! A pod that is at its end when the agent first sees it begins at `TakingDown`, which is idempotent.
mod act;
mod probes;
mod show;

use crate::agent::context::Context;
use crate::agent::memory::{Backoff, Eviction, Failure, Memory, RETRY, SHOW_ERROR, StartError};
use crate::agent::observed::{Kind, Observed, find, label};
use crate::agent::plan::{self, Plan};
use crate::agent::probe::{Verdict, Which};
use crate::agent::setup::{self, Made};
use crate::agent::start::{How, Outcome};
use crate::agent::status;
use crate::agent::words;
use crate::write::WriteError;
use isopod_api::k8s::api::core::v1::{Pod, PodSpec, PodStatus};
use isopod_reflect::{EventType, Key};
use isopod_runtime::{ContainerId, ContainerState, RuntimeError, SandboxId};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Even if nothing happens a pod is looked at so often (the kubelet's `syncFrequency`).
const RESYNC: Duration = Duration::from_secs(60);
/// After a failure of runtime or API.
const RETRY_WRITE: SignedDuration = SignedDuration::from_secs(1);
/// A sandbox or volume that could not be made is tried again: from half a second, doubling.
const FIRST_SETUP: SignedDuration = SignedDuration::from_millis(500);
const LAST_SETUP: SignedDuration = SignedDuration::from_secs(30);
/// Verdicts waiting to be heard: three probes of a few containers.
const VERDICTS: usize = 64;

/// What the watch says of the pod.
#[derive(Clone)]
pub(super) struct Order {
    pub pod: Arc<Pod>,
    /// The object is no longer in the API.
    pub gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Ending,
    TakingDown,
    Down,
}

/// Something that was done.
enum Done {
    Sandbox(Result<Made, setup::NotMade>),
    /// An adopted sandbox has its network.
    Connected(Result<IpAddr, String>),
    Started(Outcome),
    Stopped(String),
    Ended,
    TakenDown(Result<(), String>),
    Routable,
    Written(Box<PodStatus>, Result<Option<u64>, WriteError>),
    /// Removed here and in the API.
    Deleted(Result<(), String>),
    Other,
}

pub(super) struct Worker {
    ctx: Arc<Context>,
    key: Key,
    uid: String,
    orders: watch::Receiver<Order>,
    /// Something has happened in the runtime.
    nudge: Arc<Notify>,
    pod: Arc<Pod>,
    gone: bool,
    life: Life,
    memory: Memory,
    sandboxes: Vec<SandboxId>,
    address: Option<IpAddr>,
    prepared: bool,
    setup_failures: u32,
    words: BTreeMap<ContainerId, String>,
    tasks: JoinSet<Done>,
    starting: Option<AbortHandle>,
    gating: Option<AbortHandle>,
    probes: BTreeMap<(ContainerId, Which), AbortHandle>,
    verdicts: mpsc::Receiver<Verdict>,
    verdict_sender: mpsc::Sender<Verdict>,
    /// When containers must have ended.
    end: Option<watch::Sender<Instant>>,
    /// What the API shows, as far as we know.
    shown: PodStatus,
    wanted: PodStatus,
    writing: bool,
    written_version: Option<u64>,
    retry_write_at: Option<Timestamp>,
    deleting: bool,
    retry_down_at: Option<Timestamp>,
}

/// By its own grace period.
fn ended(reason: &str, message: String) -> Eviction {
    Eviction { reason: reason.to_owned(), message, grace: None, disrupted: false }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(now)
}

fn is_terminal(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
}

impl Worker {
    /// `sandboxes` are those an earlier agent has left for this pod.
    pub fn new(
        ctx: Arc<Context>,
        key: Key,
        orders: watch::Receiver<Order>,
        nudge: Arc<Notify>,
        sandboxes: Vec<SandboxId>,
    ) -> Self {
        let Order { pod, gone } = orders.borrow().clone();
        let (verdict_sender, verdicts) = mpsc::channel(VERDICTS);
        let shown = status::own(pod.status.as_ref());
        let life = if is_terminal(&pod) { Life::TakingDown } else { Life::Running };
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            ctx,
            key,
            orders,
            nudge,
            gone,
            life,
            memory: Memory::default(),
            sandboxes,
            address: None,
            prepared: false,
            setup_failures: 0,
            words: BTreeMap::new(),
            tasks: JoinSet::new(),
            starting: None,
            gating: None,
            probes: BTreeMap::new(),
            verdicts,
            verdict_sender,
            end: None,
            wanted: shown.clone(),
            shown,
            writing: false,
            written_version: None,
            retry_write_at: None,
            deleting: false,
            retry_down_at: None,
            pod,
        }
    }

    /// Until the pod is gone altogether.
    pub async fn run(mut self) {
        self.adopt().await;
        loop {
            let mut wake = match self.look().await {
                Ok(Look::Over) => break,
                Ok(Look::Wake(at)) => at,
                Err(error) => {
                    tracing::warn!(pod = %self.key, %error, "could not look at the pod");
                    Some(later(Timestamp::now(), RETRY_WRITE))
                }
            };
            wake = wake.into_iter().chain(self.retry_write_at.filter(|_| !self.writing)).min();
            self.wait(wake).await;
        }
        self.ctx.table.take(&self.key, &self.uid);
    }

    /// What an earlier agent has left is taken over as it is.
    async fn adopt(&mut self) {
        if self.sandboxes.is_empty() {
            return;
        }
        let Ok(seen) = self.observe().await else { return };
        let ids: BTreeSet<ContainerId> = seen.running().map(|c| c.id.clone()).collect();
        self.memory = Memory::adopt(&self.pod, &ids);
        self.allot();
        if self.life != Life::Running {
            return;
        }
        if let Some(sandbox) = seen.sandbox() {
            match setup::connect(&self.ctx, &self.pod, sandbox).await {
                Ok(address) => self.address = Some(address),
                Err(error) => tracing::warn!(pod = %self.key, error, "could not take over the pod's network"),
            }
        }
        match self.ctx.config.volumes.prepare(&self.pod).await {
            Ok(()) => self.prepared = true,
            Err(error) => self.ctx.tell(&self.pod, EventType::Warning, "FailedMount", error.to_string()),
        }
    }

    async fn wait(&mut self, wake: Option<Timestamp>) {
        let pause =
            wake.map_or(RESYNC, |at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
        let nudge = Arc::clone(&self.nudge);
        tokio::select! {
            () = nudge.notified() => {}
            changed = self.orders.changed() => {
                if changed.is_err() {
                    // The agent is shutting down; this task is about to be aborted.
                    std::future::pending::<()>().await;
                }
                self.take_order();
            }
            Some(done) = self.tasks.join_next() => self.finish(done),
            Some(verdict) = self.verdicts.recv() => self.hear(verdict),
            () = tokio::time::sleep(pause.min(RESYNC)) => {}
        }
        while let Some(done) = self.tasks.try_join_next() {
            self.finish(done);
        }
        while let Ok(verdict) = self.verdicts.try_recv() {
            self.hear(verdict);
        }
    }

    fn take_order(&mut self) {
        let Order { pod, gone } = self.orders.borrow_and_update().clone();
        let meta = |p: &Pod| (p.metadata.labels.clone(), p.metadata.annotations.clone());
        let changed = meta(&pod) != meta(&self.pod);
        self.pod = pod;
        self.gone |= gone;
        self.allot();
        if changed && self.prepared && self.life == Life::Running {
            let (ctx, pod) = (Arc::clone(&self.ctx), Arc::clone(&self.pod));
            self.tasks.spawn(async move {
                if let Err(error) = ctx.config.volumes.prepare(&pod).await {
                    tracing::debug!(%error, "volumes not up to date");
                }
                Done::Other
            });
        }
        self.hurry();
    }

    /// The pod is run as far as the node can give it what it asks for.
    fn allot(&mut self) {
        let wanted = Arc::clone(&self.orders.borrow().pod);
        let (pod, pending) = self.ctx.allot(&wanted);
        if let Some(new) = pending.as_ref().filter(|new| self.memory.resize.as_ref() != Some(new)) {
            self.ctx.tell(&pod, EventType::Warning, &format!("Resize{}", new.reason), new.message.clone());
        }
        self.pod = pod;
        self.memory.resize = pending;
    }

    /// A later deletion may leave less time.
    fn hurry(&mut self) {
        let (Some(end), Some(grace)) = (&self.end, self.pod.metadata.deletion_grace_period_seconds) else { return };
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let at = Instant::now() + grace;
        end.send_if_modified(|end| {
            let sooner = at < *end;
            if sooner {
                *end = at;
            }
            sooner
        });
    }

    fn hear(&mut self, verdict: Verdict) {
        let probed = self.memory.probes.entry(verdict.id.clone()).or_default();
        let slot = match verdict.which {
            Which::Startup => &mut probed.startup,
            Which::Liveness => &mut probed.liveness,
            Which::Readiness => &mut probed.readiness,
        };
        *slot = Some(verdict.healthy);
    }

    fn finish(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let now = Timestamp::now();
        match done {
            Err(error) if error.is_cancelled() => {}
            Err(error) => tracing::error!(pod = %self.key, %error, "a pod's task has failed"),
            Ok(Done::Sandbox(result)) => {
                self.memory.making_sandbox = false;
                match result {
                    Ok(Made { sandbox, address }) => {
                        self.sandboxes.push(sandbox);
                        self.address = Some(address);
                        self.prepared = true;
                        self.setup_failures = 0;
                    }
                    Err(error) => {
                        tracing::debug!(pod = %self.key, %error, "no sandbox");
                        let factor = 1_i32.checked_shl(self.setup_failures.min(16)).unwrap_or(i32::MAX);
                        self.setup_failures = self.setup_failures.saturating_add(1);
                        let pause = FIRST_SETUP.saturating_mul(factor).min(LAST_SETUP);
                        self.memory.sandbox_retry_at = Some(later(now, pause));
                    }
                }
            }
            Ok(Done::Connected(result)) => {
                self.memory.making_sandbox = false;
                match result {
                    Ok(address) => self.address = Some(address),
                    Err(error) => {
                        tracing::warn!(pod = %self.key, error, "could not take over the pod's network");
                        self.memory.sandbox_retry_at = Some(later(now, LAST_SETUP));
                    }
                }
            }
            Ok(Done::Started(outcome)) => self.started(outcome, now),
            Ok(Done::Stopped(name)) => {
                self.memory.busy.remove(&name);
            }
            Ok(Done::Ended) if self.life == Life::Ending => self.life = Life::TakingDown,
            Ok(Done::TakenDown(Ok(()))) if self.life == Life::TakingDown => {
                self.life = Life::Down;
                self.deleting = false;
                self.ctx.leave(&self.uid);
            }
            Ok(Done::TakenDown(Err(error))) => {
                self.deleting = false;
                tracing::warn!(pod = %self.key, error, "could not take the pod down");
                self.ctx.tell(&self.pod, EventType::Warning, "FailedKillPod", error);
                self.retry_down_at = Some(later(now, RETRY_WRITE));
            }
            Ok(Done::Routable) => {
                // One that was given up meanwhile says nothing.
                self.memory.routable |= self.gating.take().is_some();
            }
            Ok(Done::Written(status, result)) => self.written(*status, result, now),
            Ok(Done::Deleted(result)) => {
                self.deleting = false;
                match result {
                    Ok(()) => self.gone = true,
                    Err(error) => {
                        tracing::warn!(pod = %self.key, error, "could not delete the pod");
                        self.retry_down_at = Some(later(now, RETRY_WRITE));
                    }
                }
            }
            Ok(Done::Ended | Done::TakenDown(_) | Done::Other) => {}
        }
    }

    fn started(&mut self, outcome: Outcome, now: Timestamp) {
        self.starting = None;
        self.memory.busy.remove(&outcome.name);
        if let Some((key, backoff)) = outcome.backoff {
            self.memory.restarts.insert(key, backoff);
        }
        let Err(failed) = outcome.result else {
            self.memory.failures.remove(&outcome.name);
            return;
        };
        let image = self.pod.spec.as_ref().and_then(|s| find(s, &outcome.name)).and_then(|(_, c)| c.image);
        let image = image.unwrap_or_default();
        let (retry_at, then) = match failed.how {
            How::Ended => (None, None),
            How::NotMade => (Some(later(now, RETRY)), None),
            How::Pull => {
                let next = Backoff::next(self.memory.pulls.get(&image).copied(), now, now);
                self.memory.pulls.insert(image.clone(), next);
                let message = format!("Back-off pulling image {image:?}: ErrImagePull: {}", failed.error.message);
                let waits = StartError { reason: "ImagePullBackOff".to_owned(), message };
                (Some(next.until_since_update()), Some((later(now, SHOW_ERROR), waits)))
            }
        };
        self.memory.failures.insert(outcome.name, Failure { error: failed.error, retry_at, then });
    }

    /// Everything the runtime has of the pod.
    async fn observe(&mut self) -> Result<Observed, RuntimeError> {
        let runtime = Arc::clone(&self.ctx.config.runtime);
        let (mut sandboxes, mut containers) = (Vec::new(), Vec::new());
        for id in self.sandboxes.clone() {
            match runtime.sandbox(&id).await {
                Ok(status) => sandboxes.push(status),
                Err(RuntimeError::NotFound { .. }) => {
                    self.sandboxes.retain(|s| *s != id);
                    self.ctx.sandboxes.lock().remove(&id);
                    continue;
                }
                Err(error) => return Err(error),
            }
            containers.extend(runtime.containers(Some(&id)).await?);
        }
        let mut seen = Observed::new(sandboxes, containers);
        seen.address = self.address;
        let ids: BTreeSet<ContainerId> = seen.containers.iter().map(|c| c.id.clone()).collect();
        self.memory.retain(&ids);
        self.words.retain(|id, _| ids.contains(id));
        let spec = self.pod.spec.as_ref();
        let logs = super::sandbox::log_directory(&self.ctx.config.data_dir, &self.pod);
        for container in seen.containers.iter().filter(|c| c.state == ContainerState::Exited) {
            if !self.words.contains_key(&container.id) {
                let file = container.config.labels.get(label::TERMINATION_FILE).cloned().unwrap_or_default();
                let own = spec.and_then(|s| find(s, &container.config.name)).map(|(_, c)| c);
                self.words.insert(container.id.clone(), words::read(own.as_ref(), container, &file, &logs));
            }
        }
        seen.words.clone_from(&self.words);
        Ok(seen)
    }

    async fn look(&mut self) -> Result<Look, RuntimeError> {
        if self.memory.resize.is_some() {
            self.allot();
        }
        let seen = self.observe().await?;
        self.ctx.table.put(&self.key, Arc::clone(&self.pod), self.sandboxes.clone());
        let pod = Arc::clone(&self.pod);
        let Some(spec) = pod.spec.as_ref() else { return Ok(Look::Over) };
        let now = Timestamp::now();
        match self.life {
            Life::Running => Ok(Look::Wake(self.look_running(&seen, spec, now))),
            Life::Ending => {
                self.keep_probes(&seen, spec, false);
                self.show(&seen, spec, &Plan::default(), false, now);
                Ok(Look::Wake(None))
            }
            Life::TakingDown => {
                self.stop_probes();
                self.show(&seen, spec, &Plan::default(), true, now);
                if self.memory.making_sandbox {
                    return Ok(Look::Wake(None));
                }
                self.take_down(now);
                Ok(Look::Wake(self.retry_down_at))
            }
            Life::Down => Ok(self.look_down(&seen, spec, now)),
        }
    }

    fn look_running(&mut self, seen: &Observed, spec: &PodSpec, now: Timestamp) -> Option<Timestamp> {
        if self.gone || self.pod.metadata.deletion_timestamp.is_some() {
            self.begin_end(seen, true);
            self.show(seen, spec, &Plan::default(), false, now);
            return None;
        }
        let deadline = self.deadline(spec);
        if self.memory.evicted.is_none() {
            if deadline.is_some_and(|at| at <= now) {
                let message = "Pod was active on the node longer than the specified deadline".to_owned();
                self.evict(ended("DeadlineExceeded", message), EventType::Normal);
            } else if let Some((reason, message)) = self.refused(seen, spec) {
                self.evict(ended(&reason, message), EventType::Warning);
            } else if let Some(eviction) = self.ordered() {
                self.evict(eviction, EventType::Warning);
            }
        }
        if self.memory.evicted.is_some() {
            self.begin_end(seen, true);
            self.show(seen, spec, &Plan::default(), false, now);
            return None;
        }
        let mut reconnect = None;
        if let Some(sandbox) = seen.sandbox().filter(|_| self.address.is_none() && !self.memory.making_sandbox) {
            reconnect = self.memory.sandbox_retry_at.filter(|at| *at > now);
            if reconnect.is_none() {
                self.memory.making_sandbox = true;
                let (ctx, pod, sandbox) = (Arc::clone(&self.ctx), Arc::clone(&self.pod), sandbox.clone());
                self.tasks.spawn(async move { Done::Connected(setup::connect(&ctx, &pod, &sandbox).await) });
            }
        }
        let mut plan = plan::plan(&self.pod, seen, &self.memory, now);
        self.keep_probes(seen, spec, true);
        self.show(seen, spec, &plan, plan.is_done && seen.is_quiet(), now);
        if plan.is_done {
            self.begin_end(seen, false);
            return None;
        }
        self.tell_backing_off(&plan, spec, now);
        for action in std::mem::take(&mut plan.actions) {
            self.carry_out(action, seen, spec);
        }
        plan.wake.into_iter().chain(deadline).chain(reconnect).min()
    }

    fn deadline(&self, spec: &PodSpec) -> Option<Timestamp> {
        let seconds = spec.active_deadline_seconds?;
        let start = self.shown.start_time.as_ref().or(self.wanted.start_time.as_ref())?;
        start.0.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    fn evict(&mut self, eviction: Eviction, kind: EventType) {
        self.ctx.tell(&self.pod, kind, &eviction.reason, eviction.message.clone());
        self.memory.evicted = Some(eviction);
    }

    /// That the machine needs what the pod uses.
    fn ordered(&self) -> Option<Eviction> {
        self.ctx.evictions.lock().get(&self.uid).cloned()
    }

    /// A new pod that this node cannot take.
    fn refused(&self, seen: &Observed, spec: &PodSpec) -> Option<(String, String)> {
        let fresh = seen.sandboxes.is_empty() && !self.memory.making_sandbox && self.wanted.phase.is_none();
        let known = self.pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()).is_some();
        if !fresh || known {
            return None;
        }
        self.ctx.admit(&self.pod, spec)
    }

    /// Back-offs are told of once for each crash; pulls when they begin to wait.
    fn tell_backing_off(&mut self, plan: &Plan, spec: &PodSpec, now: Timestamp) {
        for (name, id) in &plan.backing_off {
            if self.memory.told.insert(id.clone()) {
                let kind = find(spec, name).map_or(Kind::Main, |(kind, _)| kind);
                let pod = super::observed::pod_words(&self.pod);
                let message = format!("Back-off restarting failed container {name} in pod {pod}");
                self.ctx.tell_of(&self.pod, (kind, name), EventType::Warning, "BackOff", &message);
            }
        }
        for (name, failure) in &mut self.memory.failures {
            let Some((_, waits)) = failure.then.take_if(|(at, _)| *at <= now) else { continue };
            let Some((kind, container)) = find(spec, name) else { continue };
            let message = format!("Back-off pulling image {:?}", container.image.unwrap_or_default());
            self.ctx.tell_of(&self.pod, (kind, name), EventType::Normal, "BackOff", &message);
            self.ctx.tell_of(&self.pod, (kind, name), EventType::Warning, "Failed", "Error: ImagePullBackOff");
            failure.error = waits;
        }
    }
}

/// What comes of looking.
enum Look {
    /// The pod is gone.
    Over,
    Wake(Option<Timestamp>),
}

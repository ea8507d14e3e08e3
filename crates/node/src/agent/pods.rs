//! The pods of this node and their workers: follows the watch and the runtime's events, takes over what an earlier agent left, and
//! removes what belongs to nobody.
use super::context::Context;
use super::setup;
use super::worker::{Order, Worker};
use futures::StreamExt as _;
use isopod_api::k8s::api::core::v1::Pod;
use isopod_reflect::{Change, Key, Reflector};
use isopod_runtime::{Event, SandboxId, SandboxStatus};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After a failure of the runtime.
const RETRY: Duration = Duration::from_secs(1);
/// Between looks for what belongs to nobody.
const HOUSEKEEPING: Duration = Duration::from_secs(15);
/// A sandbox that no worker knows after this long is nobody's: making one takes a second, on a very busy machine some.
const UNKNOWN: SignedDuration = SignedDuration::from_secs(45);

struct Handle {
    key: Key,
    orders: watch::Sender<Order>,
    nudge: Arc<Notify>,
}

/// Workers by pod uid.
struct Pods {
    ctx: Arc<Context>,
    handles: HashMap<String, Handle>,
    /// The newest pod of each name.
    names: HashMap<Key, String>,
    workers: JoinSet<String>,
    /// Sandboxes found at start, not yet given to a worker.
    left: BTreeMap<String, Vec<SandboxStatus>>,
    /// Pods that are gone and whose remains are being removed.
    removing: BTreeSet<String>,
}

fn uid_of(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

/// Runs the node's pods until `shutdown`.
pub(super) async fn follow(ctx: Arc<Context>, pods: Reflector<Pod>, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = pods.synced() => {}
    }
    let mut events = ctx.config.runtime.events();
    let Some(left) = shutdown.run_until_cancelled(found(&ctx)).await else { return };
    let mut this = Pods {
        ctx,
        handles: HashMap::new(),
        names: HashMap::new(),
        workers: JoinSet::new(),
        left,
        removing: BTreeSet::new(),
    };
    let mut changes = pods.subscribe();
    let first = changes.take();
    for pod in first.iter().filter_map(|c| c.new.as_ref()) {
        this.ctx.keep(pod);
    }
    for change in &first {
        this.observe(change);
    }
    this.remove_orphans().await;
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ctx = Arc::clone(&this.ctx);
    loop {
        tokio::select! {
            () = ctx.evicted.notified() => this.nudge_all(),
            _ = housekeeping.tick() => this.housekeep().await,
            // Workers are aborted with the set: what runs goes on running.
            () = shutdown.cancelled() => return,
            batch = changes.next_batch() => {
                let Some(batch) = batch else { return };
                for change in &batch {
                    this.observe(change);
                }
            }
            event = events.next() => match event {
                Some(event) => this.hear(&event),
                // Without events pods are still looked at now and then.
                None => {
                    tokio::time::sleep(RETRY).await;
                    events = this.ctx.config.runtime.events();
                    this.nudge_all();
                }
            },
            Some(ended) = this.workers.join_next() => match ended {
                Ok(uid) => this.forget(&uid),
                Err(error) => tracing::error!(%error, "a pod's worker has failed"),
            },
        }
    }
}

/// What the runtime has, by pod.
async fn found(ctx: &Context) -> BTreeMap<String, Vec<SandboxStatus>> {
    loop {
        match ctx.config.runtime.sandboxes().await {
            Ok(all) => {
                let mut by_pod: BTreeMap<String, Vec<SandboxStatus>> = BTreeMap::new();
                for sandbox in all {
                    ctx.sandboxes.lock().insert(sandbox.id.clone(), sandbox.config.uid.clone());
                    by_pod.entry(sandbox.config.uid.clone()).or_default().push(sandbox);
                }
                for sandboxes in by_pod.values_mut() {
                    sandboxes.sort_by_key(|s| (s.config.attempt, s.created_at));
                }
                return by_pod;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot list sandboxes");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

impl Pods {
    fn observe(&mut self, change: &Change<Pod>) {
        let uid = uid_of(&change.latest);
        let now = change.new.as_ref().map(|p| uid_of(p));
        // Another pod has the name: the one before is gone, though nobody said so.
        if let Some(before) = self.names.get(&change.key).filter(|b| Some(*b) != now.as_ref() && **b != uid).cloned() {
            self.gone(&before, None);
        }
        let Some(pod) = &change.new else {
            self.gone(&uid, Some(&change.latest));
            return;
        };
        let uid = uid_of(pod);
        self.names.insert(change.key.clone(), uid.clone());
        let order = Order { pod: Arc::clone(pod), gone: false };
        if let Some(handle) = self.handles.get(&uid) {
            handle.orders.send_replace(order);
            return;
        }
        let ids: Vec<SandboxId> = self.left.remove(&uid).unwrap_or_default().into_iter().map(|s| s.id).collect();
        let (orders, receiver) = watch::channel(order);
        let nudge = Arc::new(Notify::new());
        self.ctx.table.put(&change.key, Arc::clone(pod), ids.clone());
        let worker = Worker::new(Arc::clone(&self.ctx), change.key.clone(), receiver, Arc::clone(&nudge), ids);
        self.handles.insert(uid.clone(), Handle { key: change.key.clone(), orders, nudge });
        self.workers.spawn(async move {
            Box::pin(worker.run()).await;
            uid
        });
    }

    fn gone(&mut self, uid: &str, last: Option<&Arc<Pod>>) {
        let Some(handle) = self.handles.get(uid) else { return };
        handle.orders.send_modify(|order| {
            order.gone = true;
            if let Some(last) = last {
                order.pod = Arc::clone(last);
            }
        });
    }

    fn forget(&mut self, uid: &str) {
        self.ctx.leave(uid);
        self.removing.remove(uid);
        let Some(handle) = self.handles.remove(uid) else { return };
        if self.names.get(&handle.key).is_some_and(|u| u == uid) {
            self.names.remove(&handle.key);
        }
    }

    fn hear(&self, event: &Event) {
        let sandbox = match event {
            Event::Started { sandbox, .. } | Event::Exited { sandbox, .. } | Event::SandboxStopped { sandbox } => {
                sandbox
            }
            Event::Missed => return self.nudge_all(),
        };
        let uid = self.ctx.sandboxes.lock().get(sandbox).cloned();
        if let Some(handle) = uid.and_then(|uid| self.handles.get(&uid)) {
            handle.nudge.notify_one();
        }
    }

    fn nudge_all(&self) {
        for handle in self.handles.values() {
            handle.nudge.notify_one();
        }
    }

    /// What is here of pods that are not in the API (they were deleted while no agent ran).
    async fn remove_orphans(&mut self) {
        let mut orphans: BTreeMap<String, Vec<SandboxStatus>> = std::mem::take(&mut self.left);
        let mut uids: BTreeSet<String> = BTreeSet::new();
        match self.ctx.config.network.attached().await {
            Ok(all) => uids.extend(all.into_keys()),
            Err(error) => tracing::warn!(%error, "cannot list attached pods"),
        }
        match self.ctx.config.volumes.held().await {
            Ok(all) => uids.extend(all),
            Err(error) => tracing::warn!(%error, "cannot list pods with volumes"),
        }
        for uid in uids.into_iter().filter(|uid| !self.handles.contains_key(uid)) {
            orphans.entry(uid).or_default();
        }
        for (uid, sandboxes) in orphans {
            self.remove(uid, sandboxes);
        }
        self.sweep();
    }

    fn remove(&mut self, uid: String, sandboxes: Vec<SandboxStatus>) {
        if !self.removing.insert(uid.clone()) {
            return;
        }
        let ctx = Arc::clone(&self.ctx);
        // Ends by itself; the set only keeps it from outliving the agent.
        self.workers.spawn(async move {
            while let Err(error) = setup::remove_orphan(&ctx, &uid, &sandboxes).await {
                tracing::warn!(uid, error, "could not remove what is left of a pod");
                tokio::time::sleep(RETRY).await;
            }
            uid
        });
    }

    /// A sandbox whose supervisor was still beginning when an earlier agent was killed comes to light only after this one has taken
    /// over: by then its pod is gone, or has another.
    async fn housekeep(&mut self) {
        self.ctx.limit_classes().await;
        let Ok(all) = self.ctx.config.runtime.sandboxes().await else { return };
        let now = Timestamp::now();
        let mut orphans: BTreeMap<String, Vec<SandboxStatus>> = BTreeMap::new();
        for sandbox in all.into_iter().filter(|s| now.duration_since(s.created_at) > UNKNOWN) {
            let uid = sandbox.config.uid.clone();
            if !self.handles.contains_key(&uid) {
                orphans.entry(uid).or_default().push(sandbox);
            } else if self.ctx.table.has(&uid, &sandbox.id) == Some(false) {
                tracing::info!(uid, sandbox = %sandbox.id, "removing a sandbox that its pod does not use");
                if let Err(error) = self.ctx.config.runtime.remove_sandbox(&sandbox.id).await {
                    tracing::warn!(%error, sandbox = %sandbox.id, "could not remove a sandbox");
                }
            }
        }
        for (uid, sandboxes) in orphans {
            self.remove(uid, sandboxes);
        }
    }

    /// Files of pods that are gone: logs and what the agent gave to containers.
    fn sweep(&self) {
        let data_dir = &self.ctx.config.data_dir;
        for directory in ["logs", "agent"] {
            let Ok(entries) = std::fs::read_dir(data_dir.join(directory)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let uid = name.rsplit('_').next().unwrap_or(&name);
                if !self.handles.contains_key(uid)
                    && let Err(error) = setup::remove_tree(&entry.path())
                {
                    tracing::debug!(error, "could not sweep");
                }
            }
        }
    }
}

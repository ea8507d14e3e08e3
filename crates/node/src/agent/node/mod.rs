//! The agent's own Node: registers it, keeps its status true and its Lease renewed (KEP-589). Taints are nobody's business here.
pub mod machine;
pub mod status;

use crate::hollow::node::{LEASE_SECONDS, LEASES, lease};
use isopod_api::k8s::api::coordination::v1::Lease;
use isopod_api::k8s::api::core::v1::{Node, NodeStatus, ObjectReference};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::MicroTime;
use isopod_images::Images;
use isopod_reflect::{EventType, Recorder};
use isopod_runtime::Runtime;
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use machine::{Machine, Room};
use parking_lot::Mutex;
use serde_json::json;
use status::{Health, Identity};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A lease is renewed four times in its life (`pkg/kubelet/apis/config`: 10 s of 40 s).
const RENEWAL: Duration = Duration::from_secs(LEASE_SECONDS.unsigned_abs() as u64 / 4);
/// How often the status is looked at (`nodeStatusUpdateFrequency`), and how often it is written though nothing changed
/// (`nodeStatusReportFrequency`).
const LOOK: Duration = Duration::from_secs(10);
const REPORT: Duration = Duration::from_secs(5 * 60);
/// Between attempts to register.
const RETRY: Duration = Duration::from_millis(500);
/// A runtime that takes longer to say who it is counts as down.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(10);

/// Keeps one Node.
pub struct Keeper {
    pub identity: Identity,
    pub machine: Machine,
    pub data_dir: PathBuf,
    pub client: Client,
    pub runtime: Arc<dyn Runtime>,
    pub images: Arc<dyn Images>,
    pub recorder: Recorder,
    /// How much the machine is pressed, for admission and eviction.
    pub pressure: Arc<Mutex<status::Pressure>>,
    pub seen: Mutex<status::Seen>,
}

fn code(error: &Error) -> u16 {
    if let Error::Api(status) = error { status.code } else { 0 }
}

/// Events about a node name it by its name alone: the kubelet takes it for the uid, too.
pub fn reference(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

impl Keeper {
    /// Registers, then keeps status and lease until `shutdown`.
    pub async fn keep(&self, shutdown: CancellationToken) {
        let Some(mut known) = self.register_until_done(&shutdown).await else { return };
        self.recorder.record(reference(&self.identity.name), EventType::Normal, "Starting", "Starting kubelet.");
        if let Some(status) = &known.status {
            self.tell(None, status);
        }
        let uid = known.metadata.uid.clone().unwrap_or_default();
        let mut renewals = tokio::time::interval(RENEWAL);
        let mut looks = tokio::time::interval(LOOK);
        renewals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reported = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = renewals.tick() => {
                    if let Err(error) = self.renew(&uid).await {
                        tracing::warn!(node = self.identity.name, %error, "could not renew the lease");
                    }
                }
                _ = looks.tick() => {
                    let wanted = self.look(known.status.as_ref()).await;
                    if !status::differs(&wanted, known.status.as_ref()) && reported.elapsed() < REPORT {
                        continue;
                    }
                    match self.post(&wanted).await {
                        Ok(node) => {
                            self.tell(known.status.as_ref(), &wanted);
                            known = node;
                            reported = tokio::time::Instant::now();
                        }
                        Err(error) => {
                            tracing::warn!(node = self.identity.name, %error, "could not post the node's status");
                            // Somebody removed the Node: it is made again.
                            if code(&error) == 404 && let Ok(node) = self.register().await {
                                known = node;
                            }
                        }
                    }
                }
            }
        }
    }

    async fn register_until_done(&self, shutdown: &CancellationToken) -> Option<Node> {
        loop {
            match self.register().await {
                Ok(node) => return Some(node),
                Err(error) => tracing::warn!(node = self.identity.name, %error, "could not register the node"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Makes the Node, or brings a known one up to date: its labels and its status.
    async fn register(&self) -> Result<Node, Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let name = &self.identity.name;
        let fresh = status::node(&self.identity, &self.machine, self.look(None).await);
        let known = match nodes.create(&PostParams::default(), &fresh).await {
            Err(error) if code(&error) == 409 => nodes.get(name).await?,
            other => return other,
        };
        let labels = fresh.metadata.labels.unwrap_or_default();
        let has = known.metadata.labels.clone().unwrap_or_default();
        if labels.iter().any(|(key, value)| has.get(key) != Some(value)) {
            let patch = json!({"metadata": {"labels": labels}});
            nodes.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        }
        let wanted = self.look(known.status.as_ref()).await;
        self.post(&wanted).await
    }

    async fn post(&self, wanted: &NodeStatus) -> Result<Node, Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patch = json!({ "status": wanted });
        nodes.patch_status(&self.identity.name, &PatchParams::default(), &Patch::Strategic(patch)).await
    }

    /// What is to be told now.
    async fn look(&self, known: Option<&NodeStatus>) -> NodeStatus {
        let health = match tokio::time::timeout(RUNTIME_PATIENCE, self.runtime.info()).await {
            Ok(Ok(_)) => Health::Ready,
            Ok(Err(error)) => Health::NotReady(format!("container runtime is down: {error}")),
            Err(_) => Health::NotReady("container runtime is down: it does not answer".to_owned()),
        };
        let seen = status::pressure(&Room::look(&self.data_dir));
        let pressure = self.seen.lock().observe(seen, Timestamp::now());
        *self.pressure.lock() = pressure;
        let known = known.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let conditions = status::conditions(known, pressure, &health, Timestamp::now());
        let images = self.images.list().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "could not list images");
            Vec::new()
        });
        status::status(&self.identity, &self.machine, conditions, images)
    }

    /// Events for conditions that turned (`NodeReady`, `NodeHasDiskPressure`).
    fn tell(&self, before: Option<&NodeStatus>, now: &NodeStatus) {
        let before = before.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        for condition in now.conditions.iter().flatten() {
            if before.iter().any(|b| b.type_ == condition.type_ && b.status == condition.status) {
                continue;
            }
            let reason = match (condition.type_.as_str(), condition.status.as_str()) {
                ("Ready", "True") => "NodeReady",
                ("Ready", _) => "NodeNotReady",
                ("MemoryPressure", "True") => "NodeHasInsufficientMemory",
                ("MemoryPressure", _) => "NodeHasSufficientMemory",
                ("DiskPressure", "True") => "NodeHasDiskPressure",
                ("DiskPressure", _) => "NodeHasNoDiskPressure",
                ("PIDPressure", "True") => "NodeHasInsufficientPID",
                _ => "NodeHasSufficientPID",
            };
            let name = &self.identity.name;
            let message = format!("Node {name} status is now: {reason}");
            self.recorder.record(reference(name), EventType::Normal, reason, message);
        }
    }

    async fn renew(&self, uid: &str) -> Result<(), Error> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASES);
        let name = &self.identity.name;
        let now = Timestamp::now();
        let patch = json!({"spec": {"holderIdentity": name, "renewTime": MicroTime(now)}});
        match leases.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(error) if code(&error) == 404 => {
                leases.create(&PostParams::default(), &lease(name, uid, now)).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}

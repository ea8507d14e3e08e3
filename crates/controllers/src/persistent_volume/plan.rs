//! What is next for one claim or one volume (`pv_controller.go`: `syncClaim`, `syncVolume`). Pure.
use super::binding::annotated;
use super::matching::{best, claim_class, is_for, mismatch};
use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONED_BY, SELECTED_NODE};
use isopod_api::kinds::storage_class::default_class;
use isopod_api::kinds::storage_words::CLASS_ANNOTATION;
use isopod_reflect::{EventType, Key};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use std::sync::Arc;

/// What the plans look up.
pub trait View {
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>>;
    /// All that could be the claim's: of its class, or reserved for it.
    fn volumes_for(&self, claim: &PersistentVolumeClaim) -> Vec<Arc<PersistentVolume>>;
    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>>;
    fn class(&self, name: &str) -> Option<Arc<StorageClass>>;
    fn classes(&self) -> Vec<Arc<StorageClass>>;
    /// Names of pods that use the claim and have no node yet.
    fn waiting_pods(&self, claim: &PersistentVolumeClaim) -> Vec<String>;
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub kind: EventType,
    pub reason: &'static str,
    pub message: String,
}

impl Note {
    fn normal(reason: &'static str, message: impl Into<String>) -> Option<Self> {
        Some(Self { kind: EventType::Normal, reason, message: message.into() })
    }
    fn warning(reason: &'static str, message: impl Into<String>) -> Option<Self> {
        Some(Self { kind: EventType::Warning, reason, message: message.into() })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum ClaimStep {
    /// Not yet: `Pending`.
    Wait,
    /// Both sides, volume first.
    Bind(Arc<PersistentVolume>),
    /// A default class came up after the claim.
    Class(String),
    /// Name the provisioner on the claim and wait for its volume.
    Provision(String),
    /// Its volume is gone or another's: `Lost`, for ever.
    Lose,
    /// Somebody tampered with it: look again when something changes.
    Leave,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClaimPlan {
    pub step: ClaimStep,
    pub note: Option<Note>,
}

impl ClaimPlan {
    fn new(step: ClaimStep, note: Option<Note>) -> Self {
        Self { step, note }
    }
}

pub fn claim(claim: &PersistentVolumeClaim, view: &dyn View) -> ClaimPlan {
    let wanted = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).filter(|v| !v.is_empty());
    match (annotated(&claim.metadata, BIND_COMPLETED), wanted) {
        (false, None) => search(claim, view),
        (false, Some(name)) => asked_for(claim, name, view),
        (true, None) => ClaimPlan::new(
            ClaimStep::Lose,
            Note::warning(
                "ClaimLost",
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            ),
        ),
        (true, Some(name)) => bound(claim, name, view),
    }
}

/// Nobody said which volume it is to be.
fn search(claim: &PersistentVolumeClaim, view: &dyn View) -> ClaimPlan {
    let name = claim_class(claim);
    let class = Some(name).filter(|n| !n.is_empty()).and_then(|n| view.class(n));
    let delayed = class.as_ref().is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    if let Some(volume) = best(claim, &view.volumes_for(claim), delayed) {
        return ClaimPlan::new(ClaimStep::Bind(volume), None);
    }
    let undecided = claim.spec.as_ref().is_none_or(|s| s.storage_class_name.is_none())
        && !annotated(&claim.metadata, CLASS_ANNOTATION);
    if undecided && let Some(default) = default_class(view.classes().iter().map(|c| &**c)) {
        return ClaimPlan::new(ClaimStep::Class(default.metadata.name.clone().unwrap_or_default()), None);
    }
    if delayed && !annotated(&claim.metadata, SELECTED_NODE) {
        return ClaimPlan::new(ClaimStep::Wait, awaits_consumer(&view.waiting_pods(claim)));
    }
    if name.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return ClaimPlan::new(ClaimStep::Wait, Note::normal("FailedBinding", message));
    }
    provision(name, class.as_deref())
}

fn awaits_consumer(pods: &[String]) -> Option<Note> {
    match pods {
        [] => Note::normal("WaitForFirstConsumer", "waiting for first consumer to be created before binding"),
        [one] => Note::normal("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
        many => Note::normal("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", many.join(","))),
    }
}

fn provision(name: &str, class: Option<&StorageClass>) -> ClaimPlan {
    let fail = |message| ClaimPlan::new(ClaimStep::Wait, Note::warning("ProvisioningFailed", message));
    let Some(class) = class else {
        return fail(format!("storageclass.storage.k8s.io {name:?} not found"));
    };
    let provisioner = &class.provisioner;
    // None of the built-in ones of Kubernetes is here; `kubernetes.io/no-provisioner` is none by intent.
    if provisioner.starts_with("kubernetes.io/") {
        return fail(format!("no volume plugin matched name: {provisioner}"));
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system \
         administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    ClaimPlan::new(ClaimStep::Provision(provisioner.clone()), Note::normal("ExternalProvisioning", message))
}

/// The claim names a volume and is not yet bound to it.
fn asked_for(claim: &PersistentVolumeClaim, name: &str, view: &dyn View) -> ClaimPlan {
    let Some(volume) = view.volume(name) else { return ClaimPlan::new(ClaimStep::Wait, None) };
    if volume.spec.as_ref().is_none_or(|s| s.claim_ref.is_none()) {
        return match mismatch(&volume, claim) {
            None => ClaimPlan::new(ClaimStep::Bind(volume), None),
            Some(why) => {
                let message = format!("Cannot bind to requested volume {name:?}: {why}");
                ClaimPlan::new(ClaimStep::Wait, Note::warning("VolumeMismatch", message))
            }
        };
    }
    if is_for(&volume, claim) {
        return ClaimPlan::new(ClaimStep::Bind(volume), None);
    }
    if annotated(&claim.metadata, BOUND_BY_CONTROLLER) {
        return ClaimPlan::new(ClaimStep::Leave, None);
    }
    let message = format!("volume {name:?} already bound to a different claim.");
    ClaimPlan::new(ClaimStep::Wait, Note::warning("FailedBinding", message))
}

/// The claim was bound before.
fn bound(claim: &PersistentVolumeClaim, name: &str, view: &dyn View) -> ClaimPlan {
    let Some(volume) = view.volume(name) else {
        let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return ClaimPlan::new(ClaimStep::Lose, Note::warning("ClaimLost", message));
    };
    let claimant = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
    if claimant.is_none_or(|c| c.uid == claim.metadata.uid) {
        return ClaimPlan::new(ClaimStep::Bind(volume), None);
    }
    let message = "Two claims are bound to the same volume, this one is bound incorrectly";
    ClaimPlan::new(ClaimStep::Lose, Note::warning("ClaimMisbound", message))
}

#[derive(Clone, Debug, PartialEq)]
pub enum VolumeStep {
    Phase(&'static str),
    /// The claim's turn: it completes the binding.
    WakeClaim(Key),
    /// Its claim seems to be gone. Once that is certain: `Released`, and what [`Reclaim`] says.
    Release(Reclaim),
    /// The claim is bound elsewhere.
    Unbind,
}

/// What becomes of a released volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reclaim {
    /// It stays, or its provisioner deletes it.
    Nothing,
    /// It ought to be deleted or recycled, and nobody here can.
    Fail { reason: &'static str, message: String },
}

/// What is next for a volume.
pub fn volume(volume: &PersistentVolume, view: &dyn View) -> VolumeStep {
    let reference = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
    let Some(reference) = reference.filter(|r| r.uid.as_ref().is_some_and(|u| !u.is_empty())) else {
        return VolumeStep::Phase("Available");
    };
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    let name = reference.name.as_deref().unwrap_or_default();
    // One of the same name and another uid is another claim.
    let claim = view.claim(namespace, name).filter(|c| c.metadata.uid == reference.uid);
    let Some(claim) = claim else { return VolumeStep::Release(reclaim(volume)) };
    let bound_to = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).unwrap_or_default();
    if bound_to.is_empty() {
        return VolumeStep::WakeClaim(Key::new(namespace, name));
    }
    if Some(&bound_to) == volume.metadata.name.as_ref() {
        return VolumeStep::Phase("Bound");
    }
    let deletes = policy(volume) == "Delete";
    if annotated(&volume.metadata, PROVISIONED_BY) && deletes {
        return VolumeStep::Release(reclaim(volume));
    }
    VolumeStep::Unbind
}

fn policy(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

/// `reclaimVolume`. No plugin here can delete or recycle: what provisioners made, provisioners delete.
fn reclaim(volume: &PersistentVolume) -> Reclaim {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let provisioner = volume.metadata.annotations.as_ref().and_then(|a| a.get(PROVISIONED_BY));
    match policy(volume) {
        "Delete" if provisioner.is_some_and(|p| !p.is_empty() && !p.starts_with("kubernetes.io/")) => Reclaim::Nothing,
        "Delete" => Reclaim::Fail {
            reason: "VolumeFailedDelete",
            message: format!(
                "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
            ),
        },
        "Recycle" => Reclaim::Fail {
            reason: "VolumeFailedRecycle",
            message: "No recycler plugin found for the volume!".to_owned(),
        },
        _ => Reclaim::Nothing,
    }
}

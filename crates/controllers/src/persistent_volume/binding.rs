//! What claims and volumes look like after each step of a binding. `None`: they look so already.
use super::matching::is_for;
use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER};
use isopod_api::quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

fn annotate(meta: &mut ObjectMeta, key: &str, value: &str) -> bool {
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(key.to_owned(), value.to_owned()).as_deref() != Some(value)
}

pub fn annotated(meta: &ObjectMeta, key: &str) -> bool {
    meta.annotations.as_ref().is_some_and(|a| a.contains_key(key))
}

/// The volume points at the claim (`GetBindVolumeToClaim`).
pub fn claimed(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let reference = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
    let same_uid = reference.is_some_and(|r| r.uid.is_some() && r.uid == claim.metadata.uid);
    let ours = is_for(volume, claim);
    if ours && same_uid {
        return None;
    }
    let mut new = volume.clone();
    new.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        field_path: None,
    });
    if !ours {
        annotate(&mut new.metadata, BOUND_BY_CONTROLLER, "yes");
    }
    Some(new)
}

/// The claim points at the volume, and the binding is complete (`bindClaimToVolume`).
pub fn completed(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<PersistentVolumeClaim> {
    let mut new = claim.clone();
    let mut dirty = false;
    let spec = new.spec.get_or_insert_default();
    if spec.volume_name != volume.metadata.name {
        spec.volume_name.clone_from(&volume.metadata.name);
        annotate(&mut new.metadata, BOUND_BY_CONTROLLER, "yes");
        dirty = true;
    }
    if !annotated(&new.metadata, BIND_COMPLETED) {
        annotate(&mut new.metadata, BIND_COMPLETED, "yes");
        dirty = true;
    }
    dirty.then_some(new)
}

/// The claim's status: of the volume it is bound to, or of none (`updateClaimStatus`).
pub fn with_status(
    claim: &PersistentVolumeClaim,
    phase: &str,
    volume: Option<&PersistentVolume>,
) -> Option<PersistentVolumeClaim> {
    let mut new = claim.clone();
    let status = new.status.get_or_insert_default();
    let becoming = status.phase.as_deref() != Some(phase);
    status.phase = Some(phase.to_owned());
    match volume.and_then(|v| v.spec.as_ref()) {
        None => {
            status.access_modes = None;
            status.capacity = None;
            status.current_volume_attributes_class_name = None;
        }
        Some(spec) => {
            status.access_modes.clone_from(&spec.access_modes);
            // Once bound the claim's capacity is the resizer's: it may lag behind the volume's on purpose.
            if becoming && !same_storage(status.capacity.as_ref(), spec.capacity.as_ref()) {
                status.capacity.clone_from(&spec.capacity);
            }
            status.current_volume_attributes_class_name.clone_from(&spec.volume_attributes_class_name);
        }
    }
    (Some(&new) != Some(claim)).then_some(new)
}

type Resources = std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

fn same_storage(a: Option<&Resources>, b: Option<&Resources>) -> bool {
    let storage = |r: Option<&Resources>| r.and_then(|r| r.get("storage")).and_then(|q| quantity::parse(q).ok());
    storage(a).is_some() && storage(a) == storage(b)
}

/// The volume's phase (`updateVolumePhase`).
pub fn with_phase(volume: &PersistentVolume, phase: &str, message: &str, now: Timestamp) -> Option<PersistentVolume> {
    if volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(phase) {
        return None;
    }
    let mut new = volume.clone();
    let status = new.status.get_or_insert_default();
    status.phase = Some(phase.to_owned());
    status.message = Some(message.to_owned()).filter(|m| !m.is_empty());
    status.last_phase_transition_time = Some(Time(now));
    Some(new)
}

/// The volume is nobody's again; one that a person reserved stays reserved (`unbindVolume`).
pub fn released(volume: &PersistentVolume) -> PersistentVolume {
    let mut new = volume.clone();
    let by_us = annotated(&new.metadata, BOUND_BY_CONTROLLER);
    let spec = new.spec.get_or_insert_default();
    if by_us {
        spec.claim_ref = None;
        if let Some(annotations) = &mut new.metadata.annotations {
            annotations.remove(BOUND_BY_CONTROLLER);
        }
    } else if let Some(reference) = &mut spec.claim_ref {
        reference.uid = None;
        reference.resource_version = None;
    }
    new
}

/// The claim names its provisioner (`setClaimProvisioner`).
pub fn provisioned_by(claim: &PersistentVolumeClaim, provisioner: &str) -> Option<PersistentVolumeClaim> {
    let mut new = claim.clone();
    let changed = PROVISIONER.map(|key| annotate(&mut new.metadata, key, provisioner));
    changed.contains(&true).then_some(new)
}

/// The claim has a class (`assignDefaultStorageClass`, KEP-3333).
pub fn of_class(claim: &PersistentVolumeClaim, class: &str) -> PersistentVolumeClaim {
    let mut new = claim.clone();
    new.spec.get_or_insert_default().storage_class_name = Some(class.to_owned());
    new
}

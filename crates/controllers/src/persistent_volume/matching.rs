//! Which volume a claim gets (`index.go`, `FindMatchingVolume`).
use isopod_api::kinds::storage_words::class_of;
use isopod_api::quantity::{self, Quantity};
use isopod_api::selector::Selector;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the claim's class; empty: none.
pub fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    class_of(&claim.metadata, claim.spec.as_ref().and_then(|s| s.storage_class_name.as_ref()))
}

pub fn volume_class(volume: &PersistentVolume) -> &str {
    class_of(&volume.metadata, volume.spec.as_ref().and_then(|s| s.storage_class_name.as_ref()))
}

/// Whether the volume is reserved for the claim, or bound to it (`IsVolumeBoundToClaim`).
pub fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) else { return false };
    let uid = reference.uid.as_deref().unwrap_or_default();
    reference.name == claim.metadata.name
        && reference.namespace == claim.metadata.namespace
        && (uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref())
}

fn capacity(volume: &PersistentVolume) -> Quantity {
    let storage = volume.spec.as_ref().and_then(|s| s.capacity.as_ref()?.get("storage"));
    storage.and_then(|q| quantity::parse(q).ok()).unwrap_or(Quantity::ZERO)
}

pub fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    let storage = claim.spec.as_ref().and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get("storage"));
    storage.and_then(|q| quantity::parse(q).ok()).unwrap_or(Quantity::ZERO)
}

fn modes(volume: &PersistentVolume) -> &[String] {
    volume.spec.as_ref().and_then(|s| s.access_modes.as_deref()).unwrap_or_default()
}

/// The wanted modes are among those the volume has.
fn allows(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let wanted = claim.spec.as_ref().and_then(|s| s.access_modes.as_deref()).unwrap_or_default();
    wanted.iter().all(|mode| modes(volume).contains(mode))
}

fn same_volume_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    fn or_default(mode: Option<&String>) -> &str {
        mode.map_or("Filesystem", String::as_str)
    }
    or_default(volume.spec.as_ref().and_then(|s| s.volume_mode.as_ref()))
        == or_default(claim.spec.as_ref().and_then(|s| s.volume_mode.as_ref()))
}

fn same_attributes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    fn or_none(name: Option<&String>) -> &str {
        name.map_or("", String::as_str)
    }
    or_none(volume.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_ref()))
        == or_none(claim.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_ref()))
}

/// Why a volume that the claim asks for by name will not do (`checkVolumeSatisfyClaim`).
pub fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<&'static str> {
    if requested(claim) > capacity(volume) {
        Some("requested PV is too small")
    } else if claim_class(claim) != volume_class(volume) {
        Some("storageClassName does not match")
    } else if !same_attributes(volume, claim) {
        Some("volumeAttributesClassName does not match")
    } else if !same_volume_mode(volume, claim) {
        Some("incompatible volumeMode")
    } else if !allows(volume, claim) {
        Some("incompatible accessMode")
    } else {
        None
    }
}

/// The volume reserved for the claim, else the closest fit: fewest access modes, then smallest, then by name. A claim that waits for
/// its first consumer (`delayed`) gets only what is reserved for it: the scheduler chooses for it.
pub fn best(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    delayed: bool,
) -> Option<Arc<PersistentVolume>> {
    let wanted = requested(claim);
    let usable = |v: &&Arc<PersistentVolume>| {
        v.metadata.deletion_timestamp.is_none()
            && capacity(v) >= wanted
            && same_volume_mode(v, claim)
            && same_attributes(v, claim)
            && allows(v, claim)
    };
    if let Some(reserved) =
        volumes.iter().filter(usable).filter(|v| is_for(v, claim)).min_by_key(|v| v.metadata.name.clone())
    {
        return Some(Arc::clone(reserved));
    }
    if delayed {
        return None;
    }
    let selector = claim.spec.as_ref().and_then(|s| s.selector.as_ref());
    // A malformed selector was refused when the claim was made.
    let selector = selector.and_then(|s| Selector::from_label_selector(Some(s)).ok());
    let none = BTreeMap::new();
    let free = |v: &&Arc<PersistentVolume>| {
        v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available")
            && v.spec.as_ref().is_none_or(|s| s.claim_ref.is_none())
            && volume_class(v) == claim_class(claim)
            && selector.as_ref().is_none_or(|s| s.matches(v.metadata.labels.as_ref().unwrap_or(&none)))
    };
    let fitting = volumes.iter().filter(usable).filter(free);
    fitting
        .min_by(|a, b| {
            let by_modes = modes(a).len().cmp(&modes(b).len());
            by_modes.then(capacity(a).cmp(&capacity(b))).then_with(|| a.metadata.name.cmp(&b.metadata.name))
        })
        .cloned()
}

//! What a claim may change once it exists (`ValidatePersistentVolumeClaimUpdate`): it grows when bound, its attributes class
//! changes when bound, its volume is named once, its class once.
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use crate::kinds::pod::diff;
use crate::kinds::rules::{self, number, text};
use crate::kinds::storage_words::CLASS_ANNOTATION;
use crate::kinds::volume_internal;
use crate::quantity::Quantity;

pub fn validate(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, out: &mut Errors) {
    let nothing = PersistentVolumeClaimSpec::default();
    let (spec, before) = (new.spec.as_ref().unwrap_or(&nothing), old.spec.as_ref().unwrap_or(&nothing));
    let (mut now, mut was) = (spec.clone(), before.clone());
    if text(&was.volume_name).is_empty() {
        was.volume_name.clone_from(&now.volume_name);
    }
    let annotated = |claim: &PersistentVolumeClaim| {
        claim.metadata.annotations.as_ref().and_then(|a| a.get(CLASS_ANNOTATION)).cloned()
    };
    let (class_now, class_was) = (annotated(new), annotated(old));
    if class_was.is_some()
        && before.storage_class_name.is_none()
        && spec.storage_class_name == class_was
        && (class_now.is_none() || class_now == class_was)
    {
        now.storage_class_name = None;
    } else {
        if class_now.clone().unwrap_or_default() != class_was.clone().unwrap_or_default() {
            let path = rules::metadata().child("annotations").child(CLASS_ANNOTATION);
            out.push(Error::invalid(&path, class_now.clone().unwrap_or_default(), "field is immutable"));
        }
        let named_late = before.storage_class_name.is_none()
            && spec.storage_class_name.is_some()
            && (class_was.is_none() || spec.storage_class_name == class_was);
        if named_late {
            now.storage_class_name.clone_from(&was.storage_class_name);
        }
    }
    let bound = new.status.as_ref().is_some_and(|s| text(&s.phase) == "Bound");
    if bound {
        forgive_growth(&mut now, before);
        if now.volume_attributes_class_name.is_some() {
            now.volume_attributes_class_name.clone_from(&was.volume_attributes_class_name);
        }
    }
    if now != was {
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
            diff::unified(&volume_internal::claim_spec(&was), &volume_internal::claim_spec(&now))
        );
        out.push(Error::forbidden(&Path::new("spec"), detail));
    }
    validate_size(new, old, out);
    out.extend(rules::immutable(&spec.volume_mode, &before.volume_mode, &Path::new("volumeMode")));
    attributes_class(spec, before, out);
}

fn requested(spec: Option<&PersistentVolumeClaimSpec>) -> Quantity {
    let storage = spec.and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get("storage"));
    storage.map_or(Quantity::ZERO, number)
}

fn forgive_growth(now: &mut PersistentVolumeClaimSpec, before: &PersistentVolumeClaimSpec) {
    let was = before.resources.as_ref().and_then(|r| r.requests.as_ref()?.get("storage")).cloned();
    if let Some(requests) = now.resources.as_mut().and_then(|r| r.requests.as_mut()) {
        match was {
            Some(was) => requests.insert("storage".into(), was),
            None => requests.remove("storage"),
        };
    }
}

/// A request that could not be met may be taken back, down to what there is.
fn validate_size(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, out: &mut Errors) {
    let (now, was) = (requested(new.spec.as_ref()), requested(old.spec.as_ref()));
    let capacity = old.status.as_ref().and_then(|s| s.capacity.as_ref()?.get("storage"));
    if now < was && now <= capacity.map_or(Quantity::ZERO, number) {
        let path = Path::new("spec").child("resources").child("requests").child("storage");
        out.push(Error::forbidden(&path, "field can not be less than status.capacity"));
    }
}

fn attributes_class(spec: &PersistentVolumeClaimSpec, before: &PersistentVolumeClaimSpec, out: &mut Errors) {
    if before.volume_attributes_class_name.is_none() {
        return;
    }
    let path = Path::new("spec").child("volumeAttributesClassName");
    match spec.volume_attributes_class_name.as_deref() {
        None => out.push(Error::forbidden(&path, "update from non-nil value to nil is forbidden")),
        Some("") => out.push(Error::forbidden(&path, "update from non-nil value to an empty string is forbidden")),
        Some(_) => {}
    }
}

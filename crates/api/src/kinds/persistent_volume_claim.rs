//! PersistentVolumeClaim: a wish for storage (`pkg/registry/core/persistentvolumeclaim/strategy.go`).
pub mod spec;
mod update;

use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus};
use crate::kinds::rules::{self, text};
use crate::kinds::storage_words::{class_of, short_access_modes};
use crate::kinds::{resource_names, storage_words};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column, wide};
use crate::quantity::canonicalize_list;
use serde_json::Value;

pub struct PersistentVolumeClaims;

const COLUMNS: [Column; 9] = [
    NAME,
    column("Status", "Whether the claim is bound to a volume."),
    column("Volume", "The volume the claim is bound to."),
    column("Capacity", "What the volume holds."),
    column("Access Modes", "How the volume may be mounted."),
    column("StorageClass", "The class the volume is to come from."),
    column("VolumeAttributesClass", "The attributes the volume is to have."),
    AGE,
    wide("VolumeMode", "Whether the volume is a file system or a block device."),
];

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["pvc"],
    status: true,
    ..Descriptor::new(
        ("", "v1"),
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "persistentvolumeclaim",
        Scope::Namespaced,
        &COLUMNS,
    )
};

const RESIZE_STATUSES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

impl Kind for PersistentVolumeClaims {
    type Object = PersistentVolumeClaim;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut PersistentVolumeClaim) {
        spec::default(object.spec.get_or_insert_default());
        let status = object.status.get_or_insert_default();
        for list in [&mut status.capacity, &mut status.allocated_resources].into_iter().flatten() {
            canonicalize_list(list);
        }
        if text(&status.phase).is_empty() {
            status.phase = Some("Pending".into());
        }
    }
    fn prepare_create(object: &mut PersistentVolumeClaim) {
        object.status = Some(PersistentVolumeClaimStatus { phase: Some("Pending".into()), ..Default::default() });
        let spec = object.spec.get_or_insert_default();
        spec::drop_foreign_source(spec);
        spec::pair_sources(spec);
    }
    fn validate(object: &PersistentVolumeClaim) -> Errors {
        validate(object, None)
    }
    fn prepare_update(new: &mut PersistentVolumeClaim, old: &PersistentVolumeClaim) {
        new.status.clone_from(&old.status);
        let spec = new.spec.get_or_insert_default();
        if old.spec.as_ref().is_none_or(|s| s.data_source.is_none()) {
            spec::drop_foreign_source(spec);
        }
        spec::pair_sources(spec);
    }
    fn validate_update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> Errors {
        let mut out = validate(new, Some(old));
        out.extend(rules::meta_update(&new.metadata, &old.metadata));
        out.extend(validate(new, Some(old)));
        update::validate(new, old, &mut out);
        out
    }
    fn prepare_status_update(new: &mut PersistentVolumeClaim, old: &PersistentVolumeClaim) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        if text(&new.metadata.resource_version).is_empty() {
            out.push(Error::required(&Path::new("resourceVersion"), ""));
        }
        if new.spec.as_ref().and_then(|s| s.access_modes.as_ref()).is_none_or(Vec::is_empty) {
            out.push(Error::required(&Path::new("Spec").child("accessModes"), ""));
        }
        if let Some(status) = &new.status {
            validate_status(status, &mut out);
        }
        out
    }
    fn warnings(new: &PersistentVolumeClaim, _old: Option<&PersistentVolumeClaim>) -> Vec<String> {
        warnings(new)
    }
    fn returns_deleted() -> bool {
        true
    }
    fn cells(object: &PersistentVolumeClaim, cx: &PrintContext) -> Vec<Value> {
        let nothing = Default::default();
        let spec = object.spec.as_ref().unwrap_or(&nothing);
        let status = object.status.as_ref();
        let phase = match object.metadata.deletion_timestamp {
            Some(_) => "Terminating",
            None => status.map_or("", |s| text(&s.phase)),
        };
        let bound = !text(&spec.volume_name).is_empty();
        let capacity = status.and_then(|s| s.capacity.as_ref()?.get("storage")).map_or("0", |q| q.0.as_str());
        let modes = short_access_modes(status.and_then(|s| s.access_modes.as_ref()));
        let or_unset = |value: &Option<String>| value.clone().unwrap_or_else(|| "<unset>".into());
        vec![
            object.metadata.name.clone().into(),
            phase.into(),
            text(&spec.volume_name).into(),
            if bound { capacity } else { "" }.into(),
            if bound { modes } else { String::new() }.into(),
            class_of(&object.metadata, spec.storage_class_name.as_ref()).into(),
            or_unset(&spec.volume_attributes_class_name).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            or_unset(&spec.volume_mode).into(),
        ]
    }
}

fn validate(object: &PersistentVolumeClaim, old: Option<&PersistentVolumeClaim>) -> Errors {
    let mut out =
        names::validate_object_meta(&object.metadata, true, PersistentVolumeClaims::validate_name, &rules::metadata());
    let nothing = Default::default();
    let before = old.and_then(|o| o.spec.as_ref());
    out.extend(spec::validate(object.spec.as_ref().unwrap_or(&nothing), before, &Path::new("spec")));
    out
}

/// `ValidatePersistentVolumeClaimStatusUpdate`
fn validate_status(status: &PersistentVolumeClaimStatus, out: &mut Errors) {
    let path = Path::new("status");
    for (name, value) in status.capacity.iter().flatten() {
        out.extend(rules::basic_resource(value, &path.child("capacity").key(name)));
    }
    let resize_path = path.child("allocatedResourceStatus");
    for (name, state) in status.allocated_resource_statuses.iter().flatten() {
        out.extend(resource_key(name, &resize_path));
        if !RESIZE_STATUSES.contains(&state.as_str()) {
            out.push(Error::not_supported(&resize_path, name, &RESIZE_STATUSES));
        }
    }
    let allocated_path = path.child("allocatedResources");
    for (name, value) in status.allocated_resources.iter().flatten() {
        let faults = resource_key(name, &allocated_path);
        if !faults.is_empty() {
            out.extend(faults);
            continue;
        }
        let path = allocated_path.key(name);
        let faults = rules::basic_resource(value, &path);
        let value_faults = || resource_names::validate_value("storage", value, &path);
        out.extend(if faults.is_empty() { value_faults() } else { faults });
    }
}

fn resource_key(name: &str, path: &Path) -> Errors {
    let out = rules::qualified_name(name, path);
    if out.is_empty() && resource_names::is_native(name) && name != "storage" {
        return vec![Error::not_supported(path, name, &["storage"])];
    }
    out
}

/// `GetWarningsForPersistentVolumeClaim`
fn warnings(object: &PersistentVolumeClaim) -> Vec<String> {
    let mut out = Vec::new();
    if object.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(storage_words::CLASS_ANNOTATION)) {
        out.push(format!(
            "metadata.annotations[{}]: deprecated since v1.8; use \"storageClassName\" attribute instead",
            storage_words::CLASS_ANNOTATION
        ));
    }
    let requested = object.spec.as_ref().and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get("storage"));
    if let Some(storage) = requested.map(rules::number)
        && !storage.is_whole()
    {
        out.push(format!(
            "spec.resources.requests[storage]: fractional byte value \"{storage}\" is invalid, must be an integer"
        ));
    }
    out
}

//! PersistentVolume: a piece of storage (`pkg/registry/core/persistentvolume/strategy.go`).
mod sources;
mod validate;

pub use validate::{validate_inline, validate_spec};

use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus};
use crate::kinds::rules::{self, drop_empty, drop_empty_list, text};
use crate::kinds::storage_words::{class_of, short_access_modes};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column, wide};
use crate::quantity::canonicalize_list;
use serde_json::Value;

pub struct PersistentVolumes;

const COLUMNS: [Column; 11] = [
    NAME,
    column("Capacity", "What the volume holds."),
    column("Access Modes", "How the volume may be mounted."),
    column("Reclaim Policy", "What becomes of the volume when its claim is gone."),
    column("Status", "Whether the volume is free, bound or released."),
    column("Claim", "The claim the volume is bound to."),
    column("StorageClass", "The class of the volume."),
    column("VolumeAttributesClass", "The attributes of the volume."),
    column("Reason", "Why the volume is in this state."),
    AGE,
    wide("VolumeMode", "Whether the volume is a file system or a block device."),
];

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["pv"],
    status: true,
    ..Descriptor::new(("", "v1"), "PersistentVolume", "persistentvolumes", "persistentvolume", Scope::Cluster, &COLUMNS)
};

impl Kind for PersistentVolumes {
    type Object = PersistentVolume;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut PersistentVolume) {
        default_spec(object.spec.get_or_insert_default());
        let phase = &mut object.status.get_or_insert_default().phase;
        if text(phase).is_empty() {
            *phase = Some("Pending".into());
        }
    }
    fn prepare_create(object: &mut PersistentVolume) {
        object.status = Some(PersistentVolumeStatus {
            phase: Some("Pending".into()),
            last_phase_transition_time: object.metadata.creation_timestamp.clone(),
            ..Default::default()
        });
    }
    fn validate(object: &PersistentVolume) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        let nothing = PersistentVolumeSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&nothing);
        out.extend(validate_spec(spec, text(&object.metadata.name), &Path::new("spec")));
        out
    }
    fn prepare_update(new: &mut PersistentVolume, old: &PersistentVolume) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &PersistentVolume, old: &PersistentVolume) -> Errors {
        let mut out = Self::validate(new);
        out.extend(Self::validate(new));
        let nothing = PersistentVolumeSpec::default();
        let (spec, before) = (new.spec.as_ref().unwrap_or(&nothing), old.spec.as_ref().unwrap_or(&nothing));
        validate::validate_change(spec, before, &mut out);
        out
    }
    fn prepare_status_update(new: &mut PersistentVolume, old: &PersistentVolume) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &PersistentVolume, old: &PersistentVolume) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        if text(&new.metadata.resource_version).is_empty() {
            out.push(Error::required(&Path::new("resourceVersion"), ""));
        }
        out
    }
    fn warnings(new: &PersistentVolume, _old: Option<&PersistentVolume>) -> Vec<String> {
        validate::warnings(new)
    }
    fn returns_deleted() -> bool {
        true
    }
    fn cells(object: &PersistentVolume, cx: &PrintContext) -> Vec<Value> {
        let nothing = PersistentVolumeSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&nothing);
        let claim =
            |c: &crate::k8s::api::core::v1::ObjectReference| format!("{}/{}", text(&c.namespace), text(&c.name));
        let phase = match object.metadata.deletion_timestamp {
            Some(_) => "Terminating",
            None => object.status.as_ref().map_or("", |s| text(&s.phase)),
        };
        let or_unset = |value: &Option<String>| value.clone().unwrap_or_else(|| "<unset>".into());
        vec![
            object.metadata.name.clone().into(),
            spec.capacity.as_ref().and_then(|c| c.get("storage")).map_or("0", |q| q.0.as_str()).into(),
            short_access_modes(spec.access_modes.as_ref()).into(),
            text(&spec.persistent_volume_reclaim_policy).into(),
            phase.into(),
            spec.claim_ref.as_ref().map(claim).unwrap_or_default().into(),
            class_of(&object.metadata, spec.storage_class_name.as_ref()).into(),
            or_unset(&spec.volume_attributes_class_name).into(),
            object.status.as_ref().map_or("", |s| text(&s.reason)).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            or_unset(&spec.volume_mode).into(),
        ]
    }
}

/// `SetDefaults_PersistentVolume` and those of its sources.
fn default_spec(spec: &mut PersistentVolumeSpec) {
    drop_empty(&mut spec.storage_class_name);
    drop_empty(&mut spec.persistent_volume_reclaim_policy);
    drop_empty_list(&mut spec.access_modes);
    drop_empty_list(&mut spec.mount_options);
    if let Some(capacity) = &mut spec.capacity {
        canonicalize_list(capacity);
    }
    spec.persistent_volume_reclaim_policy.get_or_insert_with(|| "Retain".into());
    spec.volume_mode.get_or_insert_with(|| "Filesystem".into());
    if let Some(path) = &mut spec.host_path {
        path.type_.get_or_insert_default();
    }
    if let Some(rbd) = &mut spec.rbd {
        rbd.pool.get_or_insert_with(|| "rbd".into());
        rbd.user.get_or_insert_with(|| "admin".into());
        rbd.keyring.get_or_insert_with(|| "/etc/ceph/keyring".into());
    }
    if let Some(iscsi) = &mut spec.iscsi {
        iscsi.iscsi_interface.get_or_insert_with(|| "default".into());
    }
    if let Some(disk) = &mut spec.azure_disk {
        disk.caching_mode.get_or_insert_with(|| "ReadWrite".into());
        disk.kind.get_or_insert_with(|| "Shared".into());
        disk.fs_type.get_or_insert_with(|| "ext4".into());
        disk.read_only.get_or_insert(false);
    }
    if let Some(disk) = &mut spec.scale_io {
        disk.storage_mode.get_or_insert_with(|| "ThinProvisioned".into());
        disk.fs_type.get_or_insert_with(|| "xfs".into());
    }
}

//! VolumeAttachment: a volume that is, or is to be, attached to a node.
use super::GROUP;
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::storage::v1::{VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentStatus, VolumeError};
use crate::kinds::persistent_volume;
use crate::kinds::pod::volumes::validate_csi_driver_name;
use crate::kinds::rules::{self, text};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

pub struct VolumeAttachments;

const COLUMNS: [Column; 6] = [
    NAME,
    Column { format: "name", ..column("Attacher", "The driver that attaches.") },
    column("PV", "The volume."),
    column("Node", "The node it is attached to."),
    Column { kind: "boolean", ..column("Attached", "Whether it is.") },
    AGE,
];

static DESCRIPTOR: Descriptor = Descriptor {
    status: true,
    unconditional_update: false,
    ..Descriptor::new(
        (GROUP, "v1"),
        "VolumeAttachment",
        "volumeattachments",
        "volumeattachment",
        Scope::Cluster,
        &COLUMNS,
    )
};

const MAX_METADATA: usize = 256 << 10;
const MAX_MESSAGE: usize = 1024;

impl Kind for VolumeAttachments {
    type Object = VolumeAttachment;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut VolumeAttachment) {
        object.status.get_or_insert_default();
    }
    fn prepare_create(object: &mut VolumeAttachment) {
        object.status = Some(VolumeAttachmentStatus::default());
    }
    fn validate(object: &VolumeAttachment) -> Errors {
        let mut out = validate(object);
        validate_csi_driver_name(&object.spec.attacher, &Path::new("spec.attacher"), &mut out);
        if let Some(name) = &object.spec.source.persistent_volume_name {
            let path = Path::new("spec.source.persistentVolumeName");
            out.extend(rules::dns_subdomain(name, &path));
        }
        out
    }
    fn prepare_update(new: &mut VolumeAttachment, old: &VolumeAttachment) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &VolumeAttachment, old: &VolumeAttachment) -> Errors {
        let mut out = validate(new);
        out.extend(validate(new));
        if new.spec != old.spec {
            out.push(Error::invalid(&Path::new("spec"), &new.spec, "field is immutable"));
        }
        out
    }
    fn prepare_status_update(new: &mut VolumeAttachment, old: &VolumeAttachment) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &VolumeAttachment, old: &VolumeAttachment) -> Errors {
        Self::validate_update(new, old)
    }
    fn returns_deleted() -> bool {
        true
    }
    fn cells(object: &VolumeAttachment, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.spec.attacher.clone().into(),
            text(&object.spec.source.persistent_volume_name).into(),
            object.spec.node_name.clone().into(),
            object.status.as_ref().is_some_and(|s| s.attached).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn validate(object: &VolumeAttachment) -> Errors {
    let mut out =
        names::validate_object_meta(&object.metadata, false, VolumeAttachments::validate_name, &rules::metadata());
    let path = Path::new("spec");
    let spec = &object.spec;
    out.extend(rules::required(&spec.attacher, &path.child("attacher")));
    validate_source(&spec.source, &path.child("source"), &mut out);
    let node = names::dns1123_subdomain(&spec.node_name, false);
    out.extend(invalid_each(&path.child("nodeName"), &spec.node_name, node));
    let Some(status) = &object.status else { return out };
    let path = Path::new("status");
    let size: usize = status.attachment_metadata.iter().flatten().map(|(k, v)| k.len() + v.len()).sum();
    if size > MAX_METADATA {
        out.push(Error::too_long(&path.child("attachmentMetadata"), MAX_METADATA));
    }
    for (error, field) in [(&status.attach_error, "attachError"), (&status.detach_error, "detachError")] {
        if let Some(error) = error {
            volume_error(error, &path.child(field), &mut out);
        }
    }
    out
}

fn validate_source(source: &VolumeAttachmentSource, path: &Path, out: &mut Errors) {
    let words = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (&source.inline_volume_spec, &source.persistent_volume_name) {
        (None, None) => out.push(Error::required(path, words)),
        (Some(_), Some(_)) => out.push(Error::forbidden(path, words)),
        (None, Some(name)) if name.is_empty() => {
            let detail = "must specify non empty persistentVolumeName";
            out.push(Error::required(&path.child("persistentVolumeName"), detail));
        }
        (None, Some(_)) => {}
        (Some(spec), None) => out.extend(persistent_volume::validate_inline(spec, &path.child("inlineVolumeSpec"))),
    }
}

fn volume_error(error: &VolumeError, path: &Path, out: &mut Errors) {
    if text(&error.message).len() > MAX_MESSAGE {
        // The limit Kubernetes names here is not the one it holds to.
        out.push(Error::too_long(&path.child("message"), MAX_METADATA));
    }
    if let Some(code) = error.error_code.filter(|c| *c < 0) {
        out.push(Error::invalid(&path.child("errorCode"), code, "must be between 0 and 2147483647, inclusive"));
    }
}

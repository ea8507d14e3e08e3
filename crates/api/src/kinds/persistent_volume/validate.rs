//! `ValidatePersistentVolumeSpec` and what an update may change.
use super::sources;
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{PersistentVolume, PersistentVolumeSpec, VolumeNodeAffinity};
use crate::kinds::pod::diff;
use crate::kinds::pod::scheduling::validate_node_selector;
use crate::kinds::rules::{self, text};
use crate::kinds::storage_words::{CLASS_ANNOTATION, validate_access_modes, validate_class, validate_volume_mode};
use crate::kinds::volume_internal;

const RECLAIM_POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];

/// The spec of the volume `name`.
pub fn validate_spec(spec: &PersistentVolumeSpec, name: &str, path: &Path) -> Errors {
    let mut out = Errors::new();
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        out.push(Error::required(&path.child("accessModes"), ""));
    }
    out.extend(validate_access_modes(modes, &path.child("accessModes")));
    capacity(spec, &path.child("capacity"), &mut out);
    let policy = text(&spec.persistent_volume_reclaim_policy);
    let policy_path = path.child("persistentVolumeReclaimPolicy");
    if !policy.is_empty() {
        out.extend(rules::one_of(policy, &RECLAIM_POLICIES, &policy_path));
    }
    if let Some(affinity) = &spec.node_affinity {
        node_affinity(affinity, &path.child("nodeAffinity"), &mut out);
    }
    sources::validate(spec, name, path, &mut out);
    let root = spec.host_path.as_ref().is_some_and(|h| cleans_to_root(&h.path));
    if root && policy == "Recycle" {
        out.push(Error::forbidden(&policy_path, "may not be 'recycle' for a hostPath mount of '/'"));
    }
    let class = text(&spec.storage_class_name);
    if !class.is_empty() {
        out.extend(validate_class(class, &path.child("storageClassName")));
    }
    if let Some(mode) = &spec.volume_mode {
        out.extend(validate_volume_mode(mode, &path.child("volumeMode")));
    }
    if let Some(class) = &spec.volume_attributes_class_name {
        let class_path = path.child("volumeAttributesClassName");
        if class.is_empty() {
            out.push(Error::required(&class_path, "an empty string is disallowed"));
        } else {
            out.extend(validate_class(class, &class_path));
        }
        if spec.csi.is_none() {
            out.push(Error::required(&path.child("csi"), "has to be specified when using volumeAttributesClassName"));
        }
    }
    out
}

/// The spec of a volume that stands in a VolumeAttachment: a CSI source and hardly anything else.
pub fn validate_inline(spec: &PersistentVolumeSpec, path: &Path) -> Errors {
    let mut out = Errors::new();
    let none_here = "may not be specified in the context of inline volumes";
    let mut forbid = |given: bool, field: &str| {
        if given {
            out.push(Error::forbidden(&path.child(field), none_here));
        }
    };
    forbid(spec.claim_ref.is_some(), "claimRef");
    forbid(spec.capacity.as_ref().is_some_and(|c| !c.is_empty()), "capacity");
    forbid(spec.node_affinity.is_some(), "nodeAffinity");
    forbid(!text(&spec.storage_class_name).is_empty(), "storageClassName");
    if spec.csi.is_none() {
        out.push(Error::required(&path.child("csi"), "has to be specified in the context of inline volumes"));
    }
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        out.push(Error::required(&path.child("accessModes"), ""));
    }
    out.extend(validate_access_modes(modes, &path.child("accessModes")));
    if !matches!(text(&spec.persistent_volume_reclaim_policy), "" | "Retain") {
        let detail = "may only be Retain in the context of inline volumes";
        out.push(Error::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
    sources::validate(spec, "", path, &mut out);
    if !matches!(spec.volume_mode.as_deref(), None | Some("Filesystem")) {
        let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        out.push(Error::forbidden(&path.child("volumeMode"), detail));
    }
    out
}

fn capacity(spec: &PersistentVolumeSpec, path: &Path, out: &mut Errors) {
    let nothing = Default::default();
    let capacity = spec.capacity.as_ref().unwrap_or(&nothing);
    if capacity.is_empty() {
        out.push(Error::required(path, ""));
    }
    if !capacity.contains_key("storage") || capacity.len() > 1 {
        out.push(Error::not_supported(path, &spec.capacity, &["storage"]));
    }
    for (name, value) in capacity {
        out.extend(rules::basic_resource(value, &path.key(name)));
        out.extend(rules::positive_quantity(value, &path.key(name)));
    }
}

fn node_affinity(affinity: &VolumeNodeAffinity, path: &Path, out: &mut Errors) {
    let path = path.child("required");
    match &affinity.required {
        Some(selector) => validate_node_selector(selector, &path, out),
        None => out.push(Error::required(&path, "must specify required node constraints")),
    }
}

/// `path.Clean(p) == "/"`
fn cleans_to_root(path: &str) -> bool {
    let mut depth = 0usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth = depth.saturating_add(1),
        }
    }
    path.starts_with('/') && depth == 0
}

/// `ValidatePersistentVolumeUpdate`: where the volume is does not change.
pub fn validate_change(new: &PersistentVolumeSpec, old: &PersistentVolumeSpec, out: &mut Errors) {
    let mut now = new.clone();
    if let (Some(now), Some(was)) = (&mut now.csi, &old.csi)
        && was.controller_expand_secret_ref.is_none()
    {
        now.controller_expand_secret_ref = None;
    }
    if sources::only(&now) != sources::only(old) {
        let difference = diff::unified(&volume_internal::volume_source(old), &volume_internal::volume_source(&now));
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{difference}");
        out.push(Error::forbidden(&Path::new("spec").child("persistentvolumesource"), detail));
    }
    out.extend(rules::immutable(&new.volume_mode, &old.volume_mode, &Path::new("volumeMode")));
    if old.node_affinity.is_some() && old.node_affinity != new.node_affinity && !only_newer_labels(new, old) {
        let detail = "field is immutable, except for updating from beta label to GA";
        out.push(Error::invalid(&Path::new("nodeAffinity"), &new.node_affinity, detail));
    }
    if old.volume_attributes_class_name.is_some() && new.volume_attributes_class_name.is_none() {
        let path = Path::new("spec").child("volumeAttributesClassName");
        out.push(Error::forbidden(&path, "update from non-nil value to nil is forbidden"));
    }
}

/// The affinities differ only in keys that went from beta to stable.
fn only_newer_labels(new: &PersistentVolumeSpec, old: &PersistentVolumeSpec) -> bool {
    const NEWER: [(&str, &str); 5] = [
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    let (Some(now), Some(mut was)) = (&new.node_affinity, old.node_affinity.clone()) else { return false };
    let (Some(required), Some(before)) = (&now.required, &mut was.required) else { return false };
    for (term, before) in required.node_selector_terms.iter().zip(&mut before.node_selector_terms) {
        let pairs = term.match_expressions.iter().flatten().zip(before.match_expressions.iter_mut().flatten());
        for (requirement, before) in pairs {
            if NEWER.contains(&(before.key.as_str(), requirement.key.as_str())) {
                before.key.clone_from(&requirement.key);
            }
        }
    }
    Some(&was) == new.node_affinity.as_ref()
}

/// `GetWarningsForPersistentVolume`
pub fn warnings(object: &PersistentVolume) -> Vec<String> {
    let mut out = Vec::new();
    let annotated = |key: &str| object.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(key));
    if annotated(CLASS_ANNOTATION) {
        out.push(format!(
            "metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
    if annotated(MOUNT_OPTIONS) {
        out.push(format!(
            "metadata.annotations[{MOUNT_OPTIONS}]: deprecated since v1.31; use \"mountOptions\" attribute instead"
        ));
    }
    let Some(spec) = &object.spec else { return out };
    if text(&spec.persistent_volume_reclaim_policy) == "Recycle" {
        out.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning."
                .into(),
        );
    }
    out.extend(sources::warnings(spec).into_iter().map(|w| format!("spec.{w}")));
    if let Some(storage) = spec.capacity.as_ref().and_then(|c| c.get("storage")).map(rules::number)
        && !storage.is_whole()
    {
        out.push(format!("spec.capacity[storage]: fractional byte value \"{storage}\" is invalid, must be an integer"));
    }
    out
}

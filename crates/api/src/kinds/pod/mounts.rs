//! Where a container sees its volumes: `volumeMounts` and `volumeDevices`.
use super::volumes;
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{Container, Volume, VolumeMount};
use std::collections::{BTreeMap, BTreeSet};

/// `ValidateVolumeMounts`. Some errors carry the list's path instead of the item's: so does upstream.
pub fn validate(c: &Container, volumes: &BTreeMap<&str, &Volume>, path: &Path, out: &mut Errors) {
    let mut mount_points = BTreeSet::new();
    for (i, mount) in c.volume_mounts.iter().flatten().enumerate() {
        let item = path.index(i);
        if mount.name.is_empty() {
            out.push(Error::required(&item.child("name"), ""));
        }
        if !volumes.contains_key(mount.name.as_str()) {
            out.push(Error::not_found(&item.child("name"), &mount.name));
        }
        if mount.mount_path.is_empty() {
            out.push(Error::required(&item.child("mountPath"), ""));
        }
        if !mount_points.insert(mount.mount_path.as_str()) {
            out.push(Error::invalid(&item.child("mountPath"), &mount.mount_path, "must be unique"));
        }
        let mut devices = c.volume_devices.iter().flatten();
        if devices.clone().any(|d| d.name == mount.name) {
            out.push(Error::invalid(&item.child("name"), &mount.name, "must not already exist in volumeDevices"));
        }
        if devices.any(|d| d.device_path == mount.mount_path) {
            let detail = "must not already exist as a path in volumeDevices";
            out.push(Error::invalid(&item.child("mountPath"), &mount.mount_path, detail));
        }
        validate_sub_path(mount, &item, path, out);
        validate_propagation(mount, c, &path.child("mountPropagation"), out);
        validate_recursive_read_only(mount, &path.child("recursiveReadOnly"), out);
    }
}

fn validate_sub_path(mount: &VolumeMount, item: &Path, list: &Path, out: &mut Errors) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (sub_path, expression) = (text(&mount.sub_path), text(&mount.sub_path_expr));
    if !sub_path.is_empty() {
        volumes::validate_descending_path(&sub_path, &list.child("subPath"), out);
    }
    if !expression.is_empty() {
        if !sub_path.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            out.push(Error::invalid(&item.child("subPathExpr"), &expression, detail));
        }
        volumes::validate_descending_path(&expression, &list.child("subPathExpr"), out);
    }
}

fn validate_propagation(mount: &VolumeMount, c: &Container, path: &Path, out: &mut Errors) {
    const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    let Some(mode) = mount.mount_propagation.as_deref() else { return };
    if !MODES.contains(&mode) {
        out.push(Error::not_supported(path, mode, &MODES));
    }
    let privileged = c.security_context.as_ref().and_then(|s| s.privileged).unwrap_or_default();
    if mode == "Bidirectional" && !privileged {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        out.push(Error::forbidden(path, detail));
    }
}

fn validate_recursive_read_only(mount: &VolumeMount, path: &Path, out: &mut Errors) {
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount.read_only != Some(true) {
                out.push(Error::forbidden(path, "may only be specified when readOnly is true"));
            }
            if mount.mount_propagation.as_deref().is_some_and(|mode| mode != "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                out.push(Error::forbidden(path, detail));
            }
        }
        Some(other) => out.push(Error::not_supported(path, other, &["Disabled", "Enabled", "IfPossible"])),
    }
}

/// `ValidateVolumeDevices`
pub fn validate_devices(c: &Container, volumes: &BTreeMap<&str, &Volume>, path: &Path, out: &mut Errors) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in c.volume_devices.iter().flatten().enumerate() {
        let item = path.index(i);
        let (name, device_path) = (device.name.as_str(), device.device_path.as_str());
        if name.is_empty() {
            out.push(Error::required(&item.child("name"), ""));
        }
        if names.contains(name) {
            out.push(Error::invalid(&item.child("name"), name, "must be unique"));
        }
        match volumes.get(name) {
            None => out.push(Error::not_found(&item.child("name"), name)),
            Some(v) if v.persistent_volume_claim.is_none() && v.ephemeral.is_none() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                out.push(Error::invalid(&item.child("name"), name, detail));
            }
            Some(_) => {}
        }
        if device_path.is_empty() {
            out.push(Error::required(&item.child("devicePath"), ""));
        }
        if paths.contains(device_path) {
            out.push(Error::invalid(&item.child("devicePath"), device_path, "must be unique"));
        }
        if volumes::has_backsteps(device_path) {
            let detail = "can not contain backsteps ('..')";
            out.push(Error::invalid(&item.child("devicePath"), device_path, detail));
        } else {
            paths.insert(device_path);
        }
        let mut mounts = c.volume_mounts.iter().flatten();
        if mounts.clone().any(|m| m.name == name) {
            out.push(Error::invalid(&item.child("name"), name, "must not already exist in volumeMounts"));
        }
        if mounts.any(|m| m.mount_path == device_path) {
            let detail = "must not already exist as a path in volumeMounts";
            out.push(Error::invalid(&item.child("devicePath"), device_path, detail));
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}

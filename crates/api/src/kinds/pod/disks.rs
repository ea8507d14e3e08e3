//! Volumes that name a disk of some storage system. Most of these plug-ins are gone from the kubelet; their rules are not.
use super::volumes::{required, validate_descending_path};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{
    AzureDiskVolumeSource, FCVolumeSource, FlexVolumeSource, FlockerVolumeSource, ISCSIVolumeSource,
    QuobyteVolumeSource, StorageOSVolumeSource, Volume,
};
use crate::names;

/// `kind` is the path under which [`super::volumes::sources`] lists the source.
pub fn validate(v: &Volume, kind: &str, path: &Path, out: &mut Errors) {
    match kind {
        "gitRepo" => v.git_repo.iter().for_each(|s| {
            required(&[(&s.repository, "repository")], path, out);
            validate_descending_path(s.directory.as_deref().unwrap_or_default(), &path.child("directory"), out);
        }),
        "persistentDisk" => v.gce_persistent_disk.iter().for_each(|s| {
            required(&[(&s.pd_name, "pdName")], path, out);
            validate_partition(s.partition, path, out);
        }),
        "awsElasticBlockStore" => v.aws_elastic_block_store.iter().for_each(|s| {
            required(&[(&s.volume_id, "volumeID")], path, out);
            validate_partition(s.partition, path, out);
        }),
        "iscsi" => v.iscsi.iter().for_each(|s| iscsi(s, &v.name, path, out)),
        "glusterfs" => {
            v.glusterfs.iter().for_each(|s| required(&[(&s.endpoints, "endpoints"), (&s.path, "path")], path, out));
        }
        "flocker" => v.flocker.iter().for_each(|s| flocker(s, path, out)),
        "rbd" => v.rbd.iter().for_each(|s| {
            required(&[(s.monitors.first().map_or("", |_| "some"), "monitors"), (&s.image, "image")], path, out);
        }),
        "cinder" => v.cinder.iter().for_each(|s| {
            required(&[(&s.volume_id, "volumeID")], path, out);
            if let Some(secret) = &s.secret_ref {
                required(&[(&secret.name, "name")], &path.child("secretRef"), out);
            }
        }),
        "cephfs" => v
            .cephfs
            .iter()
            .for_each(|s| required(&[(s.monitors.first().map_or("", |_| "some"), "monitors")], path, out)),
        "quobyte" => v.quobyte.iter().for_each(|s| quobyte(s, path, out)),
        "fc" => v.fc.iter().for_each(|s| fibre_channel(s, path, out)),
        "flexVolume" => v.flex_volume.iter().for_each(|s| flex(s, path, out)),
        "azureFile" => v
            .azure_file
            .iter()
            .for_each(|s| required(&[(&s.secret_name, "secretName"), (&s.share_name, "shareName")], path, out)),
        "vsphereVolume" => {
            v.vsphere_volume.iter().for_each(|s| required(&[(&s.volume_path, "volumePath")], path, out));
        }
        "photonPersistentDisk" => {
            v.photon_persistent_disk.iter().for_each(|s| required(&[(&s.pd_id, "pdID")], path, out));
        }
        "portworxVolume" => {
            v.portworx_volume.iter().for_each(|s| required(&[(&s.volume_id, "volumeID")], path, out));
        }
        "azureDisk" => v.azure_disk.iter().for_each(|s| azure_disk(s, path, out)),
        "storageos" => v.storageos.iter().for_each(|s| storage_os(s, path, out)),
        "scaleIO" => v.scale_io.iter().for_each(|s| {
            let volume = s.volume_name.as_deref().unwrap_or_default();
            required(&[(&s.gateway, "gateway"), (&s.system, "system"), (volume, "volumeName")], path, out);
        }),
        _ => {}
    }
}

fn validate_partition(partition: Option<i32>, path: &Path, out: &mut Errors) {
    if let Some(partition) = partition.filter(|p| !(0..=255).contains(p)) {
        // The message says 1: upstream's rule and its words differ.
        out.push(Error::invalid(&path.child("partition"), partition, "must be between 1 and 255, inclusive"));
    }
}

fn iscsi(s: &ISCSIVolumeSource, volume: &str, path: &Path, out: &mut Errors) {
    required(&[(&s.target_portal, "targetPortal"), (&s.iqn, "iqn")], path, out);
    if !s.iqn.is_empty() {
        validate_iscsi_name(&s.iqn, &path.child("iqn"), out);
    }
    out.extend(invalid_each(&path.child("lun"), s.lun, names::in_range(s.lun.into(), 0, 255)));
    if (s.chap_auth_discovery == Some(true) || s.chap_auth_session == Some(true)) && s.secret_ref.is_none() {
        out.push(Error::required(&path.child("secretRef"), ""));
    }
    if let Some(initiator) = &s.initiator_name {
        validate_iscsi_name(initiator, &path.child("initiatorname"), out);
        if volume.len().saturating_add(s.target_portal.len()).saturating_add(1) > 64 {
            let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            out.push(Error::invalid(&path.child("name"), volume, detail));
        }
    }
}

/// `iqn.2001-04.com.example:disk`, `eui.` and 16 or `naa.` and 32 letters or digits.
fn validate_iscsi_name(name: &str, path: &Path, out: &mut Errors) {
    let long = |count: usize| {
        let rest = name.get(4..).unwrap_or_default();
        rest.len() == count && rest.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let (known, right) = match name.get(..3) {
        Some("iqn") => (true, is_iqn(name)),
        Some("eui") => (true, long(16)),
        Some("naa") => (true, long(32)),
        _ => (false, false),
    };
    if !known {
        out.push(Error::invalid(path, name, "must be valid format starting with iqn, eui, or naa"));
    } else if !right {
        out.push(Error::invalid(path, name, "must be valid format"));
    }
}

fn is_iqn(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("iqn.") else { return false };
    let (Some(date), Some(rest)) = (rest.get(..8), rest.get(8..)) else { return false };
    let dated = date.bytes().enumerate().all(|(i, b)| match i {
        4 => b == b'-',
        7 => b == b'.',
        _ => b.is_ascii_digit(),
    });
    let Some((authority, unique)) = rest.split_once(':') else { return false };
    dated
        && !authority.is_empty()
        && authority.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && !unique.is_empty()
        && !unique.contains([',', ';', '*', '&', '$', '|'])
        && !unique.contains(char::is_whitespace)
}

fn flocker(s: &FlockerVolumeSource, path: &Path, out: &mut Errors) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (name, uuid) = (text(&s.dataset_name), text(&s.dataset_uuid));
    if name.is_empty() && uuid.is_empty() {
        out.push(Error::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let detail = "datasetName and datasetUUID can not be specified simultaneously";
        out.push(Error::invalid(path, "resource", detail));
    }
    if name.contains('/') {
        out.push(Error::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
}

fn quobyte(s: &QuobyteVolumeSource, path: &Path, out: &mut Errors) {
    const REGISTRY: &str = "must be a host:port pair or multiple pairs separated by commas";
    if s.registry.is_empty() {
        out.push(Error::required(&path.child("registry"), REGISTRY));
    } else if s.tenant.as_ref().is_some_and(|t| t.len() >= 65) {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        out.push(Error::required(&path.child("tenant"), detail));
    } else {
        let wrong = s.registry.split(',').filter(|pair| pair.matches(':').count() != 1);
        out.extend(wrong.map(|_| Error::invalid(&path.child("registry"), &s.registry, REGISTRY)));
    }
    required(&[(&s.volume, "volume")], path, out);
}

fn fibre_channel(s: &FCVolumeSource, path: &Path, out: &mut Errors) {
    let targets = s.target_wwns.as_deref().unwrap_or_default();
    let ids = s.wwids.as_deref().unwrap_or_default();
    let at = path.child("targetWWNs");
    match (targets.is_empty(), ids.is_empty()) {
        (true, true) => out.push(Error::required(&at, "must specify either targetWWNs or wwids, but not both")),
        (false, false) => {
            let detail = "targetWWNs and wwids can not be specified simultaneously";
            out.push(Error::invalid(&at, targets, detail));
        }
        _ => {}
    }
    if !targets.is_empty() {
        match s.lun {
            None => out.push(Error::required(&path.child("lun"), "lun is required if targetWWNs is specified")),
            Some(lun) => out.extend(invalid_each(&path.child("lun"), lun, names::in_range(lun.into(), 0, 255))),
        }
    }
}

fn flex(s: &FlexVolumeSource, path: &Path, out: &mut Errors) {
    required(&[(&s.driver, "driver")], path, out);
    for key in s.options.iter().flatten().map(|(key, _)| key) {
        let namespace = key.split('/').next().unwrap_or_default();
        let dotted = format!(".{}", namespace.to_lowercase());
        if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            out.push(Error::invalid(&path.child("options").key(key), key, detail));
        }
    }
}

fn azure_disk(s: &AzureDiskVolumeSource, path: &Path, out: &mut Errors) {
    const CACHING: [&str; 3] = ["None", "ReadOnly", "ReadWrite"];
    const KINDS: [&str; 3] = ["Dedicated", "Managed", "Shared"];
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    required(&[(&s.disk_name, "diskName"), (&s.disk_uri, "diskURI")], path, out);
    if let Some(mode) = s.caching_mode.as_deref().filter(|m| !CACHING.contains(m)) {
        out.push(Error::not_supported(&path.child("cachingMode"), mode, &CACHING));
    }
    let Some(kind) = s.kind.as_deref() else { return };
    if !KINDS.contains(&kind) {
        out.push(Error::not_supported(&path.child("kind"), kind, &KINDS));
    }
    let (prefix, supported) = if kind == "Managed" { ("/subscriptions/", MANAGED) } else { ("https://", BLOB) };
    if !s.disk_uri.starts_with(prefix) {
        out.push(Error::not_supported(&path.child("diskURI"), &s.disk_uri, &[supported]));
    }
}

fn storage_os(s: &StorageOSVolumeSource, path: &Path, out: &mut Errors) {
    for (field, value) in [("volumeName", &s.volume_name), ("volumeNamespace", &s.volume_namespace)] {
        let value = value.as_deref().unwrap_or_default();
        if !value.is_empty() {
            out.extend(invalid_each(&path.child(field), value, names::dns1123_label(value, false)));
        } else if field == "volumeName" {
            out.push(Error::required(&path.child(field), ""));
        }
    }
    if let Some(secret) = &s.secret_ref {
        required(&[(&secret.name, "name")], &path.child("secretRef"), out);
    }
}

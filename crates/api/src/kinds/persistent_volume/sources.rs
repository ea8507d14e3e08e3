//! Where a volume is: exactly one of many sources. Most of them are served by drivers outside Kubernetes by now; their rules
//! stay. Those that pods name in the same words are checked by the pods' rules.
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{
    CSIPersistentVolumeSource, LocalVolumeSource, PersistentVolumeSpec, SecretReference, Volume,
};
use crate::kinds::pod::disks;
use crate::kinds::pod::volumes::{host_path, nfs, required, validate_csi_driver_name, validate_no_backsteps};
use crate::kinds::rules::{self, text};

/// The spec with nothing but its source.
pub fn only(spec: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    PersistentVolumeSpec {
        access_modes: None,
        capacity: None,
        claim_ref: None,
        mount_options: None,
        node_affinity: None,
        persistent_volume_reclaim_policy: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        ..spec.clone()
    }
}

/// The sources in the order in which they are looked at: (field, given).
fn given(s: &PersistentVolumeSpec) -> Vec<&'static str> {
    let all = [
        ("hostPath", s.host_path.is_some()),
        ("gcePersistentDisk", s.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", s.aws_elastic_block_store.is_some()),
        ("glusterfs", s.glusterfs.is_some()),
        ("flocker", s.flocker.is_some()),
        ("nfs", s.nfs.is_some()),
        ("rbd", s.rbd.is_some()),
        ("quobyte", s.quobyte.is_some()),
        ("cephFS", s.cephfs.is_some()),
        ("iscsi", s.iscsi.is_some()),
        ("cinder", s.cinder.is_some()),
        ("fc", s.fc.is_some()),
        ("flexVolume", s.flex_volume.is_some()),
        ("azureFile", s.azure_file.is_some()),
        ("vsphereVolume", s.vsphere_volume.is_some()),
        ("photonPersistentDisk", s.photon_persistent_disk.is_some()),
        ("portworxVolume", s.portworx_volume.is_some()),
        ("azureDisk", s.azure_disk.is_some()),
        ("scaleIO", s.scale_io.is_some()),
        ("local", s.local.is_some()),
        ("storageos", s.storageos.is_some()),
        ("csi", s.csi.is_some()),
    ];
    all.into_iter().filter(|(_, given)| *given).map(|(field, _)| field).collect()
}

pub fn validate(spec: &PersistentVolumeSpec, name: &str, path: &Path, out: &mut Errors) {
    let given = given(spec);
    if given.is_empty() {
        out.push(Error::required(path, "must specify a volume type"));
    }
    for (i, field) in given.into_iter().enumerate() {
        if i > 0 && field != "flexVolume" {
            out.push(Error::forbidden(&path.child(field), "may not specify more than 1 volume type"));
            continue;
        }
        own_rules(spec, field, path, out);
        like_pods(spec, name, field, path, out);
    }
}

/// The sources that only PersistentVolumes have, or have with references to Secrets of any namespace.
fn own_rules(s: &PersistentVolumeSpec, field: &str, path: &Path, out: &mut Errors) {
    let at = path.child(field);
    match field {
        "hostPath" => s.host_path.iter().for_each(|s| host_path(s, &at, out)),
        "nfs" => s.nfs.iter().for_each(|s| nfs(s, &at, out)),
        "local" => s.local.iter().for_each(|local| local_rules(local, s, path, out)),
        "csi" => s.csi.iter().for_each(|s| csi(s, &at, out)),
        "glusterfs" => s.glusterfs.iter().for_each(|s| {
            required(&[(&s.endpoints, "endpoints"), (&s.path, "path")], &at, out);
            if s.endpoints_namespace.as_deref() == Some("") {
                let detail = "if the endpointnamespace is set, it must be a valid namespace name";
                out.push(Error::invalid(&at.child("endpointsNamespace"), "", detail));
            }
        }),
        "rbd" => s.rbd.iter().for_each(|s| {
            let monitors = s.monitors.first().map_or("", |_| "some");
            required(&[(monitors, "monitors"), (&s.image, "image")], &at, out);
        }),
        "cephFS" => s.cephfs.iter().for_each(|s| {
            required(&[(s.monitors.first().map_or("", |_| "some"), "monitors")], &path.child("cephfs"), out);
        }),
        "cinder" => s.cinder.iter().for_each(|s| {
            required(&[(&s.volume_id, "volumeID")], &at, out);
            if let Some(secret) = &s.secret_ref {
                let parts = [(text(&secret.name), "name"), (text(&secret.namespace), "namespace")];
                required(&parts, &at.child("secretRef"), out);
            }
        }),
        "azureFile" => s.azure_file.iter().for_each(|s| {
            required(&[(&s.secret_name, "secretName"), (&s.share_name, "shareName")], &at, out);
            if s.secret_namespace.as_deref() == Some("") {
                out.push(Error::required(&at.child("secretNamespace"), ""));
            }
        }),
        "scaleIO" => s.scale_io.iter().for_each(|s| {
            let volume = text(&s.volume_name);
            required(&[(&s.gateway, "gateway"), (&s.system, "system"), (volume, "volumeName")], &at, out);
        }),
        "storageos" => s.storageos.iter().for_each(|s| {
            let volume = text(&s.volume_name);
            required(&[(volume, "volumeName")], &at, out);
            for (value, field) in [(volume, "volumeName"), (text(&s.volume_namespace), "volumeNamespace")] {
                if !value.is_empty() {
                    out.extend(rules::dns_label(value, &at.child(field)));
                }
            }
            if let Some(secret) = &s.secret_ref {
                let parts = [(text(&secret.name), "name"), (text(&secret.namespace), "namespace")];
                required(&parts, &at.child("secretRef"), out);
            }
        }),
        "flexVolume" => s.flex_volume.iter().for_each(|s| {
            required(&[(&s.driver, "driver")], &at, out);
            for key in s.options.iter().flat_map(|o| o.keys()) {
                let namespace = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
                if key.contains('/') && (namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io")) {
                    let detail = "kubernetes.io and k8s.io namespaces are reserved";
                    out.push(Error::invalid(&at.child("options").key(key), key, detail));
                }
            }
        }),
        _ => {}
    }
}

/// The sources that pods have too, by the pods' rules.
fn like_pods(s: &PersistentVolumeSpec, name: &str, field: &str, path: &Path, out: &mut Errors) {
    let mut volume = Volume { name: name.to_owned(), ..Default::default() };
    let kind = match field {
        "gcePersistentDisk" => {
            volume.gce_persistent_disk.clone_from(&s.gce_persistent_disk);
            "persistentDisk"
        }
        "awsElasticBlockStore" => {
            volume.aws_elastic_block_store.clone_from(&s.aws_elastic_block_store);
            field
        }
        "flocker" => {
            volume.flocker.clone_from(&s.flocker);
            field
        }
        "quobyte" => {
            volume.quobyte.clone_from(&s.quobyte);
            field
        }
        "fc" => {
            volume.fc.clone_from(&s.fc);
            field
        }
        "vsphereVolume" => {
            volume.vsphere_volume.clone_from(&s.vsphere_volume);
            field
        }
        "photonPersistentDisk" => {
            volume.photon_persistent_disk.clone_from(&s.photon_persistent_disk);
            field
        }
        "portworxVolume" => {
            volume.portworx_volume.clone_from(&s.portworx_volume);
            field
        }
        "azureDisk" => {
            volume.azure_disk.clone_from(&s.azure_disk);
            field
        }
        "iscsi" => {
            volume.iscsi = s.iscsi.as_ref().map(iscsi_of_pod);
            field
        }
        _ => return,
    };
    disks::validate(&volume, kind, &path.child(kind), out);
}

fn iscsi_of_pod(
    s: &crate::k8s::api::core::v1::ISCSIPersistentVolumeSource,
) -> crate::k8s::api::core::v1::ISCSIVolumeSource {
    crate::k8s::api::core::v1::ISCSIVolumeSource {
        chap_auth_discovery: s.chap_auth_discovery,
        chap_auth_session: s.chap_auth_session,
        fs_type: s.fs_type.clone(),
        initiator_name: s.initiator_name.clone(),
        iqn: s.iqn.clone(),
        iscsi_interface: s.iscsi_interface.clone(),
        lun: s.lun,
        portals: s.portals.clone(),
        read_only: s.read_only,
        secret_ref: s
            .secret_ref
            .as_ref()
            .map(|r| crate::k8s::api::core::v1::LocalObjectReference { name: r.name.clone().unwrap_or_default() }),
        target_portal: s.target_portal.clone(),
    }
}

fn local_rules(local: &LocalVolumeSource, spec: &PersistentVolumeSpec, path: &Path, out: &mut Errors) {
    let at = path.child("local").child("path");
    if local.path.is_empty() {
        out.push(Error::required(&at, ""));
    } else {
        validate_no_backsteps(&local.path, &at, out);
    }
    if spec.node_affinity.is_none() {
        out.push(Error::required(&path.child("nodeAffinity"), "Local volume requires node affinity"));
    }
}

fn csi(s: &CSIPersistentVolumeSource, path: &Path, out: &mut Errors) {
    validate_csi_driver_name(&s.driver, &path.child("driver"), out);
    required(&[(&s.volume_handle, "volumeHandle")], path, out);
    let secrets = [
        (&s.controller_publish_secret_ref, "controllerPublishSecretRef"),
        (&s.controller_expand_secret_ref, "controllerExpandSecretRef"),
        (&s.node_publish_secret_ref, "nodePublishSecretRef"),
        (&s.node_expand_secret_ref, "nodeExpandSecretRef"),
    ];
    for (secret, field) in secrets {
        if let Some(secret) = secret {
            secret_reference(secret, &path.child(field), out);
        }
    }
}

fn secret_reference(secret: &SecretReference, path: &Path, out: &mut Errors) {
    match text(&secret.name) {
        "" => out.push(Error::required(&path.child("name"), "")),
        name => out.extend(rules::dns_subdomain(name, &path.child("name"))),
    }
    match text(&secret.namespace) {
        "" => out.push(Error::required(&path.child("namespace"), "")),
        namespace => out.extend(rules::dns_label(namespace, &path.child("namespace"))),
    }
}

/// What is said of sources whose plug-in is gone (`GetWarningsForPersistentVolume`).
pub fn warnings(s: &PersistentVolumeSpec) -> Vec<String> {
    let gone = [
        (s.photon_persistent_disk.is_some(), "photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+"),
        (s.scale_io.is_some(), "scaleIO: deprecated in v1.16, non-functional in v1.22+"),
        (s.storageos.is_some(), "storageOS: deprecated in v1.22, non-functional in v1.25+"),
        (s.glusterfs.is_some(), "glusterfs: deprecated in v1.25, non-functional in v1.26+"),
        (s.cephfs.is_some(), "cephfs: deprecated in v1.28, non-functional in v1.31+"),
        (s.rbd.is_some(), "rbd: deprecated in v1.28, non-functional in v1.31+"),
    ];
    gone.iter().filter(|(given, _)| *given).map(|(_, words)| (*words).to_owned()).collect()
}

//! The volumes of a pod (`ValidateVolumes`): names, one source each, and the rules of the sources people use today.
//! What cloud and storage plug-ins of old want is in [`disks`](super::disks).
use super::{containers::one_of, disks, projected};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{
    CSIVolumeSource, ConfigMapVolumeSource, EphemeralVolumeSource, HostPathVolumeSource, ImageVolumeSource, KeyToPath,
    NFSVolumeSource, SecretVolumeSource, Volume,
};
use crate::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use crate::kinds::persistent_volume_claim;
use crate::names;
use std::collections::{BTreeMap, BTreeSet};

/// What is being validated: a pod, or the template of one.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    Pod(&'a ObjectMeta),
    Template,
}

impl<'a> Subject<'a> {
    /// The pod's name, where there is one: ephemeral volumes make claims of it.
    fn pod_name(self) -> Option<&'a str> {
        match self {
            Self::Pod(meta) => meta.name.as_deref().filter(|n| !n.is_empty()),
            Self::Template => None,
        }
    }
}

/// The sources a volume names, in the order in which they are checked: (field in errors, path of its own rules).
/// The two differ where upstream's paths do.
pub fn sources(v: &Volume) -> Vec<(&'static str, &'static str)> {
    let given = [
        (v.empty_dir.is_some(), "emptyDir", "emptyDir"),
        (v.host_path.is_some(), "hostPath", "hostPath"),
        (v.git_repo.is_some(), "gitRepo", "gitRepo"),
        (v.gce_persistent_disk.is_some(), "gcePersistentDisk", "persistentDisk"),
        (v.aws_elastic_block_store.is_some(), "awsElasticBlockStore", "awsElasticBlockStore"),
        (v.secret.is_some(), "secret", "secret"),
        (v.nfs.is_some(), "nfs", "nfs"),
        (v.iscsi.is_some(), "iscsi", "iscsi"),
        (v.glusterfs.is_some(), "glusterfs", "glusterfs"),
        (v.flocker.is_some(), "flocker", "flocker"),
        (v.persistent_volume_claim.is_some(), "persistentVolumeClaim", "persistentVolumeClaim"),
        (v.rbd.is_some(), "rbd", "rbd"),
        (v.cinder.is_some(), "cinder", "cinder"),
        (v.cephfs.is_some(), "cephFS", "cephfs"),
        (v.quobyte.is_some(), "quobyte", "quobyte"),
        (v.downward_api.is_some(), "downwarAPI", "downwardAPI"),
        (v.fc.is_some(), "fc", "fc"),
        (v.flex_volume.is_some(), "flexVolume", "flexVolume"),
        (v.config_map.is_some(), "configMap", "configMap"),
        (v.azure_file.is_some(), "azureFile", "azureFile"),
        (v.vsphere_volume.is_some(), "vsphereVolume", "vsphereVolume"),
        (v.photon_persistent_disk.is_some(), "photonPersistentDisk", "photonPersistentDisk"),
        (v.portworx_volume.is_some(), "portworxVolume", "portworxVolume"),
        (v.azure_disk.is_some(), "azureDisk", "azureDisk"),
        (v.storageos.is_some(), "storageos", "storageos"),
        (v.projected.is_some(), "projected", "projected"),
        (v.scale_io.is_some(), "scaleIO", "scaleIO"),
        (v.csi.is_some(), "csi", "csi"),
        (v.ephemeral.is_some(), "ephemeral", "ephemeral"),
        (v.image.is_some(), "image", "image"),
    ];
    given.into_iter().filter(|(is_given, ..)| *is_given).map(|(_, field, path)| (field, path)).collect()
}

/// Checks all volumes; gives those that are right, by name, for the mounts to refer to.
pub fn validate<'a>(
    volumes: &'a [Volume],
    subject: Subject<'_>,
    path: &Path,
    out: &mut Errors,
) -> BTreeMap<&'a str, &'a Volume> {
    let made_claims: BTreeSet<String> = subject
        .pod_name()
        .map(|pod| volumes.iter().filter(|v| v.ephemeral.is_some()).map(|v| format!("{pod}-{}", v.name)).collect())
        .unwrap_or_default();
    let mut right = BTreeMap::new();
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        let name_path = path.child("name");
        let mut errors = Errors::new();
        validate_source(volume, subject, &path, &mut errors);
        if volume.name.is_empty() {
            errors.push(Error::required(&name_path, ""));
        } else {
            errors.extend(invalid_each(&name_path, &volume.name, names::dns1123_label(&volume.name, false)));
        }
        if right.contains_key(volume.name.as_str()) {
            errors.push(Error::duplicate(&name_path, &volume.name));
        }
        if errors.is_empty() {
            right.insert(volume.name.as_str(), volume);
        }
        out.append(&mut errors);
        if let Some(claim) = volume.persistent_volume_claim.as_ref().filter(|c| made_claims.contains(&c.claim_name)) {
            let at = path.child("persistentVolumeClaim").child("claimName");
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            out.push(Error::invalid(&at, &claim.claim_name, detail));
        }
    }
    right
}

/// The first source is checked; every other one is one too many.
fn validate_source(v: &Volume, subject: Subject<'_>, path: &Path, out: &mut Errors) {
    let sources = sources(v);
    let Some((_, first)) = sources.first() else {
        return out.push(Error::required(path, "must specify a volume type"));
    };
    validate_first(v, first, subject, &path.child(first), out);
    for (field, _) in sources.iter().skip(1) {
        out.push(Error::forbidden(&path.child(field), "may not specify more than 1 volume type"));
    }
    if let (Some(pod), Some(_)) = (subject.pod_name(), v.ephemeral.as_ref().filter(|_| *first == "ephemeral"))
        && !v.name.is_empty()
    {
        let claim = format!("{pod}-{}", v.name);
        for message in names::dns1123_subdomain(&claim, false) {
            out.push(Error::invalid(&path.child("name"), &v.name, format!("PVC name \"{claim}\": {message}")));
        }
    }
}

fn validate_first(v: &Volume, kind: &str, subject: Subject<'_>, path: &Path, out: &mut Errors) {
    match kind {
        "emptyDir" => {
            let limit = v.empty_dir.as_ref().and_then(|e| e.size_limit.as_ref());
            if limit.is_some_and(|l| super::resources::amount(l).sign() < 0) {
                let detail = "SizeLimit field must be a valid resource quantity";
                out.push(Error::forbidden(&path.child("sizeLimit"), detail));
            }
        }
        "hostPath" => v.host_path.iter().for_each(|s| host_path(s, path, out)),
        "secret" => v.secret.iter().for_each(|s| secret(s, path, out)),
        "configMap" => v.config_map.iter().for_each(|s| config_map(s, path, out)),
        "nfs" => v.nfs.iter().for_each(|s| nfs(s, path, out)),
        "persistentVolumeClaim" => {
            v.persistent_volume_claim.iter().for_each(|s| required(&[(&s.claim_name, "claimName")], path, out));
        }
        "downwardAPI" => v.downward_api.iter().for_each(|s| projected::validate_downward(s, path, out)),
        "projected" => v.projected.iter().for_each(|s| projected::validate(s, path, out)),
        "csi" => v.csi.iter().for_each(|s| csi(s, path, out)),
        "ephemeral" => v.ephemeral.iter().for_each(|s| ephemeral(s, path, out)),
        "image" => v.image.iter().for_each(|s| image(s, subject, path, out)),
        _ => disks::validate(v, kind, path, out),
    }
}

/// Fields that must not be empty.
pub fn required(fields: &[(&str, &str)], path: &Path, out: &mut Errors) {
    let missing = fields.iter().filter(|(value, _)| value.is_empty());
    out.extend(missing.map(|(_, field)| Error::required(&path.child(field), "")));
}

/// `validateHostPathVolumeSource`
pub fn host_path(s: &HostPathVolumeSource, path: &Path, out: &mut Errors) {
    const TYPES: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if s.path.is_empty() {
        return out.push(Error::required(&path.child("path"), ""));
    }
    validate_no_backsteps(&s.path, &path.child("path"), out);
    if let Some(kind) = s.type_.as_deref().filter(|t| !TYPES.contains(t)) {
        out.push(Error::not_supported(&path.child("type"), kind, &TYPES));
    }
}

fn secret(s: &SecretVolumeSource, path: &Path, out: &mut Errors) {
    required(&[(s.secret_name.as_deref().unwrap_or_default(), "secretName")], path, out);
    validate_mode(s.default_mode, &path.child("defaultMode"), out);
    items(s.items.as_deref().unwrap_or_default(), &path.child("items"), out);
}

fn config_map(s: &ConfigMapVolumeSource, path: &Path, out: &mut Errors) {
    required(&[(&s.name, "name")], path, out);
    validate_mode(s.default_mode, &path.child("defaultMode"), out);
    items(s.items.as_deref().unwrap_or_default(), &path.child("items"), out);
}

fn items(items: &[KeyToPath], path: &Path, out: &mut Errors) {
    for (i, item) in items.iter().enumerate() {
        validate_key_to_path(item, &path.index(i), out);
    }
}

/// `validateKeyToPath`
pub fn validate_key_to_path(item: &KeyToPath, path: &Path, out: &mut Errors) {
    required(&[(&item.key, "key"), (&item.path, "path")], path, out);
    validate_local_path(&item.path, &path.child("path"), out);
    validate_mode(item.mode, &path.child("mode"), out);
}

/// Permission bits, 0 to 0777.
pub fn validate_mode(mode: Option<i32>, path: &Path, out: &mut Errors) {
    if let Some(mode) = mode.filter(|m| !(0..=0o777).contains(m)) {
        out.push(Error::invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive"));
    }
}

/// `validateNFSVolumeSource`
pub fn nfs(s: &NFSVolumeSource, path: &Path, out: &mut Errors) {
    required(&[(&s.server, "server"), (&s.path, "path")], path, out);
    if !s.path.starts_with('/') {
        out.push(Error::invalid(&path.child("path"), &s.path, "must be an absolute path"));
    }
}

fn csi(s: &CSIVolumeSource, path: &Path, out: &mut Errors) {
    validate_csi_driver_name(&s.driver, &path.child("driver"), out);
    if let Some(secret) = &s.node_publish_secret_ref {
        if secret.name.is_empty() {
            out.push(Error::required(&path.child("nodePublishSecretRef").child("name"), ""));
        } else {
            // Upstream says `name`, not `nodePublishSecretRef.name`.
            out.extend(invalid_each(&path.child("name"), &secret.name, names::dns1123_subdomain(&secret.name, false)));
        }
    }
}

/// `ValidateCSIDriverName`
pub fn validate_csi_driver_name(driver: &str, path: &Path, out: &mut Errors) {
    if driver.is_empty() {
        out.push(Error::required(path, ""));
    }
    if driver.len() > 63 {
        out.push(Error::too_long(path, 63));
    }
    out.extend(invalid_each(path, driver, names::dns1123_subdomain(&driver.to_lowercase(), false)));
}

fn ephemeral(s: &EphemeralVolumeSource, path: &Path, out: &mut Errors) {
    let path = path.child("volumeClaimTemplate");
    let Some(claim) = &s.volume_claim_template else {
        return out.push(Error::required(&path, ""));
    };
    let meta_path = path.child("metadata");
    let meta = claim.metadata.clone().unwrap_or_default();
    out.extend(names::validate_annotations(
        &meta.annotations.clone().unwrap_or_default(),
        &meta_path.child("annotations"),
    ));
    out.extend(names::validate_labels(&meta.labels.clone().unwrap_or_default(), &meta_path.child("labels")));
    let bare = ObjectMeta { annotations: None, labels: None, ..meta };
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(&bare) {
        out.extend(fields.keys().map(|field| Error::forbidden(&meta_path.child(field), "cannot be set")));
    }
    out.extend(persistent_volume_claim::spec::validate(&claim.spec, None, &path.child("spec")));
}

fn image(s: &ImageVolumeSource, subject: Subject<'_>, path: &Path, out: &mut Errors) {
    // A template may leave it to whoever makes pods of it.
    if matches!(subject, Subject::Pod(_)) {
        required(&[(s.reference.as_deref().unwrap_or_default(), "reference")], path, out);
    }
    let policy = s.pull_policy.as_deref().unwrap_or_default();
    one_of(policy, &["Always", "IfNotPresent", "Never"], &path.child("pullPolicy"), out);
}

/// Whether a path goes up anywhere.
pub fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// `validatePathNoBacksteps`
pub fn validate_no_backsteps(target: &str, path: &Path, out: &mut Errors) {
    if has_backsteps(target) {
        out.push(Error::invalid(path, target, "must not contain '..'"));
    }
}

/// A relative path that stays below where it starts.
pub fn validate_descending_path(target: &str, path: &Path, out: &mut Errors) {
    if target.starts_with('/') {
        out.push(Error::invalid(path, target, "must be a relative path"));
    }
    validate_no_backsteps(target, path, out);
}

/// The same, and not hidden behind `..` (the kubelet's own names begin so).
pub fn validate_local_path(target: &str, path: &Path, out: &mut Errors) {
    validate_descending_path(target, path, out);
    if target.starts_with("..") && !target.starts_with("../") {
        out.push(Error::invalid(path, target, "must not start with '..'"));
    }
}

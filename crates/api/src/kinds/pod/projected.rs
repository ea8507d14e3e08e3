//! Projected and downward API volumes.
use super::{env, volumes};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{
    ClusterTrustBundleProjection, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath, PodCertificateProjection,
    ProjectedVolumeSource, ServiceAccountTokenProjection, VolumeProjection,
};
use crate::names;
use std::collections::BTreeSet;

const FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// `validateDownwardAPIVolumeSource`
pub fn validate_downward(s: &DownwardAPIVolumeSource, path: &Path, out: &mut Errors) {
    volumes::validate_mode(s.default_mode, &path.child("defaultMode"), out);
    for file in s.items.iter().flatten() {
        validate_file(file, path, out);
    }
}

/// Errors carry the volume's path: upstream does not say which item.
fn validate_file(file: &DownwardAPIVolumeFile, path: &Path, out: &mut Errors) {
    volumes::required(&[(&file.path, "path")], path, out);
    volumes::validate_local_path(&file.path, &path.child("path"), out);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), other) => {
            env::validate_field(field, &FIELDS, &path.child("fieldRef"), out);
            if other.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                out.push(Error::invalid(path, "resource", detail));
            }
        }
        (None, Some(resource)) => env::validate_resource_field(resource, true, &path.child("resourceFieldRef"), out),
        (None, None) => out.push(Error::required(path, "one of fieldRef and resourceFieldRef is required")),
    }
    volumes::validate_mode(file.mode, &path.child("mode"), out);
}

/// `validateProjectedVolumeSource`
pub fn validate(s: &ProjectedVolumeSource, path: &Path, out: &mut Errors) {
    volumes::validate_mode(s.default_mode, &path.child("defaultMode"), out);
    let mut paths = Paths { taken: BTreeSet::new(), volume: path };
    for (i, source) in s.sources.iter().flatten().enumerate() {
        validate_projection(source, &mut paths, &path.child("sources").index(i), out);
    }
}

/// Where the files of a projected volume go; no two may share a place.
struct Paths<'a> {
    taken: BTreeSet<String>,
    volume: &'a Path,
}

impl Paths<'_> {
    /// `value` is what the error shows.
    fn take(&mut self, path: &str, value: &str, out: &mut Errors) {
        if !path.is_empty() && !self.taken.insert(path.to_owned()) {
            out.push(Error::invalid(self.volume, value, "conflicting duplicate paths"));
        }
    }
}

fn validate_projection(source: &VolumeProjection, paths: &mut Paths<'_>, path: &Path, out: &mut Errors) {
    let mut count = 0;
    if let Some(s) = &source.secret {
        count += 1;
        named_items(&s.name, s.items.as_deref(), paths, &path.child("secret"), out);
    }
    if let Some(s) = &source.config_map {
        count += 1;
        named_items(&s.name, s.items.as_deref(), paths, &path.child("configMap"), out);
    }
    if let Some(s) = &source.downward_api {
        count += 1;
        for file in s.items.iter().flatten() {
            validate_file(file, &path.child("downwardAPI"), out);
            paths.take(&file.path, &file.path, out);
        }
    }
    if let Some(s) = &source.service_account_token {
        count += 1;
        validate_token(s, paths.volume, &path.child("serviceAccountToken"), out);
    }
    if let Some(s) = &source.cluster_trust_bundle {
        count += 1;
        validate_trust_bundle(s, &path.child("clusterTrustBundle"), out);
        paths.take(&s.path, &s.path, out);
    }
    if let Some(s) = &source.pod_certificate {
        count += 1;
        validate_certificate(s, paths, &path.child("podCertificate"), out);
    }
    if count > 1 {
        out.push(Error::forbidden(path, "may not specify more than 1 volume type per source"));
    }
}

fn named_items(name: &str, items: Option<&[KeyToPath]>, paths: &mut Paths<'_>, path: &Path, out: &mut Errors) {
    volumes::required(&[(name, "name")], path, out);
    for (i, item) in items.unwrap_or_default().iter().enumerate() {
        volumes::validate_key_to_path(item, &path.child("items").index(i), out);
        paths.take(&item.path, name, out);
    }
}

fn validate_token(s: &ServiceAccountTokenProjection, volume: &Path, path: &Path, out: &mut Errors) {
    let seconds = s.expiration_seconds.unwrap_or_default();
    let at = path.child("expirationSeconds");
    if seconds < 600 {
        out.push(Error::invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        out.push(Error::invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    // The token's path is reported at the volume, not at the source.
    if s.path.is_empty() {
        out.push(Error::required(&volume.child("path"), ""));
    } else {
        volumes::validate_local_path(&s.path, &volume.child("path"), out);
    }
}

fn validate_trust_bundle(s: &ClusterTrustBundleProjection, path: &Path, out: &mut Errors) {
    match (&s.name, &s.signer_name) {
        (Some(_), Some(_)) => out.push(Error::invalid(path, s, "only one of name and signerName may be used")),
        (Some(name), None) => {
            if name.is_empty() {
                out.push(Error::required(&path.child("name"), "must be a valid object name"));
            }
            // A bundle of a signer is called `signer.domain:path:rest`.
            let last = name.rsplit_once(':').map_or(name.as_str(), |(_, rest)| rest);
            for message in names::dns1123_subdomain(last, false) {
                let detail = format!("not a valid clustertrustbundlename: {message}");
                out.push(Error::invalid(&path.child("name"), name, detail));
            }
            if let Some(selector) = &s.label_selector {
                let detail = "labelSelector must be unset if name is specified";
                out.push(Error::invalid(&path.child("labelSelector"), selector, detail));
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                out.push(Error::required(&path.child("signerName"), "must be a valid signer name"));
            }
            if let Some(selector) = &s.label_selector {
                out.extend(names::validate_label_selector(selector, &path.child("labelSelector")));
            }
        }
        (None, None) => out.push(Error::required(path, "either name or signerName must be specified")),
    }
    volumes::required(&[(&s.path, "path")], path, out);
    volumes::validate_local_path(&s.path, &path.child("path"), out);
}

/// `podCertificate` (KEP-4317): a key type, a signer, and either one file or two.
fn validate_certificate(s: &PodCertificateProjection, paths: &mut Paths<'_>, path: &Path, out: &mut Errors) {
    const KEY_TYPES: [&str; 6] = ["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"];
    volumes::required(&[(&s.signer_name, "signerName")], path, out);
    if !KEY_TYPES.contains(&s.key_type.as_str()) {
        out.push(Error::not_supported(&path.child("keyType"), &s.key_type, &KEY_TYPES));
    }
    let files = [
        (s.credential_bundle_path.as_deref(), "credentialBundlePath"),
        (s.key_path.as_deref(), "keyPath"),
        (s.certificate_chain_path.as_deref(), "certificateChainPath"),
    ];
    let mut any = false;
    for (file, field) in files {
        let Some(file) = file.filter(|f| !f.is_empty()) else { continue };
        any = true;
        volumes::validate_local_path(file, &path.child(field), out);
        paths.take(file, file, out);
    }
    if !any {
        let detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        out.push(Error::required(path, detail));
    }
    out.extend(invalid_each(
        &path.child("maxExpirationSeconds"),
        s.max_expiration_seconds,
        s.max_expiration_seconds.map(|n| names::in_range(n.into(), 3600, 7_862_400)).unwrap_or_default(),
    ));
}

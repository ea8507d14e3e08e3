//! Annotations of pods that mean something (`ValidatePodSpecificAnnotations`, and what an update may do to them).
use super::containers;
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{PodSpec, SeccompProfile};
use crate::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// Marks the image of a static pod; its value is the hash of the manifest.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
pub const APP_ARMOR_PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
pub const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub const SECCOMP_CONTAINER_PREFIX: &str = "container.seccomp.security.alpha.kubernetes.io/";

type Annotations = BTreeMap<String, String>;

/// `ValidatePodSpecificAnnotations`
pub fn validate(annotations: &Annotations, spec: &PodSpec, path: &Path, out: &mut Errors) {
    if let Some(value) = annotations.get(MIRROR)
        && spec.node_name.as_deref().unwrap_or_default().is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        out.push(Error::invalid(&path.key(MIRROR), value, detail));
    }
    if let Some(cost) = annotations.get(DELETION_COST).filter(|c| deletion_cost(c).is_none()) {
        out.push(Error::invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer"));
    }
    for (key, value) in annotations {
        if (key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER_PREFIX)) && !is_seccomp(value) {
            out.push(Error::invalid(&path.child(key), value, "must be a valid seccomp profile"));
        }
    }
    for (key, value) in annotations {
        let Some(container) = key.strip_prefix(APP_ARMOR_PREFIX) else { continue };
        if !containers::visit(spec, path).iter().any(|(_, c)| c.name == container) {
            out.push(Error::invalid(&path.key(key), container, "container not found"));
        }
        if !matches!(value.as_str(), "" | "runtime/default" | "unconfined") && !value.starts_with("localhost/") {
            let detail = format!("invalid AppArmor profile name: {value:?}");
            out.push(Error::invalid(&path.key(key), value, detail));
        }
    }
}

/// Which of several pods is given up first; no sign `+`, no leading zeros.
pub fn deletion_cost(value: &str) -> Option<i32> {
    let first = value.chars().next()?;
    if first == '-' || value == "0" || ('1'..='9').contains(&first) { value.parse().ok() } else { None }
}

fn is_seccomp(profile: &str) -> bool {
    matches!(profile, "runtime/default" | "docker/default" | "unconfined")
        || profile
            .strip_prefix("localhost/")
            .is_some_and(|path| !path.starts_with('/') && !super::volumes::has_backsteps(path))
}

/// Seccomp annotations of old beside the field of today: they must say the same.
pub fn validate_seccomp_match(meta: &ObjectMeta, spec: &PodSpec, path: &Path, out: &mut Errors) {
    let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key));
    let of_pod = spec.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
    if let (Some(profile), Some(value)) = (of_pod, annotation(SECCOMP_POD)) {
        seccomp_matches(value, profile, &path.child("securityContext").child("seccompProfile"), out);
    }
    for (path, container) in containers::visit(spec, path) {
        let profile = container.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
        let key = format!("{SECCOMP_CONTAINER_PREFIX}{}", container.name);
        if let (Some(profile), Some(value)) = (profile, annotation(&key)) {
            seccomp_matches(value, profile, &path.child("securityContext").child("seccompProfile"), out);
        }
    }
}

fn seccomp_matches(annotation: &str, profile: &SeccompProfile, path: &Path, out: &mut Errors) {
    const TYPE: &str = "seccomp type in annotation and field must match";
    let type_matches = match profile.type_.as_str() {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => matches!(annotation, "runtime/default" | "docker/default"),
        "Localhost" => annotation.starts_with("localhost/"),
        _ => true,
    };
    if !type_matches {
        out.push(Error::forbidden(&path.child("type"), TYPE));
    } else if profile.type_ == "Localhost"
        && annotation.strip_prefix("localhost/") != profile.localhost_profile.as_deref()
    {
        let detail = "seccomp profile in annotation and field must match";
        out.push(Error::forbidden(&path.child("localhostProfile"), detail));
    }
}

/// AppArmor annotations beside the field, at creation.
pub fn validate_app_armor_match(meta: &ObjectMeta, spec: &PodSpec, path: &Path, out: &mut Errors) {
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let of_pod = spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
    for (path, container) in containers::visit(spec, path) {
        let own = container.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
        let key = format!("{APP_ARMOR_PREFIX}{}", container.name);
        let annotation = meta.annotations.as_ref().and_then(|a| a.get(&key));
        let (Some(profile), Some(value)) = (own.or(of_pod), annotation) else { continue };
        let path = path.child("securityContext").child("appArmorProfile");
        let type_matches = match profile.type_.as_str() {
            "Unconfined" => value == "unconfined",
            "RuntimeDefault" => value == "runtime/default",
            "Localhost" => value.starts_with("localhost/"),
            _ => true,
        };
        if !type_matches {
            let detail = "apparmor type in annotation and field must match";
            out.push(Error::forbidden(&path.child("type"), detail));
        } else if profile.type_ == "Localhost"
            && value.strip_prefix("localhost/") != profile.localhost_profile.as_deref()
        {
            let detail = "apparmor profile in annotation and field must match";
            out.push(Error::forbidden(&path.child("localhostProfile"), detail));
        }
    }
}

/// Some annotations of a pod stay as they were made.
pub fn validate_update(new: &Annotations, old: &Annotations, path: &Path, out: &mut Errors) {
    for (key, _) in old.iter().filter(|(key, value)| new.get(*key) != Some(*value)) {
        if key.starts_with(APP_ARMOR_PREFIX) {
            out.push(Error::forbidden(&path.key(key), "may not remove or update AppArmor annotations"));
        }
        if key == MIRROR {
            out.push(Error::forbidden(&path.key(key), "may not remove or update mirror pod annotation"));
        }
    }
    for key in new.keys().filter(|key| !old.contains_key(*key)) {
        if key.starts_with(APP_ARMOR_PREFIX) {
            out.push(Error::forbidden(&path.key(key), "may not add AppArmor annotations"));
        }
        if key == MIRROR {
            out.push(Error::forbidden(&path.key(key), "may not add mirror pod annotation"));
        }
    }
}

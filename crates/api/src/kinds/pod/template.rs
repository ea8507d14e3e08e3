//! Pod templates inside workloads (`ValidatePodTemplateSpec` and what each workload adds to it).
use super::volumes::Subject;
use super::{annotations, spec};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::PodTemplateSpec;
use crate::names;
use crate::selector::Selector;
use std::collections::BTreeMap;

/// `ValidatePodTemplateSpec`
pub fn validate(template: &PodTemplateSpec, path: &Path, out: &mut Errors) {
    let meta = template.metadata.clone().unwrap_or_default();
    let pod_spec = template.spec.clone().unwrap_or_default();
    let none = BTreeMap::new();
    // `labels`, not `metadata.labels`: so upstream.
    out.extend(names::validate_labels(meta.labels.as_ref().unwrap_or(&none), &path.child("labels")));
    let given = meta.annotations.as_ref().unwrap_or(&none);
    out.extend(names::validate_annotations(given, &path.child("annotations")));
    annotations::validate(given, &pod_spec, &path.child("annotations"), out);
    spec::validate(&pod_spec, Subject::Template, &path.child("spec"), out);
    annotations::validate_seccomp_match(&meta, &pod_spec, &path.child("spec"), out);
    if pod_spec.ephemeral_containers.is_some() {
        let path = path.child("spec").child("ephemeralContainers");
        out.push(Error::forbidden(&path, "ephemeral containers not allowed in pod template"));
    }
}

/// The workload's selector must choose the pods made of its template. An absent selector chooses none; one that cannot be
/// read is reported by the caller.
pub fn validate_chosen(selector: &Selector, template: &PodTemplateSpec, path: &Path, out: &mut Errors) {
    let labels = template.metadata.as_ref().and_then(|m| m.labels.as_ref());
    if !selector.is_everything() && !selector.matches(labels.unwrap_or(&BTreeMap::new())) {
        let path = path.child("metadata").child("labels");
        out.push(Error::invalid(&path, labels, "`selector` does not match template `labels`"));
    }
}

/// Pods that are kept running: `restartPolicy: Always` and no deadline. `owner` is named in the message.
pub fn validate_always_running(template: &PodTemplateSpec, owner: &str, path: &Path, out: &mut Errors) {
    let Some(pod_spec) = &template.spec else { return };
    let path = path.child("spec");
    let policy = pod_spec.restart_policy.as_deref().unwrap_or_default();
    if policy != "Always" {
        out.push(Error::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if pod_spec.active_deadline_seconds.is_some() {
        let detail = format!("activeDeadlineSeconds in {owner} is not Supported");
        out.push(Error::forbidden(&path.child("activeDeadlineSeconds"), detail));
    }
}

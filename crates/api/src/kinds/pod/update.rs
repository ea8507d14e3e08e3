//! Creating a pod, and the little that may change in it afterwards (`ValidatePodCreate`, `ValidatePodUpdate`).
use super::volumes::Subject;
use super::{Pods, annotations, containers, diff, internal, meta_path, scheduling, spec, spec_path};
use crate::catalogue::Kind;
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{
    Affinity, Container, NodeAffinity, NodeSelectorTerm, Pod, PodSchedulingGate, PodSpec, Toleration,
};
use crate::kinds::rules::text;
use crate::names;
use std::collections::BTreeMap;

/// `ValidatePodCreate`
pub fn validate_create(pod: &Pod) -> Errors {
    let mut out = validate_metadata_and_spec(pod);
    let Some(pod_spec) = &pod.spec else { return out };
    let path = spec_path();
    if pod_spec.ephemeral_containers.is_some() {
        out.push(Error::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !text(&pod_spec.node_name).is_empty() && pod_spec.scheduling_gates.is_some() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        out.push(Error::forbidden(&path.child("nodeName"), detail));
    }
    annotations::validate_seccomp_match(&pod.metadata, pod_spec, &path, &mut out);
    annotations::validate_app_armor_match(&pod.metadata, pod_spec, &path, &mut out);
    out
}

/// `validatePodMetadataAndSpec`: what holds for a pod at any time.
pub fn validate_metadata_and_spec(pod: &Pod) -> Errors {
    let mut out = names::validate_object_meta(&pod.metadata, true, Pods::validate_name, &meta_path());
    let Some(pod_spec) = &pod.spec else { return out };
    let path = spec_path();
    let none = BTreeMap::new();
    let given = pod.metadata.annotations.as_ref().unwrap_or(&none);
    annotations::validate(given, pod_spec, &meta_path().child("annotations"), &mut out);
    spec::validate(pod_spec, Subject::Pod(&pod.metadata), &path, &mut out);
    if text(&pod_spec.service_account_name).is_empty() {
        forbid_tokens(pod_spec, &path.child("volumes"), &mut out);
    }
    for (i, container) in pod_spec.containers.iter().enumerate() {
        containers::validate_only_for_pod(container, &path.child("containers").index(i), &mut out);
    }
    for (i, container) in pod_spec.init_containers.iter().flatten().enumerate() {
        containers::validate_only_for_pod(container, &path.child("initContainers").index(i), &mut out);
    }
    out
}

/// A token is of a service account.
fn forbid_tokens(pod_spec: &PodSpec, path: &Path, out: &mut Errors) {
    for (i, volume) in pod_spec.volumes.iter().flatten().enumerate() {
        let sources = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
        for (j, _) in sources.enumerate().filter(|(_, s)| s.service_account_token.is_some()) {
            let at = path.index(i).child("projected").child("sources").index(j).child("serviceAccountToken");
            out.push(Error::forbidden(&at, "must not be specified when serviceAccountName is not set"));
        }
    }
}

const UPDATABLE: [&str; 5] = [
    "`spec.containers[*].image`",
    "`spec.initContainers[*].image`",
    "`spec.activeDeadlineSeconds`",
    "`spec.tolerations` (only additions to existing tolerations)",
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
];

/// `ValidatePodUpdate`
pub fn validate_update(new: &Pod, old: &Pod) -> Errors {
    let mut out = names::validate_object_meta_update(&new.metadata, &old.metadata, &meta_path());
    out.extend(validate_metadata_and_spec(new));
    validate_annotation_update(new, old, &mut out);
    let (Some(new_spec), Some(old_spec)) = (&new.spec, &old.spec) else { return out };
    let path = spec_path();
    if !validate_containers(new_spec, old_spec, &path, &mut out)
        || !validate_deadline(new_spec.active_deadline_seconds, old_spec.active_deadline_seconds, &path, &mut out)
    {
        return out;
    }
    fn list<T>(items: &Option<Vec<T>>) -> &[T] {
        items.as_deref().unwrap_or_default()
    }
    let tolerations_path = path.child("tolerations");
    validate_tolerations(list(&new_spec.tolerations), list(&old_spec.tolerations), &tolerations_path, &mut out);
    let gates_path = path.child("schedulingGates");
    validate_gates(list(&new_spec.scheduling_gates), list(&old_spec.scheduling_gates), &gates_path, &mut out);
    if new_spec == old_spec {
        return out;
    }
    let mut munged = munge(new_spec, old_spec);
    if old_spec.scheduling_gates.is_some() {
        validate_gated(&mut munged, old_spec, &path, &mut out);
    }
    if munged != *old_spec {
        let difference = diff::unified(&internal::pod_spec(old_spec), &internal::pod_spec(&munged));
        let list = UPDATABLE.join(",");
        let detail = format!("pod updates may not change fields other than {list}\n{difference}");
        out.push(Error::forbidden(&path, detail));
    }
    out
}

/// `ValidatePodSpecificAnnotationUpdates`
pub fn validate_annotation_update(new: &Pod, old: &Pod, out: &mut Errors) {
    let none = BTreeMap::new();
    let path = meta_path().child("annotations");
    let given = new.metadata.annotations.as_ref().unwrap_or(&none);
    annotations::validate_update(given, old.metadata.annotations.as_ref().unwrap_or(&none), &path, out);
    if let Some(pod_spec) = &new.spec {
        annotations::validate(given, pod_spec, &path, out);
    }
}

/// False: nothing more can be compared.
fn validate_containers(new: &PodSpec, old: &PodSpec, path: &Path, out: &mut Errors) -> bool {
    let init = |s: &PodSpec| s.init_containers.clone().unwrap_or_default();
    let lists: [(&[Container], usize, &str); 2] =
        [(&new.containers, old.containers.len(), "containers"), (&init(new), init(old).len(), "initContainers")];
    for (list, count, field) in lists {
        let path = path.child(field);
        if list.len() != count {
            out.push(Error::forbidden(&path, "pod updates may not add or remove containers"));
            return false;
        }
        for (i, container) in list.iter().enumerate() {
            if text(&container.image).is_empty() {
                out.push(Error::required(&path.index(i).child("image"), ""));
            }
            containers::validate_only_for_pod(container, &path.index(i), out);
        }
    }
    true
}

/// A deadline may come, and come nearer. False: nothing more is checked.
fn validate_deadline(new: Option<i64>, old: Option<i64>, path: &Path, out: &mut Errors) -> bool {
    let path = path.child("activeDeadlineSeconds");
    match (new, old) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            out.extend(invalid_each(&path, new, names::in_range(new, 0, i32::MAX.into())));
            false
        }
        (Some(new), Some(old)) if old < new => {
            out.push(Error::invalid(&path, new, "must be less than or equal to previous value"));
            false
        }
        (None, Some(_)) => {
            out.push(Error::invalid(&path, "null", "must not update from a positive integer to nil value"));
            true
        }
        _ => true,
    }
}

fn validate_tolerations(new: &[Toleration], old: &[Toleration], path: &Path, out: &mut Errors) {
    let same = |a: &Toleration, b: &Toleration| {
        (&a.key, &a.operator, &a.value, &a.effect) == (&b.key, &b.operator, &b.value, &b.effect)
    };
    if !old.iter().all(|o| new.iter().any(|n| same(o, n))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        return out.push(Error::forbidden(path, detail));
    }
    scheduling::validate_tolerations(new, path, out);
}

fn validate_gates(new: &[PodSchedulingGate], old: &[PodSchedulingGate], path: &Path, out: &mut Errors) {
    for (i, gate) in new.iter().enumerate().filter(|(_, gate)| !old.contains(gate)) {
        let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
        out.push(Error::forbidden(&path.index(i).child("name"), detail));
    }
}

/// The new spec with everything that may change put back: what then differs may not.
fn munge(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut munged = new.clone();
    for (container, before) in munged.containers.iter_mut().zip(&old.containers) {
        container.image.clone_from(&before.image);
    }
    let init = munged.init_containers.iter_mut().flatten().zip(old.init_containers.iter().flatten());
    init.for_each(|(container, before)| container.image.clone_from(&before.image));
    munged.active_deadline_seconds = old.active_deadline_seconds;
    munged.scheduling_gates.clone_from(&old.scheduling_gates);
    munged.tolerations.clone_from(&old.tolerations);
    let grace = old.termination_grace_period_seconds;
    if grace.is_some_and(|g| g < 0) && munged.termination_grace_period_seconds == Some(1) {
        munged.termination_grace_period_seconds = grace;
    }
    munged
}

/// While it is gated, a pod's node selector and node affinity may become narrower (KEP-3838).
fn validate_gated(munged: &mut PodSpec, old: &PodSpec, path: &Path, out: &mut Errors) {
    let none = BTreeMap::new();
    let (new_labels, old_labels) =
        (munged.node_selector.as_ref().unwrap_or(&none), old.node_selector.as_ref().unwrap_or(&none));
    if old_labels.iter().any(|(key, value)| new_labels.get(key) != Some(value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        out.push(Error::invalid(&path.child("nodeSelector"), new_labels, detail));
    }
    munged.node_selector.clone_from(&old.node_selector);
    let before = old.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let after = munged.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    if before == after {
        return;
    }
    validate_node_affinity(after, before, &path.child("affinity").child("nodeAffinity"), out);
    match &mut munged.affinity {
        None => {
            munged.affinity = Some(Affinity { node_affinity: before.cloned(), ..Affinity::default() });
        }
        Some(affinity) => {
            affinity.node_affinity = before.cloned();
            if old.affinity.is_none() && *affinity == Affinity::default() {
                munged.affinity = None;
            }
        }
    }
}

fn validate_node_affinity(new: Option<&NodeAffinity>, old: Option<&NodeAffinity>, path: &Path, out: &mut Errors) {
    fn terms(affinity: Option<&NodeAffinity>) -> &[NodeSelectorTerm] {
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        required.map(|r| r.node_selector_terms.as_slice()).unwrap_or_default()
    }
    let (new, old) = (terms(new), terms(old));
    let path = path.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
    if !old.is_empty() && old.len() != new.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return out.push(Error::invalid(&path, new, detail));
    }
    for (i, (new, old)) in new.iter().zip(old).enumerate() {
        if !only_adds(new, old) {
            out.push(Error::invalid(&path.index(i), new, "only additions are allowed (no mutations or deletions)"));
        }
    }
}

fn only_adds(new: &NodeSelectorTerm, old: &NodeSelectorTerm) -> bool {
    fn list<T>(items: &Option<Vec<T>>) -> &[T] {
        items.as_deref().unwrap_or_default()
    }
    let (new_labels, old_labels) = (list(&new.match_expressions), list(&old.match_expressions));
    let (new_fields, old_fields) = (list(&new.match_fields), list(&old.match_fields));
    // An empty term chooses no node: filling it would choose more.
    if old_labels.is_empty() && old_fields.is_empty() && !(new_labels.is_empty() && new_fields.is_empty()) {
        return false;
    }
    new_labels.starts_with(old_labels) && new_fields.starts_with(old_fields)
}

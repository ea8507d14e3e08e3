//! `pods/ephemeralcontainers`: containers added to a running pod to look into it (KEP-277).
use super::{annotations, diff, internal, meta_path, spec_path, strategy, update};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::Pod;
use crate::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use crate::names;

/// Nothing but the ephemeral containers is taken from `new`.
pub fn prepare_update(new: &mut Pod, old: &Pod) {
    let added = new.spec.take().and_then(|s| s.ephemeral_containers);
    new.spec.clone_from(&old.spec);
    new.status.clone_from(&old.status);
    keep_metadata(&mut new.metadata, &old.metadata);
    if let Some(spec) = &mut new.spec {
        spec.ephemeral_containers = added;
    }
    strategy::bump_generation(new, old);
}

/// `ResetObjectMetaForStatus`
pub(super) fn keep_metadata(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    new.generation = old.generation;
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
    new.finalizers.clone_from(&old.finalizers);
    new.owner_references.clone_from(&old.owner_references);
}

/// They can be added, never changed or removed.
pub fn validate_update(new: &Pod, old: &Pod) -> Errors {
    let mut out = names::validate_object_meta_update(&new.metadata, &old.metadata, &meta_path());
    out.extend(update::validate_metadata_and_spec(new));
    update::validate_annotation_update(new, old, &mut out);
    if is_mirror(old) {
        return vec![Error::forbidden(&Path::new(""), "static pods do not support ephemeral containers")];
    }
    let path = spec_path().child("ephemeralContainers");
    let list = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.ephemeral_containers.clone()).unwrap_or_default();
    let now = list(new);
    for before in list(old) {
        let detail = match now.iter().rev().find(|c| c.name == before.name) {
            None => format!("existing ephemeral containers \"{}\" may not be removed\n", before.name),
            Some(same) if *same == before => continue,
            Some(other) => {
                let node = internal::ephemeral_container;
                let difference = diff::unified(&node(&before), &node(other));
                format!("existing ephemeral containers \"{}\" may not be changed\n{difference}", before.name)
            }
        };
        out.push(Error::forbidden(&path, detail));
    }
    out
}

/// The image of a static pod, which only its node can change.
pub(super) fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(annotations::MIRROR))
}

//! Whom events are about: a pod, or one of its containers.
use super::observed::Kind;
use isopod_api::k8s::api::core::v1::{ObjectReference, Pod};
use isopod_reflect::reference;

/// `spec.containers{web}` of the pod.
pub fn container(pod: &Pod, kind: Kind, name: &str) -> ObjectReference {
    ObjectReference { field_path: Some(format!("spec.{}{{{name}}}", kind.field())), ..reference(pod) }
}

//! RuntimeClass: how containers of a pod are run (`pkg/registry/node/runtimeclass`, `pkg/apis/node/validation`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Errors, Path};
use crate::k8s::api::node::v1::RuntimeClass;
use crate::kinds::pod::{resources, scheduling};
use crate::kinds::rules;
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use crate::quantity::canonicalize_list;
use serde_json::Value;

pub struct RuntimeClasses;

static DESCRIPTOR: Descriptor = Descriptor {
    unconditional_update: false,
    ..Descriptor::new(
        ("node.k8s.io", "v1"),
        "RuntimeClass",
        "runtimeclasses",
        "runtimeclass",
        Scope::Cluster,
        &[NAME, column("Handler", "What the node's runtime calls it."), AGE],
    )
};

impl Kind for RuntimeClasses {
    type Object = RuntimeClass;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut RuntimeClass) {
        if let Some(fixed) = object.overhead.as_mut().and_then(|o| o.pod_fixed.as_mut()) {
            canonicalize_list(fixed);
        }
    }
    fn validate(object: &RuntimeClass) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        out.extend(rules::dns_label(&object.handler, &Path::new("handler")));
        if let Some(fixed) = object.overhead.as_ref().and_then(|o| o.pod_fixed.as_ref()) {
            out.extend(resources::validate_overhead(fixed, &Path::new("overhead").child("podFixed")));
        }
        if let Some(scheduling) = &object.scheduling {
            let path = Path::new("scheduling");
            if let Some(selector) = &scheduling.node_selector {
                out.extend(names::validate_labels(selector, &path.child("nodeSelector")));
            }
            let tolerations = scheduling.tolerations.as_deref().unwrap_or_default();
            scheduling::validate_tolerations(tolerations, &path.child("tolerations"), &mut out);
        }
        out
    }
    fn validate_update(new: &RuntimeClass, old: &RuntimeClass) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        out.extend(rules::immutable(&new.handler, &old.handler, &Path::new("handler")));
        out
    }
    fn cells(object: &RuntimeClass, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.handler.clone().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

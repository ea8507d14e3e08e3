//! Binding: which node a pod goes to. Created in a namespace's `bindings`, or as a pod's `binding`; never stored.
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope, Verbs};
use crate::field::Errors;
use crate::k8s::api::core::v1::Binding;
use crate::kinds::limit_range::{CREATED_AT, created_at_cells};
use crate::kinds::pod;
use crate::print::NAME;
use serde_json::Value;

pub struct Bindings;

static DESCRIPTOR: Descriptor = Descriptor {
    verbs: Verbs::CreateOnly,
    ..Descriptor::new(("", "v1"), "Binding", "bindings", "binding", Scope::Namespaced, &[NAME, CREATED_AT])
};

impl Kind for Bindings {
    type Object = Binding;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn validate(object: &Binding) -> Errors {
        pod::binding::validate(object)
    }
    fn validate_update(_new: &Binding, _old: &Binding) -> Errors {
        Errors::new()
    }
    fn cells(object: &Binding, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

//! ServiceAccount: who a pod is (`pkg/registry/core/serviceaccount/strategy.go`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope, Subresource};
use crate::field::Errors;
use crate::k8s::api::core::v1::ServiceAccount;
use crate::kinds::rules::{self, drop_empty_list};
use crate::names;
use crate::print::{AGE, NAME, age_cell};
use serde_json::Value;

pub struct ServiceAccounts;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["sa"],
    unconditional_update: false,
    subresources: &[Subresource {
        name: "token",
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
        verbs: &["create"],
    }],
    ..Descriptor::new(
        ("", "v1"),
        "ServiceAccount",
        "serviceaccounts",
        "serviceaccount",
        Scope::Namespaced,
        &[NAME, AGE],
    )
};

const ENFORCE_MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

impl Kind for ServiceAccounts {
    type Object = ServiceAccount;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut ServiceAccount) {
        drop_empty_list(&mut object.secrets);
        drop_empty_list(&mut object.image_pull_secrets);
    }
    fn validate(object: &ServiceAccount) -> Errors {
        names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata())
    }
    fn validate_update(new: &ServiceAccount, old: &ServiceAccount) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        out.extend(Self::validate(new));
        out
    }
    fn warnings(new: &ServiceAccount, old: Option<&ServiceAccount>) -> Vec<String> {
        let marked =
            |sa: &ServiceAccount| sa.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(ENFORCE_MOUNTABLE));
        if !marked(new) || old.is_some_and(marked) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{ENFORCE_MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access \
             to mounted secrets"
        )]
    }
    fn returns_deleted() -> bool {
        true
    }
    fn cells(object: &ServiceAccount, cx: &PrintContext) -> Vec<Value> {
        vec![object.metadata.name.clone().into(), age_cell(object.metadata.creation_timestamp.as_ref(), cx)]
    }
}

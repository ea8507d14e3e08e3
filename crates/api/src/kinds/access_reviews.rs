//! Questions to the authorizer: nothing is stored, the answer is the object with its status
//! (`pkg/registry/authorization`, `pkg/apis/authorization/validation`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope, Verbs};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview,
    SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewSpec,
};
use crate::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use crate::kinds::internal;
use crate::kinds::limit_range::{CREATED_AT, created_at_cells};
use crate::kinds::rules::text;
use crate::print::NAME;
use serde_json::Value;

const fn review(kind: &'static str, plural: &'static str, singular: &'static str, scope: Scope) -> Descriptor {
    let group = ("authorization.k8s.io", "v1");
    Descriptor {
        verbs: Verbs::CreateOnly,
        ..Descriptor::new(group, kind, plural, singular, scope, &[NAME, CREATED_AT])
    }
}

pub struct SubjectAccessReviews;
static SUBJECT: Descriptor =
    review("SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", Scope::Cluster);

impl Kind for SubjectAccessReviews {
    type Object = SubjectAccessReview;

    fn descriptor() -> &'static Descriptor {
        &SUBJECT
    }
    fn default(object: &mut SubjectAccessReview) {
        object.status.get_or_insert_default();
    }
    fn validate(object: &SubjectAccessReview) -> Errors {
        let mut out = subject_spec(&object.spec);
        bare(&object.metadata, "must be empty", &mut out);
        out
    }
    fn validate_update(_new: &SubjectAccessReview, _old: &SubjectAccessReview) -> Errors {
        Errors::new()
    }
    fn cells(object: &SubjectAccessReview, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

pub struct LocalSubjectAccessReviews;
static LOCAL: Descriptor =
    review("LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview", Scope::Namespaced);

impl Kind for LocalSubjectAccessReviews {
    type Object = LocalSubjectAccessReview;

    fn descriptor() -> &'static Descriptor {
        &LOCAL
    }
    fn default(object: &mut LocalSubjectAccessReview) {
        object.status.get_or_insert_default();
    }
    fn validate(object: &LocalSubjectAccessReview) -> Errors {
        let mut out = subject_spec(&object.spec);
        let meta = ObjectMeta { namespace: None, ..object.metadata.clone() };
        bare(&meta, "must be empty except for namespace", &mut out);
        if let Some(asked) = &object.spec.resource_attributes
            && text(&asked.namespace) != text(&object.metadata.namespace)
        {
            let path = Path::new("spec.resourceAttributes.namespace");
            out.push(Error::invalid(&path, text(&asked.namespace), "must match metadata.namespace"));
        }
        if let Some(asked) = &object.spec.non_resource_attributes {
            let value = internal::NonResourceAttributes::from(asked);
            let path = Path::new("spec.nonResourceAttributes");
            out.push(Error::invalid(&path, value, "disallowed on this kind of request"));
        }
        out
    }
    fn validate_update(_new: &LocalSubjectAccessReview, _old: &LocalSubjectAccessReview) -> Errors {
        Errors::new()
    }
    fn cells(object: &LocalSubjectAccessReview, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

pub struct SelfSubjectAccessReviews;
static OWN: Descriptor =
    review("SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview", Scope::Cluster);

impl Kind for SelfSubjectAccessReviews {
    type Object = SelfSubjectAccessReview;

    fn descriptor() -> &'static Descriptor {
        &OWN
    }
    fn default(object: &mut SelfSubjectAccessReview) {
        object.status.get_or_insert_default();
    }
    fn validate(object: &SelfSubjectAccessReview) -> Errors {
        let spec = &object.spec;
        let mut out = attributes(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
        bare(&object.metadata, "must be empty", &mut out);
        out
    }
    fn validate_update(_new: &SelfSubjectAccessReview, _old: &SelfSubjectAccessReview) -> Errors {
        Errors::new()
    }
    fn cells(object: &SelfSubjectAccessReview, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

pub struct SelfSubjectRulesReviews;
static RULES: Descriptor =
    review("SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview", Scope::Cluster);

impl Kind for SelfSubjectRulesReviews {
    type Object = SelfSubjectRulesReview;

    fn descriptor() -> &'static Descriptor {
        &RULES
    }
    fn default(object: &mut SelfSubjectRulesReview) {
        object.status.get_or_insert_default();
    }
    fn validate(_object: &SelfSubjectRulesReview) -> Errors {
        Errors::new()
    }
    fn validate_update(_new: &SelfSubjectRulesReview, _old: &SelfSubjectRulesReview) -> Errors {
        Errors::new()
    }
    fn cells(object: &SelfSubjectRulesReview, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

/// A review has no identity. What the server filled in does not count.
fn bare(meta: &ObjectMeta, detail: &str, out: &mut Errors) {
    let given = ObjectMeta { managed_fields: None, creation_timestamp: None, uid: None, ..meta.clone() };
    if given != ObjectMeta::default() {
        out.push(Error::invalid(&Path::new("metadata"), meta, detail));
    }
}

fn attributes(resource: Option<&ResourceAttributes>, other: Option<&NonResourceAttributes>) -> Errors {
    let path = Path::new("spec");
    let mut out = Errors::new();
    match (resource, other) {
        (Some(_), Some(other)) => {
            let value = internal::NonResourceAttributes::from(other);
            let detail = "cannot be specified in combination with resourceAttributes";
            out.push(Error::invalid(&path.child("nonResourceAttributes"), value, detail));
        }
        (None, None) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            out.push(Error::invalid(&path.child("resourceAttributes"), "null", detail));
        }
        _ => {}
    }
    if let Some(resource) = resource {
        selectors(resource, &path.child("resourceAttributes"), &mut out);
    }
    out
}

fn selectors(resource: &ResourceAttributes, path: &Path, out: &mut Errors) {
    let field =
        resource.field_selector.as_ref().map(|s| (text(&s.raw_selector), s.requirements.iter().flatten().count()));
    let label =
        resource.label_selector.as_ref().map(|s| (text(&s.raw_selector), s.requirements.iter().flatten().count()));
    for (selector, name) in [(field, "fieldSelector"), (label, "labelSelector")] {
        let path = path.child(name);
        match selector {
            Some((raw, requirements)) if !raw.is_empty() && requirements > 0 => {
                let detail = "may not specified at the same time as requirements";
                out.push(Error::invalid(&path.child("rawSelector"), raw, detail));
            }
            Some(("", 0)) => {
                let detail = format!("when {path} is specified, requirements or rawSelector is required");
                out.push(Error::required(&path.child("requirements"), detail));
            }
            _ => {}
        }
    }
}

fn subject_spec(spec: &SubjectAccessReviewSpec) -> Errors {
    let mut out = attributes(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
    if text(&spec.user).is_empty() && spec.groups.as_ref().is_none_or(Vec::is_empty) {
        let path = Path::new("spec").child("user");
        out.push(Error::invalid(&path, text(&spec.user), "at least one of user or group must be specified"));
    }
    out
}

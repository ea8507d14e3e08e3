//! ReplicaSet: so many pods of one template; one revision of a Deployment (`pkg/registry/apps/replicaset/strategy.go`).
use super::deployment::WORDS;
use crate::catalogue::{Descriptor, Kind, PrintContext, Scale, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use crate::kinds::pod::canonical::{self, prune};
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::pod::{defaults, warnings};
use crate::kinds::rules;
use crate::kinds::workload::{self, ReplicaCounts, WIDE};
use crate::names;
use crate::print::{AGE, NAME, age_cell, integer};
use serde_json::Value;

/// The row of replica sets.
pub struct ReplicaSets;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["rs"],
    categories: &["all"],
    status: true,
    scale: Scale::Replicas,
    generation: true,
    ..Descriptor::new(
        ("apps", "v1"),
        "ReplicaSet",
        "replicasets",
        "replicaset",
        Scope::Namespaced,
        &[
            NAME,
            integer("Desired", "Wanted pods."),
            integer("Current", "Pods there are."),
            integer("Ready", "Pods that are ready."),
            AGE,
            WIDE[0],
            WIDE[1],
            WIDE[2],
        ],
    )
};

impl Kind for ReplicaSets {
    type Object = ReplicaSet;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn before_decode(value: &mut Value) {
        workload::mark_empty_selector(value);
    }
    fn default(object: &mut ReplicaSet) {
        canonical::metadata(&mut object.metadata);
        let spec = &mut object.spec;
        canonical::selector_keeping_empty(&mut spec.selector);
        prune!(spec; min_ready_seconds);
        spec.replicas.get_or_insert(1);
        defaults::template(spec.template.get_or_insert_default());
        let status = object.status.get_or_insert_default();
        prune!(status; available_replicas, conditions, fully_labeled_replicas, observed_generation, ready_replicas);
    }
    fn prepare_create(object: &mut ReplicaSet) {
        object.status = Some(ReplicaSetStatus::default());
    }
    fn validate(object: &ReplicaSet) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        validate_spec(&object.spec, &Path::new("spec"), &mut out);
        out
    }
    fn prepare_update(new: &mut ReplicaSet, old: &ReplicaSet) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &ReplicaSet, old: &ReplicaSet) -> Errors {
        let mut out = Errors::new();
        out.extend(rules::meta_update(&new.metadata, &old.metadata));
        validate_spec(&new.spec, &Path::new("spec"), &mut out);
        workload::validate_selector_unchanged(&new.spec.selector, &old.spec.selector, &mut out);
        out
    }
    fn prepare_status_update(new: &mut ReplicaSet, old: &ReplicaSet) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &ReplicaSet, old: &ReplicaSet) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let status = new.status.clone().unwrap_or_default();
        let counts = ReplicaCounts {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            observed_generation: status.observed_generation.unwrap_or_default(),
        };
        counts.validate(&mut out);
        out
    }
    fn warnings(new: &ReplicaSet, old: Option<&ReplicaSet>) -> Vec<String> {
        let path = Path::new("spec").child("template");
        match (old, &new.spec.template) {
            (None, template) => warnings::workload(&new.metadata, template.as_ref(), &path),
            (Some(old), Some(template)) if new.metadata.generation != old.metadata.generation => {
                warnings::of_template(template, &path)
            }
            _ => Vec::new(),
        }
    }
    fn fields(object: &ReplicaSet) -> Vec<(&'static str, String)> {
        vec![("status.replicas", object.status.as_ref().map_or(0, |s| s.replicas).to_string())]
    }
    fn cells(object: &ReplicaSet, cx: &PrintContext) -> Vec<Value> {
        let none = ReplicaSetStatus::default();
        let (spec, status) = (&object.spec, object.status.as_ref().unwrap_or(&none));
        let [containers, images] = workload::containers_and_images(spec.template.as_ref());
        vec![
            object.metadata.name.clone().into(),
            spec.replicas.unwrap_or_default().into(),
            status.replicas.into(),
            status.ready_replicas.unwrap_or_default().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            containers,
            images,
            workload::selector_cell(Some(&spec.selector)),
        ]
    }
}

fn validate_spec(spec: &ReplicaSetSpec, path: &Path, out: &mut Errors) {
    nonnegative(spec.replicas.unwrap_or_default().into(), &path.child("replicas"), out);
    nonnegative(spec.min_ready_seconds.unwrap_or_default().into(), &path.child("minReadySeconds"), out);
    let selector = workload::validate_selector(&spec.selector, WORDS, &path.child("selector"), out);
    match &spec.template {
        Some(template) => {
            workload::validate_template(template, selector.as_ref(), "ReplicaSet", &path.child("template"), out);
        }
        None => out.push(Error::required(&path.child("template"), "")),
    }
}

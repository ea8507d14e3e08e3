//! ReplicationController: the ReplicaSet of old, with a plain map as its selector
//! (`pkg/registry/core/replicationcontroller/strategy.go`).
use crate::catalogue::{Dependents, Descriptor, Kind, PrintContext, Scale, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus};
use crate::kinds::pod::canonical::{self, prune};
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::pod::{defaults, template, warnings};
use crate::kinds::rules;
use crate::kinds::workload::{self, ReplicaCounts, WIDE};
use crate::names;
use crate::print::{self, AGE, NAME, age_cell, integer};
use crate::selector::Selector;
use serde_json::Value;

/// The row of replication controllers.
pub struct ReplicationControllers;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["rc"],
    categories: &["all"],
    status: true,
    scale: Scale::Replicas,
    generation: true,
    ..Descriptor::new(
        ("", "v1"),
        "ReplicationController",
        "replicationcontrollers",
        "replicationcontroller",
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

impl Kind for ReplicationControllers {
    type Object = ReplicationController;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut ReplicationController) {
        canonical::metadata(&mut object.metadata);
        let spec = object.spec.get_or_insert_default();
        prune!(spec; min_ready_seconds, selector);
        if let Some(template) = &mut spec.template {
            defaults::template(template);
            let labels = template.metadata.as_ref().and_then(|m| m.labels.clone());
            if spec.selector.is_none() {
                spec.selector.clone_from(&labels);
            }
            if object.metadata.labels.is_none() {
                object.metadata.labels = labels;
            }
        }
        spec.replicas.get_or_insert(1);
        let status = object.status.get_or_insert_default();
        prune!(status; available_replicas, conditions, fully_labeled_replicas, observed_generation, ready_replicas);
    }
    fn prepare_create(object: &mut ReplicationController) {
        object.status = Some(ReplicationControllerStatus::default());
    }
    fn validate(object: &ReplicationController) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        validate_spec(object.spec.as_ref(), &mut out);
        out
    }
    fn prepare_update(new: &mut ReplicationController, old: &ReplicationController) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &ReplicationController, old: &ReplicationController) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        validate_spec(new.spec.as_ref(), &mut out);
        out
    }
    fn prepare_status_update(new: &mut ReplicationController, old: &ReplicationController) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &ReplicationController, old: &ReplicationController) -> Errors {
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
    fn warnings(new: &ReplicationController, old: Option<&ReplicationController>) -> Vec<String> {
        let path = Path::new("spec").child("template");
        let pod_template = new.spec.as_ref().and_then(|s| s.template.as_ref());
        match (old, pod_template) {
            (None, pod_template) => warnings::workload(&new.metadata, pod_template, &path),
            (Some(old), Some(pod_template)) if new.metadata.generation != old.metadata.generation => {
                warnings::of_template(pod_template, &path)
            }
            _ => Vec::new(),
        }
    }
    fn fields(object: &ReplicationController) -> Vec<(&'static str, String)> {
        vec![("status.replicas", object.status.as_ref().map_or(0, |s| s.replicas).to_string())]
    }
    fn cells(object: &ReplicationController, cx: &PrintContext) -> Vec<Value> {
        let none = (ReplicationControllerSpec::default(), ReplicationControllerStatus::default());
        let spec = object.spec.as_ref().unwrap_or(&none.0);
        let status = object.status.as_ref().unwrap_or(&none.1);
        let [containers, images] = workload::containers_and_images(spec.template.as_ref());
        vec![
            object.metadata.name.clone().into(),
            spec.replicas.unwrap_or_default().into(),
            status.replicas.into(),
            status.ready_replicas.unwrap_or_default().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            containers,
            images,
            print::labels(spec.selector.as_ref()).into(),
        ]
    }
    /// Clients of v1 expect its pods to outlive it.
    fn dependents() -> Dependents {
        Dependents::Orphan
    }
}

fn validate_spec(spec: Option<&ReplicationControllerSpec>, out: &mut Errors) {
    let none = ReplicationControllerSpec::default();
    let (spec, path) = (spec.unwrap_or(&none), Path::new("spec"));
    nonnegative(spec.min_ready_seconds.unwrap_or_default().into(), &path.child("minReadySeconds"), out);
    let selector = spec.selector.clone().unwrap_or_default();
    if selector.is_empty() {
        out.push(Error::required(&path.child("selector"), ""));
    }
    nonnegative(spec.replicas.unwrap_or_default().into(), &path.child("replicas"), out);
    let path = path.child("template");
    let Some(pod_template) = &spec.template else {
        return out.push(Error::required(&path, ""));
    };
    template::validate_chosen(&Selector::from_map(&selector), pod_template, &path, out);
    template::validate(pod_template, &path, out);
    template::validate_always_running(pod_template, "ReplicationController", &path, out);
}

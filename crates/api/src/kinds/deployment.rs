//! Deployment: replicas of one template, and the rolling update from one template to the next
//! (`pkg/apis/apps/{v1,validation}`, `pkg/registry/apps/deployment/strategy.go`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scale, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment,
};
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;
use crate::kinds::pod::canonical::{self, prune};
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::pod::{defaults, warnings};
use crate::kinds::rules::{self, text};
use crate::kinds::workload::{self, GoStrategy, SelectorWords, WIDE};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

/// The row of deployments.
pub struct Deployments;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["deploy"],
    categories: &["all"],
    status: true,
    scale: Scale::Replicas,
    generation: true,
    ..Descriptor::new(
        ("apps", "v1"),
        "Deployment",
        "deployments",
        "deployment",
        Scope::Namespaced,
        &[
            NAME,
            column("Ready", "Ready pods of wanted pods."),
            column("Up-to-date", "Pods of the newest template."),
            column("Available", "Pods that have been ready for at least minReadySeconds."),
            AGE,
            WIDE[0],
            WIDE[1],
            WIDE[2],
        ],
    )
};

impl Kind for Deployments {
    type Object = Deployment;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn before_decode(value: &mut Value) {
        workload::mark_empty_selector(value);
    }
    fn default(object: &mut Deployment) {
        canonical::metadata(&mut object.metadata);
        default_spec(&mut object.spec);
        let status = object.status.get_or_insert_default();
        prune!(status; available_replicas, conditions, observed_generation, ready_replicas, replicas,
            unavailable_replicas, updated_replicas);
    }
    fn prepare_create(object: &mut Deployment) {
        object.status = Some(DeploymentStatus::default());
    }
    fn validate(object: &Deployment) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        validate_spec(&object.spec, &Path::new("spec"), &mut out);
        out
    }
    fn prepare_update(new: &mut Deployment, old: &Deployment) {
        new.status.clone_from(&old.status);
        // Annotations reach the ReplicaSets: the controller must look again, and people can see that it has.
        if new.spec != old.spec || new.metadata.annotations != old.metadata.annotations {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or_default().saturating_add(1));
        }
    }
    fn validate_update(new: &Deployment, old: &Deployment) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        validate_spec(&new.spec, &Path::new("spec"), &mut out);
        workload::validate_selector_unchanged(&new.spec.selector, &old.spec.selector, &mut out);
        out
    }
    fn prepare_status_update(new: &mut Deployment, old: &Deployment) {
        new.spec.clone_from(&old.spec);
        new.metadata.labels.clone_from(&old.metadata.labels);
    }
    fn validate_status_update(new: &Deployment, old: &Deployment) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let none = DeploymentStatus::default();
        let (status, before) = (new.status.as_ref().unwrap_or(&none), old.status.as_ref().unwrap_or(&none));
        validate_status(status, &mut out);
        workload::validate_collision_count(status.collision_count, before.collision_count, &mut out);
        out
    }
    fn warnings(new: &Deployment, old: Option<&Deployment>) -> Vec<String> {
        let path = Path::new("spec").child("template");
        match old {
            None => warnings::workload(&new.metadata, Some(&new.spec.template), &path),
            Some(old) if new.metadata.generation != old.metadata.generation => {
                warnings::of_template(&new.spec.template, &path)
            }
            Some(_) => Vec::new(),
        }
    }
    fn cells(object: &Deployment, cx: &PrintContext) -> Vec<Value> {
        let none = DeploymentStatus::default();
        let (spec, status) = (&object.spec, object.status.as_ref().unwrap_or(&none));
        let number = |n: Option<i32>| n.unwrap_or_default();
        let [containers, images] = workload::containers_and_images(Some(&spec.template));
        vec![
            object.metadata.name.clone().into(),
            format!("{}/{}", number(status.ready_replicas), number(spec.replicas)).into(),
            number(status.updated_replicas).into(),
            number(status.available_replicas).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            containers,
            images,
            workload::selector_cell(Some(&spec.selector)),
        ]
    }
}

fn default_spec(spec: &mut DeploymentSpec) {
    canonical::selector_keeping_empty(&mut spec.selector);
    prune!(spec; min_ready_seconds, paused);
    spec.replicas.get_or_insert(1);
    defaults::template(&mut spec.template);
    let strategy = spec.strategy.get_or_insert_default();
    prune!(strategy; type_);
    let kind = strategy.type_.get_or_insert_with(|| "RollingUpdate".to_owned());
    if kind == "RollingUpdate" {
        let quarter = || IntOrString::String("25%".to_owned());
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert_with(quarter);
        rolling.max_surge.get_or_insert_with(quarter);
    }
    spec.revision_history_limit.get_or_insert(10);
    spec.progress_deadline_seconds.get_or_insert(600);
}

pub(super) const WORDS: SelectorWords =
    SelectorWords { empty: "empty selector is invalid for deployment", unreadable: "invalid label selector" };

fn validate_spec(spec: &DeploymentSpec, path: &Path, out: &mut Errors) {
    nonnegative(spec.replicas.unwrap_or_default().into(), &path.child("replicas"), out);
    let selector = workload::validate_selector(&spec.selector, WORDS, &path.child("selector"), out);
    workload::validate_template(&spec.template, selector.as_ref(), "ReplicaSet", &path.child("template"), out);
    if let Some(strategy) = &spec.strategy {
        validate_strategy(strategy, &path.child("strategy"), out);
    }
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    nonnegative(min_ready.into(), &path.child("minReadySeconds"), out);
    if let Some(limit) = spec.revision_history_limit {
        nonnegative(limit.into(), &path.child("revisionHistoryLimit"), out);
    }
    if let Some(deadline) = spec.progress_deadline_seconds {
        let path = path.child("progressDeadlineSeconds");
        nonnegative(deadline.into(), &path, out);
        if deadline <= min_ready {
            out.push(Error::invalid(&path, deadline, "must be greater than minReadySeconds"));
        }
    }
}

fn validate_strategy(strategy: &DeploymentStrategy, path: &Path, out: &mut Errors) {
    let rolling_path = path.child("rollingUpdate");
    match (text(&strategy.type_), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            out.push(Error::forbidden(&rolling_path, detail));
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            out.push(Error::required(&rolling_path, "this should be defaulted and never be nil"));
        }
        ("RollingUpdate", Some(rolling)) => validate_rolling(rolling, &rolling_path, out),
        (other, rolling) => {
            let rolling = rolling.as_ref().map(|r| (r.max_unavailable.as_ref(), r.max_surge.as_ref()));
            out.push(Error::not_supported(path, GoStrategy::new(other, rolling), &["Recreate", "RollingUpdate"]));
        }
    }
}

fn validate_rolling(rolling: &RollingUpdateDeployment, path: &Path, out: &mut Errors) {
    let value = |v: &Option<IntOrString>| v.clone().unwrap_or_default();
    let (unavailable, surge) = (value(&rolling.max_unavailable), value(&rolling.max_surge));
    let unavailable_path = path.child("maxUnavailable");
    out.extend(rules::int_or_percent(&unavailable, &unavailable_path));
    out.extend(rules::int_or_percent(&surge, &path.child("maxSurge")));
    if int_or_percent(&unavailable) == 0 && int_or_percent(&surge) == 0 {
        out.push(Error::invalid(&unavailable_path, &unavailable, "may not be 0 when `maxSurge` is 0"));
    }
    out.extend(rules::at_most_100_percent(&unavailable, &unavailable_path));
}

/// The number, of pods or of hundredths; 0 for what is neither.
pub(super) fn int_or_percent(value: &IntOrString) -> i64 {
    match value {
        IntOrString::Int(number) => (*number).into(),
        IntOrString::String(text) if names::percent(text).is_empty() => {
            text.trim_end_matches('%').parse().unwrap_or_default()
        }
        IntOrString::String(text) => text.parse().unwrap_or_default(),
    }
}

fn validate_status(status: &DeploymentStatus, out: &mut Errors) {
    let path = Path::new("status");
    let number = |n: Option<i32>| n.unwrap_or_default();
    nonnegative(status.observed_generation.unwrap_or_default(), &path.child("observedGeneration"), out);
    let parts = [
        (number(status.updated_replicas), "updatedReplicas"),
        (number(status.ready_replicas), "readyReplicas"),
        (number(status.available_replicas), "availableReplicas"),
    ];
    let replicas = number(status.replicas);
    nonnegative(replicas.into(), &path.child("replicas"), out);
    for (value, field) in parts {
        nonnegative(value.into(), &path.child(field), out);
    }
    nonnegative(number(status.unavailable_replicas).into(), &path.child("unavailableReplicas"), out);
    for (value, field) in
        [(status.terminating_replicas, "terminatingReplicas"), (status.collision_count, "collisionCount")]
    {
        nonnegative(number(value).into(), &path.child(field), out);
    }
    workload::at_most_replicas(&parts, replicas, out);
    if status.available_replicas > status.ready_replicas {
        let path = path.child("availableReplicas");
        let detail = vec!["cannot be greater than readyReplicas".to_owned()];
        out.extend(invalid_each(&path, number(status.available_replicas), detail));
    }
}

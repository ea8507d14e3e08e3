//! Job: pods that run to their end (`pkg/apis/batch/{v1,validation}`, `pkg/registry/batch/job/strategy.go`).
mod indexes;
mod internal;
mod policies;
pub mod selector;
pub mod spec;
mod status;

use crate::catalogue::{Dependents, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::batch::v1::{Job, JobSpec, JobStatus};
use crate::kinds::pod::canonical::{self, prune};
use crate::kinds::pod::warnings;
use crate::kinds::rules;
use crate::kinds::workload::{self, GoSelector, WIDE};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column, human_duration};
use serde_json::Value;

/// The row of jobs.
pub struct Jobs;

static DESCRIPTOR: Descriptor = Descriptor {
    categories: &["all"],
    status: true,
    generation: true,
    ..Descriptor::new(
        ("batch", "v1"),
        "Job",
        "jobs",
        "job",
        Scope::Namespaced,
        &[
            NAME,
            column("Status", "How it goes."),
            column("Completions", "Pods that have succeeded of those wanted."),
            column("Duration", "How long it runs, or ran."),
            AGE,
            WIDE[0],
            WIDE[1],
            WIDE[2],
        ],
    )
};

impl Kind for Jobs {
    type Object = Job;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut Job) {
        canonical::metadata(&mut object.metadata);
        let job = object.spec.get_or_insert_default();
        spec::canonical(job);
        spec::default(job);
        if object.metadata.labels.is_none() {
            object.metadata.labels = job.template.metadata.as_ref().and_then(|m| m.labels.clone());
        }
        let status = object.status.get_or_insert_default();
        prune!(status; active, conditions, completed_indexes, failed, succeeded);
    }
    fn prepare_create(object: &mut Job) {
        object.status = Some(JobStatus::default());
        selector::generate(object);
    }
    fn validate(object: &Job) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        selector::validate_generated(object, &mut out);
        if let Some(job) = &object.spec {
            validate_spec(job, &Path::new("spec"), &mut out);
            validate_host_names(object.metadata.name.as_deref().unwrap_or_default(), job, &mut out);
        }
        out
    }
    fn prepare_update(new: &mut Job, old: &Job) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &Job, old: &Job) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let (Some(job), Some(before)) = (&new.spec, &old.spec) else { return out };
        let path = Path::new("spec");
        validate_spec(job, &path, &mut out);
        spec::validate_unchanged(job, before, old.status.as_ref(), &path, &mut out);
        out
    }
    fn prepare_status_update(new: &mut Job, old: &Job) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &Job, old: &Job) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        status::validate(new, old, &mut out);
        out
    }
    fn warnings(new: &Job, old: Option<&Job>) -> Vec<String> {
        let template = new.spec.as_ref().map(|s| &s.template);
        let path = Path::new("spec").child("template");
        match old {
            None => warnings::workload(&new.metadata, template, &path),
            Some(_) => template.map(|t| warnings::of_template(t, &path)).unwrap_or_default(),
        }
    }
    fn fields(object: &Job) -> Vec<(&'static str, String)> {
        let succeeded = object.status.as_ref().and_then(|s| s.succeeded).unwrap_or_default();
        vec![("status.successful", succeeded.to_string())]
    }
    fn cells(object: &Job, cx: &PrintContext) -> Vec<Value> {
        let none = (JobSpec::default(), JobStatus::default());
        let spec = object.spec.as_ref().unwrap_or(&none.0);
        let status = object.status.as_ref().unwrap_or(&none.1);
        let [containers, images] = workload::containers_and_images(Some(&spec.template));
        vec![
            object.metadata.name.clone().into(),
            state(object, status).into(),
            completions(spec, status).into(),
            duration(status, cx).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            containers,
            images,
            workload::selector_cell(spec.selector.as_ref()),
        ]
    }
    /// Clients of batch/v1 expect its pods to outlive it.
    fn dependents() -> Dependents {
        Dependents::Orphan
    }
}

fn state(object: &Job, status: &JobStatus) -> &'static str {
    let is = |type_: &str| status.conditions.iter().flatten().any(|c| c.type_ == type_ && c.status == "True");
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if object.metadata.deletion_timestamp.is_some() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(spec: &JobSpec, status: &JobStatus) -> String {
    let done = status.succeeded.unwrap_or_default();
    match (spec.completions, spec.parallelism.unwrap_or_default()) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{done}/1 of {parallelism}"),
        (None, _) => format!("{done}/1"),
    }
}

fn duration(status: &JobStatus, cx: &PrintContext) -> String {
    let Some(start) = &status.start_time else { return String::new() };
    let end = status.completion_time.as_ref().map_or(cx.now, |t| t.0);
    human_duration(end.duration_since(start.0))
}

fn validate_spec(job: &JobSpec, path: &Path, out: &mut Errors) {
    spec::validate(job, path, out);
    match &job.selector {
        None => out.push(Error::required(&path.child("selector"), "")),
        Some(selector) => out.extend(names::validate_label_selector(selector, &path.child("selector"))),
    }
    let labels = job.template.metadata.as_ref().and_then(|m| m.labels.as_ref());
    let chosen = crate::selector::Selector::from_label_selector(job.selector.as_ref());
    // One that cannot be read has been told of.
    if chosen.is_ok_and(|s| !s.matches(labels.unwrap_or(&Default::default()))) {
        let path = path.child("template").child("metadata").child("labels");
        out.push(Error::invalid(&path, labels, "`selector` does not match template `labels`"));
    }
}

/// The pods of an Indexed Job are called by its name and their index.
fn validate_host_names(name: &str, job: &JobSpec, out: &mut Errors) {
    let Some(completions) = job.completions.filter(|n| *n > 0 && spec::is_indexed(job)) else { return };
    let last = format!("{name}-{}", completions.saturating_sub(1));
    if !names::dns1123_label(&last, false).is_empty() {
        let detail = format!("will not able to create pod with invalid DNS label: {last}");
        out.push(Error::invalid(&rules::metadata().child("name"), name, detail));
    }
}

/// A selector as errors show it.
fn shown(selector: Option<&crate::k8s::apimachinery::pkg::apis::meta::v1::LabelSelector>) -> Option<GoSelector<'_>> {
    selector.map(GoSelector)
}

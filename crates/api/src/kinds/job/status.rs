//! What the status of a Job may say (`validateJobStatus`, `ValidateJobStatusUpdate`). Since Jobs may be managed by others (KEP-4368)
//! their status is checked closely; a rule applies when what it speaks of changed, so that an old fault does not stop other updates.
use super::indexes;
use super::spec::is_indexed;
use crate::field::{Error, Errors, Path, Rule};
use crate::k8s::api::batch::v1::{Job, JobStatus};
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::rules::text;
use std::collections::BTreeSet;

/// The conditions that decide.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    complete: bool,
    failed: bool,
    failure_target: bool,
    criteria_met: bool,
}

impl State {
    fn of(status: &JobStatus) -> Self {
        let is = |kind: &str| status.conditions.iter().flatten().any(|c| c.type_ == kind && c.status == "True");
        Self {
            complete: is("Complete"),
            failed: is("Failed"),
            failure_target: is("FailureTarget"),
            criteria_met: is("SuccessCriteriaMet"),
        }
    }
    fn finished(self) -> bool {
        self.complete || self.failed
    }
}

/// A status and the one before it.
struct Change<'a> {
    job: &'a Job,
    new: &'a JobStatus,
    old: &'a JobStatus,
    now: State,
    was: State,
    path: Path,
    out: Errors,
}

/// `ValidateJobUpdateStatus`, without the metadata.
pub fn validate(job: &Job, before: &Job, out: &mut Errors) {
    let none = JobStatus::default();
    let (new, old) = (job.status.as_ref().unwrap_or(&none), before.status.as_ref().unwrap_or(&none));
    let path = Path::new("status");
    let mut change = Change { job, new, old, now: State::of(new), was: State::of(old), path, out: Errors::new() };
    change.counts();
    change.uncounted();
    change.completion();
    change.finish();
    change.indexes();
    change.pods();
    change.criteria();
    change.steps();
    out.append(&mut change.out);
}

fn number(value: Option<i32>) -> i32 {
    value.unwrap_or_default()
}

impl Change<'_> {
    fn conditions(&mut self, detail: &str) {
        let path = self.path.child("conditions");
        self.out.push(Error { rule: Rule::Invalid, path, value: None, detail: detail.to_owned() });
    }

    fn invalid(&mut self, field: &str, value: impl serde::Serialize, detail: impl Into<String>) {
        self.out.push(Error::invalid(&self.path.child(field), value, detail));
    }

    fn counts(&mut self) {
        let counts = [
            (self.new.active, "active"),
            (self.new.succeeded, "succeeded"),
            (self.new.failed, "failed"),
            (self.new.ready, "ready"),
            (self.new.terminating, "terminating"),
        ];
        for (value, field) in counts {
            nonnegative(number(value).into(), &self.path.child(field), &mut self.out);
        }
    }

    fn uncounted(&mut self) {
        let Some(pods) = &self.new.uncounted_terminated_pods else { return };
        let mut seen = BTreeSet::new();
        for (list, field) in [(&pods.succeeded, "succeeded"), (&pods.failed, "failed")] {
            for (i, uid) in list.iter().flatten().enumerate() {
                let path = self.path.child("uncountedTerminatedPods").child(field).index(i);
                if uid.is_empty() {
                    self.out.push(Error::invalid(&path, uid, "must not be empty"));
                } else if !seen.insert(uid) {
                    self.out.push(Error::duplicate(&path, uid));
                }
            }
        }
    }

    fn completion(&mut self) {
        let (now, was) = (self.now, self.was);
        let (complete_changed, failed_changed) = (now.complete != was.complete, now.failed != was.failed);
        let target_changed = now.failure_target != was.failure_target;
        let time_changed = self.new.completion_time != self.old.completion_time;
        let start_changed = self.new.start_time != self.old.start_time;
        if (complete_changed || failed_changed) && now.complete && now.failed {
            self.conditions("cannot set Complete=True and Failed=true conditions");
        }
        if (complete_changed || target_changed) && now.complete && now.failure_target {
            self.conditions("cannot set Complete=True and FailureTarget=true conditions");
        }
        if complete_changed || time_changed {
            match &self.new.completion_time {
                Some(time) if !now.complete => {
                    let detail = "cannot set completionTime when there is no Complete=True condition";
                    self.invalid("completionTime", time, detail);
                }
                None if now.complete => {
                    let detail = "completionTime is required for Complete jobs";
                    self.out.push(Error::required(&self.path.child("completionTime"), detail));
                }
                _ => {}
            }
        }
        if let (Some(start), Some(end)) = (&self.new.start_time, &self.new.completion_time)
            && (start_changed || time_changed)
            && end.0 < start.0
        {
            self.invalid("completionTime", end, "completionTime cannot be set before startTime");
        }
        if (failed_changed || target_changed) && now.failed && !now.failure_target {
            self.conditions("cannot set Failed=True condition without the FailureTarget=true condition");
        }
        let met_changed = now.criteria_met != was.criteria_met;
        if (complete_changed || met_changed) && now.complete && !now.criteria_met {
            self.conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
        }
    }

    fn finish(&mut self) {
        let finished = self.now.finished();
        let finished_changed = finished != self.was.finished();
        let active = number(self.new.active);
        if (finished_changed || active != number(self.old.active)) && active > 0 && finished {
            self.invalid("active", active, "active>0 is invalid for finished job");
        }
        let start_changed = self.new.start_time != self.old.start_time;
        let spec = self.job.spec.as_ref();
        let never_began = spec.is_some_and(|s| s.suspend == Some(true) && s.completions == Some(0));
        if (finished_changed || start_changed) && !never_began && self.new.start_time.is_none() && finished {
            let detail = "startTime is required for finished job";
            self.out.push(Error::required(&self.path.child("startTime"), detail));
        }
        let pods = self.new.uncounted_terminated_pods.as_ref();
        let some = pods.filter(|p| p.failed.iter().chain(&p.succeeded).any(|list| !list.is_empty()));
        let changed = self.new.uncounted_terminated_pods != self.old.uncounted_terminated_pods;
        if let Some(pods) = some.filter(|_| finished && (finished_changed || changed)) {
            let shown = serde_json::json!({"Succeeded": pods.succeeded, "Failed": pods.failed}).to_string();
            let path = self.path.child("uncountedTerminatedPods");
            let detail = "uncountedTerminatedPods needs to be empty for finished job".to_owned();
            self.out.push(Error { rule: Rule::Invalid, path, value: Some(shown), detail });
        }
    }

    fn indexes(&mut self) {
        let Some(spec) = &self.job.spec else { return };
        let completed = text(&self.new.completed_indexes);
        let failed = self.new.failed_indexes.as_deref();
        let completed_changed = completed != text(&self.old.completed_indexes);
        let failed_changed = failed != self.old.failed_indexes.as_deref();
        let completions = spec.completions;
        if let Some(Err(why)) = completions.filter(|_| completed_changed).map(|all| indexes::count(completed, all)) {
            self.invalid("completedIndexes", completed, format!("error parsing completedIndexes: {why}"));
        }
        if let (Some(all), Some(failed), Some(_), true) =
            (completions, failed, spec.backoff_limit_per_index, failed_changed)
            && let Err(why) = indexes::count(failed, all)
        {
            self.invalid("failedIndexes", failed, format!("error parsing failedIndexes: {why}"));
        }
        if completed_changed && !completed.is_empty() && !is_indexed(spec) {
            let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
            self.invalid("completedIndexes", completed, detail);
        }
        let Some(failed) = failed else { return };
        if failed_changed && spec.backoff_limit_per_index.is_none() {
            let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            self.invalid("failedIndexes", failed, detail);
        }
        if let Some(all) = completions.filter(|_| completed_changed || failed_changed)
            && let Some(index) = indexes::overlap(completed, failed, all)
        {
            self.invalid(
                "failedIndexes",
                failed,
                format!("failedIndexes and completedIndexes overlap at index: {index}"),
            );
        }
    }

    fn pods(&mut self) {
        let finished = self.now.finished();
        let terminating_changed = self.new.terminating != self.old.terminating;
        if let Some(terminating) = self.new.terminating.filter(|t| *t > 0)
            && (terminating_changed || finished != self.was.finished())
            && finished
        {
            self.invalid("terminating", terminating, "terminating>0 is invalid for finished job");
        }
        let active = number(self.new.active);
        let changed = self.new.ready != self.old.ready || active != number(self.old.active);
        if let Some(ready) = self.new.ready.filter(|ready| changed && *ready > active) {
            self.invalid("ready", ready, "cannot set more ready pods than active");
        }
    }

    fn criteria(&mut self) {
        let now = self.now;
        if now.criteria_met && now.failed {
            self.conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions");
        }
        if now.criteria_met && now.failure_target {
            self.conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
        }
        let has_policy = self.job.spec.as_ref().is_some_and(|s| s.success_policy.is_some());
        if has_policy && !now.criteria_met && now.complete {
            self.conditions("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
        }
    }

    /// What may not be taken back.
    fn steps(&mut self) {
        let (now, was) = (self.now, self.was);
        let terminal = [
            (was.failed, now.failed, "Failed"),
            (was.complete, now.complete, "Complete"),
            (was.failure_target, now.failure_target, "FailureTarget"),
        ];
        for (_, _, name) in terminal.iter().filter(|(was, now, _)| *was && !now) {
            self.conditions(&format!("cannot disable the terminal {name}=True condition"));
        }
        let (failed, succeeded) = (number(self.new.failed), number(self.new.succeeded));
        if failed < number(self.old.failed) {
            self.invalid("failed", failed, "cannot decrease the failed counter");
        }
        let spec = self.job.spec.as_ref();
        // An Indexed Job whose numbers are the same may be made smaller.
        let elastic = spec.is_some_and(|s| is_indexed(s) && s.completions == s.parallelism);
        if !elastic && succeeded < number(self.old.succeeded) {
            self.invalid("succeeded", succeeded, "cannot decrease the succeeded counter");
        }
        if let (Some(time), Some(before)) = (&self.new.completion_time, &self.old.completion_time)
            && time != before
        {
            self.invalid("completionTime", time, "completionTime cannot be mutated");
        }
        let suspended = spec.and_then(|s| s.suspend).unwrap_or_default();
        if self.old.start_time.is_some() && self.old.start_time != self.new.start_time && !suspended {
            let detail = "startTime cannot be removed for unsuspended job";
            self.out.push(Error::required(&self.path.child("startTime"), detail));
        }
        if was.criteria_met && !now.criteria_met {
            self.conditions("cannot disable the SuccessCriteriaMet=True condition");
        }
        if was.complete && !was.criteria_met && now.criteria_met {
            self.conditions("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions");
        }
    }
}

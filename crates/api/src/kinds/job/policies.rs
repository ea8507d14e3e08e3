//! When a Job counts as failed or done before its time: pod failure policy (KEP-3329), success policy (KEP-3998), and which
//! pods are replaced (KEP-3939).
use super::spec::is_indexed;
use super::{indexes, internal};
use crate::field::{Error, Errors, Path, Rule, invalid_each};
use crate::k8s::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
    SuccessPolicyRule,
};
use crate::kinds::pod::containers::main_and_init;
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::rules::text;
use crate::names;

const RULES_MAX: usize = 20;
/// `maxJobSuccessPolicySucceededIndexesLimit`
const INDEXES_MAX_BYTES: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// An Invalid that shows no value.
fn omitted(path: &Path, detail: &str) -> Error {
    Error { rule: Rule::Invalid, path: path.clone(), value: None, detail: detail.to_owned() }
}

/// `validatePodFailurePolicy`
pub fn validate_failure(spec: &JobSpec, path: &Path, out: &mut Errors) {
    let Some(policy) = &spec.pod_failure_policy else { return };
    let path = path.child("rules");
    if policy.rules.len() > RULES_MAX {
        out.push(Error::too_many(&path, policy.rules.len(), RULES_MAX));
    }
    for (i, rule) in policy.rules.iter().enumerate() {
        validate_rule(rule, spec, &path.index(i), out);
    }
}

fn validate_rule(rule: &PodFailurePolicyRule, spec: &JobSpec, path: &Path, out: &mut Errors) {
    let action_path = path.child("action");
    match rule.action.as_str() {
        "" => {
            let values = ACTIONS.map(|a| format!("\"{a}\"")).join(" ");
            out.push(Error::required(&action_path, format!("valid values: [{values}]")));
        }
        "FailIndex" if spec.backoff_limit_per_index.is_none() => {
            let detail = "requires the backoffLimitPerIndex to be set";
            out.push(Error::invalid(&action_path, &rule.action, detail));
        }
        action if ACTIONS.contains(&action) => {}
        action => out.push(Error::not_supported(&action_path, action, &ACTIONS)),
    }
    let conditions = rule.on_pod_conditions.as_deref().unwrap_or_default();
    if let Some(codes) = &rule.on_exit_codes {
        validate_exit_codes(codes, spec, &path.child("onExitCodes"), out);
    }
    let conditions_path = path.child("onPodConditions");
    if conditions.len() > RULES_MAX {
        out.push(Error::too_many(&conditions_path, conditions.len(), RULES_MAX));
    }
    for (i, condition) in conditions.iter().enumerate() {
        validate_condition(condition, &conditions_path.index(i), out);
    }
    match (rule.on_exit_codes.is_some(), conditions.is_empty()) {
        (true, false) => {
            out.push(omitted(path, "specifying both OnExitCodes and OnPodConditions is not supported"));
        }
        (false, true) => out.push(omitted(path, "specifying one of OnExitCodes and OnPodConditions is required")),
        _ => {}
    }
}

fn validate_condition(condition: &PodFailurePolicyOnPodConditionsPattern, path: &Path, out: &mut Errors) {
    out.extend(invalid_each(&path.child("type"), &condition.type_, names::qualified_name(&condition.type_)));
    match text(&condition.status) {
        "" => out.push(Error::required(&path.child("status"), "valid values: [\"False\" \"True\" \"Unknown\"]")),
        "True" | "False" | "Unknown" => {}
        other => out.push(Error::not_supported(&path.child("status"), other, &["False", "True", "Unknown"])),
    }
}

fn validate_exit_codes(codes: &PodFailurePolicyOnExitCodesRequirement, spec: &JobSpec, path: &Path, out: &mut Errors) {
    match codes.operator.as_str() {
        "" => out.push(Error::required(&path.child("operator"), "valid values: [\"In\" \"NotIn\"]")),
        "In" | "NotIn" => {}
        other => out.push(Error::not_supported(&path.child("operator"), other, &["In", "NotIn"])),
    }
    if let Some(name) = &codes.container_name {
        let known = spec.template.spec.as_ref().is_some_and(|s| main_and_init(s).any(|c| c.name == *name));
        if !known {
            let detail = "must be one of the container or initContainer names in the pod template";
            out.push(Error::invalid(&path.child("containerName"), name, detail));
        }
    }
    let path = path.child("values");
    if codes.values.is_empty() {
        out.push(Error::invalid(&path, &codes.values, "at least one value is required"));
    } else if codes.values.len() > 255 {
        out.push(Error::too_many(&path, codes.values.len(), 255));
    }
    for (i, code) in codes.values.iter().enumerate() {
        if *code == 0 && codes.operator == "In" {
            out.push(Error::invalid(&path.index(i), code, "must not be 0 for the In operator"));
        }
        if codes.values.iter().take(i).any(|c| c == code) {
            out.push(Error::duplicate(&path.index(i), code));
        }
    }
    if !codes.values.is_sorted() {
        out.push(Error::invalid(&path, &codes.values, "must be ordered"));
    }
}

/// `validateSuccessPolicy`
pub fn validate_success(spec: &JobSpec, path: &Path, out: &mut Errors) {
    let Some(policy) = &spec.success_policy else { return };
    if !is_indexed(spec) {
        return out.push(Error::invalid(path, internal::success_policy(policy), "requires indexed completion mode"));
    }
    let path = path.child("rules");
    if policy.rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        out.push(Error::required(&path, detail));
    }
    if policy.rules.len() > RULES_MAX {
        out.push(Error::too_many(&path, policy.rules.len(), RULES_MAX));
    }
    for (i, rule) in policy.rules.iter().enumerate() {
        let path = path.index(i);
        if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            out.push(Error::required(&path, detail));
        }
        validate_success_rule(rule, spec.completions.unwrap_or_default(), &path, out);
    }
}

fn validate_success_rule(rule: &SuccessPolicyRule, completions: i32, path: &Path, out: &mut Errors) {
    let mut total = 0;
    if let Some(text) = rule.succeeded_indexes.as_deref() {
        let path = path.child("succeededIndexes");
        if text.len() > INDEXES_MAX_BYTES {
            out.push(Error::too_long(&path, INDEXES_MAX_BYTES));
        }
        match indexes::count(text, completions) {
            Ok(count) => total = count,
            Err(why) => out.push(Error::invalid(&path, text, format!("error parsing succeededIndexes: {why}"))),
        }
    }
    let Some(count) = rule.succeeded_count else { return };
    let path = path.child("succeededCount");
    nonnegative(count.into(), &path, out);
    if count > completions {
        let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
        out.push(Error::invalid(&path, count, detail));
    }
    if rule.succeeded_indexes.is_some() && count > total {
        let detail = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        out.push(Error::invalid(&path, count, detail));
    }
}

/// `validatePodReplacementPolicy`
pub fn validate_replacement(spec: &JobSpec, path: &Path, out: &mut Errors) {
    let Some(policy) = spec.pod_replacement_policy.as_deref() else { return };
    if spec.pod_failure_policy.is_some() {
        if policy != "Failed" {
            out.push(Error::not_supported(path, policy, &["Failed"]));
        }
    } else if !matches!(policy, "TerminatingOrFailed" | "Failed") {
        out.push(Error::not_supported(path, policy, &["Failed", "TerminatingOrFailed"]));
    }
}

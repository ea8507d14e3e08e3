//! What validating and mutating webhooks share.
use super::client;
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::admissionregistration::v1::{MatchCondition, RuleWithOperations, WebhookClientConfig};
use crate::k8s::apimachinery::pkg::apis::meta::v1::LabelSelector;
use crate::kinds::rules;
use crate::names;
use std::collections::BTreeSet;

/// A webhook of either sort.
pub struct Hook<'a> {
    pub name: &'a str,
    pub client_config: &'a WebhookClientConfig,
    pub rules: &'a [RuleWithOperations],
    pub failure_policy: Option<&'a str>,
    pub match_policy: Option<&'a str>,
    pub namespace_selector: Option<&'a LabelSelector>,
    pub object_selector: Option<&'a LabelSelector>,
    pub side_effects: &'a str,
    pub timeout_seconds: Option<i32>,
    pub admission_review_versions: &'a [String],
    pub match_conditions: &'a [MatchCondition],
}

/// The defaults of the fields both sorts have.
pub struct Defaults<'a> {
    pub client_config: &'a mut WebhookClientConfig,
    pub rules: &'a mut Option<Vec<RuleWithOperations>>,
    pub failure_policy: &'a mut Option<String>,
    pub match_policy: &'a mut Option<String>,
    pub namespace_selector: &'a mut Option<LabelSelector>,
    pub object_selector: &'a mut Option<LabelSelector>,
    pub timeout_seconds: &'a mut Option<i32>,
}

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const MAX_MATCH_CONDITIONS: usize = 64;

/// `SetDefaults_ValidatingWebhook` and its twin.
#[expect(clippy::needless_pass_by_value, reason = "a bundle of references is used up")]
pub fn default(hook: Defaults<'_>) {
    hook.failure_policy.get_or_insert_with(|| "Fail".into());
    hook.match_policy.get_or_insert_with(|| "Equivalent".into());
    hook.namespace_selector.get_or_insert_default();
    hook.object_selector.get_or_insert_default();
    hook.timeout_seconds.get_or_insert(10);
    for rule in hook.rules.iter_mut().flatten() {
        rule.scope.get_or_insert_with(|| "*".into());
    }
    if let Some(service) = &mut hook.client_config.service {
        service.port.get_or_insert(443);
    }
}

pub fn validate_all<'a>(hooks: impl Iterator<Item = Hook<'a>>, out: &mut Errors) {
    let mut names = BTreeSet::new();
    for (i, hook) in hooks.enumerate() {
        let path = Path::new("webhooks").index(i);
        validate(&hook, &path, out);
        review_versions(hook.admission_review_versions, &path.child("admissionReviewVersions"), out);
        if !hook.name.is_empty() && !names.insert(hook.name) {
            out.push(Error::duplicate(&path.child("name"), hook.name));
        }
    }
}

fn validate(hook: &Hook<'_>, path: &Path, out: &mut Errors) {
    fully_qualified(hook.name, &path.child("name"), out);
    for (i, rule) in hook.rules.iter().enumerate() {
        validate_rule(rule, &path.child("rules").index(i), out);
    }
    if let Some(policy) = hook.failure_policy {
        out.extend(rules::one_of(policy, &FAILURE_POLICIES, &path.child("failurePolicy")));
    }
    if let Some(policy) = hook.match_policy {
        out.extend(rules::one_of(policy, &MATCH_POLICIES, &path.child("matchPolicy")));
    }
    match hook.side_effects {
        "" => out.push(Error::required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun")),
        effects => out.extend(rules::one_of(effects, &SIDE_EFFECTS, &path.child("sideEffects"))),
    }
    if let Some(seconds) = hook.timeout_seconds.filter(|s| !(1..=30).contains(s)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        out.push(Error::invalid(&path.child("timeoutSeconds"), seconds, detail));
    }
    let selectors = [(hook.namespace_selector, "namespaceSelector"), (hook.object_selector, "objectSelector")];
    for (selector, field) in selectors {
        if let Some(selector) = selector {
            out.extend(names::validate_label_selector(selector, &path.child(field)));
        }
    }
    client::validate(hook.client_config, &path.child("clientConfig"), out);
    match_conditions(hook.match_conditions, &path.child("matchConditions"), out);
}

/// `IsFullyQualifiedName`
fn fully_qualified(name: &str, path: &Path, out: &mut Errors) {
    if name.is_empty() {
        out.push(Error::required(path, ""));
        return;
    }
    let faults = names::dns1123_subdomain(name, false);
    if !faults.is_empty() {
        out.push(Error::invalid(path, name, faults.join(",")));
        return;
    }
    if name.split('.').count() < 3 {
        out.push(Error::invalid(path, name, "should be a domain with at least three segments separated by dots"));
    }
}

fn review_versions(versions: &[String], path: &Path, out: &mut Errors) {
    if versions.is_empty() {
        out.push(Error::required(path, "must specify one of v1, v1beta1"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, version) in versions.iter().enumerate() {
        let path = path.index(i);
        if !seen.insert(version) {
            out.push(Error::invalid(&path, version, "duplicate version"));
            continue;
        }
        out.extend(invalid_each(&path, version, names::dns1035_label(version, false)));
    }
    if !versions.iter().any(|v| REVIEW_VERSIONS.contains(&v.as_str())) {
        out.push(Error::invalid(path, versions, "must include at least one of v1, v1beta1"));
    }
}

fn validate_rule(rule: &RuleWithOperations, path: &Path, out: &mut Errors) {
    let operations = rule.operations.as_deref().unwrap_or_default();
    list(operations, "operations", "operations", path, out);
    for (i, operation) in operations.iter().enumerate() {
        out.extend(rules::one_of(operation, &OPERATIONS, &path.child("operations").index(i)));
    }
    list(rule.api_groups.as_deref().unwrap_or_default(), "apiGroups", "API groups", path, out);
    let versions = rule.api_versions.as_deref().unwrap_or_default();
    list(versions, "apiVersions", "API versions", path, out);
    for (i, version) in versions.iter().enumerate() {
        out.extend(rules::required(version, &path.child("apiVersions").index(i)));
    }
    resources(rule.resources.as_deref().unwrap_or_default(), &path.child("resources"), out);
    if let Some(scope) = &rule.scope {
        out.extend(rules::one_of(scope, &SCOPES, &path.child("scope")));
    }
}

/// A list that must not be empty, and in which `*` stands alone.
fn list(values: &[String], field: &str, words: &str, path: &Path, out: &mut Errors) {
    let path = path.child(field);
    if values.is_empty() {
        out.push(Error::required(&path, ""));
    }
    if values.len() > 1 && values.iter().any(|v| v == "*") {
        out.push(Error::invalid(&path, values, format!("if '*' is present, must not specify other {words}")));
    }
}

fn resources(resources: &[String], path: &Path, out: &mut Errors) {
    if resources.is_empty() {
        out.push(Error::required(path, ""));
    }
    let (mut whole, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    let mut plain = false;
    for (i, resource) in resources.iter().enumerate() {
        let path = path.index(i);
        if resource.is_empty() {
            out.push(Error::required(&path, ""));
            continue;
        }
        let Some((name, sub)) = resource.split_once('/') else {
            plain |= resource != "*";
            continue;
        };
        if whole.contains(name) {
            let detail = format!("if '{name}/*' is present, must not specify {resource}");
            out.push(Error::invalid(&path, resource, detail));
        }
        if everywhere.contains(sub) {
            let detail = format!("if '*/{sub}' is present, must not specify {resource}");
            out.push(Error::invalid(&path, resource, detail));
        }
        if sub == "*" {
            whole.insert(name);
        }
        if name == "*" {
            everywhere.insert(sub);
        }
    }
    let has = |what: &str| resources.iter().any(|r| r == what);
    if resources.len() > 1 && has("*/*") {
        out.push(Error::invalid(path, resources, "if '*/*' is present, must not specify other resources"));
    }
    if has("*") && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        out.push(Error::invalid(path, resources, detail));
    }
}

fn match_conditions(conditions: &[MatchCondition], path: &Path, out: &mut Errors) {
    if conditions.len() > MAX_MATCH_CONDITIONS {
        out.push(Error::too_many(path, conditions.len(), MAX_MATCH_CONDITIONS));
    }
    let mut seen = BTreeSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        out.extend(rules::required(condition.expression.trim(), &path.child("expression")));
        if condition.name.is_empty() {
            out.push(Error::required(&path.child("name"), ""));
            continue;
        }
        out.extend(rules::qualified_name(&condition.name, &path.child("name")));
        if !seen.insert(condition.name.as_str()) {
            out.push(Error::duplicate(&path.child("name"), &condition.name));
        }
    }
}

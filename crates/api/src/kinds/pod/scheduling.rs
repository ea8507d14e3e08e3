//! Where a pod may run: affinity, tolerations, topology spread.
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, Toleration,
    TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use crate::k8s::apimachinery::pkg::apis::meta::v1::LabelSelector;
use crate::names;
use std::collections::BTreeSet;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `validateAffinity`
pub fn validate_affinity(affinity: &Affinity, path: &Path, out: &mut Errors) {
    if let Some(node) = &affinity.node_affinity {
        let path = path.child("nodeAffinity");
        if let Some(required) = &node.required_during_scheduling_ignored_during_execution {
            validate_node_selector(required, &path.child(REQUIRED), out);
        }
        for (i, term) in node.preferred_during_scheduling_ignored_during_execution.iter().flatten().enumerate() {
            let path = path.child(PREFERRED).index(i);
            validate_weight(term.weight, &path, out);
            // Label values are not checked here: such a term is a wish, and old clusters hold some that are wrong.
            validate_term(&term.preference, LabelValues::Any, &path.child("preference"), out);
        }
    }
    if let Some(pods) = &affinity.pod_affinity {
        let path = path.child("podAffinity");
        let required = pods.required_during_scheduling_ignored_during_execution.as_deref();
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.as_deref();
        validate_pod_terms(required, preferred, &path, out);
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        let path = path.child("podAntiAffinity");
        let required = pods.required_during_scheduling_ignored_during_execution.as_deref();
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.as_deref();
        validate_pod_terms(required, preferred, &path, out);
    }
}

fn validate_weight(weight: i32, path: &Path, out: &mut Errors) {
    if !(1..=100).contains(&weight) {
        out.push(Error::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

/// Whether a term's label values must be right.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LabelValues {
    Checked,
    Any,
}

/// `ValidateNodeSelector`; also of PersistentVolumes.
pub fn validate_node_selector(selector: &NodeSelector, path: &Path, out: &mut Errors) {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        out.push(Error::required(&path, "must have at least one node selector term"));
    }
    for (i, term) in selector.node_selector_terms.iter().enumerate() {
        validate_term(term, LabelValues::Checked, &path.index(i), out);
    }
}

fn validate_term(term: &NodeSelectorTerm, values: LabelValues, path: &Path, out: &mut Errors) {
    for (i, requirement) in term.match_expressions.iter().flatten().enumerate() {
        validate_label_requirement(requirement, values, &path.child("matchExpressions").index(i), out);
    }
    for (i, requirement) in term.match_fields.iter().flatten().enumerate() {
        validate_field_requirement(requirement, &path.child("matchFields").index(i), out);
    }
}

fn validate_label_requirement(r: &NodeSelectorRequirement, check: LabelValues, path: &Path, out: &mut Errors) {
    let values = r.values.as_deref().unwrap_or_default();
    let values_path = path.child("values");
    match r.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            out.push(Error::required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            out.push(Error::forbidden(&values_path, detail));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            out.push(Error::required(&values_path, detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => out.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    out.extend(names::validate_label_name(&r.key, &path.child("key")));
    if check == LabelValues::Checked {
        for (i, value) in values.iter().enumerate() {
            out.extend(invalid_each(&values_path.index(i), value, names::label_value(value)));
        }
    }
}

/// By a node's field there is only one way to choose: its name.
fn validate_field_requirement(r: &NodeSelectorRequirement, path: &Path, out: &mut Errors) {
    let values = r.values.as_deref().unwrap_or_default();
    match r.operator.as_str() {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            out.push(Error::required(&path.child("values"), detail));
        }
        other => out.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    if r.key != "metadata.name" {
        return out.push(Error::invalid(&path.child("key"), &r.key, "not a valid field selector key"));
    }
    for (i, value) in values.iter().enumerate() {
        out.extend(invalid_each(&path.child("values").index(i), value, names::dns1123_subdomain(value, false)));
    }
}

fn validate_pod_terms(
    required: Option<&[PodAffinityTerm]>,
    preferred: Option<&[WeightedPodAffinityTerm]>,
    path: &Path,
    out: &mut Errors,
) {
    for (i, term) in required.unwrap_or_default().iter().enumerate() {
        validate_pod_term(term, &path.child(REQUIRED).index(i), out);
    }
    for (i, weighted) in preferred.unwrap_or_default().iter().enumerate() {
        let path = path.child(PREFERRED).index(i);
        validate_weight(weighted.weight, &path, out);
        validate_pod_term(&weighted.pod_affinity_term, &path.child("podAffinityTerm"), out);
    }
}

fn validate_pod_term(term: &PodAffinityTerm, path: &Path, out: &mut Errors) {
    for (selector, field) in [(&term.label_selector, "labelSelector"), (&term.namespace_selector, "namespaceSelector")]
    {
        if let Some(selector) = selector {
            out.extend(names::validate_label_selector(selector, &path.child(field)));
        }
    }
    for name in term.namespaces.iter().flatten() {
        out.extend(invalid_each(&path.child("namespace"), name, names::dns1123_label(name, false)));
    }
    validate_match_label_keys(term, path, out);
    let key_path = path.child("topologyKey");
    if term.topology_key.is_empty() {
        out.push(Error::required(&key_path, "can not be empty"));
    }
    out.extend(names::validate_label_name(&term.topology_key, &key_path));
}

/// Keys whose values are taken from the pod itself (KEP-3633).
fn validate_match_label_keys(term: &PodAffinityTerm, path: &Path, out: &mut Errors) {
    let matching = term.match_label_keys.as_deref().unwrap_or_default();
    let other = term.mismatch_label_keys.as_deref().unwrap_or_default();
    let selector = term.label_selector.as_ref();
    for (keys, field) in [(matching, "matchLabelKeys"), (other, "mismatchLabelKeys")] {
        let path = path.child(field);
        if selector.is_none() && !keys.is_empty() {
            out.push(Error::forbidden(&path, "must not be specified when labelSelector is not set"));
        } else {
            let names = keys.iter().enumerate();
            out.extend(names.flat_map(|(i, key)| names::validate_label_name(key, &path.index(i))));
        }
    }
    if let Some(selector) = selector {
        validate_keys_beside(selector, matching, path, out);
    }
    for (i, key) in matching.iter().enumerate().filter(|(_, key)| other.contains(key)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        out.push(Error::invalid(&path.child("matchLabelKeys").index(i), key, detail));
    }
}

/// A key of `matchLabelKeys` stands in the selector once: there the pod strategy has put it itself.
fn validate_keys_beside(selector: &LabelSelector, keys: &[String], path: &Path, out: &mut Errors) {
    let mut seen: BTreeSet<&str> = selector.match_labels.iter().flatten().map(|(key, _)| key.as_str()).collect();
    for expression in selector.match_expressions.iter().flatten() {
        let key = expression.key.as_str();
        if let Some(i) = keys.iter().rposition(|k| k == key)
            && seen.contains(key)
        {
            out.push(Error::invalid(&path.index(i), key, "exists in both matchLabelKeys and labelSelector"));
        }
        seen.insert(key);
    }
}

/// `ValidateTolerations`
pub fn validate_tolerations(tolerations: &[Toleration], path: &Path, out: &mut Errors) {
    for (i, toleration) in tolerations.iter().enumerate() {
        validate_toleration(toleration, &path.index(i), out);
    }
}

fn validate_toleration(t: &Toleration, path: &Path, out: &mut Errors) {
    fn text(field: &Option<String>) -> &str {
        field.as_deref().unwrap_or_default()
    }
    let (key, operator, value, effect) = (text(&t.key), text(&t.operator), text(&t.value), text(&t.effect));
    if !key.is_empty() {
        out.extend(names::validate_label_name(key, &path.child("key")));
    }
    let operator_path = path.child("operator");
    if key.is_empty() && operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        out.push(Error::invalid(&operator_path, operator, detail));
    }
    if t.toleration_seconds.is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        out.push(Error::invalid(&path.child("effect"), effect, detail));
    }
    match operator {
        "Equal" | "" => {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                out.push(Error::invalid(&operator_path, value, wrong.join(";")));
            }
        }
        "Exists" if value.is_empty() => {}
        "Exists" => {
            out.push(Error::invalid(&operator_path, value, "value must be empty when `operator` is 'Exists'"));
        }
        other => out.push(Error::not_supported(&operator_path, other, &["Equal", "Exists"])),
    }
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        out.push(Error::not_supported(&path.child("effect"), effect, &EFFECTS));
    }
}

/// `validateTopologySpreadConstraints`
pub fn validate_spread(constraints: &[TopologySpreadConstraint], path: &Path, out: &mut Errors) {
    for (i, constraint) in constraints.iter().enumerate() {
        let path = path.index(i);
        let later = constraints.get(i.saturating_add(1)..).unwrap_or_default();
        validate_constraint(constraint, later, &path, out);
    }
}

fn validate_constraint(
    c: &TopologySpreadConstraint,
    later: &[TopologySpreadConstraint],
    path: &Path,
    out: &mut Errors,
) {
    const NOT_POSITIVE: &str = "must be greater than zero";
    let when = c.when_unsatisfiable.as_str();
    if c.max_skew <= 0 {
        out.push(Error::invalid(&path.child("maxSkew"), c.max_skew, NOT_POSITIVE));
    }
    if c.topology_key.is_empty() {
        out.push(Error::required(&path.child("topologyKey"), "can not be empty"));
    }
    if !matches!(when, "DoNotSchedule" | "ScheduleAnyway") {
        let path = path.child("whenUnsatisfiable");
        out.push(Error::not_supported(&path, when, &["DoNotSchedule", "ScheduleAnyway"]));
    }
    if later.iter().any(|o| o.topology_key == c.topology_key && o.when_unsatisfiable == when) {
        let path = path.child("{topologyKey, whenUnsatisfiable}");
        out.push(Error::duplicate(&path, format!("{{{}, {when}}}", c.topology_key)));
    }
    if let Some(domains) = c.min_domains {
        let path = path.child("minDomains");
        if domains <= 0 {
            out.push(Error::invalid(&path, domains, NOT_POSITIVE));
        }
        if when != "DoNotSchedule" {
            let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
            out.push(Error::invalid(&path, domains, detail));
        }
    }
    for (policy, field) in
        [(&c.node_affinity_policy, "nodeAffinityPolicy"), (&c.node_taints_policy, "nodeTaintsPolicy")]
    {
        if let Some(policy) = policy.as_deref().filter(|p| !matches!(*p, "Honor" | "Ignore")) {
            out.push(Error::not_supported(&path.child(field), policy, &["Honor", "Ignore"]));
        }
    }
    let keys = c.match_label_keys.as_deref().unwrap_or_default();
    let keys_path = path.child("matchLabelKeys");
    if c.label_selector.is_none() && !keys.is_empty() {
        out.push(Error::forbidden(&keys_path, "must not be specified when labelSelector is not set"));
    }
    for (i, key) in keys.iter().enumerate() {
        out.extend(names::validate_label_name(key, &keys_path.index(i)));
    }
    if let Some(selector) = &c.label_selector {
        let labels = selector.match_labels.as_ref();
        for (i, key) in keys.iter().enumerate().filter(|(_, key)| labels.is_some_and(|l| l.contains_key(*key))) {
            out.push(Error::invalid(&keys_path.index(i), key, "exists in both matchLabelKeys and labelSelector"));
        }
        out.extend(names::validate_label_selector(selector, &path.child("labelSelector")));
    }
}

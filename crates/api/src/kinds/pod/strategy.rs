//! What happens to a pod on its way into the store (`podStrategy`).
use super::qos;
use crate::catalogue::Deletion;
use crate::k8s::api::core::v1::{AppArmorProfile, Pod, PodAffinityTerm, PodCondition, PodSpec, PodStatus};
use crate::k8s::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use crate::kinds::rules::text;
use std::collections::BTreeMap;

/// A new pod is Pending, whatever its status says.
pub fn prepare_create(pod: &mut Pod) {
    pod.metadata.generation = Some(1);
    let Pod { metadata, spec, status } = pod;
    let spec = spec.get_or_insert_default();
    *status = Some(PodStatus {
        phase: Some("Pending".to_owned()),
        qos_class: Some(qos::compute(spec).to_owned()),
        conditions: spec.scheduling_gates.as_ref().map(|_| vec![gated()]),
        ..PodStatus::default()
    });
    let no_labels = BTreeMap::new();
    take_label_keys(spec, metadata.labels.as_ref().unwrap_or(&no_labels));
    if let Some(annotations) = &metadata.annotations {
        app_armor_fields(spec, annotations);
    }
}

fn gated() -> PodCondition {
    PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("SchedulingGated".to_owned()),
        message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
        ..PodCondition::default()
    }
}

/// `matchLabelKeys: [a]` becomes `a in (the pod's own value)`: in affinity (KEP-3633) and topology spread (KEP-3243).
fn take_label_keys(spec: &mut PodSpec, labels: &BTreeMap<String, String>) {
    let Some(affinity) = &mut spec.affinity else { return take_spread_keys(spec, labels) };
    let of_term = |term: &mut PodAffinityTerm| {
        let Some(selector) = &mut term.label_selector else { return };
        add_expressions(selector, term.match_label_keys.as_deref(), "In", labels);
        add_expressions(selector, term.mismatch_label_keys.as_deref(), "NotIn", labels);
    };
    if let Some(pods) = &mut affinity.pod_affinity {
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        preferred.for_each(|weighted| of_term(&mut weighted.pod_affinity_term));
        pods.required_during_scheduling_ignored_during_execution.iter_mut().flatten().for_each(of_term);
    }
    if let Some(pods) = &mut affinity.pod_anti_affinity {
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        preferred.for_each(|weighted| of_term(&mut weighted.pod_affinity_term));
        pods.required_during_scheduling_ignored_during_execution.iter_mut().flatten().for_each(of_term);
    }
    take_spread_keys(spec, labels);
}

fn take_spread_keys(spec: &mut PodSpec, labels: &BTreeMap<String, String>) {
    for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
        if let Some(selector) = &mut constraint.label_selector {
            add_expressions(selector, constraint.match_label_keys.as_deref(), "In", labels);
        }
    }
}

fn add_expressions(
    selector: &mut LabelSelector,
    keys: Option<&[String]>,
    operator: &str,
    labels: &BTreeMap<String, String>,
) {
    for key in keys.unwrap_or_default() {
        let Some(value) = labels.get(key) else { continue };
        selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.clone()]),
        });
    }
}

/// The AppArmor annotation of old becomes the field, where the field is not given (KEP-24).
fn app_armor_fields(spec: &mut PodSpec, annotations: &BTreeMap<String, String>) {
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let of_pod = spec.security_context.as_ref().and_then(|s| s.app_armor_profile.clone());
    for container in super::containers::main_and_init_mut(spec) {
        let own = container.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
        let key = format!("{}{}", super::annotations::APP_ARMOR_PREFIX, container.name);
        let Some(profile) = annotations.get(&key).and_then(|value| app_armor_profile(value)) else { continue };
        if own.is_none() && of_pod.as_ref() != Some(&profile) {
            container.security_context.get_or_insert_default().app_armor_profile = Some(profile);
        }
    }
}

fn app_armor_profile(annotation: &str) -> Option<AppArmorProfile> {
    let (type_, localhost_profile) = match annotation {
        "unconfined" => ("Unconfined", None),
        "runtime/default" => ("RuntimeDefault", None),
        other => ("Localhost", Some(other.strip_prefix("localhost/").filter(|p| !p.is_empty())?.to_owned())),
    };
    Some(AppArmorProfile { type_: type_.to_owned(), localhost_profile })
}

/// The generation counts changes of the spec.
pub fn bump_generation(new: &mut Pod, old: &Pod) {
    if new.spec != old.spec {
        new.metadata.generation = Some(old.metadata.generation.unwrap_or_default().saturating_add(1));
    }
}

/// A pod that no node runs, or that has ended, goes at once; any other gets its grace period (`CheckGracefulDelete`).
pub fn deletion(pod: &Pod, requested: Option<i64>) -> Deletion {
    let spec = pod.spec.as_ref();
    let unscheduled = spec.is_none_or(|s| text(&s.node_name).is_empty());
    let ended = pod.status.as_ref().is_some_and(|s| matches!(text(&s.phase), "Failed" | "Succeeded"));
    if unscheduled || ended {
        return Deletion::Graceful(0);
    }
    let own = spec.and_then(|s| s.termination_grace_period_seconds);
    match requested.or(own).unwrap_or_default() {
        ..0 => Deletion::Graceful(1),
        seconds => Deletion::Graceful(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_periods() {
        let pod = |node: &str, phase: &str, grace: Option<i64>| -> Pod {
            let spec = serde_json::json!({"nodeName": node, "terminationGracePeriodSeconds": grace, "containers": []});
            let object =
                serde_json::json!({"apiVersion": "v1", "kind": "Pod", "spec": spec, "status": {"phase": phase}});
            serde_json::from_value(object).unwrap()
        };
        let cases = [
            (pod("n", "Running", Some(30)), None, 30),
            (pod("n", "Running", Some(30)), Some(5), 5),
            (pod("n", "Running", Some(30)), Some(0), 0),
            (pod("n", "Running", Some(-4)), None, 1),
            (pod("n", "Running", None), None, 0),
            (pod("", "Pending", Some(30)), None, 0),
            (pod("", "Pending", Some(30)), Some(7), 0),
            (pod("n", "Succeeded", Some(30)), Some(7), 0),
        ];
        for (pod, requested, seconds) in cases {
            assert_eq!(deletion(&pod, requested), Deletion::Graceful(seconds), "{requested:?} {:?}", pod.spec);
        }
    }
}

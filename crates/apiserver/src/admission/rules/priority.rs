//! Priority: a class's name becomes a number, and one class at most is the default.
use isopod_api::k8s::api::core::v1::Pod;
use isopod_api::k8s::api::scheduling::v1::PriorityClass;

const DEFAULT_POLICY: &str = "PreemptLowerPriority";

/// Resolves the pod's class (`plugin/pkg/admission/priority`). `classes` are all there are.
pub fn admit(pod: &mut Pod, classes: &[PriorityClass]) -> Result<(), String> {
    let Some(spec) = pod.spec.as_mut() else { return Ok(()) };
    let named = spec.priority_class_name.clone().filter(|n| !n.is_empty());
    let class = match &named {
        Some(name) => Some(
            classes
                .iter()
                .find(|c| c.metadata.name.as_ref() == Some(name))
                .ok_or_else(|| format!("no PriorityClass with name {name} was found"))?,
        ),
        // Should several call themselves the default, the smallest wins.
        None => classes.iter().filter(|c| c.global_default == Some(true)).min_by_key(|c| c.value),
    };
    let value = class.and_then(|c| c.value).unwrap_or_default();
    let policy = class.and_then(|c| c.preemption_policy.clone()).unwrap_or_else(|| DEFAULT_POLICY.into());
    if let Some(given) = spec.priority.filter(|p| *p != value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        ));
    }
    if let Some(given) = spec.preemption_policy.as_ref().filter(|p| **p != policy) {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    if named.is_none() {
        spec.priority_class_name = class.and_then(|c| c.metadata.name.clone());
    }
    spec.priority = Some(value);
    spec.preemption_policy = Some(policy);
    Ok(())
}

/// Only one class may be the default.
pub fn admit_class(class: &PriorityClass, others: &[PriorityClass]) -> Result<(), String> {
    if class.global_default != Some(true) {
        return Ok(());
    }
    match others.iter().find(|c| c.global_default == Some(true) && c.metadata.name != class.metadata.name) {
        Some(other) => Err(format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            other.metadata.name.as_deref().unwrap_or_default()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn class(value: Value) -> PriorityClass {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn classes_become_numbers() {
        let classes = [
            class(json!({"metadata": {"name": "low"}, "value": 5, "globalDefault": true})),
            class(json!({"metadata": {"name": "high"}, "value": 9, "preemptionPolicy": "Never"})),
        ];
        let cases = [
            (json!({}), &classes[..0], Ok((0, "PreemptLowerPriority", None))),
            (json!({}), &classes[..], Ok((5, "PreemptLowerPriority", Some("low")))),
            (json!({"priorityClassName": "high"}), &classes[..], Ok((9, "Never", Some("high")))),
            (json!({"priorityClassName": "high", "priority": 9}), &classes[..], Ok((9, "Never", Some("high")))),
            (json!({"priorityClassName": "nope"}), &classes[..], Err("no PriorityClass with name nope was found")),
            (json!({"priority": 3}), &classes[..0], Err("the integer value of priority (3)")),
            (json!({"preemptionPolicy": "Never"}), &classes[..0], Err("the string value of PreemptionPolicy (Never)")),
        ];
        for (mut spec, classes, expected) in cases {
            spec["containers"] = json!([]);
            let mut pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            let result = admit(&mut pod, classes);
            let spec = pod.spec.unwrap();
            match expected {
                Ok((value, policy, name)) => {
                    assert_eq!(result, Ok(()));
                    assert_eq!((spec.priority, spec.preemption_policy.as_deref()), (Some(value), Some(policy)));
                    assert_eq!(spec.priority_class_name.as_deref(), name);
                }
                Err(start) => assert!(result.unwrap_err().starts_with(start)),
            }
        }
    }
}

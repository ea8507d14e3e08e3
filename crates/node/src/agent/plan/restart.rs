//! Whether an ended container runs again: pod and container restart policies and `restartPolicyRules` (KEP-5307;
//! `podutil.ContainerShouldRestart`).
use crate::agent::observed::is_sidecar;
use isopod_api::k8s::api::core::v1::{Container, ContainerRestartRuleOnExitCodes, PodSpec};

/// Whether the spec wants another run after one that ended with `code`.
pub fn wanted(container: &Container, spec: &PodSpec, code: i32) -> bool {
    if container.restart_policy.is_none() {
        return match spec.restart_policy.as_deref() {
            Some("Never") => false,
            Some("OnFailure") => code != 0,
            _ => true,
        };
    }
    let rules = container.restart_policy_rules.iter().flatten();
    for rule in rules {
        if rule.exit_codes.as_ref().is_some_and(|codes| applies(codes, code)) {
            // `Restart` and `RestartAllContainers` both run it again.
            return rule.action.starts_with("Restart");
        }
    }
    match container.restart_policy.as_deref() {
        Some("Never") => false,
        Some("OnFailure") => code != 0,
        _ => true,
    }
}

fn applies(codes: &ContainerRestartRuleOnExitCodes, code: i32) -> bool {
    let listed = codes.values.iter().flatten().any(|v| *v == code);
    match codes.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

/// A failed init container is tried again unless the pod's or its own policy says never.
pub fn wanted_of_init(container: &Container, spec: &PodSpec, code: i32) -> bool {
    if is_sidecar(container) {
        return true;
    }
    // An init container of an `Always` pod is run again only when it failed.
    code != 0 && wanted(container, spec, code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policies_and_rules() {
        let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
        let table = [
            (json!(null), json!(null), "Always", 0, true),
            (json!(null), json!(null), "OnFailure", 0, false),
            (json!(null), json!(null), "OnFailure", 1, true),
            (json!(null), json!(null), "Never", 1, false),
            (json!("Always"), json!(null), "Never", 0, true),
            (json!("OnFailure"), json!(null), "Never", 1, true),
            (json!("OnFailure"), json!(null), "Always", 0, false),
            (json!("Never"), json!(null), "Always", 1, false),
            (json!("Never"), rules.clone(), "Always", 42, true),
            (json!("Never"), rules, "Always", 41, false),
            (
                json!("Never"),
                json!([{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [1]}}]),
                "Never",
                2,
                true,
            ),
        ];
        for (policy, rules, pod, code, expected) in table {
            let container: Container =
                serde_json::from_value(json!({"name": "c", "restartPolicy": policy, "restartPolicyRules": rules}))
                    .unwrap();
            let spec = PodSpec { restart_policy: Some(pod.into()), ..PodSpec::default() };
            assert_eq!(wanted(&container, &spec, code), expected, "{container:?} {pod} {code}");
        }
    }
}

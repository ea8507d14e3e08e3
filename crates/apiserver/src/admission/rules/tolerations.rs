//! DefaultTolerationSeconds and TaintNodesByCondition: pods stay five minutes on a node that went quiet; a new node takes no
//! pods until it says that it is ready.
use isopod_api::k8s::api::core::v1::{Node, Pod, Taint, Toleration};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const SECONDS: i64 = 300;

pub fn admit_pod(pod: &mut Pod) {
    let Some(spec) = pod.spec.as_mut() else { return };
    let tolerations = spec.tolerations.get_or_insert_default();
    let missing: Vec<&str> =
        [NOT_READY, UNREACHABLE].into_iter().filter(|key| !tolerations.iter().any(|t| covers(t, key))).collect();
    tolerations.extend(missing.into_iter().map(|key| Toleration {
        key: Some(key.into()),
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        toleration_seconds: Some(SECONDS),
        value: None,
    }));
}

/// An empty key or effect covers all of them.
fn covers(toleration: &Toleration, key: &str) -> bool {
    let is = |field: &Option<String>, value: &str| field.as_deref().is_none_or(|f| f.is_empty() || f == value);
    is(&toleration.key, key) && is(&toleration.effect, "NoExecute")
}

pub fn admit_node(node: &mut Node) {
    let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
    let taint = Taint { key: NOT_READY.into(), effect: "NoSchedule".into(), ..Taint::default() };
    if !taints.iter().any(|t| t.key == taint.key && t.effect == taint.effect) {
        taints.push(taint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_what_is_missing_is_added() {
        let cases = [
            (json!([]), 2),
            (json!([{"operator": "Exists"}]), 1),
            (json!([{"key": NOT_READY, "operator": "Exists", "effect": "NoSchedule"}]), 3),
            (json!([{"key": NOT_READY, "operator": "Exists", "effect": "NoExecute"}]), 2),
        ];
        for (tolerations, total) in cases {
            let value = json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}});
            let mut pod: Pod = serde_json::from_value(value).unwrap();
            admit_pod(&mut pod);
            let once = pod.spec.clone().unwrap().tolerations.unwrap();
            assert_eq!(once.len(), total, "{tolerations}");
            admit_pod(&mut pod);
            assert_eq!(pod.spec.unwrap().tolerations.unwrap(), once, "again changes nothing");
        }
    }

    #[test]
    fn a_new_node_is_tainted_once() {
        let mut node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        admit_node(&mut node);
        admit_node(&mut node);
        let taints: Value = serde_json::to_value(node.spec.unwrap().taints).unwrap();
        assert_eq!(taints, json!([{"key": NOT_READY, "effect": "NoSchedule"}]));
    }
}

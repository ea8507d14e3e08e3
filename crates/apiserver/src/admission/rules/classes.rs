//! RuntimeClass and DefaultIngressClass: what the class an object names, or the cluster's own, says of it.
use isopod_api::k8s::api::core::v1::{Pod, Toleration};
use isopod_api::k8s::api::networking::v1::{Ingress, IngressClass};
use isopod_api::k8s::api::node::v1::RuntimeClass;
use std::collections::BTreeMap;

/// The class a pod names.
pub fn wanted(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|s| s.runtime_class_name.as_deref()).filter(|name| !name.is_empty())
}

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// The overhead, node selector and tolerations of its class become the pod's.
pub fn admit_pod(pod: &mut Pod, class: Option<&RuntimeClass>) -> Result<(), String> {
    let (Some(class), Some(spec)) = (class, pod.spec.as_mut()) else { return Ok(()) };
    if let Some(fixed) = class.overhead.as_ref().map(|o| o.pod_fixed.clone().unwrap_or_default()) {
        if spec.overhead.as_ref().is_some_and(|own| !own.is_empty() && *own != fixed) {
            return Err(OTHER_OVERHEAD.to_owned());
        }
        spec.overhead = Some(fixed);
    }
    let Some(scheduling) = &class.scheduling else { return Ok(()) };
    merge_selector(scheduling.node_selector.as_ref(), &mut spec.node_selector)?;
    let tolerations = scheduling.tolerations.iter().flatten();
    let missing: Vec<Toleration> =
        tolerations.filter(|t| !spec.tolerations.iter().flatten().any(|own| own == *t)).cloned().collect();
    if !missing.is_empty() {
        spec.tolerations.get_or_insert_default().extend(missing);
    }
    Ok(())
}

fn merge_selector(
    class: Option<&BTreeMap<String, String>>,
    own: &mut Option<BTreeMap<String, String>>,
) -> Result<(), String> {
    for (key, value) in class.into_iter().flatten() {
        match own.as_ref().and_then(|own| own.get(key)) {
            Some(other) if other != value => {
                return Err(format!(
                    "conflict: runtimeClass.Scheduling.NodeSelector[{key}] = {value}; pod.Spec.NodeSelector[{key}] = {other}"
                ));
            }
            Some(_) => {}
            None => {
                own.get_or_insert_default().insert(key.clone(), value.clone());
            }
        }
    }
    Ok(())
}

/// Overhead comes from a class, never from a person.
pub fn check_pod(pod: &Pod, class: Option<&RuntimeClass>) -> Result<(), String> {
    let own = pod.spec.as_ref().and_then(|s| s.overhead.as_ref()).filter(|o| !o.is_empty());
    match class.and_then(|c| c.overhead.as_ref()) {
        Some(overhead) if overhead.pod_fixed.as_ref().filter(|o| !o.is_empty()) != own => {
            Err(OTHER_OVERHEAD.to_owned())
        }
        None if own.is_some() => {
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".to_owned())
        }
        _ => Ok(()),
    }
}

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// An Ingress that names no class gets the default one; of several the newest.
pub fn admit_ingress(ingress: &mut Ingress, classes: &[IngressClass]) {
    let named = ingress.spec.as_ref().is_some_and(|s| s.ingress_class_name.is_some());
    let annotated = ingress.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(CLASS_ANNOTATION));
    if named || annotated {
        return;
    }
    let is_default = |c: &&IngressClass| {
        c.metadata.annotations.as_ref().and_then(|a| a.get(DEFAULT_CLASS)).is_some_and(|v| v == "true")
    };
    let age = |c: &&IngressClass| (c.metadata.creation_timestamp.clone(), std::cmp::Reverse(c.metadata.name.clone()));
    let Some(class) = classes.iter().filter(is_default).max_by_key(age) else { return };
    ingress.spec.get_or_insert_default().ingress_class_name.clone_from(&class.metadata.name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(change: Value) -> Pod {
        let mut spec = json!({"containers": []});
        json_patch::merge(&mut spec, &change);
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_runtime_class_shapes_the_pod() {
        let class: RuntimeClass = serde_json::from_value(json!({"metadata": {"name": "r"}, "handler": "h",
            "overhead": {"podFixed": {"cpu": "1"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "t", "operator": "Exists"}]}}))
        .unwrap();
        let mut admitted = pod(json!({"nodeSelector": {"c": "d"}}));
        admit_pod(&mut admitted, Some(&class)).unwrap();
        check_pod(&admitted, Some(&class)).unwrap();
        let spec = serde_json::to_value(admitted.spec.clone()).unwrap();
        assert_eq!(spec["overhead"], json!({"cpu": "1"}));
        assert_eq!(spec["nodeSelector"], json!({"a": "b", "c": "d"}));
        assert_eq!(spec["tolerations"], json!([{"key": "t", "operator": "Exists"}]));
        let once = admitted.clone();
        admit_pod(&mut admitted, Some(&class)).unwrap();
        assert_eq!(admitted, once, "again changes nothing");
        let refused = [
            (
                json!({"nodeSelector": {"a": "x"}}),
                "conflict: runtimeClass.Scheduling.NodeSelector[a] = b; pod.Spec.NodeSelector[a] = x",
            ),
            (json!({"overhead": {"cpu": "2"}}), OTHER_OVERHEAD),
        ];
        for (change, why) in refused {
            assert_eq!(admit_pod(&mut pod(change), Some(&class)), Err(why.to_owned()));
        }
        let alone = check_pod(&pod(json!({"overhead": {"cpu": "2"}})), None);
        assert!(alone.unwrap_err().contains("without corresponding RuntimeClass"));
    }

    #[test]
    fn an_ingress_gets_the_newest_default_class() {
        let class = |name: &str, time: &str, default: &str| -> IngressClass {
            serde_json::from_value(json!({"metadata": {"name": name, "creationTimestamp": time,
                "annotations": {DEFAULT_CLASS: default}}}))
            .unwrap()
        };
        let classes = [
            class("old", "2020-01-01T00:00:00Z", "true"),
            class("b", "2021-01-01T00:00:00Z", "true"),
            class("a", "2021-01-01T00:00:00Z", "true"),
            class("no", "2022-01-01T00:00:00Z", "false"),
        ];
        let chosen = |ingress: Value| {
            let mut ingress: Ingress = serde_json::from_value(ingress).unwrap();
            admit_ingress(&mut ingress, &classes);
            ingress.spec.and_then(|s| s.ingress_class_name)
        };
        assert_eq!(chosen(json!({"metadata": {}, "spec": {}})).as_deref(), Some("a"));
        assert_eq!(chosen(json!({"metadata": {}, "spec": {"ingressClassName": "x"}})).as_deref(), Some("x"));
        assert_eq!(chosen(json!({"metadata": {"annotations": {CLASS_ANNOTATION: "x"}}, "spec": {}})), None);
    }
}

//! PodTopologyLabels (KEP-4742, on since v1.35): where the node stands is written on the pod, so that its containers can be told by
//! the downward API (`plugin/pkg/admission/podtopologylabels`).
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Adds what `node` says of its place to the labels of a pod, or of the binding that will become labels of one. What is there stays.
pub fn admit(meta: &mut ObjectMeta, node: &ObjectMeta) {
    for key in LABELS {
        let Some(value) = node.labels.as_ref().and_then(|labels| labels.get(key)) else { continue };
        meta.labels.get_or_insert_default().entry(key.to_owned()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn places_are_copied() {
        let (zone, region) = (LABELS[0], LABELS[1]);
        let node =
            json!({(zone): "a", (region): "r", "kubernetes.io/hostname": "n", "topology.kubernetes.io/rack": "1"});
        for (node, has, expected) in [
            (node.clone(), json!({}), json!({(zone): "a", (region): "r"})),
            (node.clone(), json!({(zone): "mine", "x": "y"}), json!({(zone): "mine", "x": "y", (region): "r"})),
            (json!({"kubernetes.io/hostname": "n"}), Value::Null, Value::Null),
        ] {
            let mut meta: ObjectMeta = serde_json::from_value(json!({"labels": has})).unwrap();
            admit(&mut meta, &serde_json::from_value(json!({"labels": node})).unwrap());
            assert_eq!(json!(meta.labels), expected);
        }
    }
}

//! Which claims a pod still lacks. Pure.
use crate::owner::controller_ref;
use crate::pod::controller_of;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub create: Vec<PersistentVolumeClaim>,
    /// What stands in the way, for people.
    pub conflicts: Vec<String>,
}

/// `claim`: looks a claim of the pod's namespace up.
pub fn plan(pod: &Pod, claim: impl Fn(&str) -> Option<Arc<PersistentVolumeClaim>>) -> Plan {
    let mut plan = Plan::default();
    if pod.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        let Some(template) = volume.ephemeral.as_ref().and_then(|e| e.volume_claim_template.as_ref()) else { continue };
        let name = format!("{pod_name}-{}", volume.name);
        let owned = |c: &PersistentVolumeClaim| {
            controller_of(&c.metadata).is_some_and(|o| Some(&o.uid) == pod.metadata.uid.as_ref())
        };
        match claim(&name) {
            Some(found) if owned(&found) => {}
            Some(_) => plan.conflicts.push(format!(
                "ephemeral volume {}: PVC {namespace}/{name} was not created for pod {namespace}/{pod_name} (pod is not owner)",
                volume.name
            )),
            None => {
                let meta = template.metadata.clone().unwrap_or_default();
                plan.create.push(PersistentVolumeClaim {
                    metadata: ObjectMeta {
                        name: Some(name),
                        namespace: pod.metadata.namespace.clone(),
                        owner_references: Some(vec![controller_ref("v1", "Pod", &pod.metadata)]),
                        labels: meta.labels,
                        annotations: meta.annotations,
                        ..ObjectMeta::default()
                    },
                    spec: Some(template.spec.clone()),
                    status: None,
                });
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn makes_what_is_missing_and_takes_nothing_from_others() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [], "volumes": [
                {"name": "plain", "emptyDir": {}},
                {"name": "a", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"l": "1"}},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}]}}))
        .unwrap();
        let first = plan(&pod, |_| None);
        assert!(first.conflicts.is_empty());
        let [claim] = first.create.as_slice() else { panic!("{first:?}") };
        assert_eq!(claim.metadata.name.as_deref(), Some("p-a"));
        assert_eq!(claim.metadata.labels.as_ref().unwrap()["l"], "1");
        assert_eq!(claim.spec.as_ref().unwrap().access_modes.as_ref().unwrap(), &["ReadWriteOnce"]);
        assert_eq!(controller_of(&claim.metadata).map(|o| o.uid.as_str()), Some("u"));
        let made = Arc::new(claim.clone());
        assert_eq!(plan(&pod, |_| Some(Arc::clone(&made))), Plan::default());
        let other = plan(&pod, |_| Some(Arc::default()));
        assert_eq!(other.conflicts, ["ephemeral volume a: PVC ns/p-a was not created for pod ns/p (pod is not owner)"]);
        let mut leaving = pod.clone();
        leaving.metadata.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH.into());
        assert_eq!(plan(&leaving, |_| None), Plan::default());
    }
}

//! The status of one quota. Pure; counts as admission does (`isopod_api::quota`).
use isopod_api::quota::{self, Counted, Usage, to_list};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is in the quota's namespace.
#[derive(Default)]
pub struct Content {
    pub pods: Vec<Arc<Pod>>,
    pub services: Vec<Arc<Service>>,
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    /// How many there are of other kinds that the quota names: `configmaps`, `deployments.apps`.
    pub others: BTreeMap<String, usize>,
}

/// Kinds beyond pods, services and claims whose number the quota bounds.
pub fn others(quota: &ResourceQuota) -> Vec<String> {
    let hard = quota.spec.iter().flat_map(|s| s.hard.iter().flatten()).map(|(name, _)| name.as_str());
    let plain = ["configmaps", "secrets", "replicationcontrollers", "resourcequotas"];
    let mut names: Vec<String> = hard
        .filter_map(|name| name.strip_prefix("count/").or_else(|| plain.contains(&name).then_some(name)))
        .filter(|name| !matches!(*name, "pods" | "services" | "persistentvolumeclaims"))
        .map(ToOwned::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

pub fn plan(quota: &ResourceQuota, content: &Content) -> ResourceQuotaStatus {
    let mut sum = Usage::new();
    // What is bounded and not there counts 0.
    for name in quota::hard(quota).into_keys() {
        sum.insert(name, isopod_api::quantity::Quantity::ZERO);
    }
    let mut count = |resource: &str, object: Counted<'_>| {
        if quota::in_scope(quota, object) {
            quota::add(&mut sum, &quota::usage(resource, object));
        }
    };
    content.pods.iter().for_each(|p| count("pods", Counted::Pod(p)));
    content.services.iter().for_each(|s| count("services", Counted::Service(s)));
    content.claims.iter().for_each(|c| count("persistentvolumeclaims", Counted::Claim(c)));
    for (resource, number) in &content.others {
        (0..*number).for_each(|_| count(resource, Counted::Other));
    }
    ResourceQuotaStatus {
        hard: quota.spec.as_ref().and_then(|s| s.hard.clone()),
        used: Some(to_list(&quota::bounded(quota, &sum))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_what_is_there() {
        let quota: ResourceQuota =
            serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "10",
            "requests.cpu": "4", "count/deployments.apps": "3", "configmaps": "5", "services": "2"}}}))
            .unwrap();
        assert_eq!(others(&quota), ["configmaps", "deployments.apps"]);
        let pod = |phase: &str| -> Arc<Pod> {
            Arc::new(
                serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources":
                    {"requests": {"cpu": "250m"}}}]}, "status": {"phase": phase}}))
                .unwrap(),
            )
        };
        let content = Content {
            pods: vec![pod("Running"), pod("Running"), pod("Succeeded")],
            others: [("configmaps".to_owned(), 2), ("deployments.apps".to_owned(), 1)].into(),
            ..Content::default()
        };
        let used: Vec<String> =
            plan(&quota, &content).used.unwrap().into_iter().map(|(k, v)| format!("{k}={}", v.0)).collect();
        assert_eq!(used, ["configmaps=2", "count/deployments.apps=1", "pods=2", "requests.cpu=500m", "services=0"]);
    }
}

//! What a pod whose containers are ready has to wait for before it may count as ready. Pure.
use super::leaving::{service, uid_of, version};
use super::watermark::{Proxy, behind};
use isopod_api::selector::Selector;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// ## Unpublished => Programming => Routable; Routable at once when nobody will ever send it connections
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// These Services select it and their slices do not offer it yet.
    Unpublished {
        services: Vec<String>,
    },
    /// These nodes cannot send it connections yet.
    Programming {
        nodes: Vec<String>,
    },
    Routable,
}

/// `slices`: those that name the pod. `seen`: by slice, the version at which it first offered the pod.
pub fn stage(
    pod: &Pod,
    services: &[Arc<Service>],
    slices: &[Arc<EndpointSlice>],
    proxies: &[Proxy],
    seen: &mut BTreeMap<String, u64>,
) -> Stage {
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    if pod.metadata.deletion_timestamp.is_some() || !gates_hold(pod) {
        return Stage::Routable;
    }
    let (mut missing, mut goal) = (Vec::new(), 0);
    for service in services.iter().filter(|s| selects(s, pod)) {
        let name = service.metadata.name.as_deref().unwrap_or("");
        match slices.iter().find(|s| self::service(s) == Some(name) && offers(s, uid)) {
            None => missing.push(name.to_owned()),
            Some(slice) => {
                let key = slice.metadata.name.clone().unwrap_or_default();
                goal = goal.max(*seen.entry(key).or_insert_with(|| version(slice)));
            }
        }
    }
    if !missing.is_empty() {
        return Stage::Unpublished { services: missing };
    }
    let nodes = behind(proxies, goal);
    if nodes.is_empty() { Stage::Routable } else { Stage::Programming { nodes } }
}

/// The pod counts as unready anyway while they do not.
fn gates_hold(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let mut gates = pod.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten());
    gates.all(|g| conditions.iter().any(|c| c.type_ == g.condition_type && c.status == "True"))
}

fn offers(slice: &EndpointSlice, uid: &str) -> bool {
    let own = slice.endpoints.iter().flatten().filter(|e| uid_of(e) == Some(uid));
    own.filter_map(|e| e.conditions.as_ref()).any(|c| c.serving.or(c.ready).unwrap_or(true))
}

/// Whether the Service's slices will have the pod: its selector matches, and the pod has an address of one of its families.
fn selects(service: &Service, pod: &Pod) -> bool {
    let Some(spec) = &service.spec else { return false };
    let Some(labels) = spec.selector.as_ref().filter(|s| !s.is_empty()) else { return false };
    let none = BTreeMap::new();
    let families = spec.ip_families.as_deref().unwrap_or_default();
    spec.type_.as_deref() != Some("ExternalName")
        && service.metadata.namespace == pod.metadata.namespace
        && Selector::from_map(labels).matches(pod.metadata.labels.as_ref().unwrap_or(&none))
        && (families.is_empty() || families.iter().any(|f| has_address(pod, f == "IPv6")))
}

/// A pod whose addresses are not known here yet is taken to have one of IPv4.
fn has_address(pod: &Pod, v6: bool) -> bool {
    let status = pod.status.as_ref();
    let listed = status.into_iter().flat_map(|s| s.pod_ips.iter().flatten()).map(|ip| ip.ip.as_str());
    let all: Vec<&str> = listed.chain(status.and_then(|s| s.pod_ip.as_deref())).collect();
    if all.is_empty() { !v6 } else { all.iter().any(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == v6)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(extra: &Value) -> Pod {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "p", "labels": {"app": "web"}},
            "spec": {"containers": []}, "status": {"podIP": "10.1.0.2"}});
        for (k, v) in extra.as_object().unwrap() {
            pod[k] = v.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    fn web(spec: &Value) -> Arc<Service> {
        let mut service = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"selector": {"app": "web"}}});
        for (k, v) in spec.as_object().unwrap() {
            service["spec"][k] = v.clone();
        }
        Arc::new(serde_json::from_value(service).unwrap())
    }

    fn slice(version: u64, serving: bool) -> Arc<EndpointSlice> {
        let slice = json!({"metadata": {"name": "web-1", "resourceVersion": version.to_string(),
            "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.2"], "targetRef": {"uid": "p"}, "conditions": {"ready": serving, "serving": serving}}]});
        Arc::new(serde_json::from_value(slice).unwrap())
    }

    #[test]
    fn goes_from_unpublished_to_routable() {
        let mut seen = BTreeMap::new();
        let pod = pod(&json!({}));
        let proxies = |a| [Proxy { node: "a".into(), programmed: a }, Proxy { node: "b".into(), programmed: 50 }];
        let mut go = |slices: &[Arc<EndpointSlice>], a| stage(&pod, &[web(&json!({}))], slices, &proxies(a), &mut seen);
        assert_eq!(go(&[], 50), Stage::Unpublished { services: vec!["web".into()] });
        assert_eq!(go(&[slice(8, false)], 50), Stage::Unpublished { services: vec!["web".into()] });
        assert_eq!(go(&[slice(9, true)], 8), Stage::Programming { nodes: vec!["a".into()] });
        assert_eq!(go(&[slice(30, true)], 9), Stage::Routable, "9 was enough and stays so");
    }

    #[test]
    fn nobody_waits_for_what_will_not_come() {
        let check = |pod: &Pod, service: &Arc<Service>| {
            stage(pod, std::slice::from_ref(service), &[], &[], &mut BTreeMap::new()) == Stage::Routable
        };
        let plain = pod(&json!({}));
        assert!(!check(&plain, &web(&json!({}))), "the control");
        assert!(check(&plain, &web(&json!({"selector": {"app": "other"}}))));
        assert!(check(&plain, &web(&json!({"selector": {}}))));
        assert!(check(&plain, &web(&json!({"type": "ExternalName", "externalName": "example.org"}))));
        assert!(check(&plain, &web(&json!({"ipFamilies": ["IPv6"]}))), "it has no such address");
        assert!(!check(&plain, &web(&json!({"ipFamilies": ["IPv6", "IPv4"]}))));
        let gated = pod(&json!({"spec": {"containers": [], "readinessGates": [{"conditionType": "lb"}]}}));
        assert!(check(&gated, &web(&json!({}))), "not ready anyway");
        let deleted = json!({"metadata": {"namespace": "ns", "labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert!(check(&pod(&deleted), &web(&json!({}))));
    }
}

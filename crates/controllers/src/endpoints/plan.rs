//! The Endpoints a Service should have. Pure.
use crate::endpointslice::endpoint::{self, hostname, port_on, publishes_unready, serves, target};
use crate::endpointslice::plan::mark_headless;
use crate::pod;
use isopod_api::selector::Selector;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Addresses an Endpoints object holds (`maxCapacity`).
const CAPACITY: usize = 1000;

/// What to write: `None` if it is right already, or not ours to write.
pub fn plan(service: &Service, pods: &[Arc<Pod>], existing: Option<&Endpoints>) -> Option<Endpoints> {
    let spec = service.spec.as_ref()?;
    let selector = spec.selector.as_ref().filter(|s| !s.is_empty())?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let selector = Selector::from_map(selector);
    let none = BTreeMap::new();
    let chosen = pods.iter().filter(|p| {
        let leaving = p.metadata.deletion_timestamp.is_some() && !publishes_unready(service);
        endpoint::belongs(p) && !leaving && selector.matches(p.metadata.labels.as_ref().unwrap_or(&none))
    });
    let (subsets, truncated) = truncate(subsets(service, chosen));
    let mut wanted = existing.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    wanted.subsets = (!subsets.is_empty()).then_some(subsets);
    wanted.metadata.labels = Some(labels(service));
    wanted.metadata.annotations = annotations(existing, truncated);
    if existing.is_some_and(|e| same(e, &wanted)) { None } else { Some(wanted) }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    mark_headless(service, &mut labels);
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

/// Annotations are not copied from the Service; only ours are touched.
fn annotations(existing: Option<&Endpoints>, truncated: bool) -> Option<BTreeMap<String, String>> {
    let mut annotations = existing.and_then(|e| e.metadata.annotations.clone()).unwrap_or_default();
    annotations.remove(OVER_CAPACITY);
    if truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    }
    (!annotations.is_empty()).then_some(annotations)
}

fn same(a: &Endpoints, b: &Endpoints) -> bool {
    let annotations = |e: &Endpoints| {
        let mut a = e.metadata.annotations.clone().unwrap_or_default();
        a.remove(TRIGGER_TIME);
        a
    };
    a.subsets.as_deref().unwrap_or_default() == b.subsets.as_deref().unwrap_or_default()
        && a.metadata.labels == b.metadata.labels
        && annotations(a) == annotations(b)
}

/// Number, protocol, name, application protocol.
type Ports = Vec<(i32, String, String, Option<String>)>;
/// Addresses that are ready, and those that are not.
type Addresses = (Vec<EndpointAddress>, Vec<EndpointAddress>);

/// Addresses with the same ports share a subset; all in a stable order (`RepackSubsets`).
fn subsets<'a>(service: &Service, pods: impl Iterator<Item = &'a Arc<Pod>>) -> Vec<EndpointSubset> {
    let mut groups: BTreeMap<Ports, Addresses> = BTreeMap::new();
    for p in pods {
        let mut ports = ports(service, p);
        ports.sort();
        let headless_without_ports = service.spec.as_ref().is_some_and(|s| {
            s.cluster_ip.as_deref() == Some("None") && s.ports.as_deref().unwrap_or_default().is_empty()
        });
        if ports.is_empty() && !headless_without_ports {
            continue;
        }
        let v6 = service.spec.as_ref().and_then(|s| s.ip_families.as_ref()?.first()).is_some_and(|f| f == "IPv6");
        let Some(ip) = endpoint::addresses(p, v6).into_iter().next() else { continue };
        let address = EndpointAddress {
            ip,
            hostname: hostname(service, p),
            node_name: Some(pod::node(p).to_owned()).filter(|n| !n.is_empty()),
            target_ref: Some(target(p)),
        };
        let group = groups.entry(ports).or_default();
        if publishes_unready(service) || serves(p) { group.0.push(address) } else { group.1.push(address) }
    }
    groups.into_iter().map(|(ports, addresses)| subset(ports, addresses)).collect()
}

fn ports(service: &Service, p: &Pod) -> Ports {
    let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            Some((port_on(p, port)?, protocol, port.name.clone().unwrap_or_default(), port.app_protocol.clone()))
        })
        .collect()
}

fn subset(ports: Ports, (mut ready, mut unready): Addresses) -> EndpointSubset {
    let by_ip = |a: &EndpointAddress| (a.ip.clone(), a.target_ref.as_ref().and_then(|t| t.uid.clone()));
    ready.sort_by_key(by_ip);
    unready.sort_by_key(by_ip);
    let ports: Vec<EndpointPort> = ports
        .into_iter()
        .map(|(port, protocol, name, app_protocol)| EndpointPort {
            port,
            protocol: Some(protocol),
            name: (!name.is_empty()).then_some(name),
            app_protocol,
        })
        .collect();
    EndpointSubset {
        addresses: (!ready.is_empty()).then_some(ready),
        not_ready_addresses: (!unready.is_empty()).then_some(unready),
        ports: (!ports.is_empty()).then_some(ports),
    }
}

/// No more than an object may hold, ready addresses first.
fn truncate(mut subsets: Vec<EndpointSubset>) -> (Vec<EndpointSubset>, bool) {
    let count = |v: &Option<Vec<EndpointAddress>>| v.as_ref().map_or(0, Vec::len);
    let total: usize = subsets.iter().map(|s| count(&s.addresses) + count(&s.not_ready_addresses)).sum();
    if total <= CAPACITY {
        return (subsets, false);
    }
    let mut room = CAPACITY;
    let mut cut = |addresses: &mut Option<Vec<EndpointAddress>>| {
        if let Some(list) = addresses {
            list.truncate(room);
            room -= list.len();
            if list.is_empty() {
                *addresses = None;
            }
        }
    };
    subsets.iter_mut().for_each(|s| cut(&mut s.addresses));
    subsets.iter_mut().for_each(|s| cut(&mut s.not_ready_addresses));
    subsets.retain(|s| s.addresses.is_some() || s.not_ready_addresses.is_some());
    (subsets, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(n: u8, ready: bool, leaving: bool) -> Arc<Pod> {
        let state = if ready { "True" } else { "False" };
        let mut v = json!({"metadata": {"name": format!("p{n}"), "namespace": "ns", "uid": format!("u{n}"), "labels": {"app": "web"}},
            "spec": {"nodeName": "node", "containers": []},
            "status": {"phase": "Running", "podIP": format!("10.0.0.{n}"), "conditions": [{"type": "ContainersReady", "status": state}]}});
        if leaving {
            v["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(v).unwrap())
    }

    #[test]
    fn ready_and_unready_addresses() {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "ns"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080, "name": "http"}]}}))
        .unwrap();
        let pods = [pod(2, true, false), pod(1, true, false), pod(3, false, false), pod(4, true, true)];
        let made = plan(&service, &pods, None).unwrap();
        let subset = &made.subsets.as_ref().unwrap()[0];
        let ips = |a: &Option<Vec<EndpointAddress>>| a.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>();
        assert_eq!(ips(&subset.addresses), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(ips(&subset.not_ready_addresses), ["10.0.0.3"]);
        assert_eq!(subset.ports.as_ref().unwrap()[0].port, 8080);
        assert!(plan(&service, &pods, Some(&made)).is_none(), "once is enough");
        assert!(plan(&service, &[], Some(&made)).unwrap().subsets.is_none());
    }
}

//! The slices that mirror one Endpoints object. Pure.
use crate::endpointslice::plan::{MANAGED_BY, SERVICE_NAME, TRIGGER_TIME};
use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints that are a leader's lock have no addresses to mirror.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Addresses of one subset that are mirrored; also the most a slice may hold.
const MOST: usize = 1000;

#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// Whether the Endpoints are people's own and to be mirrored.
fn mirrored(endpoints: &Endpoints, service: &Service) -> bool {
    let has = |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().is_some_and(|m| m.contains_key(key));
    let skipped = endpoints.metadata.labels.as_ref().and_then(|l| l.get(SKIP)).is_some_and(|v| v == "true");
    let selects = service.spec.as_ref().and_then(|s| s.selector.as_ref()).is_some_and(|s| !s.is_empty());
    !skipped
        && !has(&endpoints.metadata.annotations, LEADER)
        && !selects
        && endpoints.metadata.deletion_timestamp.is_none()
}

pub fn plan(endpoints: Option<&Endpoints>, service: Option<&Service>, slices: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    let mut left: Vec<Arc<EndpointSlice>> = slices.to_vec();
    let source = endpoints.zip(service).filter(|(e, s)| mirrored(e, s)).map(|(e, _)| e);
    for wanted in source.map(wanted).unwrap_or_default() {
        let same_place = |s: &Arc<EndpointSlice>| s.address_type == wanted.address_type && s.ports == wanted.ports;
        let Some(at) = left
            .iter()
            .position(same_place)
            .or_else(|| left.iter().position(|s| s.address_type == wanted.address_type))
        else {
            plan.create.push(wanted);
            continue;
        };
        let found = left.swap_remove(at);
        let same = found.endpoints.as_deref().unwrap_or_default() == wanted.endpoints.as_deref().unwrap_or_default()
            && found.ports == wanted.ports
            && found.metadata.labels == wanted.metadata.labels
            && found.metadata.annotations == wanted.metadata.annotations;
        if !same {
            let mut new = (*found).clone();
            (new.endpoints, new.ports) = (wanted.endpoints, wanted.ports);
            (new.metadata.labels, new.metadata.annotations) = (wanted.metadata.labels, wanted.metadata.annotations);
            plan.update.push(new);
        }
    }
    plan.delete = left;
    plan
}

/// One slice a family and set of ports.
fn wanted(source: &Endpoints) -> Vec<EndpointSlice> {
    let mut groups: BTreeMap<(String, String), (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
    for subset in source.subsets.iter().flatten() {
        let ports: Vec<EndpointPort> = subset
            .ports
            .iter()
            .flatten()
            .map(|p| EndpointPort {
                name: Some(p.name.clone().unwrap_or_default()),
                port: Some(p.port),
                protocol: p.protocol.clone(),
                app_protocol: p.app_protocol.clone(),
            })
            .collect();
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|a| (a, false));
        for (address, ready) in ready.chain(unready).take(MOST) {
            let Ok(ip) = address.ip.parse::<IpAddr>() else { continue };
            let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            let group =
                groups.entry((family.to_owned(), format!("{ports:?}"))).or_insert_with(|| (ports.clone(), Vec::new()));
            group.1.push(endpoint(address, ready));
        }
    }
    groups.into_iter().map(|((family, _), (ports, endpoints))| slice(source, family, ports, endpoints)).collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn slice(
    source: &Endpoints,
    address_type: String,
    ports: Vec<EndpointPort>,
    mut endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    endpoints.truncate(MOST);
    let mut labels = source.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), source.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut annotations = source.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| key != LAST_APPLIED && key != TRIGGER_TIME);
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", source.metadata.name.as_deref().unwrap_or(""))),
            namespace: source.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![crate::owner::controller_ref("v1", "Endpoints", &source.metadata)]),
            ..ObjectMeta::default()
        },
        address_type,
        endpoints: Some(endpoints),
        ports: Some(ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mirrors_what_people_write() {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": {}})).unwrap();
        let mut endpoints: Endpoints = serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "ns", "uid": "e"},
            "subsets": [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}],
                "ports": [{"port": 5432}]}]}))
        .unwrap();
        endpoints.metadata.annotations =
            Some([(TRIGGER_TIME.to_owned(), "x".to_owned()), ("mine".to_owned(), "y".to_owned())].into());
        endpoints.metadata.labels = Some([("mine".to_owned(), "yes".to_owned())].into());
        let p = plan(Some(&endpoints), Some(&service), &[]);
        let made = &p.create[0].metadata;
        assert_eq!(made.annotations, Some([("mine".to_owned(), "y".to_owned())].into()));
        let labels = json!({"mine": "yes", MANAGED_BY: MANAGER, SERVICE_NAME: "db"});
        assert_eq!(serde_json::to_value(&made.labels).unwrap(), labels);
        let told: Vec<_> =
            p.create.iter().map(|s| (s.address_type.as_str(), s.endpoints.as_ref().unwrap().len())).collect();
        assert_eq!(told, [("IPv4", 2), ("IPv6", 1)]);
        let slices: Vec<_> = p.create.into_iter().map(Arc::new).collect();
        assert_eq!(plan(Some(&endpoints), Some(&service), &slices), Plan::default());
        let mut fewer = endpoints.clone();
        fewer.subsets.as_mut().unwrap()[0].addresses.as_mut().unwrap().pop();
        let p = plan(Some(&fewer), Some(&service), &slices);
        assert_eq!((p.create.len(), p.update.len(), p.delete.len()), (0, 0, 1));
        // A selector, a label, or no service: nothing is mirrored.
        let selecting: Service =
            serde_json::from_value(json!({"metadata": {}, "spec": {"selector": {"a": "b"}}})).unwrap();
        assert_eq!(plan(Some(&endpoints), Some(&selecting), &slices).delete.len(), 2);
        assert_eq!(plan(Some(&endpoints), None, &slices).delete.len(), 2);
        let mut skipped = endpoints;
        skipped.metadata.labels = Some([(SKIP.to_owned(), "true".to_owned())].into());
        assert_eq!(plan(Some(&skipped), Some(&service), &slices).delete.len(), 2);
    }
}

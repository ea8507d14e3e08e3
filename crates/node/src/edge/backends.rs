//! One Service as the HTTP proxy has to balance it. Pure.
use crate::services::topology::Here;
use crate::services::translate;
use isopod_network::contract::{Endpoint, PortName, Protocol as Transport};
use isopod_network::proxy::{Backends, Protocol};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Those of its ports whose `appProtocol` says that they speak HTTP.
pub fn backends(service: &Service, slices: &[Arc<EndpointSlice>], here: &Here) -> BTreeMap<PortName, Backends> {
    let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    let spoken: BTreeMap<&str, Protocol> = ports
        .filter_map(|p| Some((p.name.as_deref().unwrap_or(""), Protocol::of_app_protocol(p.app_protocol.as_deref()?)?)))
        .collect();
    if spoken.is_empty() {
        return BTreeMap::new();
    }
    let mut found = BTreeMap::new();
    for (name, port) in translate::ports(service, slices, here) {
        let Some(protocol) = spoken.get(name.port.as_str()).filter(|_| name.protocol == Transport::Tcp) else {
            continue;
        };
        let usable = |e: &Endpoint| e.local || !port.internal_local;
        let endpoints = port.endpoints.iter().filter(|e| usable(e)).cloned().collect();
        found.insert(name, Backends { protocol: *protocol, endpoints, affinity: port.affinity.is_some() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(extra: &Value) -> Vec<String> {
        let mut service = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"clusterIP": "10.96.0.7", "ports": [
            {"name": "http", "port": 80, "appProtocol": "http"}, {"name": "grpc", "port": 81, "appProtocol": "kubernetes.io/h2c"},
            {"name": "sql", "port": 82, "appProtocol": "mysql"}, {"name": "raw", "port": 83}]}});
        service["spec"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let ports = ["http", "grpc", "sql", "raw"].map(|n| json!({"name": n, "port": 8080, "protocol": "TCP"}));
        let slice = json!({"metadata": {"labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4", "ports": ports,
            "endpoints": [{"addresses": ["10.1.0.2"], "nodeName": "a"}, {"addresses": ["10.1.0.3"], "nodeName": "b"}]});
        let service: Service = serde_json::from_value(service).unwrap();
        let here = Here { node: "a".into(), zone: None };
        let found = backends(&service, &[Arc::new(serde_json::from_value(slice).unwrap())], &here);
        found.iter().map(|(n, b)| format!("{} {:?} {} {}", n.port, b.protocol, b.endpoints.len(), b.affinity)).collect()
    }

    #[test]
    fn ports_that_speak_http() {
        assert_eq!(check(&json!({})), ["grpc H2c 2 false", "http Http 2 false"]);
        assert_eq!(check(&json!({"internalTrafficPolicy": "Local"})), ["grpc H2c 1 false", "http Http 1 false"]);
        assert_eq!(check(&json!({"sessionAffinity": "ClientIP"})), ["grpc H2c 2 true", "http Http 2 true"]);
        assert_eq!(check(&json!({"clusterIP": "None"})), [] as [&str; 0]);
    }
}

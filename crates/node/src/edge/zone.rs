//! One Service as cluster DNS knows it. Pure.
use isopod_network::dns::zone::{Endpoint, Named, Port, Record};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{self, EndpointSlice};
use std::collections::BTreeSet;
use std::sync::Arc;

/// `None`: it has no name, as its address is yet to be allocated.
pub fn record(service: &Service, slices: &[Arc<EndpointSlice>]) -> Option<Record> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return spec.external_name.clone().filter(|n| !n.is_empty()).map(|name| Record::External { name });
    }
    let listed: Vec<&String> = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).collect();
    if listed.iter().any(|ip| *ip == "None") {
        return Some(Record::Headless { endpoints: endpoints(slices) });
    }
    let mut addresses = Vec::new();
    for address in listed.iter().filter_map(|ip| ip.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let ports = spec.ports.iter().flatten();
    let ports = ports.filter_map(|p| port(p.name.as_deref(), p.protocol.as_deref(), p.port)).collect();
    (!addresses.is_empty()).then(|| Record::Cluster { addresses, ports, endpoints: named(slices) })
}

/// Those that a Service with an address has names for.
fn named(slices: &[Arc<EndpointSlice>]) -> Vec<Named> {
    let mut all: Vec<Named> =
        endpoints(slices).into_iter().map(|e| Named { address: e.address, hostname: e.hostname }).collect();
    all.dedup();
    all
}

/// The ready ones. `publishNotReadyAddresses` has made all of them so.
fn endpoints(slices: &[Arc<EndpointSlice>]) -> Vec<Endpoint> {
    let mut all = BTreeSet::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let mut ports: Vec<Port> =
            ports.filter_map(|p| port(p.name.as_deref(), p.protocol.as_deref(), p.port?)).collect();
        ports.sort();
        let ready = slice.endpoints.iter().flatten().filter(|e| is_ready(e));
        all.extend(ready.filter_map(|e| {
            let address = e.addresses.first()?.parse().ok()?;
            Some(Endpoint { address, hostname: e.hostname.clone().filter(|h| !h.is_empty()), ports: ports.clone() })
        }));
    }
    all.into_iter().collect()
}

fn is_ready(endpoint: &v1::Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
}

fn port(name: Option<&str>, protocol: Option<&str>, number: i32) -> Option<Port> {
    let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase();
    Some(Port { name: name.unwrap_or("").to_ascii_lowercase(), protocol, port: u16::try_from(number).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn show(spec: &Value, slices: &[Value]) -> Value {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap();
        let slices: Vec<_> =
            slices.iter().map(|s| Arc::new(serde_json::from_value::<EndpointSlice>(s.clone()).unwrap())).collect();
        serde_json::to_value(record(&service, &slices)).unwrap()
    }

    #[test]
    fn services_of_all_kinds() {
        let cluster = json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"],
            "ports": [{"name": "http", "port": 80}, {"port": 53, "protocol": "UDP"}]});
        let ports =
            json!([{"name": "http", "protocol": "tcp", "port": 80}, {"name": "", "protocol": "udp", "port": 53}]);
        assert_eq!(
            show(&cluster, &[]),
            json!({"type": "cluster", "addresses": ["10.96.0.7", "fd00::7"], "ports": ports})
        );
        let external = json!({"type": "ExternalName", "externalName": "example.org"});
        assert_eq!(show(&external, &[]), json!({"type": "external", "name": "example.org"}));
        assert_eq!(show(&json!({"clusterIP": ""}), &[]), Value::Null, "not allocated yet");
        let endpoint = |address: &str, extra: Value| {
            let mut endpoint = json!({"addresses": [address]});
            endpoint.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            endpoint
        };
        let slices = [
            json!({"addressType": "IPv4", "ports": [{"name": "sql", "port": 3306, "protocol": "TCP"}], "endpoints": [
                endpoint("10.1.0.3", json!({"conditions": {"ready": true}, "hostname": "db-1"})),
                endpoint("10.1.0.2", json!({"conditions": {}})),
                endpoint("10.1.0.4", json!({"conditions": {"ready": false}})),
                endpoint("10.1.0.5", json!({"conditions": {"ready": false, "serving": true, "terminating": true}}))]}),
            json!({"addressType": "IPv6", "ports": [], "endpoints": [endpoint("fd00::3", json!({}))]}),
        ];
        let sql = json!([{"name": "sql", "protocol": "tcp", "port": 3306}]);
        assert_eq!(
            show(&json!({"clusterIP": "None"}), &slices),
            json!({"type": "headless", "endpoints": [
                {"address": "10.1.0.2", "hostname": null, "ports": sql},
                {"address": "10.1.0.3", "hostname": "db-1", "ports": sql},
                {"address": "fd00::3", "hostname": null, "ports": []}]})
        );
        let named = [("10.1.0.2", None), ("10.1.0.3", Some("db-1")), ("fd00::3", None)]
            .map(|(address, hostname)| json!({"address": address, "hostname": hostname}));
        assert_eq!(show(&cluster, &slices)["endpoints"], json!(named));
    }
}

//! Services as environment variables (`pkg/kubelet/envvars`, `getServiceEnvVarMap`).
use isopod_api::k8s::api::core::v1::{Service, ServicePort};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The Service every pod is told of.
const MASTER: (&str, &str) = ("default", "kubernetes");

/// What a pod of `namespace` is told. Headless Services are not.
pub fn environment(namespace: &str, links: bool, services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let mut told: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let of = service.metadata.namespace.as_deref().unwrap_or_default();
        if address(service).is_none() {
            continue;
        }
        if of == namespace && links {
            // The namespace's own `kubernetes` wins over the cluster's.
            told.insert(name, service);
        } else if (of, name) == MASTER {
            told.entry(name).or_insert(service);
        }
    }
    let mut all = BTreeMap::new();
    for (name, service) in told {
        variables(name, service, &mut all);
    }
    all
}

fn address(service: &Service) -> Option<&str> {
    let ip = service.spec.as_ref()?.cluster_ip.as_deref()?;
    (!ip.is_empty() && ip != "None").then_some(ip)
}

/// `my-svc` → `MY_SVC`
fn variable(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn variables(name: &str, service: &Service, all: &mut BTreeMap<String, String>) {
    let Some(ip) = address(service) else { return };
    let ports: &[ServicePort] = service.spec.as_ref().and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let prefix = variable(name);
    all.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    let Some(first) = ports.first() else { return };
    all.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            all.insert(format!("{prefix}_SERVICE_PORT_{}", variable(port_name)), port.port.to_string());
        }
    }
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let lower = protocol.to_ascii_lowercase();
        let url = format!("{lower}://{host}:{}", port.port);
        if index == 0 {
            all.insert(format!("{prefix}_PORT"), url.clone());
        }
        let link = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_ascii_uppercase());
        all.insert(link.clone(), url);
        all.insert(format!("{link}_PROTO"), lower);
        all.insert(format!("{link}_PORT"), port.port.to_string());
        all.insert(format!("{link}_ADDR"), ip.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(namespace: &str, name: &str, ip: &str, ports: Value) -> Arc<Service> {
        let service =
            json!({"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": ports}});
        Arc::new(serde_json::from_value(service).unwrap())
    }

    #[test]
    fn hosts_ports_and_links() {
        let services = [
            service("default", "kubernetes", "10.96.0.1", json!([{"port": 443, "name": "https"}])),
            service(
                "a",
                "my-db",
                "10.96.0.2",
                json!([{"port": 5432}, {"port": 53, "protocol": "UDP", "name": "dns-x"}]),
            ),
            service("a", "headless", "None", json!([{"port": 1}])),
            service("b", "other", "10.96.0.3", json!([{"port": 1}])),
        ];
        let all = environment("a", true, &services);
        let ours = all.iter().filter(|(k, _)| k.starts_with("MY_DB"));
        let lines: Vec<_> = ours.map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            lines,
            [
                "MY_DB_PORT=tcp://10.96.0.2:5432",
                "MY_DB_PORT_53_UDP=udp://10.96.0.2:53",
                "MY_DB_PORT_53_UDP_ADDR=10.96.0.2",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_PORT_5432_TCP=tcp://10.96.0.2:5432",
                "MY_DB_PORT_5432_TCP_ADDR=10.96.0.2",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_SERVICE_HOST=10.96.0.2",
                "MY_DB_SERVICE_PORT=5432",
                "MY_DB_SERVICE_PORT_DNS_X=53",
            ]
        );
        assert_eq!(all.get("KUBERNETES_SERVICE_PORT_HTTPS").map(String::as_str), Some("443"));
        assert!(!all.keys().any(|k| k.starts_with("HEADLESS") || k.starts_with("OTHER")));
        let without = environment("a", false, &services);
        assert!(without.keys().all(|k| k.starts_with("KUBERNETES")) && !without.is_empty());
    }
}

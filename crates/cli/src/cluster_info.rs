//! `cluster-info`: where the control plane and the cluster's own services are reached.
use crate::connect::{Session, with_query};
use crate::error::Result;
use crate::output;
use serde_json::Value;
use std::io::IsTerminal as _;

#[derive(clap::Args, Debug)]
pub struct Args {}

pub async fn run(session: &Session) -> Result<()> {
    let path = with_query(
        "/api/v1/namespaces/kube-system/services",
        &[("labelSelector", "kubernetes.io/cluster-service=true")],
    );
    let services = session.get(&path).await?;
    let host = session.host.trim_end_matches('/');
    let mut lines = vec![("Kubernetes control plane".to_owned(), host.to_owned())];
    lines.extend(services["items"].as_array().into_iter().flatten().map(|s| entry(host, s)));
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let paint = |text: &str, code: u8| if colours { format!("\x1b[0;{code}m{text}\x1b[0m") } else { text.to_owned() };
    for (name, link) in lines {
        output::say(&format!("{} is running at {}", paint(&name, 32), paint(&link, 33)))?;
    }
    output::say("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.")
}

/// Its name and address: of its load balancer, or through the API server's proxy (`kubectl/pkg/cmd/clusterinfo`).
fn entry(host: &str, service: &Value) -> (String, String) {
    let (metadata, spec) = (&service["metadata"], &service["spec"]);
    let name = metadata["name"].as_str().unwrap_or_default();
    let shown = metadata["labels"]["kubernetes.io/name"].as_str().filter(|n| !n.is_empty()).unwrap_or(name);
    let ports: Vec<&Value> = spec["ports"].as_array().into_iter().flatten().collect();
    if let Some(ingress) = service["status"]["loadBalancer"]["ingress"].as_array().and_then(|i| i.first()) {
        let ip =
            ingress["ip"].as_str().filter(|ip| !ip.is_empty()).or(ingress["hostname"].as_str()).unwrap_or_default();
        let links: Vec<String> = ports.iter().map(|p| format!("http://{ip}:{} ", p["port"])).collect();
        return (shown.to_owned(), links.concat());
    }
    let port = ports.first();
    let scheme = match port {
        Some(port) if port["name"] == "https" || port["port"] == 443 => "https:",
        _ => "",
    };
    let port = match port.and_then(|p| p["name"].as_str()).filter(|n| !n.is_empty()) {
        Some(port) => format!(":{port}"),
        None if scheme.is_empty() => String::new(),
        None => ":".to_owned(),
    };
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    (shown.to_owned(), format!("{host}/api/v1/namespaces/{namespace}/services/{scheme}{name}{port}/proxy"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn how_services_are_reached() {
        let of = |service: Value| {
            let (name, link) = entry("https://h", &service);
            format!("{name} {link}")
        };
        let named = json!({"metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"kubernetes.io/name": "CoreDNS"}},
            "spec": {"ports": [{"name": "dns", "port": 53}]}});
        assert_eq!(of(named), "CoreDNS https://h/api/v1/namespaces/kube-system/services/kube-dns:dns/proxy");
        let secure = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"ports": [{"port": 443}]}});
        assert_eq!(of(secure), "a https://h/api/v1/namespaces/n/services/https:a:/proxy");
        let balanced = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
        assert_eq!(of(balanced), "a http://192.0.2.7:80 ");
    }
}

//! A pod's `resolv.conf` (`pkg/kubelet/network/dns`). Pure.
use isopod_api::k8s::api::core::v1::{Pod, PodDNSConfig};
use isopod_runtime::DnsConfig;
use std::net::IpAddr;

/// What the node and the cluster give.
pub struct Names<'a> {
    pub cluster_dns: Option<IpAddr>,
    pub cluster_domain: &'a str,
    /// The machine's own `/etc/resolv.conf`.
    pub host: &'a str,
}

/// `resolv.conf(5)` as data; lines that are not understood are passed over.
pub fn parse(text: &str) -> DnsConfig {
    let mut dns = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().and_then(|w| w.parse::<IpAddr>().ok())),
            // The last of them counts.
            Some("search") => dns.searches = words.map(|w| w.trim_end_matches('.').to_owned()).collect(),
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}

/// What the pod's containers shall have. True: it wanted the cluster's names, and there is no server for them.
pub fn config(pod: &Pod, names: &Names<'_>) -> (DnsConfig, bool) {
    let spec = pod.spec.clone().unwrap_or_default();
    let host = parse(names.host);
    let on_host = spec.host_network == Some(true);
    let policy = match spec.dns_policy.as_deref() {
        Some("None") => "None",
        Some("Default") => "Default",
        Some("ClusterFirstWithHostNet") => "ClusterFirst",
        _ if on_host => "Default",
        _ => "ClusterFirst",
    };
    let mut missing = false;
    let mut dns = match (policy, names.cluster_dns) {
        ("None", _) => DnsConfig::default(),
        ("ClusterFirst", Some(server)) => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let domain = names.cluster_domain;
            let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
            searches.extend(host.searches);
            DnsConfig { servers: vec![server], searches, options: vec!["ndots:5".to_owned()] }
        }
        ("ClusterFirst", None) => {
            missing = true;
            host
        }
        _ => host,
    };
    if let Some(more) = spec.dns_config {
        add(&mut dns, more);
    }
    dns.servers = unique(dns.servers);
    dns.searches = unique(dns.searches);
    (dns, missing)
}

fn unique<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut kept = Vec::new();
    for one in all {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

/// `appendDNSConfig`: servers and searches behind, options of the same name replaced.
fn add(dns: &mut DnsConfig, more: PodDNSConfig) {
    dns.servers.extend(more.nameservers.into_iter().flatten().filter_map(|s| s.parse::<IpAddr>().ok()));
    dns.searches.extend(more.searches.into_iter().flatten());
    for option in more.options.into_iter().flatten() {
        let Some(name) = option.name.filter(|n| !n.is_empty()) else { continue };
        dns.options.retain(|o| o.split(':').next() != Some(name.as_str()));
        dns.options.push(match option.value.filter(|v| !v.is_empty()) {
            Some(value) => format!("{name}:{value}"),
            None => name,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shown(spec: Value, server: Option<&str>) -> String {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "ns"}, "spec": spec})).unwrap();
        let host = "# c\nsearch old.example\nnameserver 192.0.2.1\nsearch example.org. corp\noptions edns0 ndots:2\n";
        let cluster_dns = server.map(|s| s.parse().unwrap());
        let (dns, missing) = config(&pod, &Names { cluster_dns, cluster_domain: "cluster.local", host });
        format!("{:?} {} {} {missing}", dns.servers, dns.searches.join(" "), dns.options.join(" "))
    }

    #[test]
    fn policies() {
        let cluster =
            "[10.96.0.10] ns.svc.cluster.local svc.cluster.local cluster.local example.org corp ndots:5 false";
        let host = "[192.0.2.1] example.org corp edns0 ndots:2 false";
        let dns = Some("10.96.0.10");
        assert_eq!(shown(json!({}), dns), cluster);
        assert_eq!(shown(json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), dns), host);
        assert_eq!(shown(json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), dns), cluster);
        assert_eq!(shown(json!({"dnsPolicy": "Default"}), dns), host);
        assert_eq!(shown(json!({}), None), "[192.0.2.1] example.org corp edns0 ndots:2 true");
        let own = json!({"nameservers": ["1.1.1.1"], "searches": ["a"], "options": [{"name": "ndots", "value": "1"}, {"name": "x"}]});
        assert_eq!(shown(json!({"dnsPolicy": "None", "dnsConfig": own}), dns), "[1.1.1.1] a ndots:1 x false");
        let both = "[10.96.0.10, 1.1.1.1] ns.svc.cluster.local svc.cluster.local cluster.local example.org corp a ndots:1 x false";
        assert_eq!(shown(json!({"dnsConfig": own}), dns), both);
    }
}

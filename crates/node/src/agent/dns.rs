//! A pod's `resolv.conf` (`pkg/kubelet/network/dns`). Pure.
use isopod_api::k8s::api::core::v1::{Pod, PodDNSConfig};
use isopod_runtime::DnsConfig;
use std::net::IpAddr;

/// `pkg/apis/core/validation`: what `resolv.conf` may have, as resolvers read no more of it.
const SERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_CHARACTERS: usize = 2_048;
/// Resolvers abort on longer ones (glibc 2.28).
const SEARCH_LENGTH: usize = 253;

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

/// What a pod does not get as it wished; each is an event of the pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    #[error(
        "pod: {pod:?}. kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy."
    )]
    ClusterDns { pod: String },
    #[error(
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {applied}"
    )]
    Servers { applied: String },
    #[error(
        "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {applied}"
    )]
    Searches { applied: String },
}

impl Shortage {
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClusterDns { .. } => "MissingClusterDNS",
            Self::Servers { .. } | Self::Searches { .. } => "DNSConfigForming",
        }
    }
}

/// The machine's resolvers as pods can ask them: a `resolv.conf` that names only loopback is a stub's (systemd-resolved), and
/// `upstream` is then what it asks itself (`kubeadm` gives the kubelet this file in the same case).
pub fn reachable<'a>(machine: &'a str, upstream: Option<&'a str>) -> &'a str {
    let outside = |text: &str| parse(text).servers.iter().any(|server| !server.is_loopback());
    upstream.filter(|upstream| !outside(machine) && outside(upstream)).unwrap_or(machine)
}

/// What the pod's containers shall have, and what of its wishes they do not get.
pub fn config(pod: &Pod, names: &Names<'_>) -> (DnsConfig, Vec<Shortage>) {
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
    let mut shortages = Vec::new();
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
            shortages.push(Shortage::ClusterDns { pod: super::observed::pod_words(pod) });
            host
        }
        _ => host,
    };
    if let Some(more) = spec.dns_config {
        add(&mut dns, more);
    }
    dns.servers = unique(dns.servers);
    dns.searches = unique(dns.searches);
    shortages.extend(limit(&mut dns));
    (dns, shortages)
}

/// `formDNSConfigFitsLimits`
fn limit(dns: &mut DnsConfig) -> impl Iterator<Item = Shortage> + use<> {
    let servers = (dns.servers.len() > SERVERS).then(|| {
        dns.servers.truncate(SERVERS);
        let applied: Vec<String> = dns.servers.iter().map(IpAddr::to_string).collect();
        Shortage::Servers { applied: applied.join(" ") }
    });
    let wished = dns.searches.len();
    dns.searches.truncate(SEARCHES);
    dns.searches.retain(|search| search.len() <= SEARCH_LENGTH);
    while dns.searches.join(" ").len() > SEARCH_CHARACTERS {
        dns.searches.pop();
    }
    let searches = (dns.searches.len() < wished).then(|| Shortage::Searches { applied: dns.searches.join(" ") });
    servers.into_iter().chain(searches)
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
        let (dns, shortages) = config(&pod, &Names { cluster_dns, cluster_domain: "cluster.local", host });
        let reasons: Vec<_> = shortages.iter().map(Shortage::reason).collect();
        format!("{:?} {} {} {reasons:?}", dns.servers, dns.searches.join(" "), dns.options.join(" "))
    }

    #[test]
    fn policies() {
        let cluster = "[10.96.0.10] ns.svc.cluster.local svc.cluster.local cluster.local example.org corp ndots:5 []";
        let host = "[192.0.2.1] example.org corp edns0 ndots:2 []";
        let dns = Some("10.96.0.10");
        assert_eq!(shown(json!({}), dns), cluster);
        assert_eq!(shown(json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), dns), host);
        assert_eq!(shown(json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), dns), cluster);
        assert_eq!(shown(json!({"dnsPolicy": "Default"}), dns), host);
        assert_eq!(shown(json!({}), None), "[192.0.2.1] example.org corp edns0 ndots:2 [\"MissingClusterDNS\"]");
        let own = json!({"nameservers": ["1.1.1.1"], "searches": ["a"], "options": [{"name": "ndots", "value": "1"}, {"name": "x"}]});
        assert_eq!(shown(json!({"dnsPolicy": "None", "dnsConfig": own}), dns), "[1.1.1.1] a ndots:1 x []");
        let both = "[10.96.0.10, 1.1.1.1] ns.svc.cluster.local svc.cluster.local cluster.local example.org corp a ndots:1 x []";
        assert_eq!(shown(json!({"dnsConfig": own}), dns), both);
    }
    #[test]
    fn resolvers_read_no_more_than_so_much() {
        let of = |servers: Vec<String>, searches: Vec<String>| {
            let spec = json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": servers, "searches": searches}});
            let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "ns"}, "spec": spec})).unwrap();
            let (dns, shortages) =
                config(&pod, &Names { cluster_dns: None, cluster_domain: "cluster.local", host: "" });
            (dns.servers.len(), dns.searches.len(), shortages)
        };
        let servers = |n: u8| (1..=n).map(|n| format!("192.0.2.{n}")).collect::<Vec<_>>();
        let searches = |n: usize, length: usize| (0..n).map(|n| format!("{n:0>length$}")).collect::<Vec<_>>();
        assert_eq!(of(servers(3), searches(32, 63)), (3, 32, vec![]));
        let applied = "192.0.2.1 192.0.2.2 192.0.2.3".to_owned();
        assert_eq!(of(servers(4), vec![]), (3, 0, vec![Shortage::Servers { applied }]));
        let applied = |count| Shortage::Searches { applied: searches(32, 4)[..count].join(" ") };
        assert_eq!(of(servers(1), searches(33, 4)), (1, 32, vec![applied(32)]));
        let (_, count, shortages) = of(servers(1), searches(20, 200));
        assert_eq!((count, shortages.len()), (10, 1), "2,048 characters");
        assert_eq!(of(servers(1), [searches(1, 254), searches(2, 4)].concat()).1, 2, "one that is too long");
    }

    #[test]
    fn what_a_stub_asks_is_asked() {
        let (stub, real) = ("nameserver 127.0.0.53\nsearch corp\n", "nameserver 192.0.2.1\n");
        assert_eq!(reachable(stub, Some(real)), real);
        assert_eq!(reachable(stub, Some("nameserver ::1")), stub, "nobody better is known");
        assert_eq!(reachable(stub, None), stub);
        assert_eq!(reachable("nameserver 192.0.2.7", Some(real)), "nameserver 192.0.2.7");
    }
}

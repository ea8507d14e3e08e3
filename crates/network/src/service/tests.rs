//! Rules of Services as text, and what one change makes of them.
use super::plan::{Ground, Id, part, skeleton, targets};
use crate::contract::{Endpoint, PortName, Protocol, ServicePort};
use crate::nft::Ruleset;
use std::time::Duration;

fn ground() -> Ground {
    Ground {
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        service_cidr: "10.96.0.0/12".parse().unwrap(),
        node_address: "192.0.2.1".parse().unwrap(),
    }
}

fn endpoint(last: u8) -> Endpoint {
    let address = std::net::SocketAddr::from(([10, 244, 0, last], 8080));
    Endpoint { address, local: true, ready: true, serving: true, terminating: false }
}

fn port(endpoints: Vec<Endpoint>) -> ServicePort {
    ServicePort {
        cluster_ips: vec!["10.96.0.20".parse().unwrap()],
        port: 80,
        node_port: None,
        external_ips: vec![],
        load_balancer_ips: vec![],
        load_balancer_source_ranges: vec![],
        affinity: None,
        internal_local: false,
        external_local: false,
        proxy: None,
        endpoints,
    }
}

fn name(service: &str) -> PortName {
    PortName { namespace: "default".into(), service: service.into(), port: "http".into(), protocol: Protocol::Tcp }
}

fn ruleset() -> Ruleset {
    Ruleset::new("isopod-test".into(), skeleton(&ground()))
}

/// The changes that these ports of Services make, one after the other, to a table that is empty but for its skeleton.
fn changes(ports: &[(&str, Option<ServicePort>)]) -> String {
    let mut rules = ruleset();
    let mut out = String::new();
    for (service, port) in ports {
        let name = name(service);
        let part = port.as_ref().map(|port| part(&ground(), &name, port));
        out += &rules.change(vec![(Id(&name).to_string(), part)]).text();
        out += "--\n";
    }
    out
}

#[test]
fn the_skeleton() {
    insta::assert_snapshot!(ruleset().text(), @r#"
    table ip isopod-test {
      map node-ports { meta l4proto . th dport : verdict }
      set refused { ip daddr . meta l4proto . th dport }
      set refused-node-ports { meta l4proto . th dport }
      map services { ip daddr . meta l4proto . th dport : verdict }
      chain balance {
        ip daddr 10.96.0.0/12 ip saddr != 10.244.0.0/16 fib saddr type != local meta mark set mark or 0x4000
        ip daddr . meta l4proto . th dport vmap @services
        fib daddr type local meta l4proto . th dport vmap @node-ports
      }
      chain output {
        type nat hook output priority -100
        jump balance
      }
      chain outside {
        ip saddr 10.244.0.0/16 return
        fib saddr type local return
        meta mark set mark or 0x4000
      }
      chain postrouting {
        type nat hook postrouting priority 100
        meta mark & 0x4000 != 0 masquerade fully-random
      }
      chain prerouting {
        type nat hook prerouting priority -100
        jump balance
      }
      chain refuse-forward {
        type filter hook forward priority 0
        ct state & 0x8 != 0 ip daddr . meta l4proto . th dport @refused goto reject
        ct state & 0x8 != 0 fib daddr type local meta l4proto . th dport @refused-node-ports goto reject
        ip daddr 10.96.0.0/12 oifname != "lo" goto reject
      }
      chain refuse-input {
        type filter hook input priority 0
        ct state & 0x8 != 0 ip daddr . meta l4proto . th dport @refused goto reject
        ct state & 0x8 != 0 fib daddr type local meta l4proto . th dport @refused-node-ports goto reject
      }
      chain refuse-output {
        type filter hook output priority 0
        ct state & 0x8 != 0 ip daddr . meta l4proto . th dport @refused goto reject
        ct state & 0x8 != 0 fib daddr type local meta l4proto . th dport @refused-node-ports goto reject
        ip daddr 10.96.0.0/12 oifname != "lo" goto reject
      }
      chain reject {
        meta l4proto tcp reject with tcp reset
        reject
      }
    }
    "#);
}

#[test]
fn a_cluster_ip_and_what_one_endpoint_changes() {
    let text = changes(&[
        ("web", Some(port(vec![endpoint(2), endpoint(3)]))),
        ("web", Some(port(vec![endpoint(3)]))),
        ("web", Some(port(vec![endpoint(3)]))),
        ("web", Some(port(vec![]))),
        ("web", None),
    ]);
    insta::assert_snapshot!(text, @r"
    + chain cluster/default/web/tcp/http
        dnat to numgen random mod 2 { 10.244.0.2:8080, 10.244.0.3:8080 }
        dnat to 10.244.0.2:8080
    +  @services 10.96.0.20 . tcp . 80 : goto cluster/default/web/tcp/http
    --
    ~ chain cluster/default/web/tcp/http
        dnat to 10.244.0.3:8080
    --
    --
    -  @services 10.96.0.20 . tcp . 80
    - chain cluster/default/web/tcp/http
    --
    --
    ");
}

#[test]
fn every_way_in() {
    let mut all = port(vec![endpoint(2), Endpoint { local: false, ..endpoint(3) }]);
    all.node_port = Some(30080);
    all.external_ips = vec!["203.0.113.5".parse().unwrap()];
    all.load_balancer_ips = vec!["203.0.113.6".parse().unwrap()];
    all.load_balancer_source_ranges = vec!["198.51.100.0/24".into(), "nonsense".into()];
    let mut local = all.clone();
    (local.internal_local, local.external_local) = (true, true);
    local.load_balancer_source_ranges = vec![];
    let mut remote = local.clone();
    remote.endpoints.remove(0);
    all.endpoints.truncate(1);
    insta::assert_snapshot!(changes(&[("web", Some(all)), ("web", Some(local)), ("web", Some(remote))]), @r"
    + chain cluster/default/web/tcp/http
        dnat to 10.244.0.2:8080
    + chain external/default/web/tcp/http
        jump outside
        goto cluster/default/web/tcp/http
    + chain firewall/default/web/tcp/http
        ip saddr 198.51.100.0/24 goto external/default/web/tcp/http
        drop
    +  @node-ports tcp . 30080 : goto external/default/web/tcp/http
    +  @services 10.96.0.20 . tcp . 80 : goto cluster/default/web/tcp/http
    +  @services 203.0.113.5 . tcp . 80 : goto external/default/web/tcp/http
    +  @services 203.0.113.6 . tcp . 80 : goto firewall/default/web/tcp/http
    --
    ~ chain cluster/default/web/tcp/http
        dnat to numgen random mod 2 { 10.244.0.2:8080, 10.244.0.3:8080 }
        dnat to 10.244.0.2:8080
    ~ chain external/default/web/tcp/http
        ip saddr 10.244.0.0/16 goto cluster/default/web/tcp/http
        fib saddr type local goto cluster/default/web/tcp/http
        goto local/default/web/tcp/http
    + chain local/default/web/tcp/http
        dnat to 10.244.0.2:8080
    -  @services 10.96.0.20 . tcp . 80
    -  @services 203.0.113.6 . tcp . 80
    +  @services 10.96.0.20 . tcp . 80 : goto local/default/web/tcp/http
    +  @services 203.0.113.6 . tcp . 80 : goto external/default/web/tcp/http
    - chain firewall/default/web/tcp/http
    --
    ~ chain cluster/default/web/tcp/http
        dnat to 10.244.0.3:8080
    ~ chain local/default/web/tcp/http
        drop
    --
    ");
}

#[test]
fn affinity_has_a_memory() {
    let mut sticky = port(vec![endpoint(2), endpoint(3)]);
    sticky.affinity = Some(Duration::from_secs(10_800));
    let mut fewer = sticky.clone();
    fewer.endpoints.remove(0);
    insta::assert_snapshot!(changes(&[("web", Some(sticky)), ("web", Some(fewer))]), @r"
    + set affinity/default/web/tcp/http
    + chain cluster/default/web/tcp/http
        dnat to ip saddr map @affinity/default/web/tcp/http if in { 10.244.0.2:8080, 10.244.0.3:8080 }, remember 10800s
        dnat to numgen random mod 2 { 10.244.0.2:8080, 10.244.0.3:8080 }, remember in @affinity/default/web/tcp/http 10800s
        dnat to numgen random mod 2 { 10.244.0.2:8080, 10.244.0.3:8080 }
        dnat to 10.244.0.2:8080
    +  @services 10.96.0.20 . tcp . 80 : goto cluster/default/web/tcp/http
    --
    ~ chain cluster/default/web/tcp/http
        dnat to ip saddr map @affinity/default/web/tcp/http if in { 10.244.0.3:8080 }, remember 10800s
        dnat to numgen random mod 1 { 10.244.0.3:8080 }, remember in @affinity/default/web/tcp/http 10800s
        dnat to 10.244.0.3:8080
    --
    ");
}

#[test]
fn without_endpoints_only_refusals() {
    let mut none = port(vec![]);
    none.node_port = Some(30080);
    none.external_ips = vec!["203.0.113.5".parse().unwrap()];
    none.cluster_ips.push("172.16.0.1".parse().unwrap());
    insta::assert_snapshot!(changes(&[("web", Some(none))]), @r"
    +  @refused 172.16.0.1 . tcp . 80
    +  @refused 203.0.113.5 . tcp . 80
    +  @refused-node-ports tcp . 30080
    --
    ");
}

#[test]
fn two_owners_of_one_key() {
    // Both claim 203.0.113.5:80: the first by name has it, and the other gets it when the first goes.
    let claim = |last| {
        let mut port = port(vec![endpoint(last)]);
        port.cluster_ips = vec![std::net::IpAddr::from([10, 96, 0, last])];
        port.external_ips = vec!["203.0.113.5".parse().unwrap()];
        Some(port)
    };
    let text = changes(&[("b", claim(2)), ("a", claim(3)), ("a", None)]);
    let about: Vec<_> = text.lines().filter(|line| line.contains("203.0.113.5") || *line == "--").collect();
    insta::assert_snapshot!(about.join("\n"), @r"
    +  @services 203.0.113.5 . tcp . 80 : goto external/default/b/tcp/http
    --
    -  @services 203.0.113.5 . tcp . 80
    +  @services 203.0.113.5 . tcp . 80 : goto external/default/a/tcp/http
    --
    -  @services 203.0.113.5 . tcp . 80
    +  @services 203.0.113.5 . tcp . 80 : goto external/default/b/tcp/http
    --
    ");
}

#[test]
fn which_endpoints_are_used() {
    let at =
        |last, local, ready, serving, terminating| Endpoint { local, ready, serving, terminating, ..endpoint(last) };
    let (ready, leaving, broken) =
        (at(1, true, true, true, false), at(2, true, false, true, true), at(3, true, false, false, true));
    let far = at(4, false, true, true, false);
    let starting = at(5, true, false, false, false);
    // a name, endpoints, used by the cluster, used on this node
    type Case<'a> = (&'a str, &'a [&'a Endpoint], &'a [u8], &'a [u8]);
    let cases: &[Case<'_>] = &[
        ("ready ones only", &[&ready, &leaving, &broken, &starting], &[1], &[1]),
        ("none ready: those that still serve", &[&leaving, &broken, &starting], &[2], &[2]),
        ("none serves", &[&broken, &starting], &[], &[]),
        ("ready elsewhere, terminating here", &[&far, &leaving], &[4], &[2]),
        ("only elsewhere", &[&far], &[4], &[]),
        ("the same address twice", &[&ready, &ready], &[1], &[1]),
    ];
    for (case, endpoints, cluster, local) in cases {
        let found = targets(&ground(), &port(endpoints.iter().map(|e| (*e).clone()).collect()));
        let last = |all: &[std::net::SocketAddrV4]| all.iter().map(|a| a.ip().octets()[3]).collect::<Vec<_>>();
        assert_eq!((last(&found.cluster), last(&found.local)), (cluster.to_vec(), local.to_vec()), "{case}");
    }
}

#[test]
fn a_proxy_stands_for_the_endpoints() {
    let mut web = port(vec![endpoint(2), endpoint(3)]);
    web.proxy = Some("0.0.0.0:9099".parse().unwrap());
    assert_eq!(targets(&ground(), &web).cluster, ["192.0.2.1:9099".parse().unwrap()]);
    web.proxy = Some("127.0.0.1:9099".parse().unwrap());
    assert_eq!(targets(&ground(), &web).cluster, ["127.0.0.1:9099".parse().unwrap()]);
    web.endpoints.clear();
    assert_eq!(targets(&ground(), &web).cluster, []);
}

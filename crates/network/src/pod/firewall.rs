//! The rules that pods need besides links: host ports, masquerade to the outside, hairpin, and two guards. Pure.
use super::addresses::Entry;
use super::config::NetworkConfig;
use crate::nft::{
    Base, Chain, Data, Field, Hook, KeyPart, Kind, Part, Rule, Set, Skeleton, Statement, Target, Value, Verdict,
};
use crate::range::Range;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

const HOST_PORTS: &str = "host-ports";
const HOST_ADDRESSES: &str = "host-addresses";
const HAIRPIN: &str = "hairpin";
const FORWARDING: &str = "to-pods";
/// `NF_IP_PRI_NAT_DST` and `NF_IP_PRI_NAT_SRC`.
pub(crate) const BEFORE_ROUTING: i32 = -100;
pub(crate) const AFTER_ROUTING: i32 = 100;
/// `IPS_DST_NAT`: the connection's destination was translated.
const TRANSLATED: u32 = 1 << 5;
/// nft's bit for packets that belong to no connection.
const INVALID: u32 = 1;
const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 0);

/// What is there with no pod attached.
pub(crate) fn skeleton(config: &NetworkConfig) -> Skeleton {
    let base = |kind, hook, priority, rules| Chain { base: Some(Base { kind, hook, priority }), rules };
    let to_pods: Rule = vec![jump(FORWARDING)];
    let sets = [
        (HOST_PORTS, Set { key: vec![Field::Protocol, Field::Dport], data: Data::Endpoint, dynamic: false }),
        (
            HOST_ADDRESSES,
            Set { key: vec![Field::Daddr, Field::Protocol, Field::Dport], data: Data::Endpoint, dynamic: false },
        ),
        (HAIRPIN, Set { key: vec![Field::Saddr, Field::Daddr], data: Data::None, dynamic: false }),
    ];
    let chains = [
        ("prerouting", base(Kind::Nat, Hook::Prerouting, BEFORE_ROUTING, vec![to_pods.clone()])),
        ("output", base(Kind::Nat, Hook::Output, BEFORE_ROUTING, vec![to_pods])),
        (FORWARDING, Chain { base: None, rules: host_port_rules() }),
        ("postrouting", base(Kind::Nat, Hook::Postrouting, AFTER_ROUTING, masquerade_rules(config))),
        ("input", base(Kind::Filter, Hook::Input, 0, vec![guard_loopback()])),
        ("forward", base(Kind::Filter, Hook::Forward, 0, vec![drop_strays(config)])),
    ];
    Skeleton {
        sets: sets.into_iter().map(|(name, set)| (name.to_owned(), set)).collect(),
        chains: chains.into_iter().map(|(name, chain)| (name.to_owned(), chain)).collect(),
    }
}

/// What one pod adds.
pub(crate) fn part(entry: &Entry) -> Part {
    let mut part = Part::default();
    let itself = vec![KeyPart::Address(entry.address), KeyPart::Address(entry.address)];
    part.elements.insert((HAIRPIN.into(), itself), Value::Member);
    for port in &entry.host_ports {
        let to = Value::Endpoint(SocketAddrV4::new(entry.address, port.container_port));
        let from = [KeyPart::Protocol(port.protocol), KeyPart::Port(port.host_port)];
        match port.host_ip {
            Some(IpAddr::V4(ip)) if !ip.is_unspecified() => {
                let key = std::iter::once(KeyPart::Address(ip)).chain(from).collect();
                part.elements.insert((HOST_ADDRESSES.into(), key), to);
            }
            // This network is IPv4: a port of an IPv6 address leads nowhere.
            Some(IpAddr::V6(ip)) if !ip.is_unspecified() => {}
            _ => {
                part.elements.insert((HOST_PORTS.into(), from.to_vec()), to);
            }
        }
    }
    part
}

fn host_port_rules() -> Vec<Rule> {
    let addressed = Target::Map(vec![Field::Daddr, Field::Protocol, Field::Dport], HOST_ADDRESSES.into());
    let anywhere = Target::Map(vec![Field::Protocol, Field::Dport], HOST_PORTS.into());
    vec![vec![Statement::Dnat(addressed)], vec![Statement::Local(Field::DaddrType), Statement::Dnat(anywhere)]]
}

fn masquerade_rules(config: &NetworkConfig) -> Vec<Rule> {
    vec![
        // A pod that reached itself through a Service or host port would not take an answer from itself.
        vec![Statement::Member(vec![Field::Saddr, Field::Daddr], HAIRPIN.into()), Statement::Masquerade],
        // Asked for on 127.0.0.1 (a node port or host port): nobody else can answer there.
        vec![
            Statement::In(Field::Saddr, Range::new(LOOPBACK, 8)),
            Statement::NotLink(Field::Oifname, "lo".into()),
            Statement::Bits(Field::CtStatus, TRANSLATED),
            Statement::Masquerade,
        ],
        // To the outside: nobody there knows the way to a pod.
        vec![
            Statement::In(Field::Saddr, config.pod_cidr),
            Statement::NotIn(Field::Daddr, config.cluster_cidr),
            Statement::Masquerade,
        ],
    ]
}

/// `route_localnet` makes 127.0.0.1 reachable from neighbours (CVE-2020-8558): only what was translated may come in.
fn guard_loopback() -> Rule {
    vec![
        Statement::NotLink(Field::Iifname, "lo".into()),
        Statement::In(Field::Daddr, Range::new(LOOPBACK, 8)),
        Statement::NoBits(Field::CtStatus, TRANSLATED),
        Statement::Verdict(Verdict::Drop),
    ]
}

/// A packet that belongs to no connection would go out untranslated, and the answer to it would reset the connection it was part of
/// (kubernetes/kubernetes#74839).
fn drop_strays(config: &NetworkConfig) -> Rule {
    vec![
        Statement::In(Field::Saddr, config.pod_cidr),
        Statement::Bits(Field::CtState, INVALID),
        Statement::Verdict(Verdict::Drop),
    ]
}

fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.into()))
}

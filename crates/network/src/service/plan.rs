//! From Services to rules, as kube-proxy decides (`pkg/proxy/nftables/proxier.go`, `pkg/proxy/topology.go`). Pure.
use super::affinity::{Choice, choose};
use crate::contract::{Endpoint, PortName, Protocol, ServicePort};
use crate::nft::{
    Base, Chain, Data, Field, Hook, Key, KeyPart, Kind, Part, Rule, Set, Skeleton, Statement, Value, Verdict,
};
use crate::range::Range;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

const SERVICES: &str = "services";
const NODE_PORTS: &str = "node-ports";
const REFUSED: &str = "refused";
const REFUSED_NODE_PORTS: &str = "refused-node-ports";
const BALANCE: &str = "balance";
const OUTSIDE: &str = "outside";
const REJECT: &str = "reject";
/// Says between two hooks that a connection must be masqueraded: the bit kube-proxy uses.
const MASQUERADE_MARK: u32 = 0x4000;
/// nft's bit for the first packet of a connection.
const NEW: u32 = 1 << 3;
const BEFORE_ROUTING: i32 = -100;
const AFTER_ROUTING: i32 = 100;

/// What the rules need to know of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ground {
    pub(crate) cluster_cidr: Range,
    pub(crate) service_cidr: Range,
    /// Where the HTTP proxy is reached, if it listens on all addresses.
    pub(crate) node_address: Ipv4Addr,
}

/// What is there without any Service.
pub(crate) fn skeleton(ground: &Ground) -> Skeleton {
    let address_key = || vec![Field::Daddr, Field::Protocol, Field::Dport];
    let port_key = || vec![Field::Protocol, Field::Dport];
    let set = |key, data| Set { key, data, dynamic: false };
    let sets = [
        (SERVICES, set(address_key(), Data::Verdict)),
        (NODE_PORTS, set(port_key(), Data::Verdict)),
        (REFUSED, set(address_key(), Data::None)),
        (REFUSED_NODE_PORTS, set(port_key(), Data::None)),
    ];
    let base = |kind, hook, priority, rules| Chain { base: Some(Base { kind, hook, priority }), rules };
    let chain = |rules| Chain { base: None, rules };
    let balance = vec![vec![verdict(Verdict::Jump(BALANCE.into()))]];
    let chains = [
        ("prerouting", base(Kind::Nat, Hook::Prerouting, BEFORE_ROUTING, balance.clone())),
        ("output", base(Kind::Nat, Hook::Output, BEFORE_ROUTING, balance)),
        (BALANCE, chain(balance_rules(ground))),
        (OUTSIDE, chain(outside_rules(ground))),
        (
            "postrouting",
            base(
                Kind::Nat,
                Hook::Postrouting,
                AFTER_ROUTING,
                vec![vec![Statement::Bits(Field::Mark, MASQUERADE_MARK), Statement::Masquerade]],
            ),
        ),
        ("refuse-input", base(Kind::Filter, Hook::Input, 0, refuse_rules(None))),
        ("refuse-forward", base(Kind::Filter, Hook::Forward, 0, refuse_rules(Some(ground)))),
        ("refuse-output", base(Kind::Filter, Hook::Output, 0, refuse_rules(Some(ground)))),
        (
            REJECT,
            chain(vec![vec![Statement::Protocol(Protocol::Tcp), Statement::RejectReset], vec![Statement::Reject]]),
        ),
    ];
    Skeleton {
        sets: sets.into_iter().map(|(name, set)| (name.to_owned(), set)).collect(),
        chains: chains.into_iter().map(|(name, chain)| (name.to_owned(), chain)).collect(),
    }
}

fn balance_rules(ground: &Ground) -> Vec<Rule> {
    vec![
        // Somebody outside who uses this machine as the way to the service range: the answer must come back this way.
        vec![
            Statement::In(Field::Daddr, ground.service_cidr),
            Statement::NotIn(Field::Saddr, ground.cluster_cidr),
            Statement::NotLocal(Field::SaddrType),
            Statement::AddMark(MASQUERADE_MARK),
        ],
        vec![Statement::Map(vec![Field::Daddr, Field::Protocol, Field::Dport], SERVICES.into())],
        vec![
            Statement::Local(Field::DaddrType),
            Statement::Map(vec![Field::Protocol, Field::Dport], NODE_PORTS.into()),
        ],
    ]
}

/// Marks connections from outside. Pods and this machine itself are answered without masquerade; 127.0.0.1 and a pod that reaches
/// itself are masqueraded by the pods' table.
fn outside_rules(ground: &Ground) -> Vec<Rule> {
    vec![
        vec![Statement::In(Field::Saddr, ground.cluster_cidr), verdict(Verdict::Return)],
        vec![Statement::Local(Field::SaddrType), verdict(Verdict::Return)],
        vec![Statement::AddMark(MASQUERADE_MARK)],
    ]
}

/// Connections that nothing was found for are refused at once: they would hang, or leave by the uplink.
fn refuse_rules(range_of: Option<&Ground>) -> Vec<Rule> {
    let reject = || verdict(Verdict::Goto(REJECT.into()));
    let mut rules = vec![
        vec![
            Statement::Bits(Field::CtState, NEW),
            Statement::Member(vec![Field::Daddr, Field::Protocol, Field::Dport], REFUSED.into()),
            reject(),
        ],
        vec![
            Statement::Bits(Field::CtState, NEW),
            Statement::Local(Field::DaddrType),
            Statement::Member(vec![Field::Protocol, Field::Dport], REFUSED_NODE_PORTS.into()),
            reject(),
        ],
    ];
    if let Some(ground) = range_of {
        // Addresses of the range that are this machine's own (DNS) go out by lo.
        rules.push(vec![
            Statement::In(Field::Daddr, ground.service_cidr),
            Statement::NotLink(Field::Oifname, "lo".into()),
            reject(),
        ]);
    }
    rules
}

/// Where connections to one port may go from this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) cluster: Vec<SocketAddrV4>,
    pub(crate) local: Vec<SocketAddrV4>,
}

/// Ready endpoints; with none ready, those that terminate but still serve (KEP-1669). For the endpoints of this node the same is
/// decided among themselves. A port with a proxy leads there as long as it leads anywhere.
pub(crate) fn targets(ground: &Ground, port: &ServicePort) -> Targets {
    let cluster = usable(port.endpoints.iter());
    let local = usable(port.endpoints.iter().filter(|endpoint| endpoint.local));
    match port.proxy {
        Some(SocketAddr::V4(proxy)) => {
            let ip = if proxy.ip().is_unspecified() { ground.node_address } else { *proxy.ip() };
            let through = |direct: Vec<SocketAddrV4>| match direct.is_empty() {
                true => direct,
                false => vec![SocketAddrV4::new(ip, proxy.port())],
            };
            Targets { cluster: through(cluster), local: through(local) }
        }
        _ => Targets { cluster, local },
    }
}

fn usable<'a>(endpoints: impl Iterator<Item = &'a Endpoint> + Clone) -> Vec<SocketAddrV4> {
    let addresses = |wanted: fn(&Endpoint) -> bool| {
        let chosen = endpoints.clone().filter(|endpoint| wanted(endpoint));
        let mut all: Vec<SocketAddrV4> = chosen.filter_map(|endpoint| v4(endpoint.address)).collect();
        all.sort();
        all.dedup();
        all
    };
    let ready = addresses(|endpoint| endpoint.ready);
    if ready.is_empty() { addresses(|endpoint| endpoint.serving && endpoint.terminating) } else { ready }
}

/// The rules of one port of one Service.
pub(crate) fn part(ground: &Ground, name: &PortName, port: &ServicePort) -> Part {
    let mut part = Part::default();
    if port.cluster_ips.is_empty() {
        return part; // headless
    }
    let targets = targets(ground, port);
    let (cluster_ips, outside_ips) = (v4s(&port.cluster_ips), outside_addresses(port));
    if targets.cluster.is_empty() {
        let unranged = cluster_ips.into_iter().filter(|ip| !ground.service_cidr.contains(*ip));
        for ip in unranged.chain(outside_ips) {
            part.elements.insert((REFUSED.into(), address_key(name, ip, port.port)), Value::Member);
        }
        if let Some(node_port) = port.node_port {
            part.elements.insert((REFUSED_NODE_PORTS.into(), port_key(name, node_port)), Value::Member);
        }
        return part;
    }
    let id = Id(name);
    add_choice(&mut part, id.chain("cluster"), choose(&targets.cluster, port.affinity, id.chain("affinity")));
    if port.internal_local || port.external_local {
        add_local(&mut part, &id, port, &targets.local);
    }
    let inside = if port.internal_local { id.chain("local") } else { id.chain("cluster") };
    for ip in cluster_ips {
        part.elements.insert((SERVICES.into(), address_key(name, ip, port.port)), goto(&inside));
    }
    if !outside_ips.is_empty() || port.node_port.is_some() {
        add_external(&mut part, ground, &id, port);
    }
    part
}

/// Only endpoints of this node; without one the packet is dropped, as kube-proxy does: another node may have it.
fn add_local(part: &mut Part, id: &Id<'_>, port: &ServicePort, local: &[SocketAddrV4]) {
    if local.is_empty() {
        part.chains.insert(id.chain("local"), vec![vec![verdict(Verdict::Drop)]]);
    } else {
        add_choice(part, id.chain("local"), choose(local, port.affinity, id.chain("affinity-local")));
    }
}

/// Node port, external and load balancer addresses.
fn add_external(part: &mut Part, ground: &Ground, id: &Id<'_>, port: &ServicePort) {
    let (external, cluster, local) = (id.chain("external"), id.chain("cluster"), id.chain("local"));
    let to = |chain: &String| verdict(Verdict::Goto(chain.clone()));
    let rules = if port.external_local {
        // `externalTrafficPolicy` is about the outside: pods and this machine may use every endpoint.
        vec![
            vec![Statement::In(Field::Saddr, ground.cluster_cidr), to(&cluster)],
            vec![Statement::Local(Field::SaddrType), to(&cluster)],
            vec![to(&local)],
        ]
    } else {
        vec![vec![verdict(Verdict::Jump(OUTSIDE.into()))], vec![to(&cluster)]]
    };
    part.chains.insert(external.clone(), rules);
    for ip in v4s(&port.external_ips) {
        part.elements.insert((SERVICES.into(), address_key(id.0, ip, port.port)), goto(&external));
    }
    if let Some(node_port) = port.node_port {
        part.elements.insert((NODE_PORTS.into(), port_key(id.0, node_port)), goto(&external));
    }
    let entrance = if port.load_balancer_source_ranges.is_empty() {
        external
    } else {
        let allowed = port.load_balancer_source_ranges.iter().filter_map(|range| range.parse::<Range>().ok());
        let mut rules: Vec<Rule> =
            allowed.map(|range| vec![Statement::In(Field::Saddr, range), to(&external)]).collect();
        rules.push(vec![verdict(Verdict::Drop)]);
        part.chains.insert(id.chain("firewall"), rules);
        id.chain("firewall")
    };
    for ip in v4s(&port.load_balancer_ips) {
        part.elements.insert((SERVICES.into(), address_key(id.0, ip, port.port)), goto(&entrance));
    }
}

fn add_choice(part: &mut Part, chain: String, choice: Choice) {
    part.chains.insert(chain, choice.rules);
    part.sets.extend(choice.memory);
}

/// The name of a port as it stands in the names of its chains.
pub(crate) struct Id<'a>(pub(crate) &'a PortName);

impl Id<'_> {
    fn chain(&self, purpose: &str) -> String {
        format!("{purpose}/{self}")
    }
}

impl std::fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.0.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        write!(f, "{}/{}/{protocol}/{}", self.0.namespace, self.0.service, self.0.port)
    }
}

fn outside_addresses(port: &ServicePort) -> Vec<Ipv4Addr> {
    v4s(&port.external_ips).into_iter().chain(v4s(&port.load_balancer_ips)).collect()
}

/// This network is IPv4: other addresses of a Service have no rules here.
fn v4s(addresses: &[IpAddr]) -> Vec<Ipv4Addr> {
    let v4 = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    };
    addresses.iter().filter_map(v4).collect()
}

fn v4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    }
}

fn address_key(name: &PortName, address: Ipv4Addr, port: u16) -> Key {
    vec![KeyPart::Address(address), KeyPart::Protocol(name.protocol), KeyPart::Port(port)]
}

fn port_key(name: &PortName, port: u16) -> Key {
    vec![KeyPart::Protocol(name.protocol), KeyPart::Port(port)]
}

fn goto(chain: &str) -> Value {
    Value::Verdict(Verdict::Goto(chain.into()))
}

fn verdict(verdict: Verdict) -> Statement {
    Statement::Verdict(verdict)
}

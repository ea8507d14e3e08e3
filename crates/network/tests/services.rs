//! Services in the kernel, on machines of the test's own: every kind of Service from the machine, from a pod, from outside, and from
//! the endpoint itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]
mod lab;
use isopod_network::contract::{
    Endpoint, HostPort, PodNetwork, PortName, Protocol, ServicePath, ServicePort, ServiceTable,
};
use isopod_network::pod::Links;
use isopod_network::service::Services;
use lab::{Machine, Namespace, Pod, ask_udp, ready};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn name(service: &str, protocol: Protocol) -> PortName {
    PortName { namespace: "default".into(), service: service.into(), port: String::new(), protocol }
}

fn port(cluster_ip: &str, endpoints: Vec<Endpoint>) -> ServicePort {
    lab::port(cluster_ip.parse().unwrap(), endpoints)
}

fn elsewhere(pod: &Pod) -> Endpoint {
    Endpoint { local: false, ..ready(pod) }
}

fn table(ports: impl IntoIterator<Item = (&'static str, ServicePort)>) -> ServiceTable {
    ServiceTable { ports: ports.into_iter().map(|(service, port)| (name(service, Protocol::Tcp), port)).collect() }
}

/// A machine with Services.
struct Balanced {
    machine: Machine,
    services: Services,
}

impl Balanced {
    fn new(cluster: &str) -> Self {
        Self::on(Machine::new(cluster))
    }

    fn on(machine: Machine) -> Self {
        let address = machine.links.node_address();
        let services = machine.host.run(|| Services::open(&machine.config, address)).unwrap();
        Self { machine, services }
    }

    fn program(&self, table: &ServiceTable) {
        self.machine.host.block_on(self.services.program(table)).unwrap();
    }

    /// A pod that answers on 8080.
    fn server(&self, name: &str) -> Pod {
        let pod = self.machine.pod(name);
        pod.namespace.serve("0.0.0.0:8080", name);
        pod
    }

    /// Who answers, over so many connections.
    fn answers(&self, to: &str, connections: usize) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for _ in 0..connections {
            let text = self.machine.host.ask(address(to));
            *count.entry(text.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        count
    }
}

/// An outside client, with the machine's uplink at 192.0.2.1.
fn machine_with_outside(cluster: &str) -> (Balanced, Namespace) {
    let (host, outside) = (Namespace::new(), Namespace::new());
    lab::join((&host, "up0", "192.0.2.1/24"), (&outside, "eth0", "192.0.2.9/24"));
    outside.ip("route add default via 192.0.2.1");
    (Balanced::on(Machine::on(host, cluster, 0)), outside)
}

#[test]
fn a_cluster_ip_answers_machine_pods_and_the_endpoint_itself() {
    let lab = Balanced::new("vip");
    let (one, two, three) = (lab.server("one"), lab.server("two"), lab.server("three"));
    let client = lab.machine.pod("client");
    lab.program(&table([
        ("web", port("10.78.0.20", vec![ready(&one), ready(&two), ready(&three)])),
        ("self", port("10.78.0.21", vec![ready(&one)])),
    ]));
    let spread = lab.answers("10.78.0.20:80", 90);
    assert_eq!(spread.keys().collect::<Vec<_>>(), ["one", "three", "two"], "{spread:?}");
    assert!(spread.values().all(|count| *count >= 10), "{spread:?}");
    assert_eq!(lab.machine.host.ask(address("10.78.0.21:80")), "one 10.77.0.1");
    assert_eq!(
        client.namespace.ask(address("10.78.0.21:80")),
        format!("one {}", client.address),
        "pods are seen as they are"
    );
    let hairpin = one.namespace.ask(address("10.78.0.21:80"));
    assert_eq!(hairpin, "one 10.77.0.1", "an endpoint reaches itself, masqueraded");
    // an endpoint goes: new connections go elsewhere from the moment `program` returns
    lab.program(&table([
        ("web", port("10.78.0.20", vec![ready(&two)])),
        ("self", port("10.78.0.21", vec![ready(&one)])),
    ]));
    assert_eq!(lab.answers("10.78.0.20:80", 20).keys().collect::<Vec<_>>(), ["two"]);
}

#[test]
fn what_leads_nowhere_is_refused_at_once() {
    let (lab, outside) = machine_with_outside("refuse");
    let client = lab.machine.pod("client");
    let mut empty = port("10.78.0.20", vec![]);
    empty.node_port = Some(30080);
    empty.external_ips = vec!["192.0.2.77".parse().unwrap()];
    let mut ports = table([("empty", empty.clone())]);
    ports.ports.insert(name("empty", Protocol::Udp), empty);
    lab.program(&ports);
    let refused = ["10.78.0.20:80", "10.78.0.20:81", "10.78.7.7:80", "192.0.2.1:30080", "192.0.2.77:80"];
    for to in refused {
        for (from, namespace) in [("host", &lab.machine.host), ("pod", &client.namespace), ("outside", &outside)] {
            if from == "outside" && to == "192.0.2.77:80" {
                continue; // a neighbour's address: it does not come this way
            }
            assert_eq!(namespace.ask(address(to)), "refused", "TCP {to} from {from}");
            // The machine's own datagram is refused inside `send`, with another number.
            let answer = namespace.ask_udp(address(to)).replace("Operation not permitted (os error 1)", "refused");
            assert_eq!(answer, "refused", "UDP {to} from {from}");
        }
    }
    assert_eq!(lab.machine.host.ask(address("127.0.0.1:30080")), "refused");
    // pods reach the outside, as this machine
    outside.serve("0.0.0.0:7000", "outside");
    assert_eq!(client.namespace.ask(address("192.0.2.9:7000")), "outside 192.0.2.1");
}

#[test]
fn node_ports_external_and_load_balancer_addresses() {
    let (lab, outside) = machine_with_outside("external");
    lab.machine.host.ip("route add default via 192.0.2.9"); // what is not the machine's own needs a way out to be translated on
    let (one, client) = (lab.server("one"), lab.machine.pod("client"));
    let mut web = port("10.78.0.20", vec![ready(&one)]);
    web.node_port = Some(30080);
    web.external_ips = vec!["203.0.113.5".parse().unwrap()];
    web.load_balancer_ips = vec!["203.0.113.6".parse().unwrap()];
    let mut closed = web.clone();
    closed.cluster_ips = vec!["10.78.0.21".parse().unwrap()];
    (closed.node_port, closed.external_ips) = (None, vec![]);
    closed.load_balancer_ips = vec!["203.0.113.7".parse().unwrap()];
    closed.load_balancer_source_ranges = vec!["10.77.0.0/16".into(), "198.51.100.0/24".into()];
    lab.program(&table([("web", web), ("closed", closed)]));
    let from_pod = format!("one {}", client.address);
    assert_eq!(lab.machine.host.ask(address("127.0.0.1:30080")), "one 192.0.2.1");
    for to in ["192.0.2.1:30080", "10.77.0.1:30080", "203.0.113.5:80", "203.0.113.6:80"] {
        assert!(lab.machine.host.ask(address(to)).starts_with("one "), "{to} from the machine");
        assert_eq!(client.namespace.ask(address(to)), from_pod, "{to} from a pod");
        let itself = one.namespace.ask(address(to));
        assert!(
            itself.starts_with("one ") && !itself.contains(&one.address.to_string()),
            "{to} from the endpoint: {itself}"
        );
    }
    for to in ["192.0.2.1:30080", "203.0.113.5:80", "203.0.113.6:80", "10.78.0.20:80"] {
        assert_eq!(outside.ask(address(to)), "one 192.0.2.1", "{to} from outside is masqueraded");
    }
    assert_eq!(client.namespace.ask(address("203.0.113.7:80")), from_pod);
    assert_eq!(outside.ask_briefly(address("203.0.113.7:80")), "timeout", "not in the source ranges");
}

#[test]
fn local_policies_keep_to_this_node() {
    let (lab, outside) = machine_with_outside("local");
    let (here, there, client) = (lab.server("here"), lab.server("there"), lab.machine.pod("client"));
    let local = |cluster_ip, node_port, endpoints| {
        let mut port = port(cluster_ip, endpoints);
        (port.internal_local, port.external_local, port.node_port) = (true, true, Some(node_port));
        port
    };
    lab.program(&table([
        ("both", local("10.78.0.20", 30080, vec![ready(&here), elsewhere(&there)])),
        ("remote", local("10.78.0.21", 30081, vec![elsewhere(&there)])),
    ]));
    assert_eq!(lab.answers("10.78.0.20:80", 12).keys().collect::<Vec<_>>(), ["here"]);
    for _ in 0..6 {
        assert_eq!(outside.ask(address("192.0.2.1:30080")), "here 192.0.2.9", "the client's own address is seen");
    }
    assert_eq!(client.namespace.ask_briefly(address("10.78.0.21:80")), "timeout");
    assert_eq!(outside.ask_briefly(address("192.0.2.1:30081")), "timeout");
    assert_eq!(
        lab.machine.host.ask(address("127.0.0.1:30081")),
        "there 192.0.2.1",
        "this machine may use every endpoint"
    );
    assert_eq!(client.namespace.ask(address("192.0.2.1:30081")), format!("there {}", client.address));
}

#[test]
fn affinity_keeps_a_client_where_it_was() {
    let lab = Balanced::new("affinity");
    let pods = ["one", "two", "three"].map(|name| lab.server(name));
    let sticky = |endpoints: Vec<Endpoint>| {
        let mut port = port("10.78.0.20", endpoints);
        port.affinity = Some(Duration::from_secs(10_800));
        table([("web", port)])
    };
    lab.program(&sticky(pods.iter().map(ready).collect()));
    let first = lab.answers("10.78.0.20:80", 15);
    assert_eq!(first.len(), 1, "{first:?}");
    let chosen = first.keys().next().unwrap().clone();
    lab.program(&sticky(pods.iter().filter(|pod| pod.attachment.uid != format!("uid-{chosen}")).map(ready).collect()));
    let second = lab.answers("10.78.0.20:80", 15);
    assert!(second.len() == 1 && !second.contains_key(&chosen), "{chosen} is gone: {second:?}");
    lab.program(&sticky(pods.iter().map(ready).collect()));
    assert_eq!(lab.answers("10.78.0.20:80", 15), second, "nothing drives the client back");
}

#[test]
fn udp_flows_leave_an_endpoint_that_is_gone() {
    let lab = Balanced::new("udp");
    let (one, two) = (lab.machine.pod("one"), lab.machine.pod("two"));
    one.namespace.serve_udp("0.0.0.0:8080", "one");
    two.namespace.serve_udp("0.0.0.0:8080", "two");
    let with = |pods: &[&Pod]| {
        let port = port("10.78.0.20", pods.iter().map(|pod| ready(pod)).collect());
        ServiceTable { ports: BTreeMap::from([(name("dns", Protocol::Udp), port)]) }
    };
    lab.program(&with(&[&one]));
    let socket = lab.machine.host.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let to = address("10.78.0.20:80");
    assert_eq!(ask_udp(&socket, to), "one 10.77.0.1");
    lab.program(&with(&[&one, &two]));
    assert_eq!(ask_udp(&socket, to), "one 10.77.0.1", "a flow stays where it is");
    lab.program(&with(&[&two]));
    assert_eq!(ask_udp(&socket, to), "two 10.77.0.1", "the same flow, another endpoint");
    assert_eq!(one.namespace.ask_udp(to), format!("two {}", one.address));
    assert_eq!(two.namespace.ask_udp(to), "two 10.77.0.1", "hairpin");
}

/// A client that has sent to where nobody was, and goes on with the same socket.
#[test]
fn udp_flows_from_before_their_service_find_it() {
    let lab = Balanced::new("before");
    let pod = lab.machine.pod("one");
    pod.namespace.serve_udp("0.0.0.0:8080", "one");
    let table = |endpoints| {
        let mut port = port("10.78.0.20", endpoints);
        port.node_port = Some(30_053);
        port.external_ips = vec!["198.51.100.7".parse().unwrap()];
        ServiceTable { ports: BTreeMap::from([(name("dns", Protocol::Udp), port)]) }
    };
    lab.machine.host.ip("addr add 198.51.100.7/32 dev lo");
    let fronts = ["127.0.0.1:30053", "198.51.100.7:80", "10.78.0.20:80"].map(address);
    for without in [ServiceTable::default(), table(Vec::new())] {
        lab.program(&without);
        let sockets = lab.machine.host.run(|| fronts.map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()));
        for (socket, front) in sockets.iter().zip(fronts) {
            // What comes back is no matter, only that the flow is known.
            let _refused = socket.connect(front).and_then(|()| socket.send(b"?"));
        }
        lab.program(&table(vec![ready(&pod)]));
        for (socket, front) in sockets.iter().zip(fronts) {
            // What was said before may still be told.
            let _refused = socket.take_error().unwrap();
            assert!(ask_udp(socket, front).starts_with("one "), "{front}");
        }
    }
}

/// This kernel knows no SCTP connections; it takes the rules, and gives them up again.
#[test]
fn sctp_has_rules_like_the_others() {
    let lab = Balanced::new("sctp");
    let pod = lab.machine.pod("one");
    let mut wanted = port("10.78.0.20", vec![ready(&pod)]);
    wanted.node_port = Some(30_080);
    lab.program(&ServiceTable { ports: BTreeMap::from([(name("web", Protocol::Sctp), wanted)]) });
    let rules = || {
        let listed = lab.machine.host.run(|| Command::new("nft").args(["list", "ruleset"]).output().unwrap());
        String::from_utf8_lossy(&listed.stdout).into_owned()
    };
    let listed = rules();
    // nft knows the name if the machine has /etc/protocols.
    let has = |key: &str| ["sctp", "132"].iter().any(|protocol| listed.contains(&key.replace("SCTP", protocol)));
    assert!(has("10.78.0.20 . SCTP . 80") && has("SCTP . 30080"), "{listed}");
    lab.program(&ServiceTable::default());
    let listed = rules();
    assert!(!listed.contains("10.78.0.20") && !listed.contains("30080"), "{listed}");
}

#[test]
fn the_last_endpoint_serves_while_it_terminates() {
    let lab = Balanced::new("last");
    let (one, two) = (lab.server("one"), lab.server("two"));
    let leaving = |pod: &Pod| Endpoint { ready: false, terminating: true, ..ready(pod) };
    lab.program(&table([("web", port("10.78.0.20", vec![leaving(&one), ready(&two)]))]));
    assert_eq!(lab.answers("10.78.0.20:80", 12).keys().collect::<Vec<_>>(), ["two"]);
    lab.program(&table([("web", port("10.78.0.20", vec![leaving(&one)]))]));
    assert_eq!(lab.answers("10.78.0.20:80", 3).keys().collect::<Vec<_>>(), ["one"]);
    let unwell = Endpoint { serving: false, ..leaving(&one) };
    lab.program(&table([("web", port("10.78.0.20", vec![unwell]))]));
    assert_eq!(lab.machine.host.ask(address("10.78.0.20:80")), "refused");
}

#[test]
fn a_port_with_a_proxy_leads_there() {
    let (lab, outside) = machine_with_outside("proxy");
    let (one, client) = (lab.server("one"), lab.machine.pod("client"));
    lab.machine.host.serve("0.0.0.0:9099", "proxy");
    for proxy in ["0.0.0.0:9099", "192.0.2.1:9099", "127.0.0.1:9099"] {
        let mut web = port("10.78.0.20", vec![ready(&one)]);
        (web.node_port, web.proxy) = (Some(30080), Some(address(proxy)));
        lab.program(&table([("web", web)]));
        for (to, from) in [
            ("10.78.0.20:80", &lab.machine.host),
            ("127.0.0.1:30080", &lab.machine.host),
            ("10.78.0.20:80", &client.namespace),
            ("192.0.2.1:30080", &client.namespace),
            ("192.0.2.1:30080", &outside),
        ] {
            let answer = from.ask(address(to));
            assert!(answer.starts_with("proxy "), "{to} with {proxy}: {answer}");
        }
    }
    let mut web = port("10.78.0.20", vec![]);
    web.proxy = Some(address("0.0.0.0:9099"));
    lab.program(&table([("web", web)]));
    assert_eq!(
        lab.machine.host.ask(address("10.78.0.20:80")),
        "refused",
        "a proxy without endpoints has nothing to offer"
    );
}

#[test]
fn host_ports_on_all_addresses_or_one() {
    let (lab, outside) = machine_with_outside("hostports");
    let port = |ip: Option<&str>, host_port| HostPort {
        host_ip: ip.map(|ip| ip.parse().unwrap()),
        host_port,
        container_port: 8080,
        protocol: Protocol::Tcp,
    };
    let pod = lab.machine.pod_with_ports("one", &[port(None, 8000), port(Some("127.0.0.1"), 8001)]);
    pod.namespace.serve("0.0.0.0:8080", "one");
    let client = lab.machine.pod("client");
    assert_eq!(lab.machine.host.ask(address("127.0.0.1:8000")), "one 192.0.2.1");
    assert_eq!(lab.machine.host.ask(address("127.0.0.1:8001")), "one 192.0.2.1");
    assert_eq!(outside.ask(address("192.0.2.1:8000")), "one 192.0.2.9");
    assert_eq!(outside.ask(address("192.0.2.1:8001")), "refused");
    assert_eq!(client.namespace.ask(address("192.0.2.1:8000")), format!("one {}", client.address));
    assert!(pod.namespace.ask(address("192.0.2.1:8000")).starts_with("one "), "hairpin");
    lab.machine.host.block_on(lab.machine.links.detach("uid-one")).unwrap();
    assert_eq!(lab.machine.host.ask(address("127.0.0.1:8000")), "refused");
}

#[test]
fn pods_and_services_of_two_nodes() {
    let (first, second) = (Namespace::new(), Namespace::new());
    lab::join((&first, "up0", "192.0.2.1/24"), (&second, "up0", "192.0.2.2/24"));
    let first = Balanced::on(Machine::on(first, "nodes", 0));
    let second = Balanced::on(Machine::on(second, "nodes", 1));
    for (node, other) in [(&first, &second), (&second, &first)] {
        let std::net::IpAddr::V4(via) = other.machine.links.node_address() else { panic!() };
        let peers = vec![(other.machine.config.pod_cidr, via)];
        node.machine.host.block_on(node.machine.links.set_peers(peers.clone())).unwrap();
        node.machine.host.block_on(node.machine.links.set_peers(peers)).unwrap();
    }
    let (one, two) = (first.server("one"), second.server("two"));
    assert_eq!(one.namespace.ask(two.at(8080)), format!("two {}", one.address));
    assert_eq!(first.machine.host.ask(two.at(8080)), "two 192.0.2.1");
    let mut web = port("10.78.0.20", vec![elsewhere(&two)]);
    web.node_port = Some(30080);
    first.program(&table([("web", web)]));
    assert_eq!(one.namespace.ask(address("10.78.0.20:80")), format!("two {}", one.address));
    assert!(first.machine.host.ask(address("10.78.0.20:80")).starts_with("two "));
    assert!(first.machine.host.ask(address("127.0.0.1:30080")).starts_with("two "));
    assert!(second.machine.host.ask(address("192.0.2.1:30080")).starts_with("two "), "another machine's node port");
    first.machine.host.block_on(first.machine.links.set_peers(vec![])).unwrap();
    assert!(!first.machine.host.ip("route").contains("10.77.1.0/24"));
}

#[test]
fn rules_that_somebody_flushes_come_back() {
    let lab = Balanced::new("flush");
    let one = lab.server("one");
    lab.program(&table([("web", port("10.78.0.20", vec![ready(&one)]))]));
    let nft = |arguments: &str| {
        lab.machine.host.run(|| {
            let output = Command::new("nft").args(arguments.split_whitespace()).output().unwrap();
            assert!(output.status.success(), "nft {arguments}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
    };
    // A missing table is an error of `nft list table`: the whole is listed, in whatever order the tables were made.
    let state = || {
        let mut lines: Vec<String> = nft("list ruleset").lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = state();
    assert!(
        before.iter().any(|line| line.contains("10.78.0.20 . tcp . 80 : goto cluster/default/web/tcp/")),
        "{before:#?}"
    );
    for damage in ["flush ruleset", "flush table ip isopod-flush", "delete table ip isopod-flush-pods"] {
        nft(damage);
        let deadline = Instant::now() + lab::PATIENCE;
        while state() != before {
            assert!(Instant::now() < deadline, "after {damage}:\n{}", nft("list ruleset"));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(one.namespace.ask(address("10.78.0.20:80")).starts_with("one "));
    }
    // other people's tables are none of our business
    nft("add table ip somebody");
    nft("delete table ip somebody");
    // removal leaves nothing, and the watch does not bring it back once its owner is gone
    let Balanced { machine, services } = lab;
    drop(services);
    let (host, config) = (&machine.host, machine.config.clone());
    host.run(|| Links::remove_all(&config)).unwrap();
}

/// What Docker and ufw make of a machine: whatever nobody accepts is dropped.
#[test]
fn a_firewall_that_drops_lets_pods_through() {
    let (lab, outside) = machine_with_outside("firewall");
    let nft = |arguments: &str| {
        lab.machine.host.run(|| {
            let output = Command::new("nft").arg(arguments).output().unwrap();
            assert!(output.status.success(), "nft {arguments}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
    };
    let one = lab.server("one");
    nft("add table ip filter");
    for chain in ["FORWARD", "INPUT"] {
        nft(&format!(
            "add chain ip filter {chain} {{ type filter hook {} priority 0; policy drop; }}",
            chain.to_lowercase()
        ));
    }
    nft("add rule ip filter INPUT iif lo accept");
    nft("add rule ip filter INPUT ct state established,related accept");
    let before = nft("list chain ip filter FORWARD");
    let (two, three) = (lab.machine.pod("two"), lab.machine.pod("three"));
    lab.machine.host.serve("0.0.0.0:6443", "machine");
    outside.serve("0.0.0.0:7000", "outside");
    let mut web = port("10.78.0.20", vec![ready(&one)]);
    web.node_port = Some(30080);
    lab.program(&table([("web", web)]));
    for pod in [&two, &three] {
        assert_eq!(pod.namespace.ask(one.at(8080)), format!("one {}", pod.address));
        assert_eq!(pod.namespace.ask(address("10.78.0.20:80")), format!("one {}", pod.address));
        assert!(pod.namespace.ask(address("192.0.2.1:6443")).starts_with("machine "));
        assert_eq!(pod.namespace.ask(address("192.0.2.9:7000")), "outside 192.0.2.1");
    }
    assert!(outside.ask(address("192.0.2.1:30080")).starts_with("one "));
    assert_eq!(outside.ask_briefly(address("192.0.2.1:6443")), "timeout", "the machine's own ports stay shut");
    let during = nft("list chain ip filter FORWARD");
    assert_eq!(during.matches("comment \"isopod-firewall\"").count(), 2, "{during}");
    lab.machine.host.run(|| Links::remove_all(&lab.machine.config)).unwrap();
    assert_eq!(nft("list chain ip filter FORWARD"), before);
}

#[test]
fn a_restart_replaces_the_rules_without_a_gap() {
    let mut lab = Balanced::new("restart");
    let (one, two) = (lab.server("one"), lab.server("two"));
    lab.program(&table([("web", port("10.78.0.20", vec![ready(&one)]))]));
    lab.machine.restart();
    let address_of_node = lab.machine.links.node_address();
    lab.services = lab.machine.host.run(|| Services::open(&lab.machine.config, address_of_node)).unwrap();
    assert_eq!(
        lab.answers("10.78.0.20:80", 3).keys().collect::<Vec<_>>(),
        ["one"],
        "what was programmed goes on working"
    );
    lab.program(&table([("web", port("10.78.0.20", vec![ready(&two)]))]));
    assert_eq!(lab.answers("10.78.0.20:80", 3).keys().collect::<Vec<_>>(), ["two"]);
}

/// A thousand Services of ten endpoints: one change costs what one Service costs. The figures are printed, not judged.
#[test]
fn a_thousand_services() {
    let lab = Balanced::new("thousand");
    let endpoint = |service: u32, n: u32| Endpoint {
        address: SocketAddr::from(([10, 77, (128 + service / 25) as u8 % 250, (service % 25 * 10 + n) as u8], 8080)),
        local: false,
        ready: true,
        serving: true,
        terminating: false,
    };
    let service = |n: u32, endpoints: u32| {
        let cluster_ip = format!("10.78.{}.{}", 1 + n / 250, n % 250);
        let mut port = port(&cluster_ip, (0..endpoints).map(|e| endpoint(n, e)).collect());
        port.node_port = Some(30_000 + n as u16);
        (PortName { service: format!("service-{n}"), ..name("", Protocol::Tcp) }, port)
    };
    let mut table = ServiceTable { ports: (0..1000).map(|n| service(n, 10)).collect() };
    let start = Instant::now();
    lab.program(&table);
    println!("1,000 services × 10 endpoints, all at once: {:?}", start.elapsed());
    let mut times = BTreeSet::new();
    for n in 0..100 {
        let (name, port) = service(n * 7, 9);
        table.ports.insert(name, port);
        let start = Instant::now();
        lab.program(&table);
        times.insert(start.elapsed());
    }
    let median = times.iter().nth(times.len() / 2).unwrap();
    println!("one endpoint changed: median {median:?}, slowest {:?}", times.last().unwrap());
    let client = lab.machine.pod("client");
    assert_eq!(client.namespace.ask(address("10.78.5.1:80")), "refused", "beyond the last service");
}

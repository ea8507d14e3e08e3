//! Pod links on a machine of the test's own: who reaches whom, what a restart keeps, what removal leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]
mod lab;
use isopod_network::contract::{Attachment, PodNetwork};
use isopod_network::pod::Links;
use lab::{Machine, Namespace};

#[test]
fn pods_machine_and_pods_reach_each_other() {
    let machine = Machine::new("reach");
    let node = machine.links.node_address();
    assert_eq!(node.to_string(), "10.77.0.1", "no uplink: the first address of the range");
    let (one, two) = (machine.pod("one"), machine.pod("two"));
    assert_ne!(one.address, two.address);
    one.namespace.serve("0.0.0.0:80", "one");
    machine.host.serve("0.0.0.0:6443", "machine");
    assert_eq!(machine.host.ask(one.at(80)), format!("one {node}"));
    assert_eq!(two.namespace.ask(one.at(80)), format!("one {}", two.address));
    assert_eq!(one.namespace.ask(one.at(80)), format!("one {}", one.address));
    assert_eq!(two.namespace.ask((node, 6443)), format!("machine {}", two.address));
    assert_eq!(
        two.namespace.ask("10.78.0.10:6443".parse::<std::net::SocketAddr>().unwrap()),
        format!("machine {}", two.address)
    );
    assert_eq!(two.namespace.ask(one.at(81)), "refused");
    // nobody has this address: known at once, nothing leaves
    assert_eq!(machine.host.ask(([10, 77, 0, 200], 80)), "unreachable");
    assert_eq!(two.namespace.ask(([10, 77, 0, 200], 80)), "unreachable");
}

#[test]
fn attaching_twice_and_restarting_change_nothing() {
    let mut machine = Machine::new("again");
    let (one, two) = (machine.pod("one"), machine.pod("two"));
    one.namespace.serve("0.0.0.0:80", "one");
    let before = one.namespace.ip("addr show dev eth0");
    let again = machine.host.block_on(machine.links.attach(&one.attachment)).unwrap();
    assert_eq!((again.to_string(), one.namespace.ip("addr show dev eth0")), (one.address.to_string(), before.clone()));

    machine.restart();
    let attached = machine.host.block_on(machine.links.attached()).unwrap();
    assert_eq!(attached.len(), 2);
    machine.host.block_on(machine.links.attach(&one.attachment)).unwrap();
    assert_eq!(one.namespace.ip("addr show dev eth0"), before);
    assert!(two.namespace.ask(one.at(80)).starts_with("one "));

    // a new sandbox of the same pod has the same address
    let mut renewed = two.attachment.clone();
    let namespace = Namespace::new();
    renewed.netns = namespace.path();
    assert_eq!(machine.host.block_on(machine.links.attach(&renewed)).unwrap(), two.address);
    assert!(namespace.ask(one.at(80)).starts_with("one "));
}

#[test]
fn what_is_detached_is_gone_and_its_address_rests() {
    let mut machine = Machine::new("gone");
    let (one, two) = (machine.pod("one"), machine.pod("two"));
    two.namespace.serve("0.0.0.0:80", "two");
    machine.host.block_on(machine.links.detach("uid-two")).unwrap();
    machine.host.block_on(machine.links.detach("uid-two")).unwrap();
    assert_eq!(one.namespace.ask(two.at(80)), "unreachable");
    // the same namespace once more
    let address = machine.host.block_on(machine.links.attach(&two.attachment)).unwrap();
    assert_ne!(address, two.address);
    assert!(one.namespace.ask((address, 80)).starts_with("two "));
    machine.host.block_on(machine.links.detach("uid-two")).unwrap();
    machine.restart();
    let three = machine.pod("three");
    assert!(three.address != two.address && three.address != one.address);
}

#[test]
fn leftovers_are_swept_and_everything_can_be_removed() {
    let mut machine = Machine::new("sweep");
    let bare = Namespace::new();
    let _pod = machine.pod("one");
    std::fs::remove_file(machine.config.state_dir.join("addresses.json")).unwrap();
    machine.restart();
    let links = machine.host.ip("-o link");
    assert!(!links.contains(&format!("{}-", machine.config.bridge())), "{links}");
    machine.pod("two");
    machine.host.run(|| Links::remove_all(&machine.config)).unwrap();
    machine.host.run(|| Links::remove_all(&machine.config)).unwrap();
    for what in ["-o link", "route", "addr"] {
        let names =
            |text: String| text.lines().map(|l| l.split("mtu").next().unwrap_or("").to_owned()).collect::<Vec<_>>();
        assert_eq!(names(machine.host.ip(what)), names(bare.ip(what)), "{what}");
    }
}

#[test]
fn a_range_that_is_routed_elsewhere_is_refused() {
    let host = Namespace::new();
    host.ip("link add br0 type bridge");
    host.ip("link set br0 up");
    host.ip("route add 10.78.0.0/16 dev br0");
    let config = Machine::new("other").config;
    let error = host.run(|| Links::open(config)).err().unwrap().to_string();
    assert_eq!(error, "range 10.78.0.0/16: is already routed to br0: another cluster or network has it");
}

#[test]
fn clusters_live_side_by_side() {
    let one = Machine::new("side");
    let mut config = one.config.clone();
    config.cluster = "other".into();
    config.state_dir = one.config.state_dir.join("other");
    config.pod_cidr = "10.87.0.0/24".parse().unwrap();
    config.cluster_cidr = "10.87.0.0/16".parse().unwrap();
    config.service_cidr = "10.88.0.0/16".parse().unwrap();
    config.own_addresses = vec![];
    let links = one.host.run(|| Links::open(config.clone())).unwrap();
    assert_eq!(links.node_address().to_string(), "10.87.0.1", "the other cluster's bridge is no uplink");
    let (mine, namespace) = (one.pod("mine"), Namespace::new());
    mine.namespace.serve("0.0.0.0:80", "mine");
    let other =
        Attachment { uid: "other".into(), pod: "default/other".into(), netns: namespace.path(), host_ports: vec![] };
    let address = one.host.block_on(links.attach(&other)).unwrap();
    assert_eq!(address.to_string(), "10.87.0.2");
    assert_eq!(one.host.ask(mine.at(80)), "mine 10.77.0.1");
    // from outside its own cluster: as the machine
    assert!(namespace.ask(mine.at(80)).starts_with("mine "));
    drop(links);
    one.host.run(|| Links::remove_all(&config)).unwrap();
    assert_eq!(one.host.ask(mine.at(80)), "mine 10.77.0.1", "what is removed is its own only");
    assert!(!one.host.ip("-o link").contains(&config.bridge()));
}

/// Nobody repeats a datagram: it shows whether a link works from the moment `attach` returns.
#[test]
fn nothing_is_lost_on_a_new_link() {
    let machine = Machine::new("first");
    for n in 0..30 {
        let pod = machine.pod(&n.to_string());
        pod.namespace.serve_udp("0.0.0.0:53", "pod");
        assert_eq!(machine.host.ask_udp(pod.at(53)), "pod 10.77.0.1", "pod {n}");
    }
}

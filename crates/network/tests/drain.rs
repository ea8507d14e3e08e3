//! What connection tracking says of connections that a pod's sockets know nothing of: on a machine of the test's own, with a queue that
//! is full.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]
mod lab;
use isopod_network::contract::{PodNetwork, ServicePath, Sockets};
use isopod_network::drain::SocketDiag;
use isopod_network::service::Services;
use lab::{Machine, PATIENCE, Pod};
use nix::sys::socket::{Backlog, listen};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const VIP: ([u8; 4], u16) = ([10, 78, 0, 20], 80);

/// A listener whose queue is full with one connection.
fn narrow(pod: &Pod) -> TcpListener {
    pod.namespace.run(|| {
        let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
        // Once more, with less room.
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        listener
    })
}

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_syn_that_a_full_queue_dropped_is_on_its_way_until_it_is_repeated() {
    let machine = Machine::new("syn");
    let pod = machine.pod("one");
    let services = machine.host.run(|| Services::open(&machine.config, machine.links.node_address())).unwrap();
    machine.host.block_on(services.program(&lab::web(VIP.0.into(), &[&pod]))).unwrap();
    let listener = narrow(&pod);
    let coming = |port| machine.host.block_on(SocketDiag::default().on_the_way(pod.address.into(), &[port])).unwrap();
    assert_eq!(coming(8080), 0);
    let connect = |to: SocketAddr| machine.host.run(move || TcpStream::connect_timeout(&to, PATIENCE).unwrap());
    let first = connect(VIP.into());
    std::thread::scope(|scope| {
        let second = scope.spawn(|| connect(VIP.into()));
        until("the second SYN is seen", || coming(8080) == 1);
        assert_eq!(coming(9090), 0, "another port of the pod");
        // What begins on the machine itself without translation is the HTTP proxy's, which tries elsewhere.
        let direct = scope.spawn(|| connect(pod.at(8080)));
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(coming(8080), 1);
        // Whose SYN was dropped sends it again: after one second, after three.
        listener.set_nonblocking(true).unwrap();
        let accepted = std::cell::RefCell::new(Vec::new());
        until("three connections", || {
            accepted.borrow_mut().extend(listener.accept().ok());
            accepted.borrow().len() == 3
        });
        let _connections = (second.join().unwrap(), direct.join().unwrap());
        assert_eq!(coming(8080), 0);
    });
    drop(first);
}

//! What Services cost: programming them, connections through them as a ratio to the pod's own address, links of pods.
//!
//! `cargo bench -p isopod-network`, as root. Everything happens in network namespaces of the bench's own. Direct and balanced
//! connections take turns, so that both meet the same machine; only their ratio means something.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench may stop at what it did not expect"
)]
#[path = "../tests/lab/mod.rs"]
mod lab;
use isopod_network::contract::{Endpoint, PodNetwork, PortName, Protocol, ServicePath, ServicePort, ServiceTable};
use isopod_network::service::Services;
use lab::{Machine, Namespace};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const VIP: ([u8; 4], u16) = ([10, 78, 0, 20], 80);
/// Bytes of one bulk transfer.
const BULK: usize = 256 << 20;

fn main() {
    // `cargo test --benches` only looks whether it runs.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 20 } else { 1 };
    programming(rounds);
    connections(rounds);
    links(rounds);
}

fn endpoint(n: u32) -> Endpoint {
    let [_, _, high, low] = n.to_be_bytes();
    let address = SocketAddr::from(([10, 77, 128 + high % 100, low], 8080));
    Endpoint { address, local: false, ready: true, serving: true, terminating: false }
}

fn service(n: u32, endpoints: Vec<Endpoint>) -> (PortName, ServicePort) {
    let name = PortName {
        namespace: "default".into(),
        service: format!("s{n}"),
        port: String::new(),
        protocol: Protocol::Tcp,
    };
    let [_, _, high, low] = (n + 256).to_be_bytes();
    let port = ServicePort {
        cluster_ips: vec![[10, 78, high, low].into()],
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
    };
    (name, port)
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!("{what:<44} p50 {:>9.3?}  p99 {:>9.3?}", at(50), at(99));
}

/// One endpoint of ten changes, among so many Services.
fn programming(rounds: usize) {
    for count in [10, 100, 1000] {
        let machine = Machine::new("bench");
        let services = machine.host.run(|| Services::open(&machine.config, machine.links.node_address())).unwrap();
        let full = |n: u32| (n * 10..n * 10 + 10).map(endpoint).collect::<Vec<_>>();
        let mut table = ServiceTable { ports: (0..count).map(|n| service(n, full(n))).collect() };
        machine.host.block_on(async {
            let start = Instant::now();
            services.program(&table).await.unwrap();
            println!("{count:>5} services × 10 endpoints, from nothing       {:>9.3?}", start.elapsed());
            let mut times = Vec::new();
            for round in 0..rounds as u32 * 10 {
                let mut endpoints = full(round % count);
                endpoints.truncate(if round / count % 2 == 0 { 9 } else { 10 });
                let (name, port) = service(round % count, endpoints);
                table.ports.insert(name, port);
                let start = Instant::now();
                services.program(&table).await.unwrap();
                times.push(start.elapsed());
            }
            print(&format!("{count:>5} services, one endpoint changes"), times);
        });
    }
}

/// Connections with one request each, and bulk, from the machine and from a pod.
fn connections(rounds: usize) {
    let machine = Machine::new("bench");
    let (server, client) = (machine.pod("server"), machine.pod("client"));
    serve(&server.namespace);
    let services = machine.host.run(|| Services::open(&machine.config, machine.links.node_address())).unwrap();
    let there = Endpoint { address: server.at(8080), local: true, ..endpoint(0) };
    let (name, mut port) = service(0, vec![there]);
    port.cluster_ips = vec![VIP.0.into()];
    machine.host.block_on(services.program(&ServiceTable { ports: [(name, port)].into() })).unwrap();
    for (from, namespace) in [("machine", &machine.host), ("pod", &client.namespace)] {
        let ways = [server.at(8080), SocketAddr::from(VIP)];
        let (mut times, mut bulk) = ([Vec::new(), Vec::new()], [Duration::ZERO; 2]);
        namespace.run(|| {
            for _ in 0..rounds * 50 {
                for (way, times) in ways.iter().zip(&mut times) {
                    times.push(request(*way, 1));
                }
            }
            for _ in 0..rounds {
                for (way, time) in ways.iter().zip(&mut bulk) {
                    *time += request(*way, BULK);
                }
            }
        });
        let [direct, balanced] = times;
        let p99 = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort();
            times[(times.len() - 1) * 99 / 100].as_secs_f64()
        };
        let ratio = p99(&balanced) / p99(&direct);
        print(&format!("from a {from}: connect and ask, direct"), direct);
        print(&format!("from a {from}: connect and ask, Service"), balanced);
        let throughput = bulk[0].as_secs_f64() / bulk[1].as_secs_f64();
        println!("from a {from}: Service to direct               throughput {throughput:.2}  p99 {ratio:.2}");
    }
}

/// Answers a number of bytes with that many bytes.
fn serve(namespace: &Namespace) {
    let listener = namespace.run(|| TcpListener::bind("0.0.0.0:8080").unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut wanted = [0; 8];
            if stream.read_exact(&mut wanted).is_err() {
                continue;
            }
            let (chunk, mut left) = (vec![7_u8; 1 << 16], usize::from_be_bytes(wanted));
            while left > 0 && stream.write_all(&chunk[..left.min(chunk.len())]).is_ok() {
                left = left.saturating_sub(chunk.len());
            }
        }
    });
}

fn request(to: SocketAddr, bytes: usize) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(&bytes.to_be_bytes()).unwrap();
    let (mut buffer, mut read) = (vec![0; 1 << 16], 0);
    while read < bytes {
        match stream.read(&mut buffer).unwrap() {
            0 => panic!("cut off after {read} of {bytes} bytes"),
            some => read += some,
        }
    }
    start.elapsed()
}

/// A pod's link and address, there and gone.
fn links(rounds: usize) {
    let machine = Machine::new("bench");
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for n in 0..rounds * 5 {
        let namespace = Namespace::new();
        let start = Instant::now();
        let pod = machine.pod_in(namespace, &n.to_string(), &[]);
        there.push(start.elapsed());
        let start = Instant::now();
        machine.host.block_on(machine.links.detach(&pod.attachment.uid)).unwrap();
        gone.push(start.elapsed());
    }
    print("a pod's link and address", there);
    print("taken away", gone);
}

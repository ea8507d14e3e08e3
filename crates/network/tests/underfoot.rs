//! Rules and pods change while clients connect without a pause: none of them may notice. Both cases were found by losing one of 40,000
//! requests under rolling updates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]
mod lab;
use isopod_network::contract::{PodNetwork, ServicePath, ServiceTable, Sockets};
use isopod_network::drain::SocketDiag;
use isopod_network::service::Services;
use lab::{Machine, Pod};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const VIP: ([u8; 4], u16) = ([10, 78, 0, 20], 80);
const CLIENTS: usize = 3;

fn service(pods: &[&Pod]) -> ServiceTable {
    lab::web(VIP.0.into(), pods)
}

fn ask() -> std::io::Result<()> {
    let to = SocketAddr::from(VIP);
    let mut text = String::new();
    // A SYN that nobody answers is repeated after one second: slower than this is lost.
    let patience = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.read_to_string(&mut text)?;
    if text.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Clients connect one time after another for as long as `work` goes on; every failure counts.
fn under_load(machine: &Machine, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let client = || {
        let (mut asked, mut failed) = (0usize, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            asked += 1;
            failed.extend(ask().err().map(|error| error.to_string()));
        }
        (asked, failed)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| machine.host.run(client))).collect();
        work();
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let asked: usize = results.iter().map(|(asked, _)| asked).sum();
    let failed: Vec<&String> = results.iter().flat_map(|(_, failed)| failed).collect();
    assert!(asked > 200, "only {asked} requests");
    assert!(failed.is_empty(), "{} of {asked} failed: {failed:?}", failed.len());
}

fn web(machine: &Machine, name: &str) -> Pod {
    let pod = machine.pod(name);
    pod.namespace.serve("0.0.0.0:8080", name);
    pod
}

fn services(machine: &Machine) -> Services {
    machine.host.run(|| Services::open(&machine.config, machine.links.node_address())).unwrap()
}

/// A packet that is looked up while a transaction comes into force meets rules of the generation before and sets of the one after: the
/// anonymous map of endpoints is empty then, and the connection was refused.
#[test]
fn endpoints_come_and_go_under_connections() {
    let machine = Machine::new("flip");
    let pods = ["one", "two", "three"].map(|name| web(&machine, name));
    let [one, two, three] = &pods;
    let services = services(&machine);
    let tables = [service(&[one, two]), service(&[one, two, three]), service(&[two, three])];
    machine.host.block_on(services.program(&tables[0])).unwrap();
    under_load(&machine, || {
        let end = Instant::now() + Duration::from_secs(3);
        machine.host.block_on(async {
            while Instant::now() < end {
                for table in &tables {
                    services.program(table).await.unwrap();
                }
            }
        });
    });
}

/// Clients use their ports again. If a connection of before is forgotten by its name just then, it is the new one that is lost, for the
/// kernel gives it the same place in memory and so the same id.
#[test]
fn pods_that_go_take_nobody_elses_connections() {
    let machine = Machine::new("leave");
    let stays = web(&machine, "stays");
    machine.host.run(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40400").unwrap());
    let services = services(&machine);
    let program = |pods: &[&Pod]| machine.host.block_on(services.program(&service(pods))).unwrap();
    program(&[&stays]);
    under_load(&machine, || {
        for round in 0..15 {
            let goes = web(&machine, &format!("goes-{round}"));
            program(&[&stays, &goes]);
            std::thread::sleep(Duration::from_millis(120));
            program(&[&stays]);
            // What the gate of drain waits for.
            loop {
                std::thread::sleep(Duration::from_millis(20));
                let (address, ports) = (goes.address.into(), [8080]);
                let coming = machine.host.block_on(SocketDiag::default().on_the_way(address, &ports)).unwrap();
                let netns = goes.namespace.path();
                let there = machine.host.block_on(SocketDiag::default().look(&netns, address, &ports)).unwrap();
                if coming + there.waiting + there.in_flight == 0 {
                    break;
                }
            }
            machine.host.block_on(machine.links.detach(&goes.attachment.uid)).unwrap();
        }
    });
}

//! Network namespaces made by the test: a machine that has nothing but loopback, pods, and somebody outside. No uplink: nothing
//! leaves them. They live as long as their file is open.
#![allow(dead_code, reason = "each test binary uses a part of it")]
use isopod_network::contract::{
    Attachment, Endpoint, HostPort, PodNetwork, PortName, Protocol, ServicePort, ServiceTable,
};
use isopod_network::pod::{Links, NetworkConfig};
use nix::sched::{CloneFlags, setns, unshare};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Longer than a loaded machine needs, shorter than a connection that nobody answers.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A network namespace of its own, with loopback up.
pub struct Namespace {
    file: File,
}

impl Namespace {
    pub fn new() -> Self {
        let file = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
            ip("link set lo up");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Self { file: file.join().unwrap() }
    }

    /// A path by which this process (and its children) can enter it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Runs `work` inside, in a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a future inside, on a runtime all of whose threads are inside.
    pub fn block_on<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(future)
        })
    }

    /// `ip …` inside.
    pub fn ip(&self, arguments: &str) -> String {
        self.run(|| ip(arguments))
    }

    /// Answers every TCP connection to the port with `<name> <address of the client>` until the process ends.
    pub fn serve(&self, address: &str, name: &str) {
        let listener = self.run(|| TcpListener::bind(address).unwrap());
        let name = name.to_owned();
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = stream.write_all(format!("{name} {}", peer.ip()).as_bytes());
            }
        });
    }

    /// The same for UDP datagrams.
    pub fn serve_udp(&self, address: &str, name: &str) {
        let socket = self.run(|| UdpSocket::bind(address).unwrap());
        let name = name.to_owned();
        std::thread::spawn(move || {
            while let Ok((_, peer)) = socket.recv_from(&mut [0; 16]) {
                let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
            }
        });
    }

    /// What a server at this address answers, or why not: `refused`, `timeout`, ….
    pub fn ask(&self, address: impl Into<SocketAddr>) -> String {
        let address = address.into();
        self.run(|| ask(address, PATIENCE))
    }

    /// The same, giving up early: to see that nothing answers.
    pub fn ask_briefly(&self, address: impl Into<SocketAddr>) -> String {
        let address = address.into();
        self.run(|| ask(address, Duration::from_millis(700)))
    }

    pub fn ask_udp(&self, address: impl Into<SocketAddr>) -> String {
        let address = address.into();
        self.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            ask_udp(&socket, address)
        })
    }
}

/// Joins two namespaces by a link with an address at each end.
pub fn join(one: (&Namespace, &str, &str), other: (&Namespace, &str, &str)) {
    // `ip` moves a link to the namespace of a process.
    let mut inside = other.0.run(|| Command::new("sleep").arg("60").spawn().unwrap());
    one.0.ip(&format!("link add {} type veth peer name {} netns {}", one.1, other.1, inside.id()));
    inside.kill().unwrap();
    inside.wait().unwrap();
    for (namespace, link, address) in [one, other] {
        namespace.ip(&format!("addr add {address} dev {link}"));
        namespace.ip(&format!("link set {link} up"));
    }
}

/// One datagram there, one back.
pub fn ask_udp(socket: &UdpSocket, address: SocketAddr) -> String {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 64];
    let exchanged = socket.connect(address).and_then(|()| socket.send(b"?")).and_then(|_| socket.recv(&mut answer));
    exchanged.map_or_else(reason, |length| String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn ask(address: SocketAddr, patience: Duration) -> String {
    let mut text = String::new();
    let read = TcpStream::connect_timeout(&address, patience).and_then(|mut stream| {
        stream.set_read_timeout(Some(patience))?;
        stream.read_to_string(&mut text)
    });
    read.map_or_else(reason, |_| text)
}

fn reason(error: std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "refused".into(),
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => "timeout".into(),
        std::io::ErrorKind::HostUnreachable => "unreachable".into(),
        _ => error.to_string(),
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A machine with a pod network.
pub struct Machine {
    pub host: Namespace,
    pub links: Links,
    pub config: NetworkConfig,
    state: tempfile::TempDir,
}

impl Machine {
    pub fn new(cluster: &str) -> Self {
        Self::on(Namespace::new(), cluster, 0)
    }

    /// Node number `node` of the cluster, on a machine that is there already.
    pub fn on(host: Namespace, cluster: &str, node: u8) -> Self {
        let state = tempfile::tempdir().unwrap();
        let config = NetworkConfig {
            cluster: cluster.into(),
            state_dir: state.path().into(),
            pod_cidr: format!("10.77.{node}.0/24").parse().unwrap(),
            cluster_cidr: "10.77.0.0/16".parse().unwrap(),
            service_cidr: "10.78.0.0/16".parse().unwrap(),
            node_address: None,
            own_addresses: vec!["10.78.0.10".parse().unwrap()],
        };
        let links = host.run(|| Links::open(config.clone())).unwrap();
        Self { host, links, config, state }
    }

    /// The node agent dies and comes back.
    pub fn restart(&mut self) {
        self.links = self.host.run(|| Links::open(self.config.clone())).unwrap();
    }

    pub fn pod(&self, name: &str) -> Pod {
        self.pod_with_ports(name, &[])
    }

    pub fn pod_with_ports(&self, name: &str, host_ports: &[HostPort]) -> Pod {
        self.pod_in(Namespace::new(), name, host_ports)
    }

    /// A pod whose namespace is there already.
    pub fn pod_in(&self, namespace: Namespace, name: &str, host_ports: &[HostPort]) -> Pod {
        let attachment = Attachment {
            uid: format!("uid-{name}"),
            pod: format!("default/{name}"),
            netns: namespace.path(),
            host_ports: host_ports.to_vec(),
        };
        let address = self.host.block_on(self.links.attach(&attachment)).unwrap();
        let IpAddr::V4(address) = address else { panic!("{address}") };
        Pod { namespace, attachment, address }
    }
}

/// One pod's namespace, attached.
pub struct Pod {
    pub namespace: Namespace,
    pub attachment: Attachment,
    pub address: Ipv4Addr,
}

impl Pod {
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }
}

/// Takes new connections on 8080, on this node.
pub fn ready(pod: &Pod) -> Endpoint {
    Endpoint { address: pod.at(8080), local: true, ready: true, serving: true, terminating: false }
}

/// A ClusterIP Service on port 80.
pub fn port(cluster_ip: IpAddr, endpoints: Vec<Endpoint>) -> ServicePort {
    ServicePort {
        cluster_ips: vec![cluster_ip],
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

/// One Service `web` with these pods.
pub fn web(cluster_ip: IpAddr, pods: &[&Pod]) -> ServiceTable {
    let name =
        PortName { namespace: "default".into(), service: "web".into(), port: String::new(), protocol: Protocol::Tcp };
    let endpoints = pods.iter().map(|pod| ready(pod)).collect();
    ServiceTable { ports: BTreeMap::from([(name, port(cluster_ip, endpoints))]) }
}

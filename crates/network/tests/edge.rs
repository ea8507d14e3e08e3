//! The edge process outlives whoever controls it, is found again, is replaced, and is told all again when it dies; meanwhile nobody
//! who talks through it notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use isopod_network::contract::{Endpoint, PortName, Protocol as Transport};
use isopod_network::dns::answer::Scope;
use isopod_network::dns::zone::{Change, Record};
use isopod_network::edge::protocol::{Call, Reply, read, write};
use isopod_network::edge::{DnsSettings, EdgeClient, EdgeConfig, SOCKET, Settings, stop};
use isopod_network::proxy::{Backends, Protocol};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// A pod that answers `ok` on connections it keeps, and echoes after an upgrade.
async fn pod() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                while let Ok(length) = stream.read(&mut bytes).await {
                    let asked = String::from_utf8_lossy(bytes.get(..length).unwrap()).to_ascii_lowercase();
                    if length == 0 {
                        return;
                    }
                    let answer: &[u8] = if asked.contains("upgrade: echo") {
                        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
                    } else if asked.starts_with("get ") {
                        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                    } else {
                        bytes.get(..length).unwrap()
                    };
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    at
}

fn name() -> PortName {
    PortName { namespace: "ns".into(), service: "web".into(), port: "http".into(), protocol: Transport::Tcp }
}

fn backends(at: SocketAddr) -> Backends {
    let endpoint = Endpoint { address: at, local: true, ready: true, serving: true, terminating: false };
    Backends { protocol: Protocol::Http, endpoints: vec![endpoint], affinity: false }
}

/// An address of this test's own on loopback.
fn own_address() -> Ipv4Addr {
    let pid = std::process::id();
    Ipv4Addr::new(127, 53, u8::try_from(pid >> 8 & 255).unwrap(), u8::try_from(pid & 255).unwrap().max(1))
}

fn config(dir: &Path, build: &str) -> EdgeConfig {
    let scope = Scope { domain: "cluster.local".into(), ranges: Vec::new() };
    let dns = DnsSettings { scope, listen: vec![(own_address(), 53).into()], resolvers: Vec::new() };
    let settings = Settings { dns: Some(dns), proxy_address: IpAddr::from(own_address()) };
    let binary = env!("CARGO_BIN_EXE_isopod-test-edge").into();
    EdgeConfig { dir: dir.to_owned(), binary, build: build.to_owned(), settings }
}

async fn process(dir: &Path) -> Option<(String, u32)> {
    let mut stream = UnixStream::connect(dir.join(SOCKET)).await.ok()?;
    write(&mut stream, &isopod_network::edge::protocol::Request::from(Call::Hello)).await.ok()?;
    match read(&mut stream).await.ok()?? {
        Reply::Hello { build, pid, .. } => Some((build, pid)),
        _ => None,
    }
}

/// What cluster DNS says, by `dig`.
async fn dig(what: &str) -> String {
    let at = format!("@{}", own_address());
    let output = tokio::process::Command::new("dig").args([&at, "+short", "+tries=1", "+time=2", what]).output().await;
    String::from_utf8(output.expect("dig is needed").stdout).unwrap().trim().to_owned()
}

/// Requests one after another on a connection that is kept, made anew only when an answer says that it will be closed.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(at: SocketAddr) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (Arc::clone(&stop), Arc::clone(&done));
        let task = tokio::spawn(async move {
            let mut sender = None;
            while !told.load(Ordering::SeqCst) {
                let mut open = match sender.take() {
                    Some(open) => open,
                    None => {
                        let io = TokioIo::new(TcpStream::connect(at).await.expect("always accepted"));
                        let (open, connection) = http1::handshake::<_, Full<Bytes>>(io).await.unwrap();
                        tokio::spawn(connection);
                        open
                    }
                };
                let request = Request::get("/").header("host", "web").body(Full::default()).unwrap();
                let response = open.send_request(request).await.expect("no request fails");
                let close = response.headers().get("connection").is_some_and(|c| c == "close");
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
                count.fetch_add(1, Ordering::SeqCst);
                if !close {
                    open.ready().await.expect("kept as promised");
                    sender = Some(open);
                }
            }
        });
        Self { stop, done, task }
    }

    async fn some_more(&self) {
        let wanted = self.done.load(Ordering::SeqCst) + 50;
        let start = Instant::now();
        while self.done.load(Ordering::SeqCst) < wanted {
            assert!(!self.task.is_finished() && start.elapsed() < Duration::from_secs(30), "requests stopped");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
    }
}

async fn echo(tunnel: &mut TcpStream, text: &[u8]) {
    tunnel.write_all(text).await.unwrap();
    let mut back = vec![0; text.len()];
    tunnel.read_exact(&mut back).await.unwrap();
    assert_eq!(back, text);
}

/// Whatever happens, no process is left.
struct Ended<'a>(&'a Path);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        use std::io::{Read, Write};
        let frame = isopod_network::edge::protocol::encode(&isopod_network::edge::protocol::Request::from(Call::Stop));
        if let (Ok(frame), Ok(mut stream)) = (frame, std::os::unix::net::UnixStream::connect(self.0.join(SOCKET))) {
            let _sent = stream.write_all(&frame).and_then(|()| stream.read(&mut [0; 64]));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outlives_adopts_hands_over_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let _ended = Ended(dir);
    let record =
        Record::Cluster { addresses: vec!["10.96.0.7".parse().unwrap()], ports: Vec::new(), endpoints: Vec::new() };
    let service = Change::Service { namespace: "ns".into(), name: "web".into(), record: Some(record) };
    let first = EdgeClient::start_or_adopt(config(dir, "one")).await.unwrap();
    first.dns(true, vec![service.clone()]).await.unwrap();
    first.proxy(true, vec![(name(), Some(backends(pod().await)))]).await.unwrap();
    let at = *first.listening().borrow().get(&name()).unwrap();
    let (build, pid) = process(dir).await.unwrap();
    assert_eq!((build.as_str(), dig("web.ns.svc.cluster.local").await.as_str()), ("one", "10.96.0.7"));

    // Other resolvers: nobody is there to ask, and what is our own is answered as before.
    first.resolvers(vec!["127.0.0.1:9".parse().unwrap()]).await.unwrap();
    assert_eq!(dig("web.ns.svc.cluster.local").await, "10.96.0.7");
    first.resolvers(Vec::new()).await.unwrap();

    let load = Load::start(at);
    let mut tunnel = TcpStream::connect(at).await.unwrap();
    tunnel.write_all(b"GET /t HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    tunnel.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\n") {
        rest.push(tunnel.read_u8().await.unwrap());
    }
    echo(&mut tunnel, b"hello").await;
    load.some_more().await;

    // Whoever controls it is gone.
    drop(first);
    load.some_more().await;
    let second = EdgeClient::start_or_adopt(config(dir, "one")).await.unwrap();
    assert_eq!(process(dir).await.unwrap().1, pid, "found again");
    assert_eq!(second.listening().borrow().get(&name()), Some(&at), "and what it serves");

    // An upgrade: the sockets go to the new process, connections stay until they end.
    drop(second);
    let third = EdgeClient::start_or_adopt(config(dir, "two")).await.unwrap();
    let (build, new_pid) = process(dir).await.unwrap();
    assert!(build == "two" && new_pid != pid);
    assert_eq!(third.listening().borrow().get(&name()), Some(&at));
    load.some_more().await;
    echo(&mut tunnel, b"still here").await;
    assert_eq!(dig("web.ns.svc.cluster.local").await, "10.96.0.7", "it knows what it was never told");
    third.proxy(true, vec![(name(), Some(backends(pod().await)))]).await.unwrap();
    third.dns(true, vec![service]).await.unwrap();
    load.some_more().await;
    load.stop().await;
    drop(tunnel);

    // It dies: another one is told everything, and serves where it did.
    let doomed = nix::unistd::Pid::from_raw(i32::try_from(new_pid).unwrap());
    nix::sys::signal::kill(doomed, nix::sys::signal::Signal::SIGKILL).unwrap();
    let start = Instant::now();
    while dig("web.ns.svc.cluster.local").await != "10.96.0.7" || TcpStream::connect(at).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", process(dir).await);
    }
    let (_, last) = process(dir).await.unwrap();
    assert_ne!(last, new_pid);
    let load = Load::start(at);
    load.some_more().await;
    load.stop().await;

    drop(third);
    stop(dir).await.unwrap();
    let start = Instant::now();
    while process(dir).await.is_some() {
        assert!(start.elapsed() < Duration::from_secs(30), "does not stop");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop(dir).await.unwrap();
}

//! Against real sockets on loopback: pods that are small servers of the test's own.
use super::*;
use crate::contract::{Endpoint, PortName, Protocol as Transport};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A pod that answers with its name, the method, and as many bytes as it was sent; counts its open connections.
struct Pod {
    at: SocketAddr,
    open: Arc<AtomicUsize>,
}

impl Pod {
    async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, open) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&open);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let service = service_fn(move |r| answer(name, r));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ended = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { at, open }
    }

    fn endpoint(&self, ready: bool) -> Endpoint {
        endpoint(self.at, ready)
    }
}

fn endpoint(address: SocketAddr, ready: bool) -> Endpoint {
    Endpoint { address, local: true, ready, serving: true, terminating: !ready }
}

async fn answer(name: &str, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.headers().contains_key("upgrade") {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgraded.await.unwrap());
            let mut bytes = [0; 4];
            while io.read_exact(&mut bytes).await.is_ok() {
                io.write_all(&bytes).await.unwrap();
            }
        });
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        return Ok(response.body(Full::default()).unwrap());
    }
    let (method, version) = (request.method().clone(), request.version());
    let sent = request.into_body().collect().await?.to_bytes().len();
    Ok(Response::new(Full::from(format!("{name} {method} {version:?} {sent}"))))
}

fn name() -> PortName {
    PortName { namespace: "ns".into(), service: "web".into(), port: "http".into(), protocol: Transport::Tcp }
}

fn bind(_: &PortName) -> std::io::Result<StdListener> {
    StdListener::bind("127.0.0.1:0")
}

async fn set(proxy: &Proxy, protocol: Protocol, endpoints: Vec<Endpoint>) -> SocketAddr {
    let backends = Backends { protocol, endpoints, affinity: false };
    proxy.apply(vec![(name(), Some(backends))], bind).await.unwrap();
    proxy.addresses()[&name()]
}

fn proxy() -> Proxy {
    Proxy::new(Workers::start(2).unwrap())
}

type Client = http1::SendRequest<Full<Bytes>>;

async fn client(at: SocketAddr) -> Client {
    let (sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(at).await.unwrap())).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

fn get() -> Request<Full<Bytes>> {
    Request::builder().uri("/").header("host", "web").body(Full::default()).unwrap()
}

async fn body(response: Response<Incoming>) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Who answered how many of these requests on one connection.
async fn ask(client: &mut Client, times: usize) -> BTreeMap<String, usize> {
    let mut answered = BTreeMap::new();
    for _ in 0..times {
        client.ready().await.unwrap();
        let text = body(client.send_request(get()).await.unwrap()).await;
        *answered.entry(text.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    answered
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balances_requests_and_leaves_pods_that_drain() {
    let (a, b, proxy) = (Pod::start("a").await, Pod::start("b").await, proxy());
    let at = set(&proxy, Protocol::Http, vec![a.endpoint(true), b.endpoint(true)]).await;
    let mut client = client(at).await;
    assert_eq!(ask(&mut client, 20).await, BTreeMap::from([("a".into(), 10), ("b".into(), 10)]));
    assert_eq!(set(&proxy, Protocol::Http, vec![a.endpoint(false), b.endpoint(true)]).await, at, "the port stays");
    assert_eq!(ask(&mut client, 20).await, BTreeMap::from([("b".into(), 20)]), "on the same connection");
    until("connections kept to a are closed", || a.open.load(Ordering::SeqCst) == 0).await;
    set(&proxy, Protocol::Http, vec![a.endpoint(false), endpoint(b.at, false)]).await;
    assert_eq!(ask(&mut client, 20).await.len(), 2, "nobody is ready: those that terminate answer");
    set(&proxy, Protocol::Http, Vec::new()).await;
    client.ready().await.unwrap();
    let response = client.send_request(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_refuses_or_hangs_up_fails_no_request() {
    let (a, proxy) = (Pod::start("a").await, proxy());
    let dead = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Answers once, says that it keeps the connection, and closes it.
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude_at = rude.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = rude.accept().await.unwrap();
            let mut bytes = [0; 4096];
            if stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nrude").await.unwrap();
            }
        }
    });
    let all = vec![a.endpoint(true), endpoint(dead, true), endpoint(rude_at, true)];
    let at = set(&proxy, Protocol::Http, all).await;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = client(at).await;
                ask(&mut client, 200).await
            })
        })
        .collect();
    for client in clients {
        let answered = client.await.unwrap();
        assert_eq!(answered.values().sum::<usize>(), 200);
        assert!(answered.len() == 2, "{answered:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_repeated_is_when_a_pod_dies_over_it() {
    let (a, proxy) = (Pod::start("a").await, proxy());
    let dying = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dying_at = dying.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = dying.accept().await.unwrap();
            let _read = stream.read(&mut [0; 4096]).await;
        }
    });
    let at = set(&proxy, Protocol::Http, vec![a.endpoint(true), endpoint(dying_at, true)]).await;
    let mut sender = client(at).await;
    assert_eq!(ask(&mut sender, 40).await, BTreeMap::from([("a".into(), 40)]));
    let mut refused = 0;
    for _ in 0..4 {
        sender.ready().await.unwrap();
        let post = Request::post("/").header("host", "web").body(Full::from("once")).unwrap();
        let response = sender.send_request(post).await.unwrap();
        refused += usize::from(response.status() == StatusCode::BAD_GATEWAY);
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(refused, 2, "what may not is answered for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_upgrades_and_old_clients_pass() {
    let (a, proxy) = (Pod::start("a").await, proxy());
    let at = set(&proxy, Protocol::Http, vec![a.endpoint(true)]).await;
    let mut sender = client(at).await;
    let large = Full::from(vec![7u8; 3 << 20]);
    let post = Request::post("/").header("host", "web").body(large).unwrap();
    assert_eq!(body(sender.send_request(post).await.unwrap()).await, format!("a POST HTTP/1.1 {}", 3 << 20));
    let upgrade = Request::get("/").header("host", "web").header("connection", "upgrade").header("upgrade", "echo");
    sender.ready().await.unwrap();
    let response = sender.send_request(upgrade.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["upgrade"]),
        (StatusCode::SWITCHING_PROTOCOLS, &"echo".parse().unwrap())
    );
    let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    tunnel.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    tunnel.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
    // The pod drains: the tunnel stays.
    set(&proxy, Protocol::Http, Vec::new()).await;
    tunnel.write_all(b"pong").await.unwrap();
    tunnel.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"pong");
    set(&proxy, Protocol::Http, vec![a.endpoint(true)]).await;
    let mut old = TcpStream::connect(at).await.unwrap();
    old.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    old.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.0 200 OK") && text.ends_with("a GET HTTP/1.0 0"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speaks_http2_without_tls() {
    let (a, b, proxy) = (Pod::start("a").await, Pod::start("b").await, proxy());
    let at = set(&proxy, Protocol::H2c, vec![a.endpoint(true), b.endpoint(true)]).await;
    let stream = TokioIo::new(TcpStream::connect(at).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let mut answered = BTreeMap::<String, usize>::new();
    for n in 0..20 {
        if n == 10 {
            set(&proxy, Protocol::H2c, vec![a.endpoint(false), b.endpoint(true)]).await;
        }
        let request = Request::builder().uri("http://web/").body(Full::<Bytes>::default()).unwrap();
        sender.ready().await.unwrap();
        *answered.entry(body(sender.send_request(request).await.unwrap()).await).or_default() += 1;
    }
    assert_eq!(answered, BTreeMap::from([("a GET HTTP/2.0 0".into(), 5), ("b GET HTTP/2.0 0".into(), 15)]));
    until("the connection to a is closed", || a.open.load(Ordering::SeqCst) == 0).await;
    assert_eq!(
        ask(&mut client(at).await, 4).await,
        BTreeMap::from([("b".into(), 4)]),
        "an HTTP/1 client is translated"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retires_with_an_answer_to_everybody() {
    let (a, proxy) = (Pod::start("a").await, proxy());
    let at = set(&proxy, Protocol::Http, vec![a.endpoint(true)]).await;
    let mut client = client(at).await;
    ask(&mut client, 1).await;
    let successor = proxy.listeners().await.unwrap().remove(0).1;
    let retiring = tokio::spawn(async move { proxy.retire().await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!retiring.is_finished() && !client.is_closed(), "an idle client is not cut");
    client.ready().await.unwrap();
    let response = client.send_request(get()).await.unwrap();
    assert_eq!((response.status(), &response.headers()["connection"]), (StatusCode::OK, &"close".parse().unwrap()));
    assert!(body(response).await.starts_with("a GET"));
    retiring.await.unwrap();
    let waiting = TcpStream::connect(at).await.unwrap();
    let accepted = tokio::task::spawn_blocking(move || {
        successor.set_nonblocking(false).unwrap();
        successor.accept().unwrap().1
    });
    assert_eq!(accepted.await.unwrap(), waiting.local_addr().unwrap(), "nobody else accepts any more");
}

/// A pod that says this to each request.
async fn saying(text: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(1..) = stream.read(&mut bytes).await {
                    stream.write_all(text).await.unwrap();
                }
            });
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_goes_on_to_its_pod_while_nobody_takes_the_answer() {
    // More than what sockets and buffers hold, in both directions.
    const SIZE: usize = 24 << 20;
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + SIZE, b'x');
    let answer: &'static [u8] = answer.leak();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (pod, read) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&read);
    tokio::spawn(async move {
        let (mut from, mut to) = listener.accept().await.unwrap().0.into_split();
        let mut bytes = vec![0; 64 * 1024];
        count.fetch_add(from.read(&mut bytes).await.unwrap(), Ordering::SeqCst);
        tokio::spawn(async move { to.write_all(answer).await });
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            count.fetch_add(length, Ordering::SeqCst);
        }
    });
    let proxy = proxy();
    let at = set(&proxy, Protocol::Http, vec![endpoint(pod, true)]).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: {SIZE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let sent = tokio::time::timeout(Duration::from_secs(20), client.write_all(&vec![7; SIZE])).await;
    sent.expect("the body goes on").unwrap();
    until("the pod has all of it", || read.load(Ordering::SeqCst) > SIZE).await;
    let mut got = vec![0; 12];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, b"HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_trailers_and_hints_pass_and_the_connection_is_kept() {
    let answer = b"HTTP/1.1 103 Early Hints\r\nlink: </s>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\
        trailer: sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nsum: 5\r\n\r\n";
    let (pod, proxy) = (saying(answer).await, proxy());
    let at = set(&proxy, Protocol::Http, vec![endpoint(pod, true)]).await;
    let mut client = client(at).await;
    for n in 0..5 {
        client.ready().await.unwrap();
        let request = Request::get("/").header("host", "web").header("te", "trailers").header("connection", "te");
        let response = client.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().map(|t| t["sum"].clone()), Some("5".parse().unwrap()), "{n}");
        assert_eq!(collected.to_bytes(), "abcde");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_pods_close_are_closed_here_too() {
    let (listener, closed) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(AtomicUsize::new(0)));
    let (at, count) = (listener.local_addr().unwrap(), Arc::clone(&closed));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                let _asked = stream.read(&mut bytes).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nrude").await.unwrap();
                stream.shutdown().await.unwrap();
                assert_eq!(stream.read(&mut bytes).await.unwrap(), 0);
                count.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    let proxy = proxy();
    let at = set(&proxy, Protocol::Http, vec![endpoint(at, true)]).await;
    assert_eq!(ask(&mut client(at).await, 1).await.len(), 1);
    until("nobody asks again, and it is closed", || closed.load(Ordering::SeqCst) == 1).await;
}

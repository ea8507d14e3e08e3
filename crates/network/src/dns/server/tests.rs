//! Over sockets on loopback: what `dig` says, and a resolver of the test's own to forward to.
use super::super::zone::Record;
use super::*;
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record as Row};
use std::net::{Ipv4Addr, SocketAddr};

/// A resolver that knows one answer for every name, or so many that they need TCP.
async fn resolver(rows: u8) -> SocketAddr {
    let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = datagrams.local_addr().unwrap();
    let listener = TcpListener::bind(at).await.unwrap();
    let reply = move |bytes: &[u8], truncated: bool| {
        let question = Message::from_vec(bytes).unwrap();
        let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
        answer.metadata.truncation = truncated;
        let name = question.queries[0].name().clone();
        answer.add_query(question.queries[0].clone());
        for n in 0..if truncated { 0 } else { rows } {
            answer.add_answer(Row::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::new(192, 0, 2, n)))));
        }
        answer.to_vec().unwrap()
    };
    tokio::spawn(async move {
        let mut bytes = [0; 512];
        loop {
            let (length, from) = datagrams.recv_from(&mut bytes).await.unwrap();
            datagrams.send_to(&reply(&bytes[..length], rows > 10), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut bytes).await.unwrap();
            let answer = reply(&bytes, false);
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    at
}

struct Lab {
    _serving: Server<DnsServer>,
    at: SocketAddr,
}

async fn serve(resolvers: Vec<SocketAddr>) -> Lab {
    let scope = Scope { domain: "cluster.local".into(), ranges: Vec::new() };
    let dns = DnsServer::new(scope, Forwarder::new(resolvers));
    let service =
        |name: &str, record| Change::Service { namespace: "ns".into(), name: name.into(), record: Some(record) };
    let many = (1..=200).map(|n| super::super::zone::Endpoint {
        address: Ipv4Addr::new(10, 1, 0, n).into(),
        hostname: None,
        ports: Vec::new(),
    });
    let addresses = vec!["10.96.0.7".parse().unwrap()];
    let web = Record::Cluster { addresses, ports: Vec::new(), endpoints: Vec::new() };
    dns.apply(vec![
        service("web", web),
        service("many", Record::Headless { endpoints: many.collect() }),
        service("out", Record::External { name: "example.org".into() }),
    ]);
    let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = datagrams.local_addr().unwrap();
    let listener = TcpListener::bind(at).await.unwrap();
    Lab { _serving: dns.serve(vec![datagrams], vec![listener]), at }
}

/// `dig` of Debian's bind9-dnsutils.
async fn dig(lab: &Lab, args: &[&str]) -> String {
    let (at, port) = (format!("@{}", lab.at.ip()), lab.at.port().to_string());
    let output =
        tokio::process::Command::new("dig").args([&at, "-p", &port]).args(args).output().await.expect("dig is needed");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_is_content() {
    let lab = serve(vec![resolver(1).await]).await;
    let short = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(short(dig(&lab, &["+short", "web.ns.svc.cluster.local"]).await), "10.96.0.7");
    assert_eq!(short(dig(&lab, &["+short", "+tcp", "web.ns.svc.cluster.local"]).await), "10.96.0.7");
    assert_eq!(short(dig(&lab, &["+short", "host.example"]).await), "192.0.2.0", "forwarded");
    assert_eq!(short(dig(&lab, &["+short", "out.ns.svc.cluster.local"]).await), "example.org. 192.0.2.0");
    let missing = dig(&lab, &["nope.ns.svc.cluster.local"]).await;
    assert!(missing.contains("status: NXDOMAIN") && missing.contains("SOA"), "{missing}");
    assert!(!missing.contains("recursion requested but not available"), "{missing}");
    let text = dig(&lab, &["+short", "many.ns.svc.cluster.local"]).await;
    assert_eq!(
        text.lines().filter(|l| l.starts_with("10.1.0.")).count(),
        200,
        "too much for UDP goes over TCP: {text}"
    );
    let refused = dig(&lab, &["-c", "CH", "-t", "TXT", "version.bind"]).await;
    assert!(refused.contains("status: REFUSED"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwards_what_needs_tcp_and_refuses_without_resolvers() {
    let large = serve(vec![resolver(90).await]).await;
    let text = dig(&large, &["+short", "host.example"]).await;
    assert_eq!(text.lines().filter(|l| l.starts_with("192.0.2.")).count(), 90, "{text}");
    let alone = serve(Vec::new()).await;
    assert!(dig(&alone, &["host.example"]).await.contains("status: REFUSED"));
    assert!(dig(&alone, &["out.ns.svc.cluster.local"]).await.contains("example.org."), "the alias is true anyway");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_it_knows_the_cluster_it_denies_nothing() {
    let scope = Scope { domain: "cluster.local".into(), ranges: Vec::new() };
    let dns = DnsServer::new(scope, Forwarder::new(vec![resolver(1).await]));
    let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = datagrams.local_addr().unwrap();
    let lab = Lab { _serving: dns.serve(vec![datagrams], Vec::new()), at };
    assert!(dig(&lab, &["web.ns.svc.cluster.local"]).await.contains("status: SERVFAIL"));
    assert!(dig(&lab, &["+short", "host.example"]).await.contains("192.0.2.0"), "others are asked all the same");
    assert_eq!(dns.changes(), []);
    dns.replace(Vec::new());
    assert!(dig(&lab, &["web.ns.svc.cluster.local"]).await.contains("status: NXDOMAIN"));
}

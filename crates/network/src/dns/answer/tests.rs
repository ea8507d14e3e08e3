//! The specification as a table: question, answer.
use super::super::zone::{Change, Endpoint, Named};
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn port(name: &str, protocol: &str, port: u16) -> Port {
    Port { name: name.into(), protocol: protocol.into(), port }
}

fn scope() -> Scope {
    let range = |address: &str, length| Range { address: ip(address), length };
    Scope {
        domain: "cluster.local".into(),
        ranges: vec![range("10.1.0.0", 16), range("10.96.0.0", 12), range("fd00::", 48)],
    }
}

fn zone() -> Zone {
    let endpoint = |address: &str, hostname: Option<&str>| Endpoint {
        address: ip(address),
        hostname: hostname.map(ToOwned::to_owned),
        ports: vec![port("sql", "tcp", 3306)],
    };
    let records = [
        (
            "web",
            Record::Cluster {
                addresses: vec![ip("10.96.0.7"), ip("fd00::7")],
                ports: vec![port("http", "tcp", 80), port("", "udp", 9)],
                endpoints: vec![
                    Named { address: ip("10.1.0.7"), hostname: None },
                    Named { address: ip("10.1.0.8"), hostname: Some("web-0".into()) },
                ],
            },
        ),
        ("db", Record::Headless { endpoints: vec![endpoint("10.1.0.2", Some("db-0")), endpoint("10.1.0.3", None)] }),
        ("empty", Record::Headless { endpoints: vec![] }),
        ("out", Record::External { name: "example.org".into() }),
        ("in", Record::External { name: "web.ns.svc.cluster.local".into() }),
        ("loop", Record::External { name: "loop2.ns.svc.cluster.local".into() }),
        ("loop2", Record::External { name: "loop.ns.svc.cluster.local".into() }),
        ("self", Record::External { name: "self.ns.svc.cluster.local".into() }),
        ("far", Record::External { name: "out.ns.svc.cluster.local".into() }),
        ("address", Record::External { name: "192.0.2.1".into() }),
    ];
    let mut zone = Zone::default();
    zone.apply(Change::Namespace { name: "bare".into(), exists: true });
    for (name, record) in records {
        zone.apply(Change::Service { namespace: "ns".into(), name: name.into(), record: Some(record) });
    }
    zone
}

fn show(rows: &[Row]) -> String {
    rows.iter().map(|r| format!("{} {} {}", r.name, r.record_type(), r.data)).collect::<Vec<_>>().join("; ")
}

fn ask(zone: &Zone, name: &str, kind: RecordType) -> String {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    match answer(&scope(), zone, &name, kind) {
        Verdict::Forward => "forward".into(),
        Verdict::Alias { answers, target } => format!("{}; then {target}", show(&answers)),
        Verdict::Answer(a) if a.code == ResponseCode::NXDomain => {
            assert!(a.answers.is_empty() && a.authority.len() == 1, "an SOA says for how long");
            format!("NXDOMAIN of {}", a.authority[0].name)
        }
        Verdict::Answer(a) if a.answers.is_empty() => {
            assert_eq!((a.code, a.authority.len()), (ResponseCode::NoError, 1));
            "no data".into()
        }
        Verdict::Answer(a) => {
            assert_eq!(a.code, ResponseCode::NoError);
            let extra = if a.additional.is_empty() { String::new() } else { format!(" + {}", show(&a.additional)) };
            format!("{}{extra}", show(&a.answers))
        }
    }
}

#[test]
fn names_forwards() {
    use RecordType as T;
    let zone = zone();
    let table = [
        ("web.ns.svc.cluster.local", T::A, "web.ns.svc.cluster.local. A 10.96.0.7"),
        ("WEB.ns.svc.Cluster.LOCAL", T::A, "WEB.ns.svc.Cluster.LOCAL. A 10.96.0.7"),
        ("web.ns.svc.cluster.local", T::AAAA, "web.ns.svc.cluster.local. AAAA fd00::7"),
        ("web.ns.svc.cluster.local", T::TXT, "no data"),
        ("x.web.ns.svc.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("10-1-0-7.web.ns.svc.cluster.local", T::A, "10-1-0-7.web.ns.svc.cluster.local. A 10.1.0.7"),
        ("web-0.web.ns.svc.cluster.local", T::A, "web-0.web.ns.svc.cluster.local. A 10.1.0.8"),
        ("10-1-0-8.web.ns.svc.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("nope.ns.svc.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("web.other.svc.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("db.ns.svc.cluster.local", T::A, "db.ns.svc.cluster.local. A 10.1.0.2; db.ns.svc.cluster.local. A 10.1.0.3"),
        ("db.ns.svc.cluster.local", T::AAAA, "no data"),
        ("db-0.db.ns.svc.cluster.local", T::A, "db-0.db.ns.svc.cluster.local. A 10.1.0.2"),
        ("10-1-0-3.db.ns.svc.cluster.local", T::A, "10-1-0-3.db.ns.svc.cluster.local. A 10.1.0.3"),
        ("10-1-0-2.db.ns.svc.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("empty.ns.svc.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("out.ns.svc.cluster.local", T::A, "out.ns.svc.cluster.local. CNAME example.org.; then example.org."),
        ("out.ns.svc.cluster.local", T::CNAME, "out.ns.svc.cluster.local. CNAME example.org."),
        (
            "in.ns.svc.cluster.local",
            T::A,
            "in.ns.svc.cluster.local. CNAME web.ns.svc.cluster.local.; web.ns.svc.cluster.local. A 10.96.0.7",
        ),
        (
            "far.ns.svc.cluster.local",
            T::A,
            "far.ns.svc.cluster.local. CNAME out.ns.svc.cluster.local.; out.ns.svc.cluster.local. CNAME example.org.; then example.org.",
        ),
        ("address.ns.svc.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("self.ns.svc.cluster.local", T::CNAME, "self.ns.svc.cluster.local. CNAME self.ns.svc.cluster.local."),
        ("x.out.ns.svc.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("ns.svc.cluster.local", T::A, "no data"),
        ("bare.svc.cluster.local", T::A, "no data"),
        ("nope.svc.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("svc.cluster.local", T::A, "no data"),
        ("cluster.local", T::A, "no data"),
        ("dns-version.cluster.local", T::TXT, "dns-version.cluster.local. TXT 1.1.0"),
        ("10-1-2-3.ns.pod.cluster.local", T::A, "10-1-2-3.ns.pod.cluster.local. A 10.1.2.3"),
        ("fd00--12.bare.pod.cluster.local", T::AAAA, "fd00--12.bare.pod.cluster.local. AAAA fd00::12"),
        ("10-1-2-3.nope.pod.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("web.bare.pod.cluster.local", T::A, "NXDOMAIN of cluster.local."),
        ("example.org", T::A, "forward"),
        ("notcluster.local", T::A, "forward"),
        ("web", T::A, "forward"),
    ];
    for (name, kind, expected) in table {
        assert_eq!(ask(&zone, name, kind), expected, "{name} {kind}");
    }
    assert!(
        ask(&zone, "cluster.local", T::SOA)
            .starts_with("cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local.")
    );
}

#[test]
fn aliases_in_a_circle_come_to_an_end() {
    for name in ["self", "loop"] {
        let said = ask(&zone(), &format!("{name}.ns.svc.cluster.local"), RecordType::A);
        assert_eq!(said.matches("CNAME").count(), ALIASES + 1, "{said}");
    }
}

#[test]
fn ports() {
    let zone = zone();
    let table = [
        (
            "_http._tcp.web.ns.svc.cluster.local",
            "_http._tcp.web.ns.svc.cluster.local. SRV 0 100 80 web.ns.svc.cluster.local. + web.ns.svc.cluster.local. A 10.96.0.7; web.ns.svc.cluster.local. AAAA fd00::7",
        ),
        ("_http._udp.web.ns.svc.cluster.local", "NXDOMAIN of cluster.local."),
        (
            "_sql._tcp.db.ns.svc.cluster.local",
            "_sql._tcp.db.ns.svc.cluster.local. SRV 0 50 3306 db-0.db.ns.svc.cluster.local.; _sql._tcp.db.ns.svc.cluster.local. SRV 0 50 3306 10-1-0-3.db.ns.svc.cluster.local. + db-0.db.ns.svc.cluster.local. A 10.1.0.2; 10-1-0-3.db.ns.svc.cluster.local. A 10.1.0.3",
        ),
        ("_sql._tcp.empty.ns.svc.cluster.local", "NXDOMAIN of cluster.local."),
        ("_tcp.db.ns.svc.cluster.local", "no data"),
        ("sql.tcp.db.ns.svc.cluster.local", "NXDOMAIN of cluster.local."),
    ];
    for (name, expected) in table {
        assert_eq!(ask(&zone, name, RecordType::SRV), expected, "{name}");
    }
}

#[test]
fn names_backwards() {
    let mut zone = zone();
    let ptr = |zone: &Zone, name: &str| ask(zone, name, RecordType::PTR);
    assert_eq!(ptr(&zone, "7.0.96.10.in-addr.arpa"), "7.0.96.10.in-addr.arpa. PTR web.ns.svc.cluster.local.");
    assert_eq!(ptr(&zone, "2.0.1.10.in-addr.arpa"), "2.0.1.10.in-addr.arpa. PTR db-0.db.ns.svc.cluster.local.");
    assert_eq!(ptr(&zone, "8.0.1.10.in-addr.arpa"), "8.0.1.10.in-addr.arpa. PTR web-0.web.ns.svc.cluster.local.");
    let unnamed = ptr(&zone, "7.0.1.10.in-addr.arpa");
    assert_eq!(unnamed, "NXDOMAIN of 1.10.in-addr.arpa.", "a name made of an address tells nobody anything");
    assert_eq!(ptr(&zone, "9.9.1.10.in-addr.arpa"), "NXDOMAIN of 1.10.in-addr.arpa.", "at once, by nobody else");
    assert_eq!(ptr(&zone, "1.2.0.192.in-addr.arpa"), "forward");
    assert_eq!(ptr(&zone, "0.96.10.in-addr.arpa"), "forward", "not an address");
    let v6 = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    assert_eq!(ptr(&zone, v6), format!("{v6}. PTR web.ns.svc.cluster.local."));
    zone.apply(Change::Service { namespace: "ns".into(), name: "web".into(), record: None });
    assert_eq!(ptr(&zone, "7.0.96.10.in-addr.arpa"), "NXDOMAIN of 10.in-addr.arpa.");
    let mut copy = Zone::default();
    zone.changes().into_iter().for_each(|c| copy.apply(c));
    assert_eq!(copy, zone, "its changes make it again");
}

proptest::proptest! {
    #[test]
    fn any_name_is_survived(labels in proptest::collection::vec("[a-z0-9_-]{1,8}", 0..6), end in 0usize..4) {
        let end: &[&str] = [&["svc", "cluster", "local"][..], &["pod", "cluster", "local"], &["in-addr", "arpa"], &["ip6", "arpa"]][end];
        let labels: Vec<&str> = labels.iter().map(String::as_str).chain(end.iter().copied()).collect();
        let name = Name::from_labels(labels.iter().map(|l| l.as_bytes())).unwrap();
        let _verdict = answer(&scope(), &zone(), &name, RecordType::SRV);
    }
}

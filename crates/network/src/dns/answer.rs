//! One question, one answer. Pure.
use super::zone::{Port, Record, Zone};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record as Row, RecordType};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Seconds that answers may be kept (CoreDNS' default): what has moved is found again soon.
pub const TTL: u32 = 5;
/// Aliases that are followed, one to the next (CoreDNS follows as many); then the last of them is the answer.
const ALIASES: usize = 8;
/// The version of the specification, under `dns-version`.
const VERSION: &str = "1.1.0";

/// What is answered here at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// `cluster.local`
    pub domain: String,
    /// Addresses of pods and Services: what is asked about them backwards is answered here, "no such name" included, because
    /// whoever asks (a database at every login) waits for it.
    pub ranges: Vec<Range>,
}

/// `10.1.0.0/16`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Range {
    pub address: IpAddr,
    pub length: u8,
}

impl Range {
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |a: IpAddr| match a {
            IpAddr::V4(a) => (u128::from(u32::from(a)) << 96, 32),
            IpAddr::V6(a) => (u128::from(a), 128),
        };
        let ((own, width), (other, other_width)) = (bits(self.address), bits(address));
        let host = 128u32.saturating_sub(u32::from(self.length.min(width)));
        width == other_width && own.checked_shr(host) == other.checked_shr(host)
    }
}

/// What a question comes to.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Answer(Answer),
    /// An alias that leads out of the cluster: `answers`, and whatever the machine's resolvers know of `target`.
    Alias {
        answers: Vec<Row>,
        target: Name,
    },
    /// Not ours.
    Forward,
}

#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    pub code: ResponseCode,
    pub answers: Vec<Row>,
    /// The SOA record of a negative answer (RFC 2308).
    pub authority: Vec<Row>,
    pub additional: Vec<Row>,
}

/// One question about one zone.
struct Asked<'a> {
    scope: &'a Scope,
    zone: &'a Zone,
    name: &'a Name,
    kind: RecordType,
    /// Aliases that led here, and that may still be followed.
    aliases: usize,
}

pub fn answer(scope: &Scope, zone: &Zone, name: &Name, kind: RecordType) -> Verdict {
    resolve(Asked { scope, zone, name, kind, aliases: ALIASES })
}

fn resolve(asked: Asked<'_>) -> Verdict {
    let (scope, name) = (asked.scope, asked.name);
    let labels: Vec<String> = name.iter().map(|l| String::from_utf8_lossy(l).to_ascii_lowercase()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    if let Some(address) = backwards(&labels) {
        let range = scope.ranges.iter().find(|r| r.contains(address));
        return range.map_or(Verdict::Forward, |range| asked.reverse(address, *range));
    }
    let domain: Vec<&str> = scope.domain.trim_matches('.').split('.').collect();
    match labels.strip_suffix(domain.as_slice()) {
        Some(own) => asked.forward(own),
        None => Verdict::Forward,
    }
}

/// The address of a name below `in-addr.arpa` or `ip6.arpa`.
fn backwards(labels: &[&str]) -> Option<IpAddr> {
    if let Some(octets) = labels.strip_suffix(&["in-addr", "arpa"]) {
        let octets: Vec<u8> = octets.iter().rev().map(|o| o.parse().ok()).collect::<Option<_>>()?;
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into());
    }
    let digits = labels.strip_suffix(&["ip6", "arpa"])?;
    let one = |d: &&str| if d.len() == 1 { u128::from_str_radix(d, 16).ok() } else { None };
    let digits: Vec<u128> = digits.iter().rev().map(one).collect::<Option<_>>()?;
    (digits.len() == 32).then(|| Ipv6Addr::from(digits.iter().fold(0, |all, d| all << 4 | d)).into())
}

impl Asked<'_> {
    fn forward(&self, own: &[&str]) -> Verdict {
        match own {
            [] => self.apex(),
            ["dns-version"] => self.rows(vec![RData::TXT(TXT::new(vec![VERSION.to_owned()]))]),
            ["svc" | "pod" | "dns"] | ["ns", "dns"] => self.rows(Vec::new()),
            [namespace, "svc" | "pod"] if self.zone.has_namespace(namespace) => self.rows(Vec::new()),
            [dashed, namespace, "pod"] => self.pod(dashed, namespace),
            [service, namespace, "svc"] => self.service(service, namespace),
            [protocol, service, namespace, "svc"] if protocol.starts_with('_') => {
                if self.zone.get(namespace, service).is_some() { self.rows(Vec::new()) } else { self.nothing() }
            }
            [host, service, namespace, "svc"] => self.endpoint(host, service, namespace),
            [port, protocol, service, namespace, "svc"] => match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                (Some(port), Some(protocol)) => self.port(port, protocol, service, namespace),
                _ => self.nothing(),
            },
            _ => self.nothing(),
        }
    }

    fn apex(&self) -> Verdict {
        match self.kind {
            RecordType::SOA => Verdict::Answer(Answer { answers: vec![self.soa(self.domain())], ..Answer::default() }),
            RecordType::NS => self.rows(vec![RData::NS(NS(self.below(&["ns", "dns"])))]),
            _ => self.rows(Vec::new()),
        }
    }

    /// `1-2-3-4.NAMESPACE.pod`: the address that the name says, whether there is such a pod or not (CoreDNS' `pods insecure`,
    /// which kubeadm sets).
    fn pod(&self, dashed: &str, namespace: &str) -> Verdict {
        let address: Option<IpAddr> = match dashed.replace('-', ".").parse::<Ipv4Addr>() {
            Ok(address) => Some(address.into()),
            Err(_) => dashed.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::from),
        };
        match address.filter(|_| self.zone.has_namespace(namespace)) {
            Some(address) => self.rows(vec![data(address)]),
            None => self.nothing(),
        }
    }

    fn service(&self, service: &str, namespace: &str) -> Verdict {
        match self.zone.get(namespace, service) {
            None => self.nothing(),
            Some(Record::External { name }) => self.alias(name),
            Some(Record::Headless { endpoints }) if endpoints.is_empty() => self.nothing(),
            Some(record) if self.kind == RecordType::SRV => self.srv(record, service, namespace, |_| true),
            Some(Record::Cluster { addresses, .. }) => self.rows(addresses.iter().copied().map(data).collect()),
            Some(Record::Headless { endpoints }) => self.rows(endpoints.iter().map(|e| data(e.address)).collect()),
        }
    }

    fn endpoint(&self, host: &str, service: &str, namespace: &str) -> Verdict {
        let own = self.zone.endpoints(namespace, service, host);
        if own.is_empty() { self.nothing() } else { self.rows(own.into_iter().map(data).collect()) }
    }

    fn port(&self, name: &str, protocol: &str, service: &str, namespace: &str) -> Verdict {
        match self.zone.get(namespace, service) {
            Some(Record::External { name }) => self.alias(name),
            Some(record) => self.srv(record, service, namespace, |p| p.name == name && p.protocol == protocol),
            None => self.nothing(),
        }
    }

    fn srv(&self, record: &Record, service: &str, namespace: &str, wanted: impl Fn(&Port) -> bool) -> Verdict {
        let own = self.below(&[service, namespace, "svc"]);
        let mut found: Vec<(u16, Name, Vec<IpAddr>)> = Vec::new();
        match record {
            Record::Cluster { addresses, ports, .. } => {
                found.extend(ports.iter().filter(|p| wanted(p)).map(|p| (p.port, own.clone(), addresses.clone())));
            }
            Record::Headless { endpoints } => {
                for endpoint in endpoints {
                    let target = self.below(&[&endpoint.label(), service, namespace, "svc"]);
                    let ports = endpoint.ports.iter().filter(|p| wanted(p));
                    found.extend(ports.map(|p| (p.port, target.clone(), vec![endpoint.address])));
                }
            }
            Record::External { .. } => {}
        }
        if found.is_empty() {
            return self.nothing();
        }
        if self.kind != RecordType::SRV {
            return self.rows(Vec::new());
        }
        // Evenly, as CoreDNS does.
        let weight = u16::try_from(100 / found.len().max(1)).unwrap_or(0).max(1);
        let mut answer = Answer::default();
        for (port, target, addresses) in found {
            for address in addresses {
                let row = Row::from_rdata(target.clone(), TTL, data(address));
                if !answer.additional.contains(&row) {
                    answer.additional.push(row);
                }
            }
            answer.answers.push(self.row(RData::SRV(SRV::new(0, weight, port, target))));
        }
        Verdict::Answer(answer)
    }

    /// What looks like an address is no name (`ExternalName` is not for addresses).
    fn alias(&self, to: &str) -> Verdict {
        let Ok(mut target) = Name::from_ascii(to) else { return self.nothing() };
        if to.trim_end_matches('.').parse::<IpAddr>().is_ok() {
            return self.nothing();
        }
        target.set_fqdn(true);
        let answers = vec![self.row(RData::CNAME(CNAME(target.clone())))];
        let left = self.aliases.checked_sub(1);
        let (false, Some(aliases)) = (self.kind == RecordType::CNAME, left) else {
            return Verdict::Answer(Answer { answers, ..Answer::default() });
        };
        // Into the cluster again: answered at once. Aliases in a circle come to an end.
        match resolve(Asked { name: &target, aliases, ..*self }) {
            Verdict::Answer(mut inner) => {
                inner.answers.splice(0..0, answers);
                Verdict::Answer(inner)
            }
            Verdict::Alias { answers: inner, target } => {
                Verdict::Alias { answers: answers.into_iter().chain(inner).collect(), target }
            }
            Verdict::Forward => Verdict::Alias { answers, target },
        }
    }

    fn reverse(&self, address: IpAddr, range: Range) -> Verdict {
        let names = self.zone.owners(address).map(|o| {
            let labels = [o.service.as_str(), o.namespace.as_str(), "svc"];
            let endpoint = o.endpoint.as_deref();
            let labels: Vec<&str> = endpoint.into_iter().chain(labels).collect();
            RData::PTR(PTR(self.below(&labels)))
        });
        let rows: Vec<RData> = names.collect();
        if rows.is_empty() {
            let soa = vec![self.soa(reverse_zone(range))];
            return Verdict::Answer(Answer { code: ResponseCode::NXDomain, authority: soa, ..Answer::default() });
        }
        self.rows(rows)
    }

    /// Those of the asked type; the name exists even if there are none.
    fn rows(&self, rows: Vec<RData>) -> Verdict {
        let wanted = |d: &RData| self.kind == RecordType::ANY || d.record_type() == self.kind;
        let answers: Vec<Row> = rows.into_iter().filter(wanted).map(|d| self.row(d)).collect();
        let authority = if answers.is_empty() { vec![self.soa(self.domain())] } else { Vec::new() };
        Verdict::Answer(Answer { answers, authority, ..Answer::default() })
    }

    fn nothing(&self) -> Verdict {
        let authority = vec![self.soa(self.domain())];
        Verdict::Answer(Answer { code: ResponseCode::NXDomain, authority, ..Answer::default() })
    }

    fn row(&self, data: RData) -> Row {
        Row::from_rdata(self.name.clone(), TTL, data)
    }

    fn domain(&self) -> Name {
        let mut domain = Name::from_ascii(&self.scope.domain).unwrap_or_else(|_| Name::root());
        domain.set_fqdn(true);
        domain
    }

    fn below(&self, labels: &[&str]) -> Name {
        let own = Name::from_labels(labels.iter().map(|l| l.as_bytes())).unwrap_or_else(|_| Name::root());
        own.append_domain(&self.domain()).unwrap_or_else(|_| Name::root())
    }

    /// Times as CoreDNS gives them; the last is how long "no such name" may be kept.
    fn soa(&self, zone: Name) -> Row {
        let soa = SOA::new(self.below(&["ns", "dns"]), self.below(&["hostmaster"]), 1, 7_200, 1_800, 86_400, TTL);
        Row::from_rdata(zone, TTL, RData::SOA(soa))
    }
}

fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(a) => RData::A(A(a)),
        IpAddr::V6(a) => RData::AAAA(AAAA(a)),
    }
}

/// Where the zone of a range begins: at its last whole octet (or hexadecimal digit).
fn reverse_zone(range: Range) -> Name {
    let length = usize::from(range.length);
    let (mut labels, end): (Vec<String>, &[&str]) = match range.address {
        IpAddr::V4(a) => (a.octets().iter().take(length / 8).map(u8::to_string).collect(), &["in-addr", "arpa"]),
        IpAddr::V6(a) => {
            let digits = a.octets().iter().flat_map(|o| [o >> 4, o & 15]).take(length / 4).collect::<Vec<_>>();
            (digits.iter().map(|d| format!("{d:x}")).collect(), &["ip6", "arpa"])
        }
    };
    labels.reverse();
    labels.extend(end.iter().map(|l| (*l).to_owned()));
    let mut name = Name::from_labels(labels.iter().map(|l| l.as_bytes())).unwrap_or_else(|_| Name::root());
    name.set_fqdn(true);
    name
}

#[cfg(test)]
mod tests;

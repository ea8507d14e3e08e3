//! Finding free ports and address ranges, so that several clusters live side by side without being told how.
use anyhow::{Context, Result, bail};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// The port people expect of a Kubernetes API.
const PREFERRED: u16 = 6443;

/// Ports for the next clusters: below those that the kernel gives to clients, so that no connection of somebody else (nor a
/// client's own, connected to itself while the server is away) sits on them, and beside the range of node ports.
const OTHERS: std::ops::Range<u16> = 20_000..30_000;

/// How long the port of a cluster is waited for: a server that is just ending may still hold it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Listens on loopback where `wanted` says, or, with 0, on the preferred port or any free one. The caller keeps what it gets, so
/// nobody comes in between.
pub async fn listen(wanted: u16) -> Result<TcpListener> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if wanted == 0 {
        if let Ok(listener) = bind(PREFERRED).await {
            return Ok(listener);
        }
        for _ in 0..100 {
            if let Ok(listener) = bind(rand::random_range(OTHERS)).await {
                return Ok(listener);
            }
        }
        bail!("no free port on loopback: choose one with isopod up --api-port");
    }
    let end = Instant::now() + PATIENCE;
    loop {
        match bind(wanted).await {
            Ok(listener) => return Ok(listener),
            Err(e) if e.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(e) if e.kind() == ErrorKind::AddrInUse => {
                bail!("port {wanted} is taken: choose another with isopod up --api-port")
            }
            Err(e) => return Err(e).with_context(|| format!("cannot listen on port {wanted}")),
        }
    }
}

/// The same port on another address of this machine. An address that was just given to a link is bound once the kernel is ready.
pub async fn listen_at(address: Ipv4Addr, port: u16) -> Result<TcpListener> {
    TcpListener::bind((address, port)).await.with_context(|| format!("cannot listen on {address}:{port}"))
}

/// An IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub base: u32,
    pub bits: u8,
}

impl Cidr {
    fn mask(self) -> u32 {
        if self.bits == 0 { 0 } else { u32::MAX << (32 - u32::from(self.bits.min(32))) }
    }
    /// The `n`-th address of the range; the first Service address is the API's own.
    pub fn address(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from((self.base & self.mask()).wrapping_add(n))
    }
    fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        self.base & mask == other.base & mask
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

impl std::str::FromStr for Cidr {
    type Err = anyhow::Error;
    fn from_str(s: &str) -> Result<Self> {
        let (address, bits) = s.split_once('/').with_context(|| format!("{s:?} is not a range like 10.96.0.0/16"))?;
        let base: Ipv4Addr = address.parse().with_context(|| format!("{s:?} is not a range like 10.96.0.0/16"))?;
        let bits: u8 = bits.parse().with_context(|| format!("{s:?} is not a range like 10.96.0.0/16"))?;
        if bits > 32 {
            bail!("{s:?} has more than 32 bits");
        }
        let cidr = Self { base: u32::from(base), bits };
        Ok(Self { base: cidr.base & cidr.mask(), bits })
    }
}

/// Ranges that routes of this machine already use; a default route uses none.
pub fn routed() -> Result<Vec<Cidr>> {
    match std::fs::read_to_string("/proc/net/route") {
        Ok(text) => Ok(parse_routes(&text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).context("cannot read /proc/net/route"),
    }
}

/// `/proc/net/route`: hexadecimal, in the byte order of the machine.
fn parse_routes(text: &str) -> Vec<Cidr> {
    let hex = |s: &str| u32::from_str_radix(s, 16).ok().map(|n| u32::from_be_bytes(n.to_ne_bytes()));
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (base, mask) = (hex(columns.get(1)?)?, hex(columns.get(7)?)?);
            let bits = u8::try_from(mask.count_ones()).ok()?;
            (bits > 0).then_some(Cidr { base, bits })
        })
        .collect()
}

/// The first pair of /16 ranges, for Services and for pods, that overlaps nothing that is `used`.
pub fn free_ranges(used: &[Cidr]) -> Result<(Cidr, Cidr)> {
    let free = |base: [u8; 4]| {
        let cidr = Cidr { base: u32::from_be_bytes(base), bits: 16 };
        (!used.iter().any(|u| u.overlaps(cidr))).then_some(cidr)
    };
    // 10.96/16 and 10.244/16 are what Kubernetes' own tools use; the next clusters count on from there.
    let services = (96..=127).find_map(|n| free([10, n, 0, 0]));
    let pods = (244..=254).chain(128..=243).find_map(|n| free([10, n, 0, 0]));
    match (services, pods) {
        (Some(s), Some(p)) => Ok((s, p)),
        _ => bail!("no free address range in 10.96.0.0-10.254.0.0: choose with --service-cidr and --pod-cidr"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_use_are_passed_over() {
        let text = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                    eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n\
                    b0 0000600A 00000000 0001 0 0 0 0000FFFF 0 0 0\n\
                    v1 0500F40A 00000000 0005 0 0 0 FFFFFFFF 0 0 0\n";
        let used = parse_routes(text);
        assert_eq!(used.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.96.0.0/16", "10.244.0.5/32"]);
        let (services, pods) = free_ranges(&used).unwrap();
        assert_eq!((services.to_string(), pods.to_string()), ("10.97.0.0/16".into(), "10.245.0.0/16".into()));
    }

    #[test]
    fn a_full_house_is_said() {
        let all = ["10.0.0.0/8".parse().unwrap()];
        assert!(free_ranges(&all).unwrap_err().to_string().contains("--service-cidr"));
    }

    #[tokio::test]
    async fn a_wanted_port_that_is_taken_is_named_and_many_find_one_each() {
        let first = listen(0).await.unwrap();
        let second = listen(0).await.unwrap();
        let port = first.local_addr().unwrap().port();
        assert_ne!(port, second.local_addr().unwrap().port());
        let refused = listen(port).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("port {port} is taken")), "{refused}");
    }
}

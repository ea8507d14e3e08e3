//! Cluster IPs and node ports: who holds which, decided by the same transaction that writes the Service.
//!
//! Every address and port a Service holds is a key of the store (`/registry/claims/ip/10.96.0.7`) whose value is the Service's key.
//! Creating, changing and deleting a Service compares and writes these keys together with the object, so an address is never
//! held twice nor leaked, whoever crashes, and however many API servers share the store. (Kubernetes keeps bitmaps or IPAddress
//! objects beside the Service and repairs them in a loop: `pkg/registry/core/service/storage/alloc.go`.)
use crate::registry::{Extra, Hooks, store_error};
use async_trait::async_trait;
use isopod_api::catalogue::Object;
use isopod_api::field::{Error, Errors, Path};
use isopod_api::k8s::api::core::v1::{Service, ServicePort};
use isopod_api::kinds::service::{families, linked, plausible};
use isopod_api::status::{ApiError, Named};
use isopod_store::{Compare, Op, Store};
use rand::Rng;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

const IPS: &str = "/registry/claims/ip/";
const PORTS: &str = "/registry/claims/nodeport/";
/// How many random picks before the range is walked from one end to the other.
const RANDOM_TRIES: usize = 16;

/// The ranges addresses and ports are taken from.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// First address and prefix length; the network address, the API's own (`.1`) and the broadcast address are never given out.
    pub service_base: Ipv4Addr,
    pub service_bits: u8,
    pub node_ports: RangeInclusive<u16>,
}

impl Ranges {
    fn size(&self) -> u32 {
        1u32.checked_shl(32 - u32::from(self.service_bits.min(32))).unwrap_or(u32::MAX)
    }
    fn base(&self) -> u32 {
        let bits = u32::from(self.service_bits.min(32));
        u32::from(self.service_base) & if bits == 0 { 0 } else { u32::MAX << (32 - bits) }
    }
    /// Offsets that may be given out: `1` is the API's own and only taken by asking for it.
    fn offsets(&self) -> RangeInclusive<u32> {
        2..=self.size().saturating_sub(2)
    }
    fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base().wrapping_add(offset))
    }
    fn holds(&self, ip: Ipv4Addr) -> bool {
        let offset = u32::from(ip).wrapping_sub(self.base());
        offset >= 1 && offset <= self.size().saturating_sub(2)
    }
    /// Where addresses nobody asked for by number are looked for first: above a band at the start that is left to those who do
    /// (KEP-3070: `min(max(16, size/16), 256)`).
    fn upper(&self) -> RangeInclusive<u32> {
        let band = (self.size() / 16).clamp(16, 256);
        let all = self.offsets();
        if band < *all.end() { band..=*all.end() } else { all }
    }
    fn upper_ports(&self) -> RangeInclusive<u16> {
        // KEP-3668: the lower `min(max(16, size/32), 128)` node ports are left to those who ask by number.
        let size = self.node_ports.end().saturating_sub(*self.node_ports.start());
        let band = (size / 32).clamp(16, 128);
        if band < size {
            self.node_ports.start().saturating_add(band)..=*self.node_ports.end()
        } else {
            self.node_ports.clone()
        }
    }
}

/// Gives Services their addresses and ports.
pub struct Allocator {
    ranges: Ranges,
    store: Arc<dyn Store>,
}

impl Allocator {
    pub fn new(ranges: Ranges, store: Arc<dyn Store>) -> Self {
        Self { ranges, store }
    }

    /// Fills in what the Service leaves to the cluster and checks what it asks for. `old` is what the key held before.
    /// The claims are in [`extra`], made from the same two objects; a conflict there means that somebody was faster: call again.
    pub async fn allocate(&self, service: &mut Service, old: Option<&Service>) -> Result<Errors, isopod_store::Error> {
        let held = old.map(claims).unwrap_or_default();
        let mut errors = self.allocate_ip(service, &held).await?;
        errors.extend(self.allocate_ports(service, &held).await?);
        Ok(errors)
    }

    async fn free(&self, key: &str, held: &Claims) -> Result<bool, isopod_store::Error> {
        Ok(held.contains_key(key) || self.store.get(key).await?.is_none())
    }

    async fn allocate_ip(&self, service: &mut Service, held: &Claims) -> Result<Errors, isopod_store::Error> {
        let Some(spec) = service.spec.as_mut() else { return Ok(Errors::new()) };
        if !linked::needs_cluster_ip(spec) || spec.cluster_ip.as_deref() == Some("None") {
            return Ok(Errors::new());
        }
        let path = Path::new("spec").child("clusterIPs");
        if let Some(wanted) = spec.cluster_ip.clone().filter(|ip| !ip.is_empty()) {
            let bad =
                |why: String| vec![Error::invalid(&path, [&wanted], format!("failed to allocate IP {wanted}: {why}"))];
            let Ok(ip) = wanted.parse::<Ipv4Addr>() else { return Ok(Errors::new()) }; // validation has its words
            if !self.ranges.holds(ip) {
                let range = format!("{}/{}", self.ranges.at(0), self.ranges.service_bits);
                return Ok(bad(format!(
                    "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
                )));
            }
            if !self.free(&format!("{IPS}{ip}"), held).await? {
                return Ok(bad("provided IP is already allocated".into()));
            }
            spec.cluster_ips.get_or_insert_with(|| vec![wanted]);
            return Ok(Errors::new());
        }
        match self.pick_ip().await? {
            Some(ip) => {
                spec.cluster_ip = Some(ip.to_string());
                spec.cluster_ips = Some(vec![ip.to_string()]);
                Ok(Errors::new())
            }
            None => Ok(vec![Error::internal(&path, "failed to allocate a serviceIP: range is full")]),
        }
    }

    async fn pick_ip(&self) -> Result<Option<Ipv4Addr>, isopod_store::Error> {
        for _ in 0..RANDOM_TRIES {
            let ip = self.ranges.at(rand::rng().random_range(self.ranges.upper()));
            if self.store.get(&format!("{IPS}{ip}")).await?.is_none() {
                return Ok(Some(ip));
            }
        }
        let (upper, all) = (self.ranges.upper(), self.ranges.offsets());
        for offset in upper.chain(all) {
            let ip = self.ranges.at(offset);
            if self.store.get(&format!("{IPS}{ip}")).await?.is_none() {
                return Ok(Some(ip));
            }
        }
        Ok(None)
    }

    async fn allocate_ports(&self, service: &mut Service, held: &Claims) -> Result<Errors, isopod_store::Error> {
        let mut errors = Errors::new();
        let Some(spec) = service.spec.as_mut() else { return Ok(errors) };
        if !linked::needs_node_port(spec) {
            return Ok(errors);
        }
        let wants_new = linked::allocates_node_ports(spec);
        let path = Path::new("spec").child("ports");
        let mut taken: Vec<Taken> = Vec::new();
        let ports = spec.ports.get_or_insert_default();
        // Those asked for by number first: a pick must not take one of them.
        for (index, port) in ports.iter().enumerate() {
            let Some(number) = number(port) else { continue };
            let at = path.index(index).child("nodePort");
            if let Some(why) = self.refuse(number, protocol(port), held).await? {
                errors.push(Error::invalid(&at, number, why));
            }
            taken.push(Taken { number, protocol: protocol(port).to_owned(), port: port.port });
        }
        for (index, port) in ports.iter_mut().enumerate().filter(|(_, p)| wants_new && number(p).is_none()) {
            // TCP and UDP of one Service port share a node port, as `initNodePorts` does.
            let shared = taken.iter().find(|t| t.port == port.port && t.protocol != protocol(port)).map(|t| t.number);
            let picked = match shared {
                Some(n) if self.refuse(n, protocol(port), held).await?.is_none() => Some(n),
                _ => self.pick_port(protocol(port), &taken).await?,
            };
            match picked {
                Some(number) => {
                    port.node_port = Some(i32::from(number));
                    taken.push(Taken { number, protocol: protocol(port).to_owned(), port: port.port });
                }
                None => errors.push(Error::internal(
                    &path.index(index).child("nodePort"),
                    "failed to allocate a nodePort: range is full",
                )),
            }
        }
        if linked::needs_health_check(spec) {
            let at = Path::new("spec").child("healthCheckNodePort");
            match spec.health_check_node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0) {
                Some(asked) => {
                    let why = self.refuse(asked, "TCP", held).await?;
                    errors.extend(why.map(|why| Error::invalid(&at, asked, why)));
                }
                None => match self.pick_port("TCP", &taken).await? {
                    Some(port) => spec.health_check_node_port = Some(i32::from(port)),
                    None => errors.push(Error::internal(&at, "failed to allocate a nodePort: range is full")),
                },
            }
        }
        Ok(errors)
    }

    async fn refuse(&self, port: u16, protocol: &str, held: &Claims) -> Result<Option<String>, isopod_store::Error> {
        let range = &self.ranges.node_ports;
        if !range.contains(&port) {
            let valid = format!("{}-{}", range.start(), range.end());
            return Ok(Some(format!("provided port is not in the valid range. The range of valid ports is {valid}")));
        }
        let free = self.free(&port_key(port, protocol), held).await?;
        Ok((!free).then(|| "provided port is already allocated".to_owned()))
    }

    async fn pick_port(&self, protocol: &str, taken: &[Taken]) -> Result<Option<u16>, isopod_store::Error> {
        let upper = self.ranges.upper_ports();
        let random: Vec<u16> = (0..RANDOM_TRIES).map(|_| rand::rng().random_range(upper.clone())).collect();
        for port in random.into_iter().chain(upper).chain(self.ranges.node_ports.clone()) {
            if !taken.iter().any(|t| t.number == port) && self.store.get(&port_key(port, protocol)).await?.is_none() {
                return Ok(Some(port));
            }
        }
        Ok(None)
    }
}

/// A node port that this Service has by now.
struct Taken {
    number: u16,
    protocol: String,
    port: i32,
}

#[async_trait]
impl Hooks for Allocator {
    fn resource(&self) -> (&'static str, &'static str) {
        ("", "services")
    }

    /// `beginCreate` and `beginUpdate` of `pkg/registry/core/service/storage/storage.go`.
    async fn assign(&self, new: &mut dyn Object, old: Option<&dyn Object>) -> Result<(), ApiError> {
        let Some(service) = new.downcast_mut::<Service>() else { return Ok(()) };
        let old = old.and_then(|o| o.downcast::<Service>());
        let before = old.and_then(|o| o.spec.as_ref());
        let name = service.metadata.name.clone().unwrap_or_default();
        let refuse = |errors: Errors| match errors.as_slice() {
            [] => Ok(()),
            errors => Err(ApiError::invalid(Named::new("", "Service"), &name, errors)),
        };
        refuse(families::init(service, old, &["IPv4"]))?;
        // What validation will refuse is not worth an address; it says so in its own words right after.
        let plausible = plausible(service, before);
        if plausible { refuse(self.allocate(service, old).await.map_err(store_error)?) } else { Ok(()) }
    }

    fn beside(&self, key: &str, new: Option<&dyn Object>, old: Option<&dyn Object>) -> Extra {
        let service = |o: Option<&dyn Object>| o.and_then(|o| o.downcast::<Service>()).cloned();
        extra(service(old).as_ref(), service(new).as_ref(), key)
    }
}

type Claims = BTreeMap<String, ()>;

/// The keys a Service holds.
fn claims(service: &Service) -> Claims {
    let mut keys = Claims::new();
    let Some(spec) = &service.spec else { return keys };
    let addresses = spec.cluster_ips.iter().flatten().chain(spec.cluster_ip.iter());
    keys.extend(addresses.filter(|ip| !ip.is_empty() && *ip != "None").map(|ip| (format!("{IPS}{ip}"), ())));
    if linked::needs_node_port(spec) {
        let ports = spec.ports.iter().flatten();
        keys.extend(ports.filter_map(|p| Some((port_key(number(p)?, protocol(p)), ()))));
        if let Some(health) = spec.health_check_node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0) {
            keys.insert(port_key(health, "TCP"), ());
        }
    }
    keys
}

/// What to compare and write beside the change from `old` to `new`; `owner` is the Service's own key.
pub fn extra(old: Option<&Service>, new: Option<&Service>, owner: &str) -> Extra {
    let (before, after) = (old.map(claims).unwrap_or_default(), new.map(claims).unwrap_or_default());
    let mut extra = Extra::default();
    for key in after.keys().filter(|k| !before.contains_key(*k)) {
        let key: Arc<str> = key.as_str().into();
        extra.compares.push(Compare::Absent(key.clone()));
        extra.ops.push(Op::Put(key, owner.as_bytes().to_vec().into()));
    }
    extra.ops.extend(before.keys().filter(|k| !after.contains_key(*k)).map(|k| Op::Delete(k.as_str().into())));
    extra
}

fn number(port: &ServicePort) -> Option<u16> {
    port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0)
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

fn port_key(port: u16, protocol: &str) -> String {
    format!("{PORTS}{port}-{protocol}")
}

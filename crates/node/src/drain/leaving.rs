//! What a pod that is about to be stopped has to wait for. Pure.
use super::watermark::{Proxy, behind};
use isopod_network::contract::Traffic;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What the slices of one Service say.
#[derive(Debug, Clone)]
pub struct Backing {
    pub service: String,
    pub slices: Vec<Arc<EndpointSlice>>,
}

/// Versions at which things were first seen to be so. Slices go on changing for other pods' sake; that must not move the goal.
#[derive(Debug, Default)]
pub struct Seen {
    /// By slice: the version at which it shows the pod as leaving.
    out: BTreeMap<String, u64>,
    /// By Service: the version at which it has another endpoint to send connections to.
    others: BTreeMap<String, u64>,
}

/// ## Published => Programming => (Alone | Away); any => Unselected when the Services go
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// No Service selects it: nothing to wait for.
    Unselected,
    /// A slice still offers it.
    Published { slice: String },
    /// These nodes may still send it new connections.
    Programming { nodes: Vec<String> },
    /// No Service of it has another ready endpoint: proxies fall back to it although it terminates (KEP-1669).
    Alone,
    /// No new connections come.
    Away,
}

/// `backings`: of each Service that has the pod among its endpoints, all slices.
pub fn stage(uid: &str, backings: &[Backing], proxies: &[Proxy], seen: &mut Seen) -> Stage {
    let mut goal = 0;
    let mut alone = false;
    for backing in backings {
        for slice in &backing.slices {
            let Some(offered) = offers(slice, uid) else { continue };
            let name = slice.metadata.name.clone().unwrap_or_default();
            if offered {
                seen.out.remove(&name);
                return Stage::Published { slice: name };
            }
            goal = goal.max(*seen.out.entry(name).or_insert_with(|| version(slice)));
        }
        let headless = backing.slices.iter().any(|s| label(s, HEADLESS).is_some());
        let ready =
            backing.slices.iter().filter(|s| s.endpoints.iter().flatten().any(is_ready)).map(|s| version(s)).min();
        match ready {
            Some(version) => goal = goal.max(*seen.others.entry(backing.service.clone()).or_insert(version)),
            None => {
                seen.others.remove(&backing.service);
                alone |= !headless;
            }
        }
    }
    if backings.is_empty() {
        return Stage::Unselected;
    }
    let nodes = behind(proxies, goal);
    match (nodes.is_empty(), alone) {
        (false, _) => Stage::Programming { nodes },
        (true, true) => Stage::Alone,
        (true, false) => Stage::Away,
    }
}

/// TCP ports that Services reach the pod by.
pub fn ports(uid: &str, backings: &[Backing]) -> Vec<u16> {
    let slices = backings.iter().flat_map(|b| &b.slices).filter(|s| offers(s, uid).is_some());
    let ports = slices.flat_map(|s| s.ports.iter().flatten());
    let tcp = ports.filter(|p| p.protocol.as_deref().unwrap_or("TCP") == "TCP");
    let mut ports: Vec<u16> = tcp.filter_map(|p| u16::try_from(p.port?).ok()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The address by which Services know the pod.
pub fn address(uid: &str, backings: &[Backing]) -> Option<IpAddr> {
    let endpoints = backings.iter().flat_map(|b| &b.slices).flat_map(|s| s.endpoints.iter().flatten());
    let mut own = endpoints.filter(|e| uid_of(e) == Some(uid)).flat_map(|e| &e.addresses);
    own.find_map(|a| a.parse().ok())
}

/// Groups slices by their Service.
pub fn backings(slices: Vec<Arc<EndpointSlice>>) -> Vec<Backing> {
    let mut by_service: BTreeMap<String, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        if let Some(service) = service(&slice) {
            by_service.entry(service.to_owned()).or_default().push(slice);
        }
    }
    by_service.into_iter().map(|(service, slices)| Backing { service, slices }).collect()
}

pub fn service(slice: &EndpointSlice) -> Option<&str> {
    label(slice, SERVICE_NAME).filter(|s| !s.is_empty())
}

/// What is waited for, in words: slices and proxies, or (`traffic`) connections.
pub fn words(stage: &Stage, traffic: Option<Traffic>) -> Option<String> {
    if let Some(traffic) = traffic {
        return match traffic.waiting.saturating_add(traffic.in_flight) {
            0 => None,
            1 => Some("draining: 1 connection".into()),
            n => Some(format!("draining: {n} connections")),
        };
    }
    match stage {
        Stage::Published { slice } => Some(format!("draining: waiting for EndpointSlice {slice}")),
        Stage::Programming { nodes } => Some(format!("draining: waiting for the proxy of {}", nodes.join(", "))),
        Stage::Unselected | Stage::Alone | Stage::Away => None,
    }
}

/// Whether the slice offers the pod for new connections; `None`: it has nothing to do with the pod. Ready wins over terminating:
/// with `publishNotReadyAddresses` an endpoint is both.
fn offers(slice: &EndpointSlice, uid: &str) -> Option<bool> {
    let mut own = slice.endpoints.iter().flatten().filter(|e| uid_of(e) == Some(uid)).peekable();
    own.peek()?;
    let offered = |e: &Endpoint| {
        let conditions = e.conditions.as_ref();
        let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
        is_ready(e) && !terminating
    };
    Some(own.any(offered))
}

pub(super) fn uid_of(endpoint: &Endpoint) -> Option<&str> {
    endpoint.target_ref.as_ref()?.uid.as_deref()
}

/// An absent condition means ready (`discovery/v1` types).
fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    conditions.and_then(|c| c.ready).unwrap_or(true) && !terminating
}

fn label<'a>(slice: &'a EndpointSlice, name: &str) -> Option<&'a str> {
    slice.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

pub(super) fn version(slice: &EndpointSlice) -> u64 {
    slice.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `pods`: uid and conditions, of r(eady) s(erving) t(erminating).
    fn slice(name: &str, version: u64, pods: &[(&str, &str)]) -> Arc<EndpointSlice> {
        let endpoints: Vec<_> = pods
            .iter()
            .map(|(uid, c)| {
                json!({"addresses": ["10.1.0.1"], "targetRef": {"kind": "Pod", "uid": uid}, "conditions":
                    {"ready": c.contains('r'), "serving": c.contains('s'), "terminating": c.contains('t')}})
            })
            .collect();
        let slice = json!({"metadata": {"name": name, "resourceVersion": version.to_string(), "labels": {SERVICE_NAME: "web"}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "a", "port": 8080, "protocol": "TCP"}, {"name": "b", "port": 53, "protocol": "UDP"}]});
        Arc::new(serde_json::from_value(slice).unwrap())
    }

    fn at(node: &str, programmed: u64) -> Proxy {
        Proxy { node: node.into(), programmed }
    }

    fn programming(nodes: &[&str]) -> Stage {
        Stage::Programming { nodes: nodes.iter().map(|n| (*n).to_owned()).collect() }
    }

    #[test]
    fn goes_from_published_to_away() {
        let mut seen = Seen::default();
        let mut go = |slices: &[Arc<EndpointSlice>], proxies: &[Proxy]| {
            stage("p", &backings(slices.to_vec()), proxies, &mut seen)
        };
        let others = slice("web-1", 5, &[("q", "rs")]);
        let offered = slice("web-2", 6, &[("p", "rs"), ("x", "rs")]);
        assert_eq!(go(&[], &[at("a", 9)]), Stage::Unselected);
        let published = Stage::Published { slice: "web-2".into() };
        assert_eq!(go(&[Arc::clone(&others), offered], &[at("a", 9)]), published);
        let leaving = slice("web-2", 7, &[("p", "st"), ("x", "rs")]);
        assert_eq!(go(&[Arc::clone(&others), Arc::clone(&leaving)], &[at("a", 6), at("b", 7)]), programming(&["a"]));
        // The slice changes for another pod's sake: what was acknowledged stays acknowledged.
        let changed = slice("web-2", 20, &[("p", "st"), ("x", "st")]);
        assert_eq!(go(&[Arc::clone(&others), changed], &[at("a", 7), at("b", 7)]), Stage::Away);
        assert_eq!(go(&[others, leaving], &[]), Stage::Away, "nobody proxies at all");
    }

    #[test]
    fn the_last_one_keeps_answering_until_there_is_another() {
        let mut seen = Seen::default();
        let mut go = |slice: Arc<EndpointSlice>, programmed| {
            stage("p", &backings(vec![slice]), &[at("a", programmed)], &mut seen)
        };
        assert_eq!(go(slice("web-1", 7, &[("p", "st")]), 6), programming(&["a"]));
        assert_eq!(go(slice("web-1", 7, &[("p", "st")]), 7), Stage::Alone);
        assert_eq!(
            go(slice("web-1", 9, &[("p", "st"), ("q", "rs")]), 8),
            programming(&["a"]),
            "does not know the other yet"
        );
        assert_eq!(go(slice("web-1", 9, &[("p", "st"), ("q", "rs")]), 9), Stage::Away);
        assert_eq!(go(slice("web-1", 10, &[("p", "st"), ("q", "")]), 10), Stage::Alone, "the other failed");
    }

    #[test]
    fn unready_addresses_that_are_published_leave_too() {
        let mut seen = Seen::default();
        let both = slice("web-1", 7, &[("p", "rst"), ("q", "rs")]);
        assert_eq!(stage("p", &backings(vec![both]), &[at("a", 7)], &mut seen), Stage::Away);
    }

    #[test]
    fn nobody_connects_through_a_headless_service() {
        let mut own = (*slice("web-1", 7, &[("p", "st")])).clone();
        own.metadata.labels.as_mut().unwrap().insert(HEADLESS.into(), String::new());
        assert_eq!(stage("p", &backings(vec![Arc::new(own)]), &[], &mut Seen::default()), Stage::Away);
    }

    #[test]
    fn says_what_it_waits_for() {
        let traffic = |waiting, in_flight| Some(Traffic { waiting, in_flight, idle: 4 });
        assert_eq!(words(&Stage::Away, traffic(1, 2)).as_deref(), Some("draining: 3 connections"));
        assert_eq!(words(&Stage::Alone, traffic(0, 1)).as_deref(), Some("draining: 1 connection"));
        assert_eq!(words(&Stage::Away, traffic(0, 0)), None);
        assert_eq!(words(&programming(&["a", "b"]), None).as_deref(), Some("draining: waiting for the proxy of a, b"));
        assert_eq!(ports("p", &backings(vec![slice("web-1", 1, &[("p", "rs")])])), [8080], "UDP has no connections");
        assert_eq!(ports("z", &backings(vec![slice("web-1", 1, &[("p", "rs")])])), [0u16; 0]);
    }
}

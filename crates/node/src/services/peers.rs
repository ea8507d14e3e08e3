//! Where the pods of other nodes are: routes to their ranges by their addresses, for nodes on one network. Pure, and its shell.
use isopod_api::hollow::is_hollow;
use isopod_network::pod::{Links, Range};
use isopod_reflect::Reflectors;
use k8s_openapi::api::core::v1::Node;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// After the kernel refused a route.
const RETRY: Duration = Duration::from_secs(5);

/// The ranges of all nodes but this one, each with the address it is reached by.
pub fn peers(own: &str, nodes: &[Arc<Node>]) -> Vec<(Range, Ipv4Addr)> {
    let mut all: Vec<_> =
        nodes.iter().filter(|node| node.metadata.name.as_deref() != Some(own)).flat_map(|n| of(n)).collect();
    all.sort();
    all.dedup_by_key(|(range, _)| *range);
    all
}

fn of(node: &Node) -> Vec<(Range, Ipv4Addr)> {
    // Hollow nodes have ranges and no machine.
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal = addresses.filter(|address| address.type_ == "InternalIP").find_map(|a| a.address.parse().ok());
    let (Some(via), Some(spec), false) = (internal, &node.spec, is_hollow(node)) else { return Vec::new() };
    let listed = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    let mut ranges: Vec<Range> = listed.filter_map(|range| range.parse().ok()).collect();
    ranges.sort();
    ranges.dedup();
    ranges.into_iter().map(|range| (range, via)).collect()
}

/// Keeps the routes until the mirror ends. Written only when they change.
pub async fn follow(own: &str, reflectors: &Reflectors, links: &Links) {
    let nodes = reflectors.of::<Node>();
    nodes.synced().await;
    let mut changes = nodes.subscribe();
    let mut set = None;
    loop {
        let wanted = peers(own, &nodes.list());
        if set.as_ref() != Some(&wanted) {
            match links.set_peers(wanted.clone()).await {
                Ok(()) => set = Some(wanted),
                Err(error) => {
                    tracing::warn!(%error, "no route to the pods of another node: trying again");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        if changes.next_batch().await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn other_nodes_with_a_range_and_an_address() {
        let node = |name: &str, range: &str, ip: &str, labels: serde_json::Value| {
            let addresses = json!([{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": ip}]);
            let node = json!({"metadata": {"name": name, "labels": labels}, "spec": {"podCIDR": range, "podCIDRs": [range]},
                "status": {"addresses": addresses}});
            Arc::new(serde_json::from_value::<Node>(node).unwrap())
        };
        let nodes = [
            node("self", "10.1.0.0/24", "192.0.2.1", json!({})),
            node("other", "10.1.1.0/24", "192.0.2.2", json!({})),
            node("hollow", "10.1.2.0/24", "192.0.2.3", json!({"isopod.dev/hollow": "true"})),
            node("v6", "10.1.3.0/24", "fd00::1", json!({})),
            node("unready", "", "192.0.2.5", json!({})),
        ];
        let found: Vec<_> = peers("self", &nodes).iter().map(|(range, via)| format!("{range} via {via}")).collect();
        assert_eq!(found, ["10.1.1.0/24 via 192.0.2.2"]);
    }
}

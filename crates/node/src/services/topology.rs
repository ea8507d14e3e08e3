//! Endpoints that are meant for this node or its zone (`trafficDistribution`, KEP-2433, KEP-3015; `pkg/proxy/topology.go`). Pure.
use isopod_network::contract::Endpoint;
use k8s_openapi::api::discovery::v1::EndpointHints;

/// Where this node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Here {
    pub node: String,
    /// `topology.kubernetes.io/zone` of the node.
    pub zone: Option<String>,
}

/// An endpoint, and for whom it is meant.
pub(super) struct Hinted {
    pub(super) endpoint: Endpoint,
    pub(super) hints: EndpointHints,
}

impl Hinted {
    fn nodes(&self) -> impl Iterator<Item = &str> {
        self.hints.for_nodes.iter().flatten().map(|node| node.name.as_str())
    }

    fn zones(&self) -> impl Iterator<Item = &str> {
        self.hints.for_zones.iter().flatten().map(|zone| zone.name.as_str())
    }
}

/// Without the ready endpoints that are meant for others, if every ready endpoint says for whom it is meant and one is meant for
/// `here`: nodes are looked at first, then zones. Hints never leave a Service without an endpoint, so what is not ready stays, and
/// with a policy that keeps to the node (`kept_here`) what is on this node stays, too.
pub(super) fn preferred(all: Vec<Hinted>, here: &Here, kept_here: bool) -> Vec<Endpoint> {
    let for_node = |one: &Hinted| one.nodes().any(|node| node == here.node);
    let for_zone = |one: &Hinted| here.zone.as_deref().is_some_and(|here| one.zones().any(|zone| zone == here));
    let ready = || all.iter().filter(|one| one.endpoint.ready);
    let by_node = ready().all(|one| one.nodes().next().is_some()) && ready().any(for_node);
    let by_zone = ready().all(|one| one.zones().next().is_some()) && ready().any(for_zone);
    let meant = |one: &Hinted| match (by_node, by_zone) {
        (true, _) => for_node(one),
        (false, true) => for_zone(one),
        (false, false) => true,
    };
    let stays = |one: &Hinted| !one.endpoint.ready || kept_here && one.endpoint.local || meant(one);
    all.iter().filter(|one| stays(one)).map(|one| one.endpoint.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Last digit of the address, the nodes and zones it is meant for, whether it is ready and on this node.
    type Case<'a> = (u8, &'a [&'a str], &'a [&'a str], bool, bool);

    fn check(cases: &[Case<'_>], zone: Option<&str>, kept_here: bool) -> Vec<u8> {
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        let all = cases.iter().map(|(last, nodes, zones, ready, local)| Hinted {
            endpoint: Endpoint {
                address: ([10, 1, 0, *last], 80).into(),
                local: *local,
                ready: *ready,
                serving: true,
                terminating: !ready,
            },
            hints: serde_json::from_value(json!({"forNodes": named(nodes), "forZones": named(zones)})).unwrap(),
        });
        let here = Here { node: "here".into(), zone: zone.map(str::to_owned) };
        let last = |one: Endpoint| one.address.ip().to_string().rsplit('.').next().unwrap().parse().unwrap();
        preferred(all.collect(), &here, kept_here).into_iter().map(last).collect()
    }

    #[test]
    fn hints_choose_while_they_leave_something() {
        let here: Case<'_> = (1, &["here"], &["a"], true, true);
        let near: Case<'_> = (2, &["there"], &["a"], true, false);
        let far: Case<'_> = (3, &["far"], &["b"], true, false);
        let leaving: Case<'_> = (4, &["far"], &["b"], false, false);
        let free: Case<'_> = (5, &[], &[], true, false);
        let zoned: Case<'_> = (6, &[], &["b"], true, false);
        let stray: Case<'_> = (7, &["far"], &["b"], true, true);
        let zone = Some("a");
        let all = [here, near, far, leaving];
        assert_eq!(check(&all, zone, false), [1, 4], "this node's, and what is not ready");
        assert_eq!(check(&all[1..], zone, false), [2, 4], "none for this node: the zone's");
        assert_eq!(check(&all[1..], None, false), [2, 3, 4], "no zone is known");
        assert_eq!(check(&[far, leaving], zone, false), [3, 4], "none for this zone");
        assert_eq!(
            check(&[here, near, far, free], zone, false),
            [1, 2, 3, 5],
            "one is for everybody: hints do not count"
        );
        assert_eq!(check(&[here, near, zoned], zone, false), [1, 2], "one has no node: the zone's");
        assert_eq!(check(&[here, stray], zone, false), [1]);
        assert_eq!(check(&[here, stray], zone, true), [1, 7], "a policy keeps to this node");
        assert_eq!(check(&[leaving], zone, false), [4], "what terminates is not chosen among");
        assert_eq!(check(&[], zone, false), [] as [u8; 0]);
    }
}

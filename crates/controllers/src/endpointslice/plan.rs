//! Which EndpointSlices a Service should have. Pure.
//!
//! Endpoints stay where they are; what is new goes first into slices that change anyway, then into one existing slice with enough
//! room, then into new ones (`k8s.io/endpointslice/reconciler.go`). So that one pod's change is one slice's write.
use super::endpoint;
use isopod_api::selector::Selector;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
pub const HEADLESS: &str = "service.kubernetes.io/headless";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Endpoints a slice holds (`--max-endpoints-per-slice`).
pub const MAX_ENDPOINTS: usize = 100;

pub struct View<'a> {
    pub service: &'a Service,
    /// Pods of its namespace.
    pub pods: &'a [Arc<Pod>],
    /// Slices of the service that this controller manages.
    pub slices: &'a [Arc<EndpointSlice>],
    /// The zone of a node.
    pub zone: &'a dyn Fn(&str) -> Option<String>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

pub fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let spec = view.service.spec.as_ref();
    let external = spec.and_then(|s| s.type_.as_deref()) == Some("ExternalName");
    // An absent selector means that somebody else provides the endpoints; what was provided here stays as it is (`syncService`).
    let Some(labels) = spec.and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty() && !external) else {
        return plan;
    };
    let selector = Selector::from_map(labels);
    let families =
        spec.and_then(|s| s.ip_families.clone()).filter(|f| !f.is_empty()).unwrap_or_else(|| vec!["IPv4".into()]);
    let none = BTreeMap::new();
    let chosen: Vec<&Arc<Pod>> = view
        .pods
        .iter()
        .filter(|p| endpoint::belongs(p) && selector.matches(p.metadata.labels.as_ref().unwrap_or(&none)))
        .collect();
    for family in &families {
        let slices: Vec<_> = view.slices.iter().filter(|s| s.address_type == *family).cloned().collect();
        plan_family(view, family, &chosen, &slices, &mut plan);
    }
    plan.delete.extend(view.slices.iter().filter(|s| !families.contains(&s.address_type)).cloned());
    plan
}

/// Endpoints that have the same ports share slices.
type Ports = Vec<EndpointPort>;

fn plan_family(view: &View<'_>, family: &str, pods: &[&Arc<Pod>], slices: &[Arc<EndpointSlice>], plan: &mut Plan) {
    let v6 = family == "IPv6";
    let mut groups: BTreeMap<String, (Ports, Vec<Endpoint>)> = BTreeMap::new();
    for p in pods {
        if endpoint::addresses(p, v6).is_empty() {
            continue;
        }
        let ports = endpoint::ports(view.service, p);
        let node_zone = (view.zone)(crate::pod::node(p));
        let group = groups.entry(ports_key(&ports)).or_insert_with(|| (ports, Vec::new()));
        group.1.push(endpoint::of(view.service, p, v6, node_zone));
    }
    if groups.is_empty() {
        // A service without endpoints has one empty slice, so that "none" can be told from "not known yet".
        groups.insert(String::new(), (Vec::new(), Vec::new()));
        return placeholder(view, family, slices, plan);
    }
    let mut by_ports: HashMap<String, Vec<Arc<EndpointSlice>>> = HashMap::new();
    for slice in slices {
        by_ports.entry(ports_key(slice.ports.as_deref().unwrap_or_default())).or_default().push(Arc::clone(slice));
    }
    for (key, (ports, endpoints)) in groups {
        let existing = by_ports.remove(&key).unwrap_or_default();
        place(view, family, &ports, endpoints, &existing, plan);
    }
    plan.delete.extend(by_ports.into_values().flatten());
}

fn ports_key(ports: &[EndpointPort]) -> String {
    let mut keys: Vec<String> = ports
        .iter()
        .map(|p| {
            let text = |s: &Option<String>| s.clone().unwrap_or_default();
            format!("{}/{}/{}/{}", text(&p.name), p.port.unwrap_or(0), text(&p.protocol), text(&p.app_protocol))
        })
        .collect();
    keys.sort();
    keys.join(",")
}

fn placeholder(view: &View<'_>, family: &str, slices: &[Arc<EndpointSlice>], plan: &mut Plan) {
    let Some((keep, rest)) = slices.split_first() else {
        plan.create.push(make(view.service, family, &[], Vec::new()));
        return;
    };
    let wanted = remake(view.service, keep, &[], Vec::new());
    if differs(keep, &wanted) {
        plan.update.push(wanted);
    }
    plan.delete.extend(rest.iter().cloned());
}

/// A slice's endpoints as they are to be.
struct Slot {
    found: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

fn place(
    view: &View<'_>,
    family: &str,
    ports: &[EndpointPort],
    endpoints: Vec<Endpoint>,
    existing: &[Arc<EndpointSlice>],
    plan: &mut Plan,
) {
    let mut wanted: HashMap<String, Endpoint> = endpoints.into_iter().map(|e| (identity(&e), e)).collect();
    let mut slots: Vec<Slot> = existing.iter().map(|s| keep_known(s, &mut wanted)).collect();
    let mut fresh: Vec<Endpoint> = wanted.into_values().collect();
    fresh.sort_by_key(identity);
    // Slices that change anyway, the fullest first.
    slots.sort_by_key(|s| (!s.changed, std::cmp::Reverse(s.endpoints.len())));
    for slot in slots.iter_mut().filter(|s| s.changed) {
        let room = MAX_ENDPOINTS.saturating_sub(slot.endpoints.len()).min(fresh.len());
        slot.endpoints.extend(fresh.drain(..room));
    }
    // One unchanged slice that takes all the rest, the fullest that can.
    let left = fresh.len();
    if left > 0
        && let Some(slot) = slots.iter_mut().find(|s| !s.changed && s.endpoints.len() + left <= MAX_ENDPOINTS)
    {
        slot.endpoints.append(&mut fresh);
        slot.changed = true;
    }
    while !fresh.is_empty() {
        let some: Vec<Endpoint> = fresh.drain(..fresh.len().min(MAX_ENDPOINTS)).collect();
        plan.create.push(make(view.service, family, ports, some));
    }
    for slot in slots {
        if slot.endpoints.is_empty() {
            plan.delete.push(slot.found);
            continue;
        }
        let wanted = remake(view.service, &slot.found, ports, slot.endpoints);
        if differs(&slot.found, &wanted) {
            plan.update.push(wanted);
        }
    }
}

/// Takes from `wanted` what the slice has already.
fn keep_known(slice: &Arc<EndpointSlice>, wanted: &mut HashMap<String, Endpoint>) -> Slot {
    let (mut endpoints, mut changed) = (Vec::new(), false);
    for known in slice.endpoints.iter().flatten() {
        match wanted.remove(&identity(known)) {
            Some(now) => {
                changed |= now != *known;
                endpoints.push(now);
            }
            None => changed = true,
        }
    }
    Slot { found: Arc::clone(slice), endpoints, changed }
}

/// Who an endpoint is: its pod, at its address.
fn identity(e: &Endpoint) -> String {
    let uid = e.target_ref.as_ref().and_then(|t| t.uid.as_deref()).unwrap_or("");
    format!("{}/{uid}", e.addresses.first().map_or("", String::as_str))
}

/// A Service without an address is marked as such, whatever its own labels say.
pub(crate) fn mark_headless(service: &Service, labels: &mut BTreeMap<String, String>) {
    labels.remove(HEADLESS);
    let address = service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()).unwrap_or_default();
    if address.is_empty() || address == "None" {
        labels.insert(HEADLESS.into(), String::new());
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = service.metadata.labels.clone().unwrap_or_default();
    mark_headless(service, &mut labels);
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn annotations(service: &Service) -> Option<BTreeMap<String, String>> {
    let mut annotations = service.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| key != LAST_APPLIED && key != TRIGGER_TIME);
    (!annotations.is_empty()).then_some(annotations)
}

fn make(service: &Service, family: &str, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", service.metadata.name.as_deref().unwrap_or(""))),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            annotations: annotations(service),
            owner_references: Some(vec![crate::owner::controller_ref("v1", "Service", &service.metadata)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports.to_vec()),
    }
}

fn remake(service: &Service, found: &EndpointSlice, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    let mut new = found.clone();
    new.endpoints = Some(endpoints);
    new.ports = Some(ports.to_vec());
    new.metadata.labels = Some(labels(service));
    let mut kept = annotations(service).unwrap_or_default();
    let trigger = found.metadata.annotations.iter().flatten().filter(|(k, _)| *k == TRIGGER_TIME);
    kept.extend(trigger.map(|(k, v)| (k.clone(), v.clone())));
    new.metadata.annotations = (!kept.is_empty()).then_some(kept);
    new
}

/// Absent and empty are the same.
fn differs(a: &EndpointSlice, b: &EndpointSlice) -> bool {
    fn items<T>(v: &Option<Vec<T>>) -> &[T] {
        v.as_deref().unwrap_or_default()
    }
    let annotations = |s: &EndpointSlice| s.metadata.annotations.clone().unwrap_or_default();
    items(&a.endpoints) != items(&b.endpoints)
        || items(&a.ports) != items(&b.ports)
        || a.metadata.labels != b.metadata.labels
        || annotations(a) != annotations(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(extra: &Value) -> Service {
        let mut v = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "s"},
            "spec": {"selector": {"app": "web"}, "clusterIP": "10.0.0.1", "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]}});
        for (k, x) in extra.as_object().unwrap() {
            v["spec"][k] = x.clone();
        }
        serde_json::from_value(v).unwrap()
    }

    /// `state`: ready, unready, leaving (ready, terminating), done.
    fn pod(n: usize, state: &str, port: i32) -> Arc<Pod> {
        let ready = if matches!(state, "ready" | "leaving") { "True" } else { "False" };
        let mut v = json!({"metadata": {"name": format!("p{n}"), "namespace": "ns", "uid": format!("u{n}"), "labels": {"app": "web"}},
            "spec": {"nodeName": "node", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}]}]},
            "status": {"phase": if state == "done" { "Succeeded" } else { "Running" }, "podIP": format!("10.1.{}.{}", n / 250, n % 250 + 1),
                "conditions": [{"type": "ContainersReady", "status": ready}]}});
        if state == "leaving" {
            v["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(v).unwrap())
    }

    fn go(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>]) -> Plan {
        plan(&View { service, pods, slices, zone: &|_| Some("z".to_owned()) })
    }

    /// Slices as after carrying the plan out.
    fn apply(slices: &[Arc<EndpointSlice>], plan: &Plan) -> Vec<Arc<EndpointSlice>> {
        let mut out: Vec<Arc<EndpointSlice>> = slices
            .iter()
            .filter(|s| !plan.delete.iter().any(|d| d.metadata.name == s.metadata.name))
            .map(|s| {
                plan.update
                    .iter()
                    .find(|u| u.metadata.name == s.metadata.name)
                    .map_or_else(|| Arc::clone(s), |u| Arc::new(u.clone()))
            })
            .collect();
        for made in &plan.create {
            let mut made = made.clone();
            made.metadata.name = Some(format!("web-{}", rand::random::<u64>()));
            out.push(Arc::new(made));
        }
        out
    }

    fn conditions(plan: &Plan) -> Vec<(bool, bool, bool)> {
        let all = plan.create.iter().chain(&plan.update).flat_map(|s| s.endpoints.iter().flatten());
        let mut all: Vec<&Endpoint> = all.collect();
        all.sort_by_key(|e| e.target_ref.as_ref().unwrap().name.clone());
        all.iter()
            .map(|e| {
                let c = e.conditions.as_ref().unwrap();
                (c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap())
            })
            .collect()
    }

    #[test]
    fn conditions_follow_kep_1672() {
        let pods = [pod(0, "ready", 8080), pod(1, "unready", 8080), pod(2, "leaving", 8080), pod(3, "done", 8080)];
        let p = go(&service(&json!({})), &pods, &[]);
        assert_eq!(conditions(&p), [(true, true, false), (false, false, false), (false, true, true)]);
        let p = go(&service(&json!({"publishNotReadyAddresses": true})), &pods, &[]);
        assert_eq!(conditions(&p), [(true, true, false), (true, false, false), (true, true, true)]);
        let slice = &p.create[0];
        assert_eq!(slice.ports.as_ref().unwrap()[0].port, Some(8080), "the port by its name on the pod");
        assert_eq!(slice.metadata.labels.as_ref().unwrap()[SERVICE_NAME], "web");
        assert_eq!(slice.endpoints.as_ref().unwrap()[0].zone.as_deref(), Some("z"));
    }

    #[test]
    fn gates_and_lost_nodes_keep_a_pod_out() {
        let mut gated = (*pod(0, "ready", 1)).clone();
        gated.spec.as_mut().unwrap().readiness_gates =
            Some(vec![serde_json::from_value(json!({"conditionType": "lb"})).unwrap()]);
        assert!(!endpoint::serves(&gated));
        let mut lost = (*pod(0, "ready", 1)).clone();
        let conditions = lost.status.as_mut().unwrap().conditions.as_mut().unwrap();
        conditions.push(
            serde_json::from_value(json!({"type": "Ready", "status": "False", "reason": "NodeNotReady"})).unwrap(),
        );
        assert!(!endpoint::serves(&lost));
        assert!(endpoint::serves(&pod(0, "ready", 1)));
    }

    #[test]
    fn no_endpoints_is_one_empty_slice() {
        let s = service(&json!({}));
        let p = go(&s, &[], &[]);
        assert_eq!((p.create.len(), p.create[0].endpoints.as_ref().unwrap().len()), (1, 0));
        let slices = apply(&[], &p);
        assert_eq!(go(&s, &[], &slices), Plan::default());
        // The first pod uses another slice (its ports differ from none), and the empty one goes.
        let p = go(&s, &[pod(0, "ready", 80)], &slices);
        assert_eq!((p.create.len(), p.update.len(), p.delete.len()), (1, 0, 1));
    }

    #[test]
    fn a_service_without_selector_is_left_to_others() {
        let before = apply(&[], &go(&service(&json!({})), &[pod(0, "ready", 80)], &[]));
        for spec in
            [json!({}), json!({"type": "ExternalName", "externalName": "a.example", "selector": {"app": "web"}})]
        {
            let s: Service = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
            assert_eq!(go(&s, &[pod(0, "ready", 80)], &[]), Plan::default());
            assert_eq!(go(&s, &[], &before), Plan::default(), "what it had stays");
        }
    }

    #[test]
    fn headless_services_are_marked_and_need_no_ports() {
        let headless = |extra: Value| {
            let mut s = service(&extra);
            s.metadata.labels =
                Some([(HEADLESS.to_owned(), "mine".to_owned()), ("a".to_owned(), "b".to_owned())].into());
            let p = go(&s, &[pod(0, "ready", 80)], &[]);
            let slice = &p.create[0];
            (slice.metadata.labels.as_ref().unwrap().get(HEADLESS).cloned(), slice.ports.as_ref().unwrap().len())
        };
        assert_eq!(headless(json!({})), (None, 1), "the label is not the Service's to give");
        assert_eq!(headless(json!({"clusterIP": "None", "ports": []})), (Some(String::new()), 0));
        assert_eq!(headless(json!({"clusterIP": null})), (Some(String::new()), 1));
    }

    #[test]
    fn pods_with_a_name_below_their_service() {
        let named = |subdomain: Value, hostname: Value| {
            let mut p = (*pod(0, "ready", 80)).clone();
            let spec = p.spec.as_mut().unwrap();
            (spec.hostname, spec.subdomain) =
                (serde_json::from_value(hostname).unwrap(), serde_json::from_value(subdomain).unwrap());
            go(&service(&json!({})), &[Arc::new(p)], &[]).create[0].endpoints.as_ref().unwrap()[0].hostname.clone()
        };
        assert_eq!(named(json!("web"), json!("db-0")).as_deref(), Some("db-0"));
        assert_eq!(named(json!("other"), json!("db-0")), None);
        assert_eq!(named(json!("web"), json!(null)), None);
    }

    #[test]
    fn traffic_distribution_says_for_whom() {
        let hints = |distribution: Value, state: &str| {
            let p = go(&service(&json!({"trafficDistribution": distribution})), &[pod(0, state, 80)], &[]);
            let endpoint = p.create[0].endpoints.as_ref().unwrap()[0].clone();
            serde_json::to_value(endpoint.hints).unwrap()
        };
        let zones = json!([{"name": "z"}]);
        assert_eq!(hints(json!(null), "ready"), Value::Null);
        for zone in ["PreferClose", "PreferSameZone"] {
            assert_eq!(hints(json!(zone), "ready"), json!({"forZones": zones}));
        }
        assert_eq!(hints(json!("PreferSameNode"), "ready"), json!({"forNodes": [{"name": "node"}], "forZones": zones}));
        assert_eq!(hints(json!("PreferSameNode"), "leaving"), Value::Null, "what is not ready is for nobody");
    }

    #[test]
    fn writes_are_few() {
        let s = service(&json!({}));
        let mut pods: Vec<_> = (0..250).map(|n| pod(n, "ready", 80)).collect();
        let p = go(&s, &pods, &[]);
        assert_eq!((p.create.len(), p.update.len()), (3, 0));
        let slices = apply(&[], &p);
        assert_eq!(go(&s, &pods, &slices), Plan::default(), "nothing changed, nothing is written");
        pods[7] = pod(7, "leaving", 80);
        let p = go(&s, &pods, &slices);
        assert_eq!((p.create.len(), p.update.len(), p.delete.len()), (0, 1, 0), "one pod is one slice");
        pods.extend((250..260).map(|n| pod(n, "ready", 80)));
        let p = go(&s, &pods, &slices);
        assert!(p.create.is_empty() && p.update.len() <= 2, "new ones go to a slice with room");
        // Another port is another slice.
        pods.push(pod(300, "ready", 81));
        let after = apply(&slices, &p);
        let p = go(&s, &pods, &after);
        assert_eq!((p.create.len(), p.update.len()), (1, 0));
    }

    proptest::proptest! {
        /// Whatever comes and goes: every pod is in exactly one slice, no slice is too large, and it comes to rest.
        #[test]
        fn every_pod_has_one_place(steps in proptest::collection::vec(proptest::collection::vec(0usize..400, 0..300), 1..6)) {
            let s = service(&json!({}));
            let mut slices = Vec::new();
            for mut step in steps {
                step.sort_unstable();
                step.dedup();
                let pods: Vec<_> = step.iter().map(|n| pod(*n, "ready", 80 + i32::try_from(n % 2).unwrap())).collect();
                let p = go(&s, &pods, &slices);
                slices = apply(&slices, &p);
                let mut placed: Vec<String> = slices.iter().flat_map(|s| s.endpoints.iter().flatten()).map(identity).collect();
                placed.sort();
                let count = placed.len();
                placed.dedup();
                proptest::prop_assert_eq!(count, placed.len());
                proptest::prop_assert_eq!(count, pods.len());
                proptest::prop_assert!(slices.iter().all(|s| s.endpoints.as_ref().unwrap().len() <= MAX_ENDPOINTS));
                proptest::prop_assert_eq!(go(&s, &pods, &slices), Plan::default());
            }
        }
    }
}

//! What a ResourceQuota counts (`pkg/quota/v1/evaluator/core`): how much of each counted resource one object uses, whether a
//! quota's scopes take it in, and what would be too much. Used by admission (may this object come in?) and by the quota
//! controller (how much is used?), so both always count alike.
use crate::k8s::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec, ResourceQuota, Service};
use crate::k8s::apimachinery::pkg::api::resource::Quantity as Text;
use crate::quantity::{Format, Quantity, parse};
use std::collections::{BTreeMap, BTreeSet};

/// Amounts by quota resource name (`pods`, `requests.cpu`, `count/deployments.apps`).
pub type Usage = BTreeMap<String, Quantity>;

/// The objects a quota counts by more than their number.
#[derive(Clone, Copy, Debug)]
pub enum Counted<'a> {
    Pod(&'a Pod),
    Service(&'a Service),
    Claim(&'a PersistentVolumeClaim),
    /// Anything else, by its number alone.
    Other,
}

/// Resources that are counted under their own name, as before `count/…` existed.
const PLAIN: &[&str] = &[
    "pods",
    "services",
    "configmaps",
    "secrets",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
];

/// What one object uses. `resource` is its plural with group: `pods`, `deployments.apps`.
pub fn usage(resource: &str, object: Counted<'_>) -> Usage {
    let mut usage = Usage::new();
    let one = || Quantity::new(1, Format::DecimalSi);
    usage.insert(format!("count/{resource}"), one());
    if let Counted::Pod(pod) = object {
        // A pod that ended uses nothing but its place in the store.
        if !ended(pod) {
            usage.insert("pods".into(), one());
            usage.extend(pod.spec.as_ref().map(pod_resources).unwrap_or_default());
        }
        return usage;
    }
    if PLAIN.contains(&resource) {
        usage.insert(resource.into(), one());
    }
    match object {
        Counted::Service(service) => usage.extend(service_usage(service)),
        Counted::Claim(claim) => usage.extend(claim_usage(claim)),
        Counted::Pod(_) | Counted::Other => {}
    }
    usage
}

fn ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// The larger of the containers' sum and each init container, sidecars added, overhead on top (`resourcehelpers.PodRequests`).
fn pod_resources(spec: &PodSpec) -> Usage {
    let mut usage = Usage::new();
    for limits in [false, true] {
        for (name, amount) in total(spec, limits) {
            let prefix = if limits { "limits" } else { "requests" };
            if !limits && matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                usage.insert(name.clone(), amount.clone());
            }
            usage.insert(format!("{prefix}.{name}"), amount);
        }
    }
    usage
}

fn total(spec: &PodSpec, limits: bool) -> Usage {
    let of = |container: &crate::k8s::api::core::v1::Container| -> Usage {
        let resources = container.resources.as_ref();
        let list = resources.and_then(|r| if limits { r.limits.as_ref() } else { r.requests.as_ref() });
        list.map(read_list).unwrap_or_default()
    };
    let mut sum = Usage::new();
    spec.containers.iter().for_each(|c| add(&mut sum, &of(c)));
    let (mut sidecars, mut peak) = (Usage::new(), Usage::new());
    for container in spec.init_containers.iter().flatten() {
        let mut now = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &now);
            now.clone_from(&sidecars);
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut peak, &now);
    }
    add(&mut sum, &sidecars);
    raise(&mut sum, &peak);
    if let Some(overhead) = &spec.overhead {
        let overhead = read_list(overhead);
        let counted = overhead.into_iter().filter(|(k, _)| !limits || sum.contains_key(k)).collect();
        add(&mut sum, &counted);
    }
    sum
}

fn service_usage(service: &Service) -> Usage {
    let Some(spec) = &service.spec else { return Usage::new() };
    let ports = i64::try_from(spec.ports.as_ref().map_or(0, Vec::len)).unwrap_or(i64::MAX);
    let (balancers, node_ports) = match spec.type_.as_deref() {
        Some("LoadBalancer") if spec.allocate_load_balancer_node_ports == Some(false) => (1, 0),
        Some("LoadBalancer") => (1, ports),
        Some("NodePort") => (0, ports),
        _ => (0, 0),
    };
    let amount = |n| Quantity::new(n, Format::DecimalSi);
    [("services.loadbalancers".to_owned(), amount(balancers)), ("services.nodeports".to_owned(), amount(node_ports))]
        .into()
}

fn claim_usage(claim: &PersistentVolumeClaim) -> Usage {
    let mut usage = Usage::new();
    let Some(spec) = &claim.spec else { return usage };
    let requested = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).and_then(|r| r.get("storage"));
    let storage = requested.map(read);
    let class = spec.storage_class_name.as_deref().filter(|c| !c.is_empty());
    if let Some(class) = class {
        let prefix = format!("{class}.storageclass.storage.k8s.io");
        usage.insert(format!("{prefix}/persistentvolumeclaims"), Quantity::new(1, Format::DecimalSi));
        if let Some(storage) = &storage {
            usage.insert(format!("{prefix}/requests.storage"), storage.clone());
        }
    }
    usage.extend(storage.map(|s| ("requests.storage".to_owned(), s)));
    usage
}

/// Whether the quota's scopes take the object in. A quota without scopes takes in everything.
pub fn in_scope(quota: &ResourceQuota, object: Counted<'_>) -> bool {
    let Some(spec) = &quota.spec else { return true };
    let plain = spec.scopes.iter().flatten().map(|s| (s.as_str(), "Exists", &[][..]));
    let selected = spec.scope_selector.iter().flat_map(|s| s.match_expressions.iter().flatten());
    let selected =
        selected.map(|e| (e.scope_name.as_str(), e.operator.as_str(), e.values.as_deref().unwrap_or_default()));
    plain.chain(selected).all(|(scope, operator, values)| match object {
        Counted::Pod(pod) => pod.spec.as_ref().is_some_and(|spec| matches_scope(pod, spec, scope, operator, values)),
        _ => false,
    })
}

fn matches_scope(pod: &Pod, spec: &PodSpec, scope: &str, operator: &str, values: &[String]) -> bool {
    let terminating = spec.active_deadline_seconds.is_some_and(|s| s >= 0);
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort(pod),
        "NotBestEffort" => !best_effort(pod),
        "PriorityClass" => {
            let class = spec.priority_class_name.as_deref().filter(|c| !c.is_empty());
            let listed = class.is_some_and(|c| values.iter().any(|v| v == c));
            match operator {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => class.is_some(),
                "DoesNotExist" => class.is_none(),
                _ => false,
            }
        }
        _ => false,
    }
}

fn best_effort(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let sets = |l: &BTreeMap<String, Text>| {
        l.iter().any(|(k, v)| matches!(k.as_str(), "cpu" | "memory") && read(v).sign() > 0)
    };
    let resources =
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).filter_map(|c| c.resources.as_ref());
    !resources.into_iter().any(|r| r.requests.as_ref().is_some_and(sets) || r.limits.as_ref().is_some_and(sets))
}

/// The part of `usage` that the quota bounds.
pub fn bounded(quota: &ResourceQuota, usage: &Usage) -> Usage {
    let hard = quota.spec.as_ref().and_then(|s| s.hard.as_ref());
    usage
        .iter()
        .filter(|(k, _)| hard.is_some_and(|h| h.contains_key(*k)))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Why the quota refuses `delta` on top of what it says is used; `None` if it does not.
pub fn refuse(quota: &ResourceQuota, delta: &Usage) -> Option<String> {
    let name = quota.metadata.name.as_deref().unwrap_or_default();
    let (hard, used) = (hard(quota), used(quota));
    let mut over: BTreeSet<&String> = BTreeSet::new();
    for (resource, requested) in delta.iter().filter(|(_, q)| q.sign() > 0) {
        let Some(limit) = hard.get(resource) else { continue };
        let mut sum = used.get(resource).cloned().unwrap_or(Quantity::ZERO);
        sum.add(requested);
        if sum > *limit {
            over.insert(resource);
        }
    }
    if over.is_empty() {
        return None;
    }
    let pick = |from: &Usage| -> String {
        let part = over.iter().filter_map(|k| Some(format!("{k}={}", from.get(*k)?)));
        part.collect::<Vec<_>>().join(",")
    };
    let used: Usage = over.iter().map(|k| ((*k).clone(), used.get(*k).cloned().unwrap_or(Quantity::ZERO))).collect();
    Some(format!("exceeded quota: {name}, requested: {}, used: {}, limited: {}", pick(delta), pick(&used), pick(&hard)))
}

/// Compute resources that the quota bounds must be named by every container; what is missing, in Kubernetes' words.
pub fn unnamed(quota: &ResourceQuota, pod: &Pod) -> Option<String> {
    const NAMES: &[&str] =
        &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "ephemeral-storage"];
    let hard = hard(quota);
    let spec = pod.spec.as_ref()?;
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in NAMES.iter().copied().filter(|n| hard.contains_key(*n)) {
        let (limits, plain) = match name.split_once('.') {
            Some(("limits", plain)) => (true, plain),
            Some((_, plain)) => (false, plain),
            None => (false, name),
        };
        for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
            let resources = container.resources.as_ref();
            let list = resources.and_then(|r| if limits { r.limits.as_ref() } else { r.requests.as_ref() });
            if !list.is_some_and(|l| l.contains_key(plain)) {
                missing.entry(name).or_default().insert(&container.name);
            }
        }
    }
    if missing.is_empty() {
        return None;
    }
    let parts: Vec<String> = missing
        .iter()
        .map(|(resource, names)| format!("{resource} for: {}", names.iter().copied().collect::<Vec<_>>().join(",")))
        .collect();
    let name = quota.metadata.name.as_deref().unwrap_or_default();
    Some(format!("failed quota: {name}: must specify {}", parts.join("; ")))
}

pub fn hard(quota: &ResourceQuota) -> Usage {
    quota.spec.as_ref().and_then(|s| s.hard.as_ref()).map(read_list).unwrap_or_default()
}

pub fn used(quota: &ResourceQuota) -> Usage {
    quota.status.as_ref().and_then(|s| s.used.as_ref()).map(read_list).unwrap_or_default()
}

pub fn add(sum: &mut Usage, other: &Usage) {
    for (name, amount) in other {
        sum.entry(name.clone()).or_insert(Quantity::ZERO).add(amount);
    }
}

/// Takes `other` away; nothing goes below zero.
pub fn subtract(from: &mut Usage, other: &Usage) {
    for (name, amount) in other {
        let left = from.entry(name.clone()).or_insert(Quantity::ZERO);
        left.sub(amount);
    }
}

fn raise(floor: &mut Usage, other: &Usage) {
    for (name, amount) in other {
        let entry = floor.entry(name.clone()).or_insert(Quantity::ZERO);
        if *amount > *entry {
            entry.clone_from(amount);
        }
    }
}

/// As a resource list of an object.
pub fn to_list(usage: &Usage) -> BTreeMap<String, Text> {
    usage.iter().map(|(k, v)| (k.clone(), Text(v.to_string()))).collect()
}

fn read_list(list: &BTreeMap<String, Text>) -> Usage {
    list.iter().map(|(k, v)| (k.clone(), read(v))).collect()
}

fn read(text: &Text) -> Quantity {
    parse(text).unwrap_or(Quantity::ZERO)
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "tests hand in literals")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn quota(spec: Value, used: Value) -> ResourceQuota {
        serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": spec, "status": {"used": used}})).unwrap()
    }
    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }
    fn text(usage: &Usage) -> Value {
        json!(to_list(usage).into_iter().map(|(k, v)| (k, v.0)).collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn a_pod_counts_its_peak() {
        let p = pod(json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}}, {"name": "b", "resources": {"requests": {"cpu": "200m"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "1"}}}, {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}}]
        }));
        assert_eq!(
            text(&usage("pods", Counted::Pod(&p))),
            json!({"count/pods": "1", "pods": "1", "cpu": "1", "requests.cpu": "1", "limits.cpu": "1"})
        );
    }

    #[test]
    fn too_much_is_refused_with_the_figures() {
        let q =
            quota(json!({"hard": {"pods": "2", "requests.cpu": "1"}}), json!({"pods": "2", "requests.cpu": "100m"}));
        let p = pod(json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]}));
        let delta = bounded(&q, &usage("pods", Counted::Pod(&p)));
        assert_eq!(
            refuse(&q, &delta).unwrap(),
            "exceeded quota: q, requested: pods=1,requests.cpu=1, used: pods=2,requests.cpu=100m, limited: pods=2,requests.cpu=1"
        );
        let roomy = quota(json!({"hard": {"pods": "3"}}), json!({"pods": "2"}));
        assert_eq!(refuse(&roomy, &bounded(&roomy, &delta)), None);
    }

    #[test]
    fn containers_must_name_what_is_bounded() {
        let q = quota(json!({"hard": {"limits.memory": "1Gi", "cpu": "1"}}), json!({}));
        let p = pod(json!({"containers": [{"name": "b"}, {"name": "a", "resources": {"requests": {"cpu": "1"}}}]}));
        assert_eq!(unnamed(&q, &p).unwrap(), "failed quota: q: must specify cpu for: b; limits.memory for: a,b");
    }

    #[test]
    fn scopes_choose() {
        let best = pod(json!({"containers": [{"name": "a"}], "priorityClassName": "high"}));
        let burst = pod(
            json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}}], "activeDeadlineSeconds": 5}),
        );
        let cases = [
            (json!({"scopes": ["BestEffort"]}), true, false),
            (json!({"scopes": ["NotBestEffort", "Terminating"]}), false, true),
            (json!({"scopes": ["NotTerminating"]}), true, false),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}),
                true,
                false,
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}}),
                false,
                true,
            ),
            (json!({}), true, true),
        ];
        for (spec, first, second) in cases {
            let q = quota(spec.clone(), json!({}));
            assert_eq!(
                (in_scope(&q, Counted::Pod(&best)), in_scope(&q, Counted::Pod(&burst))),
                (first, second),
                "{spec}"
            );
        }
    }
}

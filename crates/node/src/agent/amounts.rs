//! What a pod asks for as a whole: amounts of its containers added up as the scheduler does (`resourcehelper.PodRequests`,
//! `PodLimits`). Pure.
use super::observed::is_sidecar;
use isopod_api::k8s::api::core::v1::{Container, PodSpec, ResourceRequirements};
use isopod_api::k8s::apimachinery::pkg::api::resource::Quantity as Text;
use isopod_api::quantity;
use std::collections::BTreeMap;

/// Thousandths of cores, bytes, pods, by name of the resource.
pub type Amounts = BTreeMap<String, i64>;

/// Which half of `resources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Requests,
    Limits,
}

fn list(resources: Option<&ResourceRequirements>, side: Side) -> Option<&BTreeMap<String, Text>> {
    let resources = resources?;
    match side {
        Side::Requests => resources.requests.as_ref(),
        Side::Limits => resources.limits.as_ref(),
    }
}

pub fn measure(name: &str, text: &str) -> Option<i64> {
    let quantity = text.parse::<quantity::Quantity>().ok()?;
    Some(if name == "cpu" { quantity.milli_value() } else { quantity.value() })
}

fn amounts(resources: Option<&ResourceRequirements>, side: Side) -> Amounts {
    let list = list(resources, side).into_iter().flatten();
    list.filter_map(|(name, text)| Some((name.clone(), measure(name, &text.0)?))).collect()
}

fn add(to: &mut Amounts, what: &Amounts) {
    for (name, amount) in what {
        let sum = to.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

fn at_least(all: &mut Amounts, others: Amounts) {
    for (name, amount) in others {
        let most = all.entry(name).or_default();
        *most = amount.max(*most);
    }
}

/// At the pod's worst moment (KEP-753): all main containers and sidecars together, or one init container with the sidecars started
/// before it. What the pod itself says (KEP-2837) goes before what its containers add up to.
pub fn total(spec: &PodSpec, side: Side) -> Amounts {
    let of = |container: &Container| amounts(container.resources.as_ref(), side);
    let mut all = Amounts::new();
    for container in &spec.containers {
        add(&mut all, &of(container));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        let mut moment = sidecars.clone();
        add(&mut moment, &own);
        if is_sidecar(container) {
            sidecars.clone_from(&moment);
            add(&mut all, &own);
        }
        at_least(&mut peak, moment);
    }
    at_least(&mut all, peak);
    all.extend(amounts(spec.resources.as_ref(), side));
    for (name, text) in spec.overhead.iter().flatten() {
        let sum = all.entry(name.clone()).or_default();
        *sum = sum.saturating_add(measure(name, &text.0).unwrap_or(0));
    }
    all
}

/// Whether every container, or the pod itself, has a limit of this resource: only then the pod as a whole has one.
pub fn is_limited(spec: &PodSpec, name: &str) -> bool {
    let has = |resources: Option<&ResourceRequirements>| {
        amounts(resources, Side::Limits).get(name).is_some_and(|amount| *amount > 0)
    };
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    has(spec.resources.as_ref()) || containers.all(|c| has(c.resources.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_worst_moment_counts() {
        let container = |cpu: &str, policy: Value| json!({"name": "x", "restartPolicy": policy, "resources": {"requests": {"cpu": cpu}}});
        let both = spec(json!({"containers": [container("1", json!(null))],
            "initContainers": [container("500m", json!("Always")), container("2", json!(null))]}));
        assert_eq!(total(&both, Side::Requests).get("cpu"), Some(&2500));
    }

    #[test]
    fn the_pods_own_word_goes_before_the_sum() {
        let container = |limits: Value| json!({"name": "x", "resources": {"limits": limits}});
        let full = container(json!({"cpu": "1", "memory": "10Mi"}));
        let two = spec(json!({"containers": [full, full]}));
        assert_eq!(total(&two, Side::Limits), [("cpu".to_owned(), 2000), ("memory".to_owned(), 20 << 20)].into());
        assert!(is_limited(&two, "cpu") && is_limited(&two, "memory"));
        let half = spec(json!({"containers": [full, container(json!({"cpu": "1"}))]}));
        assert!(is_limited(&half, "cpu") && !is_limited(&half, "memory"));
        let own = spec(json!({"resources": {"limits": {"memory": "50Mi"}}, "overhead": {"memory": "1Mi"},
            "containers": [full, container(json!({}))]}));
        assert_eq!(total(&own, Side::Limits).get("memory"), Some(&(51 << 20)));
        assert!(is_limited(&own, "memory") && !is_limited(&own, "cpu"));
    }
}

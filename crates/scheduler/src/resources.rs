//! Amounts: what pods ask for and what nodes have.
//!
//! A pod's requests are computed as `k8s.io/component-helpers/resource.PodRequests` does: containers run together, init
//! containers one after the other beside the sidecars started before them, overhead comes on top, and requests of the pod
//! itself replace the sum (KEP-753, KEP-2837).
use isopod_api::k8s::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};
use isopod_api::k8s::apimachinery::pkg::api::resource::Quantity;
use isopod_api::quantity;
use std::collections::BTreeMap;

/// What a container without a CPU request counts for in scores (`pkg/scheduler/util/pod_resources.go`).
const DEFAULT_MILLI_CPU: i64 = 100;
/// What a container without a memory request counts for in scores.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

type List = BTreeMap<String, Quantity>;

/// An amount of each resource. Sums saturate: a node can be over-committed, never overflowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Extended resources, huge pages and the like, by name.
    pub scalar: BTreeMap<String, i64>,
}

fn fold(into: &mut i64, amount: i64, f: fn(i64, i64) -> i64) {
    *into = f(*into, amount);
}

impl Resources {
    /// Every resource of a list but `pods`. What cannot be read counts as nothing: the API server does not let it in.
    pub fn of(list: Option<&List>) -> Self {
        let mut all = Self::default();
        for (name, text) in list.into_iter().flatten() {
            let Ok(amount) = quantity::parse(text) else { continue };
            match name.as_str() {
                "cpu" => all.milli_cpu = amount.milli_value(),
                "memory" => all.memory = amount.value(),
                "ephemeral-storage" => all.ephemeral_storage = amount.value(),
                "pods" => {}
                _ => {
                    all.scalar.insert(name.clone(), amount.value());
                }
            }
        }
        all
    }

    fn combine(&mut self, other: &Self, f: fn(i64, i64) -> i64) {
        fold(&mut self.milli_cpu, other.milli_cpu, f);
        fold(&mut self.memory, other.memory, f);
        fold(&mut self.ephemeral_storage, other.ephemeral_storage, f);
        for (name, amount) in &other.scalar {
            if let Some(mine) = self.scalar.get_mut(name) {
                fold(mine, *amount, f);
            } else {
                self.scalar.insert(name.clone(), f(0, *amount));
            }
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    fn at_least(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    /// The other's amounts where it names any.
    fn replaced_by(&mut self, list: &List) {
        let other = Self::of(Some(list));
        if list.contains_key("cpu") {
            self.milli_cpu = other.milli_cpu;
        }
        if list.contains_key("memory") {
            self.memory = other.memory;
        }
        self.scalar.extend(other.scalar.into_iter().filter(|(name, _)| name.starts_with("hugepages-")));
    }

    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.scalar.values().all(|amount| *amount == 0)
    }
}

/// CPU and memory as scores see them: containers that ask for nothing count for a little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    pub milli_cpu: i64,
    pub memory: i64,
}

impl Weight {
    pub fn add(&mut self, other: Self) {
        self.milli_cpu = self.milli_cpu.saturating_add(other.milli_cpu);
        self.memory = self.memory.saturating_add(other.memory);
    }
    pub fn subtract(&mut self, other: Self) {
        self.milli_cpu = self.milli_cpu.saturating_sub(other.milli_cpu);
        self.memory = self.memory.saturating_sub(other.memory);
    }
}

/// Whether an init container is a sidecar (KEP-753).
fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What one container takes: its request, or what it still has while a resize is under way (KEP-1287).
fn container_requests(container: &Container, statuses: &[ContainerStatus]) -> Resources {
    let mut requests = Resources::of(container.resources.as_ref().and_then(|r| r.requests.as_ref()));
    if let Some(status) = statuses.iter().find(|s| s.name == container.name) {
        requests.at_least(&Resources::of(status.allocated_resources.as_ref()));
        requests.at_least(&Resources::of(status.resources.as_ref().and_then(|r| r.requests.as_ref())));
    }
    requests
}

fn sum(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of(container));
    }
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut needs = of(container);
        if is_sidecar(container) {
            total.add(&needs);
            sidecars.add(&needs);
            needs = sidecars.clone();
        } else {
            needs.add(&sidecars);
        }
        peak.at_least(&needs);
    }
    total.at_least(&peak);
    total
}

/// What a pod takes of a node, and what it weighs in scores.
pub fn of_pod(pod: &Pod) -> (Resources, Weight) {
    let Some(spec) = &pod.spec else { return Default::default() };
    let status = pod.status.as_ref();
    let running = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let init = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    let of = |c: &Container| {
        let from = if spec.containers.iter().any(|x| x.name == c.name) { running } else { init };
        container_requests(c, from)
    };
    let mut requests = sum(spec, of);
    let pod_level = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    let weighed = |c: &Container| {
        let mut amount = of(c);
        let named = c.resources.as_ref().and_then(|r| r.requests.as_ref());
        let lacks =
            |name| !named.is_some_and(|r| r.contains_key(name)) && !pod_level.is_some_and(|r| r.contains_key(name));
        if lacks("cpu") {
            amount.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if lacks("memory") {
            amount.memory = DEFAULT_MEMORY;
        }
        amount
    };
    let mut weight = sum(spec, weighed);
    if let Some(own) = pod_level {
        requests.replaced_by(own);
        weight.replaced_by(own);
    }
    if let Some(overhead) = spec.overhead.as_ref() {
        let overhead = Resources::of(Some(overhead));
        requests.add(&overhead);
        weight.add(&overhead);
    }
    (requests, Weight { milli_cpu: weight.milli_cpu, memory: weight.memory })
}

/// How many pods a node takes.
pub fn pod_slots(allocatable: Option<&List>) -> i64 {
    allocatable.and_then(|list| list.get("pods")).and_then(|q| quantity::parse(q).ok()).map_or(0, |q| q.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn requests(spec: Value) -> (i64, i64) {
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        let (r, _) = of_pod(&pod);
        (r.milli_cpu, r.memory)
    }

    fn asks(name: &str, cpu: &str, memory: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    fn sidecar(name: &str, cpu: &str, memory: &str) -> Value {
        let mut c = asks(name, cpu, memory);
        c["restartPolicy"] = json!("Always");
        c
    }

    /// The example in the documentation of `computePodResourceRequest`, and the sidecar rules of KEP-753.
    #[test]
    fn requests_of_a_pod() {
        let table = [
            (json!({"containers": [asks("a", "2", "1"), asks("b", "1", "1")]}), (3000, 2)),
            (
                json!({"initContainers": [asks("i", "2", "1"), asks("j", "2", "3")],
                       "containers": [asks("a", "2", "1"), asks("b", "1", "1")]}),
                (3000, 3),
            ),
            // The sidecar runs on: beside the later init container, and beside the container.
            (
                json!({"initContainers": [sidecar("s", "1", "1"), asks("i", "3", "1")], "containers": [asks("a", "1", "5")]}),
                (4000, 6),
            ),
            // An init container before the sidecar does not meet it.
            (
                json!({"initContainers": [asks("i", "3", "1"), sidecar("s", "1", "1")], "containers": [asks("a", "1", "1")]}),
                (3000, 2),
            ),
            (json!({"containers": [asks("a", "1", "1")], "overhead": {"cpu": "250m"}}), (1250, 1)),
            // Requests of the pod itself replace the sum, where they name a resource.
            (json!({"containers": [asks("a", "1", "1")], "resources": {"requests": {"cpu": "500m"}}}), (500, 1)),
        ];
        for (spec, expected) in table {
            assert_eq!(requests(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn containers_that_ask_for_nothing_weigh_something() {
        let pod: Pod =
            serde_json::from_value(json!({"spec": {"containers": [{"name": "a"}, asks("b", "1", "1")]}})).unwrap();
        let (requests, weight) = of_pod(&pod);
        assert_eq!(requests.milli_cpu, 1000);
        assert_eq!(weight, Weight { milli_cpu: 1100, memory: DEFAULT_MEMORY + 1 });
    }

    #[test]
    fn a_resize_under_way_takes_the_larger() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"containers": [asks("a", "1", "1")]},
            "status": {"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "1500m"}}}]}
        }))
        .unwrap();
        assert_eq!(of_pod(&pod).0.milli_cpu, 2000);
    }
}

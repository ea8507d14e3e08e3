//! The quality-of-service class of a pod (`pkg/apis/core/v1/helper/qos`): what the kernel kills first.
use super::containers;
use crate::k8s::api::core::v1::{Pod, PodSpec, ResourceRequirements};
use crate::k8s::apimachinery::pkg::api::resource::Quantity as Text;
use crate::quantity::{self, Quantity};
use std::collections::BTreeMap;

/// The class a pod has, or that its spec gives it.
pub fn of(pod: &Pod) -> String {
    let known = pod.status.as_ref().and_then(|s| s.qos_class.clone()).filter(|c| !c.is_empty());
    known.unwrap_or_else(|| pod.spec.as_ref().map_or("BestEffort", compute).to_owned())
}

/// `Guaranteed`: every container has cpu and memory limits, equal to its requests. `BestEffort`: none has any of them.
/// `Burstable`: all else. Pod-level resources, where given, decide instead of the containers' own.
pub fn compute(spec: &PodSpec) -> &'static str {
    let mut sums = Sums { guaranteed: true, ..Sums::default() };
    match &spec.resources {
        Some(pod_level) => sums.add(pod_level),
        None => {
            for container in containers::main_and_init(spec) {
                sums.add(container.resources.as_ref().unwrap_or(&ResourceRequirements::default()));
            }
        }
    }
    sums.class()
}

const NAMES: [&str; 2] = ["cpu", "memory"];

#[derive(Default)]
struct Sums {
    requests: BTreeMap<&'static str, Quantity>,
    limits: BTreeMap<&'static str, Quantity>,
    guaranteed: bool,
}

impl Sums {
    fn add(&mut self, list: &ResourceRequirements) {
        add(&mut self.requests, list.requests.as_ref());
        if !add(&mut self.limits, list.limits.as_ref()) {
            self.guaranteed = false;
        }
    }

    fn class(&self) -> &'static str {
        if self.requests.is_empty() && self.limits.is_empty() {
            return "BestEffort";
        }
        let equal = self.requests.iter().all(|(name, request)| self.limits.get(name) == Some(request));
        if self.guaranteed && equal && self.requests.len() == self.limits.len() { "Guaranteed" } else { "Burstable" }
    }
}

/// Adds what is above zero; says whether cpu and memory were both there.
fn add(sums: &mut BTreeMap<&'static str, Quantity>, list: Option<&BTreeMap<String, Text>>) -> bool {
    let mut found = 0;
    for name in NAMES {
        let value = list.and_then(|l| l.get(name)).and_then(|v| quantity::parse(v).ok());
        if let Some(value) = value.filter(|v| v.sign() > 0) {
            found += 1;
            sums.entry(name).or_insert(Quantity::ZERO).add(&value);
        }
    }
    found == NAMES.len()
}

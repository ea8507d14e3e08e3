//! Whether this node takes a new pod (the kubelet's admission, `pkg/kubelet/lifecycle/predicate.go`): the scheduler may have
//! decided on stale news, or somebody has set `spec.nodeName` by hand. Pure.
use super::amounts::{Amounts, Side, measure, total};
use super::container::resources::{Qos, qos};
use super::node::status::Pressure;
use super::sandbox::host_ports;
use crate::volumes::downward::Allocatable;
use isopod_api::k8s::api::core::v1::{Pod, PodSpec};

/// Reason and message of a refusal. `others` are the pods that are here already.
pub(super) fn refuse(
    pod: &Pod,
    spec: &PodSpec,
    others: &[&Pod],
    allocatable: &Allocatable,
    pressure: Pressure,
) -> Option<(String, String)> {
    let is_over =
        |p: &&&Pod| matches!(p.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"));
    let others: Vec<&Pod> = others.iter().filter(|p| !is_over(p)).copied().collect();
    if let Some(condition) = pressed(pod, spec, pressure) {
        return Some(("Evicted".to_owned(), format!("The node had condition: [{condition}]. ")));
    }
    if let Some((name, asked, used, there)) = lacks(spec, &others, allocatable) {
        let reason = format!("OutOf{name}");
        let message = format!(
            "Pod was rejected: Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {there}"
        );
        return Some((reason, message));
    }
    let taken: Vec<_> = others.iter().filter_map(|p| p.spec.as_ref()).flat_map(host_ports).collect();
    let wanted = host_ports(spec);
    let clash = wanted.iter().any(|w| {
        taken.iter().any(|t| {
            let same_ip = t.host_ip.is_none() || w.host_ip.is_none() || t.host_ip == w.host_ip;
            t.host_port == w.host_port && t.protocol == w.protocol && same_ip
        })
    });
    let message =
        "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    clash.then(|| ("NodePorts".to_owned(), message.to_owned()))
}

/// Under pressure only pods that matter are taken (`evictionManager.Admit`).
fn pressed(pod: &Pod, spec: &PodSpec, pressure: Pressure) -> Option<&'static str> {
    /// `scheduling.SystemCriticalPriority`
    const CRITICAL: i32 = 2_000_000_000;
    if spec.priority.is_some_and(|p| p >= CRITICAL) {
        return None;
    }
    let tolerates = |key: &str| {
        spec.tolerations
            .iter()
            .flatten()
            .any(|t| t.key.as_deref() == Some(key) || (t.key.is_none() && t.operator.as_deref() == Some("Exists")))
    };
    if pressure.disk {
        return Some("DiskPressure");
    }
    if pressure.memory && qos(pod) == Qos::BestEffort && !tolerates("node.kubernetes.io/memory-pressure") {
        return Some("MemoryPressure");
    }
    pressure.pids.then_some("PIDPressure")
}

/// What a pod needs here, its place included.
pub(super) fn needs(spec: &PodSpec) -> Amounts {
    let mut all = total(spec, Side::Requests);
    all.insert("pods".to_owned(), 1);
    all
}

/// The first resource there is not enough of: name, asked, used, capacity.
pub(super) fn lacks(spec: &PodSpec, others: &[&Pod], allocatable: &Allocatable) -> Option<(String, i64, i64, i64)> {
    let taken: Vec<Amounts> = others.iter().filter_map(|p| p.spec.as_ref()).map(needs).collect();
    for (name, asked) in needs(spec).into_iter().filter(|(_, asked)| *asked > 0) {
        let there = allocatable.get(&name).and_then(|t| measure(&name, &t.0)).unwrap_or(0);
        let used = taken.iter().filter_map(|t| t.get(&name)).fold(0_i64, |sum, amount| sum.saturating_add(*amount));
        if asked.saturating_add(used) > there {
            return Some((name, asked, used, there));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_api::k8s::apimachinery::pkg::api::resource::Quantity as Text;
    use serde_json::{Value, json};

    fn pod(spec: Value, phase: &str) -> Pod {
        serde_json::from_value(json!({"spec": spec, "status": {"phase": phase}})).unwrap()
    }

    fn asks(cpu: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
    }

    fn decide(spec: Value, others: &[Pod], pressure: Pressure) -> Option<String> {
        let room: Allocatable =
            [("cpu", "2"), ("memory", "1Gi"), ("pods", "2")].map(|(k, v)| (k.to_owned(), Text(v.into()))).into();
        let pod = pod(spec, "Pending");
        let others: Vec<&Pod> = others.iter().collect();
        refuse(&pod, pod.spec.as_ref().unwrap(), &others, &room, pressure).map(|(r, m)| format!("{r}: {m}"))
    }

    #[test]
    fn room_ports_and_pressure() {
        let free = Pressure::default();
        assert_eq!(decide(asks("2"), &[], free), None);
        let message = "OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000";
        assert_eq!(decide(asks("1500m"), &[pod(asks("1"), "Running")], free).as_deref(), Some(message));
        assert_eq!(decide(asks("1500m"), &[pod(asks("1"), "Succeeded")], free), None);
        let two = [pod(asks("0"), "Running"), pod(asks("0"), "Running")];
        assert!(decide(asks("0"), &two, free).unwrap().starts_with("OutOfpods"));
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        assert!(decide(port.clone(), &[pod(port, "Running")], free).unwrap().starts_with("NodePorts"));
        let disk = Pressure { disk: true, ..free };
        let message = "Evicted: The node had condition: [DiskPressure]. ";
        assert_eq!(decide(asks("0"), &[], disk).as_deref(), Some(message));
        let memory = Pressure { memory: true, ..free };
        assert_eq!(decide(asks("1"), &[], memory), None, "only best-effort pods are refused for memory");
    }
}

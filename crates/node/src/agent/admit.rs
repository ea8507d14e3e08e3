//! Whether this node takes a new pod (the kubelet's admission, `pkg/kubelet/lifecycle/predicate.go`): the scheduler may have
//! decided on stale news, or somebody has set `spec.nodeName` by hand. Pure.
use super::container::resources::{Qos, qos};
use super::node::status::Pressure;
use super::sandbox::host_ports;
use crate::volumes::downward::Allocatable;
use isopod_api::k8s::api::core::v1::{Container, Pod, PodSpec};
use isopod_api::quantity;
use std::collections::BTreeMap;

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

/// Thousandths of cores, bytes, pods.
type Amounts = BTreeMap<String, i64>;

fn requests(container: &Container) -> Amounts {
    let list = container.resources.as_ref().and_then(|r| r.requests.as_ref()).into_iter().flatten();
    list.filter_map(|(name, text)| Some((name.clone(), measure(name, &text.0)?))).collect()
}

fn measure(name: &str, text: &str) -> Option<i64> {
    let quantity = text.parse::<quantity::Quantity>().ok()?;
    Some(if name == "cpu" { quantity.milli_value() } else { quantity.value() })
}

fn add(to: &mut Amounts, what: &Amounts) {
    for (name, amount) in what {
        let sum = to.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

/// What a pod needs at its worst moment (KEP-753): all main containers and sidecars together, or one init container with the
/// sidecars started before it.
fn needs(spec: &PodSpec) -> Amounts {
    let mut all = Amounts::new();
    for container in &spec.containers {
        add(&mut all, &requests(container));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let own = requests(container);
        if super::observed::is_sidecar(container) {
            add(&mut sidecars, &own);
            add(&mut all, &own);
        }
        let mut moment = sidecars.clone();
        if !super::observed::is_sidecar(container) {
            add(&mut moment, &own);
        }
        for (name, amount) in moment {
            let most = peak.entry(name).or_default();
            *most = amount.max(*most);
        }
    }
    for (name, amount) in peak {
        let sum = all.entry(name).or_default();
        *sum = amount.max(*sum);
    }
    for (name, text) in spec.overhead.iter().flatten() {
        let sum = all.entry(name.clone()).or_default();
        *sum = sum.saturating_add(measure(name, &text.0).unwrap_or(0));
    }
    all.insert("pods".to_owned(), 1);
    all
}

/// The first resource there is not enough of: name, asked, used, capacity.
fn lacks(spec: &PodSpec, others: &[&Pod], allocatable: &Allocatable) -> Option<(String, i64, i64, i64)> {
    let mut used = Amounts::new();
    for other in others.iter().filter_map(|p| p.spec.as_ref()) {
        add(&mut used, &needs(other));
    }
    for (name, asked) in needs(spec).into_iter().filter(|(_, asked)| *asked > 0) {
        let there = allocatable.get(&name).and_then(|t| measure(&name, &t.0)).unwrap_or(0);
        let used = used.get(&name).copied().unwrap_or(0);
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

    #[test]
    fn the_worst_moment_counts() {
        let container = |cpu: &str, policy: Value| json!({"name": "x", "restartPolicy": policy, "resources": {"requests": {"cpu": cpu}}});
        let spec = json!({"containers": [container("1", json!(null))],
            "initContainers": [container("500m", json!("Always")), container("2", json!(null))]});
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(needs(&spec).get("cpu"), Some(&2500));
    }
}

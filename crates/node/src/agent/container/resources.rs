//! Resource requests and limits as cgroups know them, and what follows from them: the QoS class, the pod's cgroup, how soon the
//! kernel kills (`pkg/kubelet/cm/helpers_linux.go`, `pkg/kubelet/qos/policy.go`).
use crate::agent::amounts::{Side, is_limited, total};
use crate::agent::observed::Kind;
use isopod_api::k8s::api::core::v1::{Container, Pod, PodSpec};
use isopod_api::quantity::{self, Quantity};
use isopod_runtime::Resources;

const PERIOD: i64 = 100_000;
const SMALLEST_QUOTA: i64 = 1_000;
const SMALLEST_SHARES: i64 = 2;
const MOST_SHARES: i64 = 262_144;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

fn amount(container: &Container, side: Side, name: &str) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    let list = match side {
        Side::Requests => resources.requests.as_ref(),
        Side::Limits => resources.limits.as_ref(),
    };
    list?.get(name).and_then(|text| quantity::parse(text).ok())
}

/// As the API server decided it at creation; computed again if it did not (`qos.GetPodQOS`).
pub fn qos(pod: &Pod) -> Qos {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => Qos::Guaranteed,
        Some("Burstable") => Qos::Burstable,
        Some("BestEffort") => Qos::BestEffort,
        _ => pod.spec.as_ref().map_or(Qos::BestEffort, compute),
    }
}

fn compute(spec: &PodSpec) -> Qos {
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let side = |c: &Container, side, name: &str| amount(c, side, name).filter(|q| !q.is_zero());
    let asks = |c: &Container, name: &str| side(c, Side::Limits, name).or_else(|| side(c, Side::Requests, name));
    if !containers().any(|c| ["cpu", "memory"].iter().any(|n| asks(c, n).is_some())) {
        return Qos::BestEffort;
    }
    let full = |c: &Container, name: &str| {
        let limit = side(c, Side::Limits, name);
        let request = side(c, Side::Requests, name);
        limit.is_some() && (request.is_none() || request == limit)
    };
    if containers().all(|c| full(c, "cpu") && full(c, "memory")) { Qos::Guaranteed } else { Qos::Burstable }
}

/// `isopod/kubepods/burstable/pod<uid>`
pub fn cgroup(root: &str, pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let class = match qos(pod) {
        Qos::Guaranteed => "",
        Qos::Burstable => "burstable/",
        Qos::BestEffort => "besteffort/",
    };
    format!("{}/kubepods/{class}pod{uid}", root.trim_matches('/'))
}

/// -1000 to 1000: the greater, the sooner the kernel kills for memory. What asks for much of the machine's memory is spared longer.
fn oom_score(pod: &Pod, kind: Kind, container: &Container, machine_bytes: u64) -> i32 {
    match qos(pod) {
        Qos::Guaranteed => return -997,
        Qos::BestEffort => return 1000,
        Qos::Burstable => {}
    }
    let machine = i64::try_from(machine_bytes).unwrap_or(i64::MAX).max(1);
    let score = |c: &Container| {
        let request = amount(c, Side::Requests, "memory").map_or(0, |q| q.value());
        1000_i64.saturating_sub(request.saturating_mul(1000).checked_div(machine).unwrap_or(0))
    };
    let mut adjust = score(container);
    if kind == Kind::Sidecar {
        // A sidecar is not killed before the containers it serves.
        let mains = pod.spec.iter().flat_map(|s| &s.containers).map(score);
        adjust = mains.max().map_or(adjust, |most| adjust.min(most));
    }
    i32::try_from(adjust.clamp(3, 999)).unwrap_or(999)
}

/// What the supervisor of a pod and the kernel's own records of its namespaces may take beside its containers: what a pod is limited
/// to is for these.
const SUPERVISOR: u64 = 16 << 20;

fn shares(milli: i64) -> Option<u64> {
    let shares = milli.saturating_mul(1024) / 1000;
    u64::try_from(shares.clamp(SMALLEST_SHARES, MOST_SHARES)).ok()
}

fn quota(milli: i64) -> i64 {
    (milli.saturating_mul(PERIOD) / 1000).max(SMALLEST_QUOTA)
}

/// Limits of the pod as a whole (`ResourceConfigForPod`).
pub fn of_pod(pod: &Pod) -> Resources {
    let Some(spec) = pod.spec.as_ref() else { return Resources::default() };
    let (requests, limits) = (total(spec, Side::Requests), total(spec, Side::Limits));
    let limit = |name: &str| limits.get(name).copied().filter(|amount| *amount > 0 && is_limited(spec, name));
    // One that asks for nothing gets what is left, whatever it may use at most.
    let asked = if qos(pod) == Qos::BestEffort { 0 } else { requests.get("cpu").copied().unwrap_or(0) };
    let quota = limit("cpu").map(quota);
    let memory = limit("memory").and_then(|bytes| u64::try_from(bytes).ok());
    Resources {
        cpu_shares: shares(asked),
        // Also when there is none: it may have had one.
        cpu_quota: Some(quota.unwrap_or(-1)),
        cpu_period: u64::try_from(PERIOD).ok(),
        memory_limit_bytes: memory.map(|bytes| bytes.saturating_add(SUPERVISOR)),
        ..Resources::default()
    }
}

/// The classes' cgroups with their limits: best-effort pods share the CPU that nobody else wants, burstable ones get together what they
/// have asked for (`qosContainerManagerImpl`).
pub fn of_classes<'a>(root: &str, pods: impl Iterator<Item = &'a Pod>) -> [(String, Resources); 2] {
    let burstable = pods.filter(|pod| qos(pod) == Qos::Burstable).filter_map(|pod| pod.spec.as_ref());
    let asked = burstable.filter_map(|spec| total(spec, Side::Requests).get("cpu").copied());
    let asked = asked.fold(0, i64::saturating_add);
    let root = root.trim_matches('/');
    let class = |name: &str, milli| {
        (format!("{root}/kubepods/{name}"), Resources { cpu_shares: shares(milli), ..Resources::default() })
    };
    [class("besteffort", 0), class("burstable", asked)]
}

/// The container's own limit, or else the pod's: nothing may use more than all together.
fn limit_of(pod: &Pod, container: &Container, name: &str) -> Option<Quantity> {
    let of_pod = || pod.spec.as_ref()?.resources.as_ref()?.limits.as_ref()?.get(name);
    let own = amount(container, Side::Limits, name).filter(|q| !q.is_zero());
    own.or_else(|| of_pod().and_then(|text| quantity::parse(text).ok()))
}

/// A container's limits.
pub fn limits(pod: &Pod, kind: Kind, container: &Container, machine_bytes: u64) -> Resources {
    let cpu_limit = limit_of(pod, container, "cpu").map(|q| q.milli_value());
    let own_cpu = amount(container, Side::Limits, "cpu").map(|q| q.milli_value());
    let cpu_request = amount(container, Side::Requests, "cpu").map(|q| q.milli_value());
    // A limit without a request asks for as much.
    let quota = cpu_limit.filter(|m| *m > 0).map(quota);
    let memory = limit_of(pod, container, "memory").map(|q| q.value()).filter(|b| *b > 0);
    let huge = container.resources.as_ref().and_then(|r| r.limits.as_ref()).into_iter().flatten();
    let huge = huge.filter_map(|(name, text)| {
        let size = name.strip_prefix("hugepages-")?.strip_suffix('i')?;
        let bytes = quantity::parse(text).ok()?.value();
        Some((format!("{size}B"), u64::try_from(bytes).ok()?))
    });
    Resources {
        cpu_shares: shares(cpu_request.or(own_cpu).unwrap_or(0)),
        cpu_quota: quota,
        cpu_period: quota.and(u64::try_from(PERIOD).ok()),
        memory_limit_bytes: memory.and_then(|b| u64::try_from(b).ok()),
        hugepages: huge.collect(),
        oom_score_adj: Some(oom_score(pod, kind, container, machine_bytes)),
        ..Resources::default()
    }
}

/// Whether a container that has the limits `have` should have others: of the CPU, of memory. One that was made without any told us nothing.
pub fn differ(wanted: &Resources, have: &Resources) -> (bool, bool) {
    if have.cpu_shares.is_none() {
        return (false, false);
    }
    let cpu = (wanted.cpu_shares, wanted.cpu_quota) != (have.cpu_shares, have.cpu_quota);
    (cpu, wanted.memory_limit_bytes != have.memory_limit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(resources: &[Value]) -> Pod {
        let containers: Vec<_> =
            resources.iter().enumerate().map(|(i, r)| json!({"name": format!("c{i}"), "resources": r})).collect();
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"containers": containers}})).unwrap()
    }

    #[test]
    fn classes() {
        let both = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let table = [
            (vec![json!({})], Qos::BestEffort, "iso/kubepods/besteffort/podu"),
            (vec![both.clone()], Qos::Guaranteed, "iso/kubepods/podu"),
            (vec![both.clone(), json!({})], Qos::Burstable, "iso/kubepods/burstable/podu"),
            (vec![json!({"requests": {"cpu": "1"}})], Qos::Burstable, "iso/kubepods/burstable/podu"),
            (vec![json!({"limits": {"cpu": "1"}})], Qos::Burstable, "iso/kubepods/burstable/podu"),
        ];
        for (resources, class, path) in table {
            let pod = pod(&resources);
            assert_eq!((qos(&pod), cgroup("/iso/", &pod).as_str()), (class, path), "{resources:?}");
        }
    }

    #[test]
    fn limits_in_the_kernels_words() {
        const MACHINE: u64 = 10 << 30;
        let of = |resources: Value| {
            let pod = pod(&[resources]);
            limits(&pod, Kind::Main, &pod.spec.as_ref().unwrap().containers[0], MACHINE)
        };
        let none = of(json!({}));
        assert_eq!((none.cpu_shares, none.cpu_quota, none.memory_limit_bytes), (Some(2), None, None));
        assert_eq!(none.oom_score_adj, Some(1000));
        let some =
            of(json!({"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "2Gi"}}));
        assert_eq!((some.cpu_shares, some.cpu_quota, some.cpu_period), (Some(256), Some(50_000), Some(100_000)));
        assert_eq!((some.memory_limit_bytes, some.oom_score_adj), (Some(2 << 30), Some(900)));
        let tiny = of(json!({"limits": {"cpu": "1m"}}));
        assert_eq!((tiny.cpu_shares, tiny.cpu_quota), (Some(2), Some(1_000)));
        let all = of(json!({"limits": {"cpu": "2", "memory": "1Gi"}}));
        assert_eq!((all.cpu_shares, all.oom_score_adj), (Some(2048), Some(-997)));
        let huge = of(json!({"limits": {"hugepages-2Mi": "4Mi"}}));
        assert_eq!(huge.hugepages, [("2MB".to_owned(), 4 << 20)].into());
    }

    #[test]
    fn the_pod_as_a_whole() {
        let shown = |pod: &Pod| {
            let r = of_pod(pod);
            (r.cpu_shares, r.cpu_quota, r.memory_limit_bytes.map(|b| (b - SUPERVISOR) >> 20))
        };
        let full = json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "64Mi"}});
        assert_eq!(shown(&pod(&[json!({})])), (Some(2), Some(-1), None));
        assert_eq!(shown(&pod(&[full.clone(), full.clone()])), (Some(1024), Some(200_000), Some(128)));
        assert_eq!(shown(&pod(&[full.clone(), json!({})])), (Some(512), Some(-1), None), "one has no limit");
        let mut own = pod(&[full.clone(), json!({})]);
        let limits = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "3", "memory": "100Mi"}});
        own.spec.as_mut().unwrap().resources = serde_json::from_value(limits).unwrap();
        assert_eq!(shown(&own), (Some(2048), Some(300_000), Some(100)));
        let containers = &own.spec.as_ref().unwrap().containers;
        let memory = |i: usize| limits_of(&own, &containers[i]).memory_limit_bytes.map(|b| b >> 20);
        assert_eq!((memory(0), memory(1)), (Some(64), Some(100)), "its own, or the pod's");
    }

    fn limits_of(pod: &Pod, container: &Container) -> Resources {
        limits(pod, Kind::Main, container, 1 << 30)
    }

    #[test]
    fn classes_share_by_what_their_pods_asked_for() {
        let asks = pod(&[json!({"requests": {"cpu": "250m"}})]);
        let all = [asks.clone(), asks, pod(&[json!({})])];
        let classes = of_classes("/iso/", all.iter());
        let lines: Vec<_> = classes.iter().map(|(path, r)| format!("{path} {:?}", r.cpu_shares)).collect();
        assert_eq!(lines, ["iso/kubepods/besteffort Some(2)", "iso/kubepods/burstable Some(512)"]);
    }
}

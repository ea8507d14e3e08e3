//! Pods and their classes as the kernel sees them, on cgroup v1 and, in `cargo xtask vm`, on v2.
use crate::world::{World, container, is_ready, phase, pod, sh, stays, with};
use crate::{lives, machine, streams};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

fn is_v2() -> bool {
    !Path::new(ROOT).join("memory").exists()
}

/// The hierarchy of a controller.
fn hierarchy(controller: &str) -> PathBuf {
    if is_v2() { ROOT.into() } else { Path::new(ROOT).join(controller) }
}

/// A pod's cgroup, below the hierarchy, if it is there.
fn group_of(pod: &Pod) -> Option<PathBuf> {
    let class = match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Burstable") => "burstable/",
        Some("BestEffort") => "besteffort/",
        _ => "",
    };
    let uid = pod.metadata.uid.as_deref().unwrap();
    let below = format!("kubepods/{class}pod{uid}");
    let top = fs::read_dir(hierarchy("memory")).unwrap().flatten().map(|e| e.file_name());
    let mut paths = top.map(|root| Path::new(&root).join(&below));
    paths.find(|path| hierarchy("memory").join(path).is_dir())
}

/// What a file of a cgroup says: `controller/file` on v1.
fn value(group: &Path, (v1, v2): (&str, &str)) -> String {
    let (controller, file) = if is_v2() { ("", v2) } else { v1.split_once('/').unwrap() };
    let path = hierarchy(controller).join(group).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

fn own_group(group: &Path, pod: &Pod) -> PathBuf {
    let id = container(pod).container_id.unwrap();
    group.join(id.trim_start_matches("isopod://"))
}

const SHARES: (&str, &str) = ("cpu/cpu.shares", "cpu.weight");
const PIDS: (&str, &str) = ("pids/pids.max", "pids.max");

fn quota(group: &Path) -> String {
    if is_v2() {
        return value(group, ("", "cpu.max"));
    };
    let (quota, period) = (value(group, ("cpu/cpu.cfs_quota_us", "")), value(group, ("cpu/cpu.cfs_period_us", "")));
    format!("{} {period}", if quota == "-1" { "max" } else { &quota })
}

/// In MiB.
fn memory(group: &Path) -> Option<u64> {
    let bytes = value(group, ("memory/memory.limit_in_bytes", "memory.max")).parse::<u64>().ok();
    // "Unlimited" is a very large number on v1.
    bytes.map(|b| b >> 20).filter(|mib| *mib < 1 << 30)
}

/// A pod of each class: where it is, and its figures and its container's. Shares of v1 are weights on v2, by the curve of
/// `opencontainers/cgroups`.
pub async fn classes_pods_and_containers_have_their_limits(w: &World) {
    let weight = |shares: &'static str, weight: &'static str| if is_v2() { weight } else { shares };
    let full = json!({"limits": {"cpu": "250m", "memory": "64Mi"}});
    let some = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "64Mi"}});
    // Its containers' and what its supervisor may take.
    let whole = Some(64 + 16);
    let cases = [
        ("guaranteed", "Guaranteed", full, weight("256", "35"), "25000 100000", whole, Some(64)),
        ("burstable", "Burstable", some, weight("102", "17"), "50000 100000", whole, Some(64)),
        ("effort", "BestEffort", json!({}), weight("2", "1"), "max 100000", None, None),
    ];
    for (name, _, resources, ..) in &cases {
        w.create(pod(name, json!({"containers": [with(stays("c"), json!({"resources": resources}))]}))).await;
    }
    for (name, class, _, shares, cpu, of_pod, of_container) in cases {
        let seen = w.until(name, "ready", is_ready).await;
        assert_eq!(seen.status.as_ref().and_then(|s| s.qos_class.as_deref()), Some(class));
        let group = group_of(&seen).unwrap_or_else(|| panic!("{name} has no cgroup"));
        let own = own_group(&group, &seen);
        assert_eq!((value(&group, SHARES).as_str(), value(&own, SHARES).as_str()), (shares, shares), "{name}");
        assert_eq!((quota(&group).as_str(), quota(&own).as_str()), (cpu, cpu), "{name}");
        assert_eq!((memory(&group), memory(&own)), (of_pod, of_container), "{name}");
        assert_eq!((value(&group, PIDS).as_str(), value(&own, PIDS).as_str()), ("max", "max"), "podPidsLimit is -1");
        if is_v2() {
            // No MemoryQoS; no swap; one process killed for memory takes its container with it.
            for (file, expected) in
                [("memory.min", "0"), ("memory.low", "0"), ("memory.swap.max", "0"), ("memory.oom.group", "1")]
            {
                assert_eq!(value(&own, ("", file)), expected, "{name} {file}");
            }
        }
        if class == "BestEffort" {
            assert_eq!(value(group.parent().unwrap(), SHARES), shares, "the class itself");
        }
    }
    // Seen from inside, too: programs size themselves by it.
    let inside =
        if is_v2() { "cat /sys/fs/cgroup/memory.max" } else { "cat /sys/fs/cgroup/memory/memory.limit_in_bytes" };
    assert_eq!(w.exec("guaranteed", inside).await, "67108864\n");
    // Without a limit of its own a container has its pod's.
    let hungry = sh("hungry", "exec tail /dev/zero");
    let whole = json!({"limits": {"memory": "48Mi", "cpu": "1"}});
    w.create(pod("whole", json!({"restartPolicy": "Never", "resources": whole, "containers": [hungry]}))).await;
    let end = container(&w.until("whole", "is killed", phase("Failed")).await).state.unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("OOMKilled")), "{end:?}");
}

fn pending(pod: &Pod) -> Option<String> {
    let all = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    assert!(!all.iter().any(|c| c.type_ == "PodResizePending" && c.status != "True"));
    all.iter().find(|c| c.type_ == "PodResizePending").and_then(|c| c.reason.clone())
}

/// Whether the status tells that the first container has these limits.
fn has_limits(pod: &Pod, cpu: &str, memory: &str) -> bool {
    let limits = container(pod).resources.and_then(|r| r.limits).unwrap_or_default();
    limits.get("cpu").is_some_and(|q| q.0 == cpu) && limits.get("memory").is_some_and(|q| q.0 == memory)
}

async fn resize(w: &World, name: &str, resources: Value) {
    let patch = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}).to_string();
    w.ok(&["patch", "pod", name, "--subresource", "resize", "--patch", &patch]).await;
}

/// Without a restart; what the node cannot give is told, and the container keeps what it has.
pub async fn running_containers_are_resized(w: &World) {
    let seen = w.until("burstable", "ready", is_ready).await;
    let group = group_of(&seen).unwrap();
    let own = own_group(&group, &seen);
    resize(w, "burstable", json!({"limits": {"cpu": "300m", "memory": "96Mi"}})).await;
    let now = w.until("burstable", "has its new limits", |pod| has_limits(pod, "300m", "96Mi")).await;
    let (was, is) = (container(&seen), container(&now));
    assert_eq!((is.container_id, is.restart_count), (was.container_id, 0));
    w.eventually("the kernel has them, of the container and of the pod", async || {
        let all = (quota(&own), memory(&own), quota(&group), memory(&group));
        (all == ("30000 100000".into(), Some(96), "30000 100000".into(), Some(96 + 16))).then_some(())
    })
    .await;
    resize(w, "guaranteed", json!({"requests": {"cpu": "1000"}, "limits": {"cpu": "1000"}})).await;
    let now = w.until("guaranteed", "says that it cannot be", |pod| pending(pod).is_some()).await;
    assert_eq!(pending(&now).as_deref(), Some("Infeasible"));
    assert!(has_limits(&now, "250m", "64Mi"), "{:?}", container(&now));
    w.told(
        "guaranteed",
        "Warning ResizeInfeasible Node didn't have enough capacity: cpu, requested: 1000000, capacity: ",
    )
    .await;
}

/// The agent is killed; its pods go on in their cgroups, and the next agent knows them. With the last pod its cgroup goes.
pub async fn agents_find_and_remove_them(w: &World) {
    let names = ["guaranteed", "burstable", "effort"];
    let mut before = Vec::new();
    for name in names {
        let seen = w.pods().get(name).await.unwrap();
        let own = own_group(&group_of(&seen).unwrap(), &seen);
        before.push((container(&seen), value(&own, ("memory/cgroup.procs", "cgroup.procs")), quota(&own)));
    }
    let pid = i32::try_from(w.cluster.pid()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    w.cluster.up();
    w.heartbeats().await;
    for (name, (was, processes, cpu)) in names.iter().zip(before) {
        let seen = w.until(name, "ready", is_ready).await;
        let own = own_group(&group_of(&seen).unwrap(), &seen);
        let is = container(&seen);
        assert_eq!((is.container_id, is.restart_count, is.state), (was.container_id, 0, was.state), "{name}");
        assert_eq!(value(&own, ("memory/cgroup.procs", "cgroup.procs")), processes, "{name}");
        assert_eq!(quota(&own), cpu, "{name}");
        assert_eq!(pending(&seen).is_some(), *name == "guaranteed", "what was asked for in vain is not forgotten");
        if *name == "guaranteed" {
            resize(w, name, json!({"requests": {"cpu": "200m"}, "limits": {"cpu": "200m"}})).await;
            let now = w.until(name, "is resized", |pod| has_limits(pod, "200m", "64Mi")).await;
            assert_eq!(pending(&now), None);
        }
        w.ok(&["delete", "pod", name]).await;
        w.eventually("its cgroup goes", async || group_of(&seen).is_none().then_some(())).await;
    }
}

/// The whole of it on a cluster of its own.
pub async fn on_this_machine() {
    let w = World::start().await;
    machine::the_node_tells_what_it_is(&w).await;
    classes_pods_and_containers_have_their_limits(&w).await;
    running_containers_are_resized(&w).await;
    agents_find_and_remove_them(&w).await;
    lives::memory_kills_are_told(&w).await;
    machine::usage_is_told(&w).await;
    streams::commands_end_with_their_code_and_have_a_size(&w).await;
    let allocatable: Value = serde_json::from_str(&w.ok(&["get", "node", "-o", "json"]).await).unwrap();
    let status = &allocatable["items"][0]["status"];
    let bytes = |list: &str| status[list]["memory"].as_str().unwrap().trim_end_matches("Ki").parse::<u64>().unwrap();
    assert_eq!(bytes("capacity") - bytes("allocatable"), 100 << 10, "what eviction holds back");
    w.finish().await;
}

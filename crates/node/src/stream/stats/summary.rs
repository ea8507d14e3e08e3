//! `/stats/summary` as JSON. No I/O.
use super::sampler::{ContainerLook, Look, PodLook, Rate};
use jiff::Timestamp;
use serde_json::{Value, json};

pub fn summary(node: &str, look: &Look) -> Value {
    let at = time(look.at);
    let machine = &look.machine;
    json!({
        "node": {
            "nodeName": node,
            "startTime": machine.booted.map(time),
            "cpu": cpu(&at, look.rate, machine.cpu_nanos),
            "memory": {
                "time": at,
                "availableBytes": machine.memory_total.saturating_sub(machine.memory_working_set),
                "usageBytes": machine.memory_usage,
                "workingSetBytes": machine.memory_working_set,
            },
        },
        "pods": look.pods.iter().filter(|p| !p.containers.is_empty()).map(pod).collect::<Vec<_>>(),
    })
}

fn pod(look: &PodLook) -> Value {
    let meta = &look.pod.metadata;
    let containers = &look.containers;
    let at = containers.iter().map(|c| c.stats.at).max().map(time).unwrap_or_default();
    let sum = |of: fn(&ContainerLook) -> u64| containers.iter().map(of).fold(0, u64::saturating_add);
    // Together only when all are known, over the longest of their windows.
    let rates: Option<Vec<Rate>> = containers.iter().map(|c| c.rate).collect();
    let rate = rates.and_then(|rates| {
        let window = rates.iter().map(|r| r.window).max()?;
        Some(Rate { nano_cores: rates.iter().map(|r| r.nano_cores).fold(0, u64::saturating_add), window })
    });
    json!({
        "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "startTime": look.pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| time(t.0)),
        "containers": containers.iter().map(container).collect::<Vec<_>>(),
        "cpu": cpu(&at, rate, sum(|c| c.stats.cpu_nanos)),
        "memory": {
            "time": at,
            "usageBytes": sum(|c| c.stats.memory_usage_bytes),
            "workingSetBytes": sum(|c| c.stats.memory_working_set_bytes),
        },
        "process_stats": {"process_count": sum(|c| c.stats.pids)},
    })
}

fn container(look: &ContainerLook) -> Value {
    let at = time(look.stats.at);
    json!({
        "name": look.name,
        "startTime": look.started.map(time),
        "cpu": cpu(&at, look.rate, look.stats.cpu_nanos),
        "memory": {
            "time": at,
            "usageBytes": look.stats.memory_usage_bytes,
            "workingSetBytes": look.stats.memory_working_set_bytes,
        },
        "rootfs": {"time": at, "usedBytes": look.stats.writable_bytes},
    })
}

/// `usageWindowNanos` is isopod's own: the metrics API tells over what time a rate was measured, and the kubelet's form has no
/// place for it.
fn cpu(at: &str, rate: Option<Rate>, total: u64) -> Value {
    let mut cpu = json!({"time": at, "usageCoreNanoSeconds": total});
    if let (Some(rate), Some(map)) = (rate, cpu.as_object_mut()) {
        map.insert("usageNanoCores".into(), rate.nano_cores.into());
        map.insert("usageWindowNanos".into(), u64::try_from(rate.window.as_nanos()).unwrap_or(u64::MAX).into());
    }
    cpu
}

fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

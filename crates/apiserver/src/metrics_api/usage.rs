//! From a node's summary to metrics objects. No I/O.
use isopod_api::k8s::apimachinery::pkg::api::resource::Quantity;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::quantity;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What is read of `/stats/summary` (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`).
#[derive(Debug, Deserialize)]
pub struct Summary {
    node: NodeStats,
    #[serde(default)]
    pods: Vec<PodStats>,
}

#[derive(Debug, Deserialize)]
struct NodeStats {
    cpu: Option<Cpu>,
    memory: Option<Memory>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStats {
    pod_ref: PodRef,
    #[serde(default)]
    containers: Vec<ContainerStats>,
}

#[derive(Debug, Deserialize)]
struct PodRef {
    uid: String,
}

#[derive(Debug, Deserialize)]
struct ContainerStats {
    name: String,
    cpu: Option<Cpu>,
    memory: Option<Memory>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    time: Timestamp,
    usage_nano_cores: Option<u64>,
    /// isopod's own: over what time the rate was measured.
    usage_window_nanos: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    working_set_bytes: Option<u64>,
}

/// A kubelet that does not say averages over some seconds (cAdvisor's housekeeping).
const DEFAULT_WINDOW: u64 = 10_000_000_000;

/// Use of one thing: its `usage`, when, and over what time.
struct Measured {
    usage: Value,
    at: Timestamp,
    window: u64,
}

fn measured(cpu: Option<&Cpu>, memory: Option<&Memory>) -> Option<Measured> {
    let (cpu, memory) = (cpu?, memory?);
    let usage = json!({"cpu": cores(cpu.usage_nano_cores?), "memory": bytes(memory.working_set_bytes?)});
    Some(Measured { usage, at: cpu.time, window: cpu.usage_window_nanos.unwrap_or(DEFAULT_WINDOW) })
}

/// A `NodeMetrics`, or nothing while there is no rate yet.
pub fn node(meta: &ObjectMeta, summary: &Summary, now: Timestamp) -> Option<Value> {
    let m = measured(summary.node.cpu.as_ref(), summary.node.memory.as_ref())?;
    Some(json!({
        "metadata": metadata(meta, now), "timestamp": time(m.at), "window": duration(m.window), "usage": m.usage,
    }))
}

/// A `PodMetrics`, or nothing while one of its containers has no rate yet: part of a pod would be taken for the whole.
pub fn pod(meta: &ObjectMeta, summary: &Summary, now: Timestamp) -> Option<Value> {
    let stats = summary.pods.iter().find(|p| Some(p.pod_ref.uid.as_str()) == meta.uid.as_deref())?;
    let each = stats.containers.iter().map(|c| Some((c, measured(c.cpu.as_ref(), c.memory.as_ref())?)));
    let containers: Vec<_> = each.collect::<Option<_>>()?;
    let at = containers.iter().map(|(_, m)| m.at).min()?;
    let window = containers.iter().map(|(_, m)| m.window).max()?;
    let containers: Vec<Value> =
        containers.into_iter().map(|(c, m)| json!({"name": c.name, "usage": m.usage})).collect();
    Some(json!({
        "metadata": metadata(meta, now), "timestamp": time(at), "window": duration(window), "containers": containers,
    }))
}

/// Name and labels of the object that was measured; made now.
fn metadata(meta: &ObjectMeta, now: Timestamp) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), json!(meta.name));
    if let Some(namespace) = &meta.namespace {
        out.insert("namespace".into(), json!(namespace));
    }
    out.insert("creationTimestamp".into(), time(now).into());
    if let Some(labels) = &meta.labels {
        out.insert("labels".into(), json!(labels));
    }
    Value::Object(out)
}

fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// As Go writes a duration of seconds: `15.036s`.
fn duration(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let fraction = format!("{:09}", nanos % 1_000_000_000);
    match fraction.trim_end_matches('0') {
        "" => format!("{seconds}s"),
        fraction => format!("{seconds}.{fraction}s"),
    }
}

fn cores(nanos: u64) -> Quantity {
    canonical(format!("{nanos}n"))
}

fn bytes(bytes: u64) -> Quantity {
    // Memory comes in pages; should it ever not, plain bytes are right too.
    if bytes.is_multiple_of(1024) { canonical(format!("{}Ki", bytes / 1024)) } else { canonical(bytes.to_string()) }
}

fn canonical(text: String) -> Quantity {
    let mut quantity = Quantity(text);
    quantity::canonicalize(&mut quantity);
    quantity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let cpu = json!({"time": "2026-01-01T00:00:10Z", "usageNanoCores": 156_340_551, "usageWindowNanos": 15_036_000_000u64});
        let quiet = json!({"time": "2026-01-01T00:00:09Z", "usageNanoCores": 2_000_000});
        let memory = |n: u64| json!({"workingSetBytes": n});
        serde_json::from_value(json!({
            "node": {"nodeName": "n", "cpu": cpu, "memory": memory(1 << 30)},
            "pods": [
                {"podRef": {"name": "web", "namespace": "ns", "uid": "u1"}, "containers": [
                    {"name": "a", "cpu": cpu, "memory": memory(1_052_672)},
                    {"name": "b", "cpu": quiet, "memory": memory(0)},
                ]},
                {"podRef": {"name": "new", "namespace": "ns", "uid": "u2"}, "containers": [
                    {"name": "a", "cpu": {"time": "2026-01-01T00:00:10Z"}, "memory": memory(1)},
                ]},
            ],
        }))
        .unwrap()
    }

    fn meta(name: &str, uid: &str) -> ObjectMeta {
        ObjectMeta { name: Some(name.into()), uid: Some(uid.into()), ..ObjectMeta::default() }
    }

    #[test]
    fn summaries_become_metrics() {
        let now = "2026-01-01T00:00:11Z".parse().unwrap();
        let node = node(&meta("n", "x"), &summary(), now).unwrap();
        insta::assert_snapshot!(node, @r#"{"metadata":{"creationTimestamp":"2026-01-01T00:00:11Z","name":"n"},"timestamp":"2026-01-01T00:00:10Z","usage":{"cpu":"156340551n","memory":"1Gi"},"window":"15.036s"}"#);
        let web = pod(&meta("web", "u1"), &summary(), now).unwrap();
        insta::assert_snapshot!(web, @r#"{"containers":[{"name":"a","usage":{"cpu":"156340551n","memory":"1028Ki"}},{"name":"b","usage":{"cpu":"2m","memory":"0"}}],"metadata":{"creationTimestamp":"2026-01-01T00:00:11Z","name":"web"},"timestamp":"2026-01-01T00:00:09Z","window":"15.036s"}"#);
        assert_eq!(pod(&meta("new", "u2"), &summary(), now), None, "no rate yet");
        assert_eq!(pod(&meta("web", "another"), &summary(), now), None, "another pod of that name");
    }

    #[test]
    fn durations_are_gos() {
        for (nanos, text) in [(15_036_000_000, "15.036s"), (10_000_000_000, "10s"), (1, "0.000000001s")] {
            assert_eq!(duration(nanos), text);
        }
    }
}

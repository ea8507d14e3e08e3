//! The row of a pod (`printPod` in `pkg/printers/internalversion/printers.go`): above all, its STATUS in one word.
use super::containers;
use crate::catalogue::{Column, PrintContext};
use crate::k8s::api::core::v1::{ContainerStatus, Pod, PodSpec, PodStatus};
use crate::k8s::apimachinery::pkg::apis::meta::v1::Time;
use crate::print::{self, column, wide};
use serde_json::Value;

/// The columns of `kubectl get pods`, `-o wide` included.
pub const COLUMNS: &[Column] = &[
    print::NAME,
    column("Ready", "Ready containers of all containers."),
    column("Status", "What the pod is doing, or why it is not."),
    column("Restarts", "How often its containers were restarted, and when last."),
    print::AGE,
    wide("IP", "Address of the pod."),
    wide("Node", "Node on which the pod runs."),
    wide("Nominated Node", "Node on which room is being made for the pod."),
    wide("Readiness Gates", "Conditions beside its containers that must hold for the pod to be ready."),
];

/// One cell for each of [`COLUMNS`].
pub fn cells(pod: &Pod, cx: &PrintContext) -> Vec<Value> {
    let empty = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&empty.0);
    let status = pod.status.as_ref().unwrap_or(&empty.1);
    let summary = summarize(pod, spec, status);
    let total = spec.containers.len().saturating_add(sidecars(spec));
    let ip = status.pod_ips.iter().flatten().next().map(|ip| ip.ip.clone()).or_else(|| status.pod_ip.clone());
    vec![
        pod.metadata.name.clone().unwrap_or_default().into(),
        format!("{}/{total}", summary.ready).into(),
        summary.reason.into(),
        summary.restarts.text(cx).into(),
        print::age_cell(pod.metadata.creation_timestamp.as_ref(), cx),
        or_none(ip).into(),
        or_none(spec.node_name.clone()).into(),
        or_none(status.nominated_node_name.clone()).into(),
        readiness_gates(spec, status).into(),
    ]
}

fn or_none(text: Option<String>) -> String {
    print::none_if_empty(text.unwrap_or_default())
}

fn sidecars(spec: &PodSpec) -> usize {
    spec.init_containers.iter().flatten().filter(|c| containers::is_restartable_init(c)).count()
}

fn readiness_gates(spec: &PodSpec, status: &PodStatus) -> String {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| condition(status, &gate.condition_type)).count();
    format!("{open}/{}", gates.len())
}

/// Whether the first condition of this type is true.
fn condition(status: &PodStatus, type_: &str) -> bool {
    status.conditions.iter().flatten().find(|c| c.type_ == type_).is_some_and(|c| c.status == "True")
}

#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<Time>,
}

impl Restarts {
    fn add(&mut self, container: &ContainerStatus) {
        self.count = self.count.saturating_add(container.restart_count.into());
        let finished = container.last_state.as_ref().and_then(|s| s.terminated.as_ref()?.finished_at.clone());
        if finished.as_ref().map(|t| t.0) > self.last.as_ref().map(|t| t.0) {
            self.last = finished;
        }
    }

    fn text(&self, cx: &PrintContext) -> String {
        match &self.last {
            Some(last) if self.count != 0 => format!("{} ({} ago)", self.count, print::age(Some(last), cx.now)),
            _ => self.count.to_string(),
        }
    }
}

struct Summary {
    reason: String,
    ready: usize,
    restarts: Restarts,
}

fn summarize(pod: &Pod, spec: &PodSpec, status: &PodStatus) -> Summary {
    let phase = status.phase.clone().unwrap_or_default();
    let mut reason = status.reason.clone().filter(|r| !r.is_empty()).unwrap_or_else(|| phase.clone());
    let gated = |c: &&_| -> bool {
        let c: &crate::k8s::api::core::v1::PodCondition = c;
        c.type_ == "PodScheduled" && c.reason.as_deref() == Some("SchedulingGated")
    };
    if status.conditions.iter().flatten().any(|c| gated(&c)) {
        reason = "SchedulingGated".to_owned();
    }
    let start = starting(spec, status);
    let mut summary = Summary { reason, ready: start.ready_sidecars, restarts: start.restarts };
    let initialized = condition(status, "Initialized");
    if let Some(reason) = start.waiting_for.clone() {
        summary.reason = reason;
    }
    if start.waiting_for.is_none() || initialized {
        summary.restarts = start.sidecar_restarts;
        running(status, &mut summary);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason.as_deref() == Some("NodeLost") {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase.as_str(), "Failed" | "Succeeded") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

/// What the init containers say.
struct Start {
    /// The reason to show while the pod is being initialized: of the first init container that is not done.
    waiting_for: Option<String>,
    ready_sidecars: usize,
    restarts: Restarts,
    sidecar_restarts: Restarts,
}

fn starting(spec: &PodSpec, status: &PodStatus) -> Start {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let mut start = Start {
        waiting_for: None,
        ready_sidecars: 0,
        restarts: Restarts::default(),
        sidecar_restarts: Restarts::default(),
    };
    for (i, container) in status.init_container_statuses.iter().flatten().enumerate() {
        let sidecar = inits.iter().any(|c| c.name == container.name && containers::is_restartable_init(c));
        start.restarts.add(container);
        if sidecar {
            start.sidecar_restarts.add(container);
        }
        let state = container.state.clone().unwrap_or_default();
        if state.terminated.as_ref().is_some_and(|t| t.exit_code == 0) {
            continue;
        }
        if sidecar && container.started == Some(true) {
            start.ready_sidecars = start.ready_sidecars.saturating_add(usize::from(container.ready));
            continue;
        }
        let waiting = state.waiting.and_then(|w| w.reason).filter(|r| !r.is_empty() && r != "PodInitializing");
        start.waiting_for = Some(match (state.terminated, waiting) {
            (Some(t), _) => format!("Init:{}", ended(t.reason.as_deref(), t.signal, t.exit_code)),
            (None, Some(reason)) => format!("Init:{reason}"),
            (None, None) => format!("Init:{i}/{}", inits.len()),
        });
        break;
    }
    start
}

/// What the main containers say; the first one that has something to say wins.
fn running(status: &PodStatus, summary: &mut Summary) {
    let mut has_running = false;
    for container in status.container_statuses.iter().flatten().rev() {
        summary.restarts.add(container);
        let state = container.state.clone().unwrap_or_default();
        let waiting = state.waiting.and_then(|w| w.reason).filter(|r| !r.is_empty());
        if let Some(reason) = waiting {
            summary.reason = reason;
        } else if let Some(t) = state.terminated {
            summary.reason = ended(t.reason.as_deref(), t.signal, t.exit_code);
        } else if container.ready && state.running.is_some() {
            has_running = true;
            summary.ready = summary.ready.saturating_add(1);
        }
    }
    if summary.reason == "Completed" && has_running {
        summary.reason = if condition(status, "Ready") { "Running" } else { "NotReady" }.to_owned();
    }
}

fn ended(reason: Option<&str>, signal: Option<i32>, exit_code: i32) -> String {
    match (reason.filter(|r| !r.is_empty()), signal.filter(|s| *s != 0)) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some(signal)) => format!("Signal:{signal}"),
        (None, None) => format!("ExitCode:{exit_code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(spec: &Value, status: &Value, deleted: bool) -> String {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": spec, "status": status,
            "metadata": {"name": "p", "creationTimestamp": "2026-11-23T00:00:00Z"},
        });
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-11-23T00:04:00Z");
        }
        let pod: Pod = serde_json::from_value(object).unwrap();
        let cx = PrintContext { now: "2026-11-23T00:05:00Z".parse().unwrap() };
        let cells = cells(&pod, &cx);
        cells.iter().map(|c| c.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn status_is_one_word() {
        let one = json!({"containers": [{"name": "c"}], "nodeName": "n"});
        let state = |state: Value, ready: bool| {
            json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
            "containerStatuses": [{"name": "c", "ready": ready, "restartCount": 0, "state": state}]})
        };
        let cases = [
            (state(json!({"running": {}}), true), false, "p | 1/1 | Running | 0 | 5m | 10.0.0.1 | n | <none> | <none>"),
            (
                state(json!({"running": {}}), true),
                true,
                "p | 1/1 | Terminating | 0 | 5m | 10.0.0.1 | n | <none> | <none>",
            ),
            (
                state(json!({"waiting": {"reason": "CrashLoopBackOff"}}), false),
                false,
                "p | 0/1 | CrashLoopBackOff | 0 | 5m | 10.0.0.1 | n | <none> | <none>",
            ),
            (
                state(json!({"terminated": {"exitCode": 137, "signal": 9}}), false),
                false,
                "p | 0/1 | Signal:9 | 0 | 5m | 10.0.0.1 | n | <none> | <none>",
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
                false,
                "p | 0/1 | SchedulingGated | 0 | 5m | <none> | n | <none> | <none>",
            ),
            (
                json!({"phase": "Running", "reason": "NodeLost"}),
                true,
                "p | 0/1 | Unknown | 0 | 5m | <none> | n | <none> | <none>",
            ),
            (json!({"phase": "Succeeded"}), true, "p | 0/1 | Succeeded | 0 | 5m | <none> | n | <none> | <none>"),
        ];
        for (status, deleted, expected) in cases {
            assert_eq!(row(&one, &status, deleted), expected);
        }
    }

    #[test]
    fn init_containers_come_first() {
        let spec = json!({"containers": [{"name": "c"}],
            "initContainers": [{"name": "a"}, {"name": "s", "restartPolicy": "Always"}, {"name": "b"}]});
        let init = |a: Value, s: Value, b: Value| {
            json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "a", "state": a}, {"name": "s", "state": s, "started": true, "ready": true, "restartCount": 2,
             "lastState": {"terminated": {"finishedAt": "2026-11-23T00:02:00Z"}}}, {"name": "b", "state": b}]})
        };
        let done = || json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        let running = || json!({"running": {}});
        let cases = [
            (init(running(), json!({}), json!({})), "0/2 | Init:0/3 | 0"),
            (init(done(), running(), running()), "1/2 | Init:2/3 | 2 (3m ago)"),
            (init(done(), running(), json!({"terminated": {"exitCode": 3}})), "1/2 | Init:ExitCode:3 | 2 (3m ago)"),
            (
                init(done(), running(), json!({"waiting": {"reason": "ErrImagePull"}})),
                "1/2 | Init:ErrImagePull | 2 (3m ago)",
            ),
            (init(done(), running(), done()), "1/2 | Pending | 2 (3m ago)"),
        ];
        for (status, expected) in cases {
            let row = row(&spec, &status, false);
            assert!(row.contains(expected), "{row} has not {expected}");
        }
    }
}

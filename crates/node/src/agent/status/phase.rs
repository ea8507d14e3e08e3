//! The one-word summary of a pod (the kubelet's `getPhase`).
use crate::agent::observed::is_sidecar;
use crate::agent::plan::restart;
use isopod_api::k8s::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, PodSpec};

/// What the phase depends on besides the container statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// No container will be started again, whatever its policy.
    pub is_final: bool,
    /// A main container has been started in the pod's sandbox.
    pub has_initialized: bool,
}

#[derive(Default)]
struct Count {
    pending_init: usize,
    pending_sidecars: usize,
    failed_init_for_good: usize,
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
}

fn ended(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.state.as_ref()?.terminated.as_ref()
}

fn ended_before(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.last_state.as_ref()?.terminated.as_ref()
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|s| s.running.is_some())
}

impl Count {
    fn init(&mut self, container: &Container, spec: &PodSpec, status: Option<&ContainerStatus>) {
        let Some(status) = status.filter(|s| !is_running(s)) else {
            self.pending_init += 1;
            return;
        };
        let Some(end) = ended(status).or_else(|| ended_before(status)) else {
            self.pending_init += 1;
            return;
        };
        self.failed_init_for_good +=
            usize::from(end.exit_code != 0 && !restart::wanted(container, spec, end.exit_code));
    }

    fn sidecar(&mut self, status: Option<&ContainerStatus>) {
        let Some(status) = status else {
            self.unknown += 1;
            return;
        };
        if is_running(status) {
            self.pending_sidecars += usize::from(status.started != Some(true));
            self.running += 1;
        } else if ended(status).is_none() && ended_before(status).is_none() {
            self.pending_sidecars += 1;
            self.waiting += 1;
        }
    }

    fn main(&mut self, container: &Container, spec: &PodSpec, status: Option<&ContainerStatus>) {
        let Some(status) = status else {
            self.unknown += 1;
            return;
        };
        if is_running(status) {
            self.running += 1;
            return;
        }
        let Some(end) = ended(status).or_else(|| ended_before(status)) else {
            self.waiting += 1;
            return;
        };
        self.stopped += 1;
        self.stopped_for_good += usize::from(!restart::wanted(container, spec, end.exit_code));
        self.succeeded += usize::from(ended(status).is_some() && end.exit_code == 0);
    }
}

/// `Pending`, `Running`, `Succeeded` or `Failed`.
pub fn phase(spec: &PodSpec, statuses: &[&ContainerStatus], facts: Facts) -> &'static str {
    let of = |c: &Container| statuses.iter().copied().find(|s| s.name == c.name);
    let mut count = Count::default();
    for container in spec.init_containers.iter().flatten() {
        if is_sidecar(container) {
            count.sidecar(of(container));
        } else {
            count.init(container, spec, of(container));
        }
    }
    for container in &spec.containers {
        count.main(container, spec, of(container));
    }
    let ended = if count.stopped == count.succeeded { "Succeeded" } else { "Failed" };
    match count {
        Count { failed_init_for_good: 1.., .. } => "Failed",
        Count { pending_init: 1.., .. } => "Pending",
        Count { pending_sidecars: 1.., .. } if !facts.has_initialized => "Pending",
        Count { waiting: 1.., .. } => "Pending",
        Count { running: 1.., unknown: 0, .. } => "Running",
        Count { running: 0, stopped: 1.., unknown: 0, .. } if facts.is_final => ended,
        Count { running: 0, stopped, stopped_for_good, unknown: 0, .. } if stopped > 0 => {
            if stopped == stopped_for_good { ended } else { "Running" }
        }
        _ => "Pending",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(name: &str, state: &str) -> Value {
        let running = json!({"running": {}});
        let (state, last, started) = match state {
            "up" => (running, json!({}), true),
            "starting" => (running, json!({}), false),
            "wait" => (json!({"waiting": {}}), json!({}), false),
            "again" => (json!({"waiting": {}}), json!({"terminated": {"exitCode": 1}}), false),
            code => (json!({"terminated": {"exitCode": code.parse::<i32>().unwrap()}}), json!({}), false),
        };
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state, "lastState": last, "started": started})
    }

    #[test]
    fn phases() {
        let plain = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let with_init = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]});
        let with_sidecar =
            json!({"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
        // spec, restart policy, states by name, is it final, has a main container started; the phase
        type Row<'a> = (&'a Value, &'a str, Vec<(&'a str, &'a str)>, bool, bool, &'a str);
        let table: Vec<Row<'_>> = vec![
            (&plain, "Always", vec![], false, false, "Pending"),
            (&plain, "Always", vec![("a", "up"), ("b", "wait")], false, true, "Pending"),
            (&plain, "Always", vec![("a", "up"), ("b", "up")], false, true, "Running"),
            (&plain, "Always", vec![("a", "up"), ("b", "again")], false, true, "Running"),
            (&plain, "Always", vec![("a", "0"), ("b", "0")], false, true, "Running"),
            (&plain, "Always", vec![("a", "0"), ("b", "0")], true, true, "Succeeded"),
            (&plain, "Always", vec![("a", "0"), ("b", "137")], true, true, "Failed"),
            (&plain, "OnFailure", vec![("a", "0"), ("b", "1")], false, true, "Running"),
            (&plain, "OnFailure", vec![("a", "0"), ("b", "0")], false, true, "Succeeded"),
            (&plain, "Never", vec![("a", "0"), ("b", "1")], false, true, "Failed"),
            (&plain, "Never", vec![("a", "0"), ("b", "up")], false, true, "Running"),
            (&plain, "Never", vec![("a", "0"), ("b", "0")], false, true, "Succeeded"),
            (&with_init, "Always", vec![("i", "up"), ("a", "wait")], false, false, "Pending"),
            (&with_init, "Always", vec![("i", "1"), ("a", "wait")], false, false, "Pending"),
            (&with_init, "Always", vec![("i", "again"), ("a", "wait")], false, false, "Pending"),
            (&with_init, "Never", vec![("i", "1"), ("a", "wait")], false, false, "Failed"),
            (&with_init, "Always", vec![("i", "0"), ("a", "up")], false, true, "Running"),
            (&with_sidecar, "Never", vec![("s", "starting"), ("a", "wait")], false, false, "Pending"),
            (&with_sidecar, "Never", vec![("s", "up"), ("a", "up")], false, true, "Running"),
            (&with_sidecar, "Never", vec![("s", "again"), ("a", "up")], false, true, "Running"),
            (&with_sidecar, "Never", vec![("s", "up"), ("a", "0")], false, true, "Running"),
            (&with_sidecar, "Never", vec![("s", "137"), ("a", "0")], false, true, "Succeeded"),
        ];
        for (spec, policy, states, is_final, has_initialized, expected) in table {
            let mut spec: PodSpec = serde_json::from_value(spec.clone()).unwrap();
            spec.restart_policy = Some(policy.into());
            let all: Vec<ContainerStatus> =
                states.iter().map(|(n, s)| serde_json::from_value(status(n, s)).unwrap()).collect();
            let all: Vec<&ContainerStatus> = all.iter().collect();
            assert_eq!(phase(&spec, &all, Facts { is_final, has_initialized }), expected, "{policy} {states:?}");
        }
    }
}

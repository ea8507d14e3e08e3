//! The conditions a kubelet owns (`pkg/kubelet/status/generate.go`), with transition times that move only with the status.
use crate::agent::allot::{PENDING, Pending};
use crate::agent::observed::is_sidecar;
use isopod_api::k8s::api::core::v1::{ContainerStatus, Pod, PodCondition, PodSpec};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::Time;
use jiff::Timestamp;

/// What the conditions tell of.
pub struct Facts<'a> {
    pub phase: &'a str,
    /// Init containers and main ones.
    pub statuses: &'a [&'a ContainerStatus],
    pub sandbox: bool,
    pub routable: bool,
    pub now: Timestamp,
}

/// Status, reason, message.
type Said = (bool, Option<&'static str>, Option<String>);

const YES: Said = (true, None, None);

/// Times in the API are whole seconds.
pub fn second(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

impl Facts<'_> {
    fn of(&self, name: &str) -> Option<&ContainerStatus> {
        self.statuses.iter().copied().find(|s| s.name == name)
    }

    fn containers_ready(&self, spec: &PodSpec) -> Said {
        let sidecars = spec.init_containers.iter().flatten().filter(|c| is_sidecar(c));
        let (mut unknown, mut unready) = (Vec::new(), Vec::new());
        for container in sidecars.chain(&spec.containers) {
            match self.of(&container.name) {
                None => unknown.push(container.name.as_str()),
                Some(status) if !status.ready => unready.push(container.name.as_str()),
                Some(_) => {}
            }
        }
        if self.phase == "Succeeded" && unknown.is_empty() {
            return (false, Some("PodCompleted"), None);
        }
        if self.phase == "Failed" {
            return (false, Some("PodFailed"), None);
        }
        match messages(&unknown, "unready", &unready) {
            Some(message) => (false, Some("ContainersNotReady"), Some(message)),
            None => YES,
        }
    }

    fn initialized(&self, spec: &PodSpec) -> Said {
        let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
        for container in spec.init_containers.iter().flatten() {
            match self.of(&container.name) {
                None => unknown.push(container.name.as_str()),
                Some(s) if is_sidecar(container) && s.started == Some(true) => {}
                Some(s) if !is_sidecar(container) && s.ready => {}
                Some(_) => incomplete.push(container.name.as_str()),
            }
        }
        if self.phase == "Succeeded" && unknown.is_empty() {
            return (true, Some("PodCompleted"), None);
        }
        // Once a main container has run, sidecars that restart do not make the pod uninitialized.
        let started = |s: &ContainerStatus| {
            let state = s.state.as_ref();
            s.started == Some(true)
                || state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
                || s.last_state.as_ref().is_some_and(|l| l.terminated.is_some())
        };
        if spec.containers.iter().any(|c| self.of(&c.name).is_some_and(started)) {
            return YES;
        }
        match messages(&unknown, "incomplete", &incomplete) {
            Some(message) => (false, Some("ContainersNotInitialized"), Some(message)),
            None => YES,
        }
    }

    fn ready(&self, pod: &Pod, spec: &PodSpec) -> Said {
        let containers = self.containers_ready(spec);
        if !containers.0 {
            return containers;
        }
        let missing = unmet_gates(pod, spec);
        if !missing.is_empty() {
            return (false, Some("ReadinessGatesNotReady"), Some(missing.join(", ")));
        }
        if !self.routable {
            let message = "the node's proxies do not send connections to the pod yet".to_owned();
            return (false, Some("TrafficNotProgrammed"), Some(message));
        }
        YES
    }
}

/// Readiness gates (KEP-580): conditions that others set.
fn unmet_gates(pod: &Pod, spec: &PodSpec) -> Vec<String> {
    let known = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let mut missing = Vec::new();
    for gate in spec.readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match known.iter().find(|c| c.type_ == *kind) {
            None => missing.push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(c) if c.status != "True" => {
                missing.push(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", c.status));
            }
            Some(_) => {}
        }
    }
    missing
}

fn messages(unknown: &[&str], word: &str, others: &[&str]) -> Option<String> {
    let mut all = Vec::new();
    if !unknown.is_empty() {
        all.push(format!("containers with unknown status: [{}]", unknown.join(" ")));
    }
    if !others.is_empty() {
        all.push(format!("containers with {word} status: [{}]", others.join(" ")));
    }
    (!all.is_empty()).then(|| all.join(", "))
}

/// All conditions but those of others, in the kubelet's order.
pub fn conditions(pod: &Pod, spec: &PodSpec, old: &[PodCondition], facts: &Facts<'_>) -> Vec<PodCondition> {
    let make = |kind: &str, (status, reason, message): Said| {
        let status = if status { "True" } else { "False" };
        let before = old.iter().find(|c| c.type_ == kind && c.status == status);
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            message,
            last_transition_time: before
                .and_then(|c| c.last_transition_time.clone())
                .or_else(|| Some(second(facts.now))),
            observed_generation: pod.metadata.generation,
            ..PodCondition::default()
        }
    };
    vec![
        make("PodReadyToStartContainers", (facts.sandbox, None, None)),
        make("Initialized", facts.initialized(spec)),
        make("Ready", facts.ready(pod, spec)),
        make("ContainersReady", facts.containers_ready(spec)),
        make("PodScheduled", YES),
    ]
}

/// Conditions that are there only while a resize is not done (KEP-1287).
pub const RESIZE: [&str; 2] = [PENDING, "PodResizeInProgress"];

/// That the pod asks for what it cannot have now; that it is being given what it asks for.
pub fn resize(
    pod: &Pod,
    (pending, in_progress): (Option<&Pending>, bool),
    old: &[PodCondition],
    now: Timestamp,
) -> Vec<PodCondition> {
    let make = |kind: &str, said: Option<&Pending>| {
        let before = old.iter().find(|c| c.type_ == kind).and_then(|c| c.last_transition_time.clone());
        PodCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: said.map(|p| p.reason.to_owned()),
            message: said.map(|p| p.message.clone()),
            last_transition_time: before.or_else(|| Some(second(now))),
            observed_generation: pod.metadata.generation,
            ..PodCondition::default()
        }
    };
    let pending = pending.map(|pending| make(PENDING, Some(pending)));
    pending.into_iter().chain(in_progress.then(|| make("PodResizeInProgress", None))).collect()
}

/// That the pod goes for the machine's sake (KEP-3329): Jobs do not count it as a failure of their own if they are told not to.
pub fn disrupted(pod: &Pod, message: &str, old: &[PodCondition], now: Timestamp) -> PodCondition {
    let kind = "DisruptionTarget";
    let before = old.iter().find(|c| c.type_ == kind).and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some("TerminationByKubelet".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: before.or_else(|| Some(second(now))),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    }
}

/// Everything that `Ready` needs is there, but for the traffic: the gate may be asked.
pub fn awaits_traffic(conditions: &[PodCondition]) -> bool {
    conditions.iter().any(|c| c.type_ == "Ready" && c.reason.as_deref() == Some("TrafficNotProgrammed"))
}

//! How a pod is shown: the PodStatus of what the runtime has (the kubelet's `generateAPIPodStatus`). Pure.
pub mod conditions;
mod containers;
pub mod phase;
#[cfg(test)]
mod tests;

use super::memory::{Memory, StartError};
use super::observed::{Kind, Observed, is_sidecar, plain};
use conditions::second;
use isopod_api::k8s::api::core::v1::{
    Container, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use isopod_runtime::ContainerState;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::IpAddr;

/// The conditions that are an agent's own.
const OWN: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
/// Last words of all containers of a pod together (`MaxPodTerminationMessageLogLength`).
const WORDS: usize = 12 * 1024;

/// All that a status is made of.
pub struct View<'a> {
    pub pod: &'a Pod,
    pub spec: &'a PodSpec,
    /// The status shown last.
    pub old: &'a PodStatus,
    pub seen: &'a Observed,
    pub memory: &'a Memory,
    /// Why containers wait (from the plan).
    pub waiting: &'a [(String, StartError)],
    /// Nothing of it will be started again.
    pub is_final: bool,
    pub host: IpAddr,
    /// The runtime's name, before every container id.
    pub runtime: &'a str,
    pub now: Timestamp,
}

fn is_terminal(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

impl View<'_> {
    pub fn render(&self) -> PodStatus {
        let old_of =
            |list: &Option<Vec<ContainerStatus>>, name: &str| list.iter().flatten().find(|s| s.name == name).cloned();
        let list = |containers: &[Container], kind: &dyn Fn(&Container) -> Kind, old: &Option<Vec<ContainerStatus>>| {
            let one = |c: &Container| self.container(c, kind(c), old_of(old, &c.name).as_ref());
            containers.iter().map(one).collect::<Vec<_>>()
        };
        let ephemeral: Vec<_> = self.spec.ephemeral_containers.iter().flatten().map(plain).collect();
        let init_kind = |c: &Container| if is_sidecar(c) { Kind::Sidecar } else { Kind::Init };
        let init_specs = self.spec.init_containers.clone().unwrap_or_default();
        let mut main = list(&self.spec.containers, &|_| Kind::Main, &self.old.container_statuses);
        let mut init = list(&init_specs, &init_kind, &self.old.init_container_statuses);
        let mut ephemeral = list(&ephemeral, &|_| Kind::Ephemeral, &self.old.ephemeral_container_statuses);
        if self.is_final {
            self.settle(&mut main, &mut init);
        }
        shorten_words([&mut main, &mut init, &mut ephemeral]);
        let (phase, reason, message) = self.phase(&main, &init);
        let all: Vec<&ContainerStatus> = init.iter().chain(&main).collect();
        let facts = conditions::Facts {
            phase: &phase,
            statuses: &all,
            sandbox: self.seen.sandbox().is_some() && !self.memory.making_sandbox,
            routable: self.memory.routable,
            now: self.now,
        };
        let old = self.old.conditions.as_deref().unwrap_or_default();
        let mut conditions = conditions::conditions(self.pod, self.spec, old, &facts);
        if let Some(evicted) = self.memory.evicted.as_ref().filter(|e| e.disrupted) {
            conditions.push(conditions::disrupted(self.pod, &evicted.message, old, self.now));
        }
        let going_on = !self.is_final && !self.has_all_limits(&init_specs);
        conditions.extend(conditions::resize(self.pod, (self.memory.resize.as_ref(), going_on), old, self.now));
        // A pod that was refused has no containers to show.
        let over = self.memory.evicted.is_some() || is_terminal(self.old.phase.as_deref());
        let refused = over && self.seen.containers.is_empty() && self.old.container_statuses.is_none();
        let some = |list: Vec<ContainerStatus>| (!refused && !list.is_empty()).then_some(list);
        let pod_ip = self.pod_ip();
        PodStatus {
            phase: Some(phase),
            reason,
            message,
            observed_generation: self.pod.metadata.generation,
            conditions: Some(conditions),
            start_time: self.old.start_time.clone().or_else(|| Some(second(self.now))),
            host_ip: Some(self.host.to_string()),
            host_ips: Some(vec![HostIP { ip: self.host.to_string() }]),
            pod_ips: pod_ip.clone().map(|ip| vec![PodIP { ip }]),
            pod_ip,
            container_statuses: some(main),
            init_container_statuses: some(init),
            ephemeral_container_statuses: some(ephemeral),
            ..PodStatus::default()
        }
    }

    fn has_all_limits(&self, init: &[Container]) -> bool {
        let sidecars = init.iter().filter(|c| is_sidecar(c)).map(|c| (c, Kind::Sidecar));
        let mut all = self.spec.containers.iter().map(|c| (c, Kind::Main)).chain(sidecars);
        all.all(|(container, kind)| self.has_its_limits(container, kind))
    }

    /// The address of the ready sandbox; one that is gone keeps the last shown.
    fn pod_ip(&self) -> Option<String> {
        if self.spec.host_network == Some(true) {
            return Some(self.host.to_string());
        }
        self.seen.address.map(|a| a.to_string()).or_else(|| self.old.pod_ip.clone())
    }

    fn phase(&self, main: &[ContainerStatus], init: &[ContainerStatus]) -> (String, Option<String>, Option<String>) {
        let (reason, message) = (self.old.reason.clone(), self.old.message.clone());
        if let Some(evicted) = &self.memory.evicted {
            return ("Failed".to_owned(), Some(evicted.reason.clone()), Some(evicted.message.clone()));
        }
        let shown = self.pod.status.as_ref().and_then(|s| s.phase.as_deref());
        // There is no way back from a terminal phase.
        let mut ends = [self.old.phase.as_deref(), shown].into_iter().filter(|p| is_terminal(*p)).flatten();
        if let Some(terminal) = ends.next() {
            return (terminal.to_owned(), reason, message);
        }
        let all: Vec<&ContainerStatus> = init.iter().chain(main).collect();
        let here = self.seen.sandboxes.last().map(|s| &s.id);
        let has_initialized = self.spec.containers.iter().any(|c| {
            let latest = self.seen.latest(&c.name).filter(|s| Some(&s.sandbox) == here);
            latest.is_some_and(|s| matches!(s.state, ContainerState::Running | ContainerState::Exited))
        });
        let phase = phase::phase(self.spec, &all, phase::Facts { is_final: self.is_final, has_initialized });
        let same = self.old.phase.as_deref() == Some(phase);
        (phase.to_owned(), reason.filter(|_| same), message.filter(|_| same))
    }

    /// A pod that has come to its end has no container that waits: what never ran or was lost has failed
    /// (the status manager's `TerminatePod`).
    fn settle(&self, main: &mut [ContainerStatus], init: &mut [ContainerStatus]) {
        let ended = |s: &ContainerStatus| s.state.as_ref().is_some_and(|s| s.terminated.is_some());
        let init_done = init.iter().all(|s| ended(s) && s.ready || s.started == Some(true));
        let failed_init = init.iter().any(|s| ended(s) && !s.ready);
        if failed_init && !init_done {
            return;
        }
        for status in main.iter_mut().chain(init.iter_mut()).filter(|s| !ended(s)) {
            if status.state.as_ref().is_some_and(|s| s.running.is_some()) {
                continue;
            }
            let message = "The container could not be located when the pod was terminated";
            let end = status.last_state.take().and_then(|l| l.terminated);
            let end = end.unwrap_or_else(|| containers::lost(message));
            status.state =
                Some(isopod_api::k8s::api::core::v1::ContainerState { terminated: Some(end), ..Default::default() });
            status.last_state = Some(Default::default());
            status.ready = false;
            status.started = Some(false);
        }
    }
}

fn shorten_words<const N: usize>(lists: [&mut Vec<ContainerStatus>; N]) {
    let count: usize = lists.iter().map(|l| l.len()).sum();
    let most = WORDS.checked_div(count).unwrap_or(WORDS);
    for status in lists.into_iter().flatten() {
        for state in [&mut status.state, &mut status.last_state].into_iter().flatten() {
            let Some(words) = state.terminated.as_mut().and_then(|t| t.message.as_mut()) else { continue };
            if words.len() > most {
                let end = (0..=most).rev().find(|i| words.is_char_boundary(*i)).unwrap_or(0);
                words.truncate(end);
            }
        }
    }
}

/// What is an agent's own in a status that the API shows: to go on from after a restart.
pub fn own(known: Option<&PodStatus>) -> PodStatus {
    let mut status = known.cloned().unwrap_or_default();
    let mut conditions = status.conditions.take().unwrap_or_default();
    conditions.retain(|c| OWN.contains(&&*c.type_) || conditions::RESIZE.contains(&&*c.type_));
    conditions.sort_by_key(|c| OWN.iter().position(|o| *o == c.type_).unwrap_or(OWN.len()));
    status.conditions = (!conditions.is_empty()).then_some(conditions);
    // A pod that no agent has seen yet has the phase that its creation gave it.
    if status.start_time.is_none() {
        status.phase = None;
    }
    PodStatus { qos_class: None, nominated_node_name: None, ..status }
}

/// What to send so that the API shows `wanted`: fields that `known` has and `wanted` has not are taken away, conditions of others
/// are left alone.
pub fn patch(wanted: &PodStatus, known: Option<&PodStatus>) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(wanted)?;
    let Some(known) = known else { return Ok(value) };
    let gone = [
        ("reason", wanted.reason.is_none() && known.reason.is_some()),
        ("message", wanted.message.is_none() && known.message.is_some()),
        ("podIP", wanted.pod_ip.is_none() && known.pod_ip.is_some()),
        ("podIPs", wanted.pod_ips.is_none() && known.pod_ips.is_some()),
    ];
    for (field, _) in gone.into_iter().filter(|(_, gone)| *gone) {
        if let Some(fields) = value.as_object_mut() {
            fields.insert(field.to_owned(), Value::Null);
        }
    }
    // Lists that are merged by their key need to be told to be replaced.
    for (field, key, stale) in [
        ("podIPs", "ip", known.pod_ips.is_some() && wanted.pod_ips != known.pod_ips),
        ("hostIPs", "ip", known.host_ips.is_some() && wanted.host_ips != known.host_ips),
    ] {
        if let Some(list) = value.get_mut(field).filter(|_| stale).and_then(Value::as_array_mut) {
            debug_assert!(list.iter().all(|e| e.get(key).is_some()));
            list.insert(0, json!({"$patch": "replace"}));
        }
    }
    let has = |list: Option<&Vec<PodCondition>>, kind: &str| list.into_iter().flatten().any(|c| c.type_ == kind);
    let over = conditions::RESIZE
        .into_iter()
        .filter(|kind| has(known.conditions.as_ref(), kind) && !has(wanted.conditions.as_ref(), kind));
    let over: Vec<Value> = over.map(|kind| json!({"$patch": "delete", "type": kind})).collect();
    // A condition's reason and message do not go by themselves in a merge.
    if let Some(conditions) = value.get_mut("conditions").and_then(Value::as_array_mut) {
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            for field in ["reason", "message"] {
                condition.entry(field).or_insert(Value::Null);
            }
        }
        conditions.extend(over);
    }
    Ok(value)
}

/// Whether the API shows something else of what is ours: somebody wrote over it (the node lifecycle controller does, when the
/// node was away).
pub fn is_overwritten(wanted: &PodStatus, known: &PodStatus) -> bool {
    let shown = known.conditions.as_deref().unwrap_or_default();
    let same = |c: &PodCondition| shown.iter().any(|s| s.type_ == c.type_ && s.status == c.status);
    wanted.phase != known.phase || !wanted.conditions.iter().flatten().filter(|c| OWN.contains(&&*c.type_)).all(same)
}

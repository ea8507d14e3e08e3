//! What to do next for a pod that is to run: a pure function of its spec, what the runtime has, what is remembered, and the time.
//!
//! The kubelet's `computePodActions` and `computeInitContainerActions` (`pkg/kubelet/kuberuntime`), with one difference in form:
//! work under way does not block the planner; it is part of what it sees ([`Memory::busy`]), and such containers are left alone.
//! Containers of a pod are started one after the other, in order; a postStart hook is part of the start.
mod init;
pub mod restart;
#[cfg(test)]
mod tests;

use super::container::resources;
use super::memory::{Backoff, Busy, Failure, Memory, StartError, backoff_key};
use super::observed::{Kind, Observed, find, go_seconds, hash, is_sidecar, label, pod_words};
use isopod_api::k8s::api::core::v1::{Container, Pod, PodSpec};
use isopod_runtime::{ContainerId, ContainerState, ContainerStatus, Resources, SandboxId};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Dead instances kept of each container: the newest, and the one before it for `logs --previous`.
const KEPT: usize = 2;

/// Why a running container is to be stopped; decides over its grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    Liveness,
    Startup,
    Changed,
}

/// One thing to do. All actions of a plan can be done at once, except that starts are taken one at a time, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes the volumes, then a sandbox with this number, then its network.
    MakeSandbox {
        attempt: u32,
    },
    /// An earlier sandbox that holds nothing any more.
    RemoveSandbox {
        id: SandboxId,
    },
    Start {
        name: String,
        attempt: u32,
        backoff: Option<(String, Backoff)>,
    },
    Stop {
        id: ContainerId,
        name: String,
        reason: StopReason,
        message: String,
    },
    /// Other limits for a running container (in-place resize, KEP-1287).
    Resize {
        id: ContainerId,
        resources: Resources,
    },
    /// A dead instance that nobody asks for any more.
    Remove {
        id: ContainerId,
    },
}

/// What comes of looking at a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Nothing of it will run again: the pod has come to its end, and what still runs of it (sidecars) is to be stopped.
    pub is_done: bool,
    /// Look again then, whatever happens.
    pub wake: Option<Timestamp>,
    /// Reasons why containers wait, by name: what their status shows.
    pub waiting: Vec<(String, StartError)>,
    /// Containers that wait for their back-off, with the instance that crashed: to be told in an event once.
    pub backing_off: Vec<(String, ContainerId)>,
}

impl Plan {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }
}

struct Planner<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    seen: &'a Observed,
    memory: &'a Memory,
    now: Timestamp,
    plan: Plan,
    /// Starts in the order of the kubelet: ephemeral, init, main.
    starts: Vec<String>,
}

/// Decides for a pod that is neither deleted nor at its end.
pub fn plan(pod: &Pod, seen: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    let Some(spec) = pod.spec.as_ref() else { return Plan::default() };
    let mut planner = Planner { pod, spec, seen, memory, now, plan: Plan::default(), starts: Vec::new() };
    planner.decide();
    planner.carry_over_starts();
    planner.prune();
    planner.plan
}

fn code_of(status: &ContainerStatus) -> i32 {
    status.exit.as_ref().map_or(137, |e| e.status.code())
}

impl Planner<'_> {
    fn decide(&mut self) {
        if self.seen.sandbox().is_none() {
            self.without_sandbox();
            return;
        }
        for ephemeral in self.spec.ephemeral_containers.iter().flatten() {
            if self.seen.latest(&ephemeral.name).is_none() {
                self.starts.push(ephemeral.name.clone());
            }
        }
        if !self.init() {
            return;
        }
        let (starts_before, mut kept) = (self.starts.len(), 0);
        for container in &self.spec.containers {
            kept += usize::from(self.look_at_main(container));
        }
        if kept == 0 && self.starts.len() == starts_before && self.main_is_at_rest() {
            self.starts.clear();
            self.plan.is_done = true;
        }
    }

    /// No main container is being started or stopped.
    fn main_is_at_rest(&self) -> bool {
        self.spec.containers.iter().all(|c| !self.memory.busy.contains_key(&c.name))
    }

    /// There is no sandbox, or the one there was has died (with the machine, perhaps).
    fn without_sandbox(&mut self) {
        let attempt = self.seen.sandboxes.last().map_or(0, |s| s.config.attempt.saturating_add(1));
        let has_run = !self.seen.containers.is_empty();
        if attempt != 0 && has_run && self.nothing_restarts() {
            self.plan.is_done = true;
            return;
        }
        if self.memory.making_sandbox {
            return;
        }
        match self.memory.sandbox_retry_at.filter(|at| *at > self.now) {
            Some(at) => self.plan.wake_at(at),
            None => self.plan.actions.push(Action::MakeSandbox { attempt }),
        }
    }

    /// Whether every container has ended in a way after which it is not run again.
    fn nothing_restarts(&self) -> bool {
        let ended = |c: &Container| {
            let latest = self.seen.latest(&c.name);
            latest.is_some_and(|s| s.state != ContainerState::Running && !restart::wanted(c, self.spec, code_of(s)))
        };
        let init_failed = self.spec.init_containers.iter().flatten().any(|c| {
            let latest = self.seen.latest(&c.name).filter(|s| s.state != ContainerState::Created);
            latest.is_some_and(|s| {
                !is_sidecar(c) && code_of(s) != 0 && !restart::wanted_of_init(c, self.spec, code_of(s))
            })
        });
        init_failed || self.spec.containers.iter().all(ended)
    }

    /// Whether the container is to be kept as it is, or is on its way.
    fn look_at_main(&mut self, container: &Container) -> bool {
        if self.memory.busy.contains_key(&container.name) {
            return true;
        }
        let Some(status) = self.seen.latest(&container.name) else {
            self.starts.push(container.name.clone());
            return false;
        };
        match status.state {
            ContainerState::Running => {
                self.check_running(container, status, "Container");
                true
            }
            // The agent died between making and starting it: it never ran.
            ContainerState::Created => {
                self.starts.push(container.name.clone());
                false
            }
            ContainerState::Exited | ContainerState::Unknown => {
                if restart::wanted(container, self.spec, code_of(status)) {
                    self.starts.push(container.name.clone());
                }
                false
            }
        }
    }

    /// Stops a running container that is no longer what it should be or whose probes say it is ill.
    fn check_running(&mut self, container: &Container, status: &ContainerStatus, what: &str) {
        let probed = self.memory.probes.get(&status.id).copied().unwrap_or_default();
        let changed = status.config.labels.get(label::HASH).is_some_and(|h| *h != hash(container));
        let name = &container.name;
        let (reason, why) = if changed {
            (StopReason::Changed, format!("{what} {name} definition changed"))
        } else if probed.liveness == Some(false) {
            (StopReason::Liveness, format!("{what} {name} failed liveness probe"))
        } else if probed.startup == Some(false) {
            (StopReason::Startup, format!("{what} {name} failed startup probe"))
        } else {
            match self.resize(container, status) {
                Some(why) => (StopReason::Changed, why),
                None => return,
            }
        };
        let restarts = changed || restart::wanted(container, self.spec, 137);
        let message = if restarts { format!("{why}, will be restarted") } else { why };
        self.plan.actions.push(Action::Stop { id: status.id.clone(), name: name.clone(), reason, message });
    }

    /// Gives a running container the limits that its spec has now. Why it has to be restarted for that, if it has to.
    fn resize(&mut self, container: &Container, status: &ContainerStatus) -> Option<String> {
        let kind = if is_sidecar(container) { Kind::Sidecar } else { Kind::Main };
        let (wanted, have) = (resources::limits(self.pod, kind, container, 0), &status.config.resources);
        let (cpu, memory) = resources::differ(&wanted, have);
        let restarts = container.resize_policy.iter().flatten().any(|p| {
            let concerned = (p.resource_name == "cpu" && cpu) || (p.resource_name == "memory" && memory);
            concerned && p.restart_policy == "RestartContainer"
        });
        if restarts {
            return Some(format!("Container {} resize requires restart", container.name));
        }
        if cpu || memory {
            let resources = Resources { oom_score_adj: None, ..wanted };
            self.plan.actions.push(Action::Resize { id: status.id.clone(), resources });
        }
        None
    }

    /// Turns the wished starts into actions, as far as back-off and earlier failures let them.
    fn carry_over_starts(&mut self) {
        for name in std::mem::take(&mut self.starts) {
            let Some((kind, container)) = find(self.spec, &name) else { continue };
            if self.memory.busy.contains_key(&name) {
                if kind == Kind::Init {
                    break;
                }
                continue;
            }
            let goes = self.start(kind, &container);
            // Init containers are strictly one after the other; a sidecar that cannot start holds nobody up here.
            if !goes && kind == Kind::Init {
                break;
            }
        }
        for (name, failure) in &self.memory.failures {
            if !self.plan.waiting.iter().any(|(n, _)| n == name) {
                let error = self.shown(failure);
                self.plan.waiting.push((name.clone(), error));
            }
        }
        // One start at a time: the first that is asked for, and none while another is under way.
        let starting = self.memory.busy.values().any(|b| *b == Busy::Starting);
        let mut first = !starting;
        self.plan.actions.retain(|a| !matches!(a, Action::Start { .. }) || std::mem::take(&mut first));
    }

    fn shown(&self, failure: &Failure) -> StartError {
        match &failure.then {
            Some((at, later)) if *at <= self.now => later.clone(),
            _ => failure.error.clone(),
        }
    }

    fn start(&mut self, kind: Kind, container: &Container) -> bool {
        let name = &container.name;
        if let Some(failure) = self.memory.failures.get(name) {
            let due = failure.retry_at.is_none_or(|at| at <= self.now);
            if let Some((at, _)) = failure.then.as_ref().filter(|(at, _)| *at > self.now) {
                self.plan.wake_at(*at);
            }
            if !due {
                let error = self.shown(failure);
                self.plan.waiting.push((name.clone(), error));
                self.plan.wake = failure.retry_at.into_iter().chain(self.plan.wake).min();
                return false;
            }
        }
        let latest = self.seen.latest(name).cloned();
        let mut backoff = None;
        let ended = self.seen.instances(name).find(|s| s.state == ContainerState::Exited);
        if kind != Kind::Ephemeral
            && let Some(crashed) = ended
            && let Some(exit) = &crashed.exit
        {
            let key = backoff_key(container);
            let entry = self.memory.restarts.get(&key).copied();
            if let Some(until) = entry.and_then(|e| e.until(exit.at)).filter(|until| *until > self.now) {
                let delay = entry.map_or(0, |e| e.delay.as_secs());
                let words = go_seconds(delay);
                let message =
                    format!("back-off {words} restarting failed container={name} pod={}", pod_words(self.pod));
                let error = StartError { reason: "CrashLoopBackOff".to_owned(), message };
                self.plan.waiting.push((name.clone(), error));
                self.plan.backing_off.push((name.clone(), crashed.id.clone()));
                self.plan.wake_at(until);
                return false;
            }
            backoff = Some((key, Backoff::next(entry, exit.at, self.now)));
        }
        let attempt = match latest {
            // It never ran: its number is free.
            Some(created) if created.state == ContainerState::Created => {
                self.plan.actions.push(Action::Remove { id: created.id.clone() });
                created.config.attempt
            }
            Some(status) => status.config.attempt.saturating_add(1),
            None => self.restarts_known(name),
        };
        self.plan.actions.push(Action::Start { name: name.clone(), attempt, backoff });
        true
    }

    /// The runtime has nothing of it, but the API knows that it has run: then this is one more run.
    fn restarts_known(&self, name: &str) -> u32 {
        let Some(status) = &self.pod.status else { return 0 };
        let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
        let known = lists.into_iter().flatten().flatten().find(|s| s.name == name);
        match known {
            Some(known) if known.container_id.as_ref().is_some_and(|id| !id.is_empty()) => {
                u32::try_from(known.restart_count).unwrap_or(0).saturating_add(1)
            }
            _ => 0,
        }
    }

    /// Dead instances beyond those that are kept.
    fn prune(&mut self) {
        let names: BTreeSet<&str> = self.seen.containers.iter().map(|c| c.config.name.as_str()).collect();
        for name in names {
            let dead = self.seen.instances(name).skip(1).filter(|c| c.state != ContainerState::Running);
            for old in dead.skip(KEPT - 1) {
                let remove = Action::Remove { id: old.id.clone() };
                if !self.plan.actions.contains(&remove) {
                    self.plan.actions.push(remove);
                }
            }
        }
        let earlier = self.seen.sandboxes.len().saturating_sub(1);
        for old in self.seen.sandboxes.iter().take(earlier) {
            if !self.seen.containers.iter().any(|c| c.sandbox == old.id) {
                self.plan.actions.push(Action::RemoveSandbox { id: old.id.clone() });
            }
        }
    }
}

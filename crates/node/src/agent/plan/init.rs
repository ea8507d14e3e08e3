//! Init containers: one after the other, sidecars among them kept running (KEP-753; `computeInitContainerActions`).
use super::{Planner, code_of, restart};
use crate::agent::observed::is_sidecar;
use isopod_api::k8s::api::core::v1::Container;
use isopod_runtime::{ContainerState, ContainerStatus};

impl Planner<'_> {
    /// Wishes the starts of init containers. True once the pod is initialized and its main containers may run.
    ///
    /// From the last one backwards: an init container that is known means that all before it are done, even if the runtime has
    /// forgotten them. Example, `[a, sidecar s, b]`: `s` runs and has started, `b` is not known → start `b`, and only look after `s`
    /// from then on.
    pub(super) fn init(&mut self) -> bool {
        let containers: Vec<&Container> = self.spec.init_containers.iter().flatten().collect();
        let Some(last) = containers.len().checked_sub(1) else { return true };
        let mut initialized = self.main_has_started();
        let mut past = initialized;
        let mut starts = Vec::new();
        for (index, container) in containers.iter().enumerate().rev() {
            let status = self.here(&container.name);
            let busy = self.memory.busy.contains_key(&container.name);
            let Some(status) = status.filter(|_| !busy).cloned() else {
                if busy {
                    // On its way: those before it are done, and none after it is started yet.
                    past = true;
                } else if past && is_sidecar(container) {
                    starts.push(index);
                }
                continue;
            };
            if past && !is_sidecar(container) {
                continue;
            }
            let mut done = false;
            match status.state {
                ContainerState::Created => starts.push(index),
                ContainerState::Running if is_sidecar(container) => {
                    done = self.has_started(container, &status);
                    self.check_running(container, &status, "Init container");
                }
                ContainerState::Running => {}
                ContainerState::Exited | ContainerState::Unknown if is_sidecar(container) => starts.push(index),
                ContainerState::Exited | ContainerState::Unknown if code_of(&status) == 0 => done = true,
                ContainerState::Exited | ContainerState::Unknown => {
                    if !restart::wanted_of_init(container, self.spec, code_of(&status)) {
                        self.plan.is_done = true;
                        self.starts.clear();
                        return false;
                    }
                    starts.push(index);
                }
            }
            if done && index == last {
                initialized = true;
            } else if done && !past {
                starts.push(index.saturating_add(1));
            }
            past = true;
        }
        if !past {
            starts.push(0);
        }
        starts.sort_unstable();
        let names = starts.into_iter().filter_map(|i| containers.get(i)).map(|c| c.name.clone());
        self.starts.extend(names);
        initialized
    }

    /// A sidecar without a startup probe has started when it runs (after its postStart hook, which belongs to the start).
    fn has_started(&self, container: &Container, status: &ContainerStatus) -> bool {
        container.startup_probe.is_none() || self.memory.probes.get(&status.id).is_some_and(|p| p.startup == Some(true))
    }

    /// In this sandbox; what ended in one before says nothing.
    fn main_has_started(&self) -> bool {
        self.spec.containers.iter().any(|c| self.here(&c.name).is_some() || self.memory.busy.contains_key(&c.name))
    }

    /// The newest instance in this sandbox: a new sandbox is initialized anew.
    fn here(&self, name: &str) -> Option<&ContainerStatus> {
        let sandbox = self.seen.sandbox().map(|s| &s.id);
        self.seen.latest(name).filter(|s| Some(&s.sandbox) == sandbox)
    }
}

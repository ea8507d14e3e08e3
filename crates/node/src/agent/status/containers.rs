//! Container statuses (the kubelet's `convertToAPIContainerStatuses` and the prober's `UpdatePodStatus`).
use super::View;
use super::conditions::second;
use crate::agent::container::resources;
use crate::agent::memory::Busy;
use crate::agent::observed::{Kind, is_sidecar, label};
use crate::agent::plan::restart;
use isopod_api::k8s::api::core::v1::{
    Container, ContainerState as State, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus as Status, VolumeMountStatus,
};
use isopod_runtime::{ContainerState, ContainerStatus, ExitCause};

pub(super) fn waiting(reason: &str, message: Option<String>) -> State {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    State { waiting: Some(waiting), ..State::default() }
}

fn terminated(end: ContainerStateTerminated) -> State {
    State { terminated: Some(end), ..State::default() }
}

/// The end of a container nobody saw.
pub(super) fn lost(message: &str) -> ContainerStateTerminated {
    ContainerStateTerminated {
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some(message.to_owned()),
        exit_code: 137,
        ..ContainerStateTerminated::default()
    }
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let all: Vec<_> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| {
            let read_only = mount.read_only == Some(true);
            VolumeMountStatus {
                name: mount.name.clone(),
                mount_path: mount.mount_path.clone(),
                read_only: read_only.then_some(true),
                recursive_read_only: read_only.then(|| "Disabled".to_owned()),
                ..VolumeMountStatus::default()
            }
        })
        .collect();
    (!all.is_empty()).then_some(all)
}

impl View<'_> {
    fn id(&self, instance: &ContainerStatus) -> String {
        format!("{}://{}", self.runtime, instance.id)
    }

    fn end(&self, instance: &ContainerStatus) -> ContainerStateTerminated {
        let words = self.seen.words.get(&instance.id).filter(|w| !w.is_empty()).cloned();
        let Some(exit) = &instance.exit else {
            let message = "The container could not be located when the pod was terminated";
            let started_at = instance.started_at.map(second);
            return ContainerStateTerminated { container_id: Some(self.id(instance)), started_at, ..lost(message) };
        };
        let (reason, message) = match &exit.cause {
            ExitCause::OutOfMemory => ("OOMKilled", words),
            ExitCause::StartFailed { message } => ("StartError", Some(message.clone())),
            ExitCause::Ended if exit.status.code() == 0 => ("Completed", words),
            ExitCause::Ended => ("Error", words),
        };
        ContainerStateTerminated {
            container_id: Some(self.id(instance)),
            exit_code: exit.status.code(),
            reason: Some(reason.to_owned()),
            message,
            started_at: instance.started_at.map(second),
            finished_at: Some(second(exit.at)),
            ..ContainerStateTerminated::default()
        }
    }

    fn state(&self, instance: &ContainerStatus) -> State {
        match instance.state {
            ContainerState::Running => {
                let running = ContainerStateRunning { started_at: instance.started_at.map(second) };
                State { running: Some(running), ..State::default() }
            }
            ContainerState::Created => self.creating(),
            ContainerState::Exited | ContainerState::Unknown => terminated(self.end(instance)),
        }
    }

    fn creating(&self) -> State {
        let has_init = self.spec.init_containers.as_ref().is_some_and(|i| !i.is_empty());
        waiting(if has_init { "PodInitializing" } else { "ContainerCreating" }, None)
    }

    /// A container does not count as running before its postStart hook has ended.
    fn is_shown(&self, container: &Container, instance: &ContainerStatus) -> bool {
        let hook = container.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
        let starting = self.memory.busy.get(&container.name) == Some(&Busy::Starting);
        match instance.state {
            ContainerState::Created => false,
            ContainerState::Running => !(hook && starting),
            ContainerState::Exited | ContainerState::Unknown => true,
        }
    }

    pub(super) fn container(&self, container: &Container, kind: Kind, old: Option<&Status>) -> Status {
        let mut shown = self.seen.instances(&container.name).filter(|i| self.is_shown(container, i));
        let (newest, before) = (shown.next(), shown.next());
        let mut status = match newest {
            Some(newest) => {
                let mut status = self.instance(container, newest, before);
                // What it has until it has been given what it should have.
                if !self.has_its_limits(container, kind)
                    && let Some(had) = old.and_then(|old| old.resources.clone())
                {
                    status.resources = Some(had);
                }
                status
            }
            None => self.without_instance(container, old),
        };
        status.volume_mounts = volume_mounts(container);
        self.wait(container, kind, newest, &mut status);
        self.probes(container, kind, newest, &mut status);
        status
    }

    /// Whether what runs of a container has the limits that it should have.
    pub(super) fn has_its_limits(&self, container: &Container, kind: Kind) -> bool {
        let running = self.seen.instances(&container.name).next().filter(|i| i.state == ContainerState::Running);
        let wanted = resources::limits(self.pod, kind, container, 0);
        running.is_none_or(|i| resources::differ(&wanted, &i.config.resources) == (false, false))
    }

    fn instance(&self, container: &Container, newest: &ContainerStatus, before: Option<&ContainerStatus>) -> Status {
        let config = &newest.config;
        let resources = container.resources.clone().unwrap_or_default();
        Status {
            name: container.name.clone(),
            image: config.image.clone(),
            image_id: config.labels.get(label::IMAGE_ID).cloned().unwrap_or_default(),
            container_id: Some(self.id(newest)),
            restart_count: i32::try_from(config.attempt).unwrap_or(i32::MAX),
            state: Some(self.state(newest)),
            last_state: Some(before.map(|b| self.state(b)).unwrap_or_default()),
            allocated_resources: resources.requests.clone(),
            resources: Some(resources),
            ..Status::default()
        }
    }

    /// The runtime knows nothing of it: it waits, or it has ended and was forgotten.
    fn without_instance(&self, container: &Container, old: Option<&Status>) -> Status {
        let mut status = Status {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state: Some(self.creating()),
            last_state: Some(State::default()),
            ..Status::default()
        };
        let Some(old) = old else { return status };
        if old.state.as_ref().is_some_and(|s| s.terminated.is_some()) {
            return old.clone();
        }
        status.restart_count = old.restart_count;
        status.last_state = Some(old.last_state.clone().unwrap_or_default());
        let was_running = old.state.as_ref().is_some_and(|s| s.running.is_some());
        if was_running && status.last_state.as_ref().is_none_or(|l| l.terminated.is_none()) {
            let message =
                "The container could not be located when the pod was deleted.  The container used to be Running";
            status.last_state = Some(terminated(lost(message)));
            if self.pod.metadata.deletion_timestamp.is_none() {
                status.restart_count = status.restart_count.saturating_add(1);
            }
        }
        status
    }

    /// One that is to be started and cannot be says why.
    fn wait(&self, container: &Container, kind: Kind, newest: Option<&ContainerStatus>, status: &mut Status) {
        if self.is_final || self.pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        let restarts = match newest {
            None => true,
            Some(n) => match n.state {
                ContainerState::Running => false,
                ContainerState::Created | ContainerState::Unknown => true,
                ContainerState::Exited => {
                    let code = n.exit.as_ref().map_or(137, |e| e.status.code());
                    match kind {
                        Kind::Init | Kind::Sidecar => restart::wanted_of_init(container, self.spec, code),
                        Kind::Main => restart::wanted(container, self.spec, code),
                        Kind::Ephemeral => false,
                    }
                }
            },
        };
        let Some((_, error)) = self.waiting.iter().find(|(name, _)| *name == container.name).filter(|_| restarts)
        else {
            return;
        };
        if let Some(state) = status.state.take().filter(|s| s.terminated.is_some()) {
            status.last_state = Some(state);
        }
        status.state = Some(waiting(&error.reason, Some(error.message.clone()).filter(|m| !m.is_empty())));
    }

    fn probes(&self, container: &Container, kind: Kind, newest: Option<&ContainerStatus>, status: &mut Status) {
        let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
        let probed = newest.and_then(|n| self.memory.probes.get(&n.id)).copied().unwrap_or_default();
        let started = running && (container.startup_probe.is_none() || probed.startup == Some(true));
        match kind {
            Kind::Ephemeral => return,
            Kind::Init => {
                let end = status.state.as_ref().and_then(|s| s.terminated.as_ref());
                status.ready = end.is_some_and(|e| e.exit_code == 0);
            }
            Kind::Sidecar | Kind::Main => {
                status.ready = started && (container.readiness_probe.is_none() || probed.readiness == Some(true));
            }
        }
        status.started = Some(started);
        debug_assert!(kind != Kind::Sidecar || is_sidecar(container));
    }
}

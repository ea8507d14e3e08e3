//! How a hollow pod's state looks: the PodStatus a kubelet would post.
use super::orders::Orders;
use super::plan::State;
use isopod_api::k8s::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::Time;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// The addresses of a pod on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub host: String,
    pub pod: String,
}

/// Times in the API are whole seconds.
fn second(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn running(since: Timestamp) -> ContainerState {
    let running = ContainerStateRunning { started_at: Some(second(since)) };
    ContainerState { running: Some(running), ..ContainerState::default() }
}

fn terminated(code: i32, since: Timestamp, ended: Timestamp, id: &str) -> ContainerState {
    let reason = if code == 0 { "Completed" } else { "Error" };
    let terminated = ContainerStateTerminated {
        container_id: Some(id.to_owned()),
        exit_code: code,
        reason: Some(reason.to_owned()),
        started_at: Some(second(since)),
        finished_at: Some(second(ended)),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// The exit code of a container that was killed: 128 and the number of SIGKILL.
const KILLED: i32 = 137;

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Renders one state of one pod.
struct View<'a> {
    pod: &'a Pod,
    state: State,
    exit: i32,
    now: Timestamp,
}

impl View<'_> {
    fn id(&self, container: &Container, run: u32) -> String {
        let uid = self.pod.metadata.uid.as_deref().unwrap_or("");
        format!("hollow://{}", digest(&[uid, &container.name, &run.to_string()]))
    }

    /// Whether containers pass their readiness by now.
    fn is_ready(&self) -> bool {
        matches!(self.state, State::Running { ready: Some(at), .. } if at <= self.now)
    }

    fn is_initialized(&self) -> bool {
        matches!(
            self.state,
            State::Running { .. } | State::CrashBackoff { .. } | State::Ended { .. } | State::Stopped { .. }
        )
    }

    /// State, last state, restarts.
    fn container_state(&self, c: &Container) -> (ContainerState, Option<ContainerState>, u32) {
        let image = c.image.as_deref().unwrap_or("");
        let crashed = |run, since, ended| Some(terminated(self.exit, since, ended, &self.id(c, run)));
        match self.state {
            State::PullFailed { .. } => (
                waiting(
                    "ErrImagePull",
                    Some(format!("failed to pull image {image:?}: the hollow node was told to fail")),
                ),
                None,
                0,
            ),
            State::PullBackoff { .. } => {
                let why = format!("Back-off pulling image {image:?}: ErrImagePull: the hollow node was told to fail");
                (waiting("ImagePullBackOff", Some(why)), None, 0)
            }
            State::ConfigError => {
                (waiting("CreateContainerConfigError", Some("the hollow node was told to fail".to_owned())), None, 0)
            }
            State::InvalidImage if !super::image::is_valid(image) => {
                let why = format!(
                    "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
                );
                (waiting("InvalidImageName", Some(why)), None, 0)
            }
            State::Running { since, restarts, .. } => {
                let before = restarts.checked_sub(1);
                // Of the run before only its end is known, which the API still holds.
                let last = before.and_then(|run| self.known_end(c).or_else(|| crashed(run, since, since)));
                (running(since), last, restarts)
            }
            State::CrashBackoff { since, ended, until, restarts } => {
                let wait = until.duration_since(ended).as_secs();
                let name = self.pod.metadata.name.as_deref().unwrap_or("");
                let namespace = self.pod.metadata.namespace.as_deref().unwrap_or("");
                let uid = self.pod.metadata.uid.as_deref().unwrap_or("");
                let why =
                    format!("back-off {wait}s restarting failed container={} pod={name}_{namespace}({uid})", c.name);
                (waiting("CrashLoopBackOff", Some(why)), crashed(restarts, since, ended), restarts)
            }
            State::Ended { since, ended, restarts } | State::Stopped { since, ended, restarts } => {
                (terminated(self.exit, since, ended, &self.id(c, restarts)), None, restarts)
            }
            State::DeadlineExceeded { since: Some(since), ended } => {
                (terminated(KILLED, since, ended, &self.id(c, 0)), None, 0)
            }
            _ => (waiting("ContainerCreating", None), None, 0),
        }
    }

    fn known_end(&self, c: &Container) -> Option<ContainerState> {
        let all = self.pod.status.as_ref()?.container_statuses.as_ref()?;
        let known = all.iter().find(|s| s.name == c.name)?.last_state.clone()?;
        known.terminated.is_some().then_some(known)
    }

    /// Before the init containers are through, the others only wait.
    fn main_container(&self, c: &Container) -> ContainerStatus {
        let has_init = self.pod.spec.as_ref().and_then(|s| s.init_containers.as_ref()).is_some_and(|i| !i.is_empty());
        if has_init && self.phase() == "Pending" {
            return self.status(c, waiting("PodInitializing", None), None, 0, false, false);
        }
        self.container(c)
    }

    fn container(&self, c: &Container) -> ContainerStatus {
        let (state, last, restarts) = self.container_state(c);
        let is_running = state.running.is_some();
        self.status(c, state, last, restarts, is_running && self.is_ready(), is_running)
    }

    /// Init containers are through as soon as anything runs; sidecars go on.
    fn init_container(&self, c: &Container) -> ContainerStatus {
        match self.state {
            State::Running { since, .. } | State::CrashBackoff { since, .. } | State::Ended { since, .. }
                if is_sidecar(c) =>
            {
                self.status(c, running(since), None, 0, true, true)
            }
            State::Running { since, .. }
            | State::CrashBackoff { since, .. }
            | State::Ended { since, .. }
            | State::Stopped { since, .. } => {
                let done = self.known_init(c).unwrap_or_else(|| terminated(0, since, since, &self.id(c, 0)));
                self.status(c, done, None, 0, true, false)
            }
            State::InvalidImage | State::PullFailed { .. } | State::PullBackoff { .. } | State::ConfigError => {
                self.container(c)
            }
            _ => self.status(c, waiting("PodInitializing", None), None, 0, false, false),
        }
    }

    fn known_init(&self, c: &Container) -> Option<ContainerState> {
        let all = self.pod.status.as_ref()?.init_container_statuses.as_ref()?;
        all.iter().find(|s| s.name == c.name)?.state.clone().filter(|s| s.terminated.is_some())
    }

    fn status(
        &self,
        c: &Container,
        state: ContainerState,
        last: Option<ContainerState>,
        restarts: u32,
        ready: bool,
        started: bool,
    ) -> ContainerStatus {
        let image = c.image.clone().unwrap_or_default();
        let made = state.running.is_some() || state.terminated.is_some() || last.is_some();
        let resources = c.resources.clone().filter(|r| r.requests.is_some() || r.limits.is_some());
        ContainerStatus {
            name: c.name.clone(),
            image_id: if made { format!("hollow://sha256:{}", digest(&[&image])) } else { String::new() },
            image,
            container_id: made.then(|| self.id(c, restarts)),
            ready,
            started: Some(started),
            restart_count: i32::try_from(restarts).unwrap_or(i32::MAX),
            last_state: Some(last.unwrap_or_default()),
            state: Some(state),
            allocated_resources: resources.as_ref().and_then(|r| r.requests.clone()),
            resources,
            ..ContainerStatus::default()
        }
    }

    fn phase(&self) -> &'static str {
        match self.state {
            State::Running { .. } | State::CrashBackoff { .. } => "Running",
            State::Ended { .. } | State::Stopped { .. } if self.exit == 0 => "Succeeded",
            State::Ended { .. } | State::Stopped { .. } | State::DeadlineExceeded { .. } => "Failed",
            _ => "Pending",
        }
    }

    fn conditions(&self, spec: &PodSpec) -> Vec<PodCondition> {
        let completed = match self.phase() {
            "Succeeded" => Some("PodCompleted"),
            "Failed" => Some("PodFailed"),
            _ => None,
        };
        let unready: Vec<&str> = spec.containers.iter().map(|c| &*c.name).collect();
        let not_ready = || {
            let message =
                completed.is_none().then(|| format!("containers with unready status: [{}]", unready.join(" ")));
            (false, Some(completed.unwrap_or("ContainersNotReady")), message)
        };
        let containers_ready = if self.is_ready() { (true, None, None) } else { not_ready() };
        let ready = if self.is_ready() { self.gates(spec) } else { not_ready() };
        let initialized = if self.is_initialized() {
            (true, completed.filter(|r| *r == "PodCompleted"), None)
        } else if spec.init_containers.as_ref().is_some_and(|i| !i.is_empty()) {
            let names: Vec<&str> = spec.init_containers.iter().flatten().map(|c| &*c.name).collect();
            let message = format!("containers with incomplete status: [{}]", names.join(" "));
            (false, Some("ContainersNotInitialized"), Some(message))
        } else {
            (true, None, None)
        };
        let sandbox = !matches!(
            self.state,
            State::Creating { .. } | State::Ended { .. } | State::Stopped { .. } | State::DeadlineExceeded { .. }
        );
        vec![
            self.condition("PodReadyToStartContainers", (sandbox, None, None)),
            self.condition("Initialized", initialized),
            self.condition("Ready", ready),
            self.condition("ContainersReady", containers_ready),
        ]
    }

    /// Readiness gates (KEP-580): conditions that others set.
    fn gates(&self, spec: &PodSpec) -> (bool, Option<&'static str>, Option<String>) {
        let known = self.pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let mut missing = Vec::new();
        for gate in spec.readiness_gates.iter().flatten() {
            match known.iter().find(|c| c.type_ == gate.condition_type) {
                None => missing.push(format!(
                    "corresponding condition of pod readiness gate {:?} does not exist.",
                    gate.condition_type
                )),
                Some(c) if c.status != "True" => {
                    missing.push(format!(
                        "the status of pod readiness gate {:?} is not \"True\", but {}",
                        gate.condition_type, c.status
                    ));
                }
                Some(_) => {}
            }
        }
        if missing.is_empty() {
            (true, None, None)
        } else {
            (false, Some("ReadinessGatesNotReady"), Some(missing.join(", ")))
        }
    }

    /// The transition time stays while the status stays.
    fn condition(&self, kind: &str, (status, reason, message): (bool, Option<&str>, Option<String>)) -> PodCondition {
        let status = if status { "True" } else { "False" };
        let known = self.pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let before = known.iter().find(|c| c.type_ == kind && c.status == status);
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            message,
            last_transition_time: before
                .and_then(|c| c.last_transition_time.clone())
                .or_else(|| Some(second(self.now))),
            observed_generation: self.pod.metadata.generation,
            ..PodCondition::default()
        }
    }
}

/// The status to be shown; `None`: what is there stays (terminal, stopping and gone pods).
pub fn render(pod: &Pod, state: State, orders: &Orders, addresses: &Addresses, now: Timestamp) -> Option<PodStatus> {
    if matches!(state, State::Past | State::Stopping { .. } | State::Gone) {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let view = View { pod, state, exit: orders.exit.unwrap_or(0), now };
    let known = pod.status.as_ref();
    let start = known.and_then(|s| s.start_time.clone()).unwrap_or_else(|| second(now));
    let mut status = PodStatus {
        phase: Some(view.phase().to_owned()),
        observed_generation: pod.metadata.generation,
        start_time: Some(start),
        host_ip: Some(addresses.host.clone()),
        host_ips: Some(vec![HostIP { ip: addresses.host.clone() }]),
        conditions: Some(view.conditions(spec)),
        ..PodStatus::default()
    };
    if let State::DeadlineExceeded { since, .. } = state {
        status.reason = Some("DeadlineExceeded".to_owned());
        status.message = Some("Pod was active on the node longer than the specified deadline".to_owned());
        if since.is_none() {
            return Some(status);
        }
    }
    if !matches!(state, State::Creating { .. }) {
        status.pod_ip = Some(addresses.pod.clone());
        status.pod_ips = Some(vec![PodIP { ip: addresses.pod.clone() }]);
    }
    status.container_statuses = Some(spec.containers.iter().map(|c| view.main_container(c)).collect());
    status.init_container_statuses = spec
        .init_containers
        .as_ref()
        .filter(|i| !i.is_empty())
        .map(|i| i.iter().map(|c| view.init_container(c)).collect());
    Some(status)
}

/// Whether the API already shows all of this.
pub fn is_shown(wanted: &PodStatus, known: Option<&PodStatus>) -> bool {
    let Some(known) = known else { return false };
    let conditions = known.conditions.as_deref().unwrap_or_default();
    wanted.phase == known.phase
        && wanted.observed_generation == known.observed_generation
        && wanted.reason == known.reason
        && wanted.host_ip == known.host_ip
        && (wanted.pod_ip.is_none() || wanted.pod_ip == known.pod_ip)
        && (wanted.container_statuses.is_none() || wanted.container_statuses == known.container_statuses)
        && (wanted.init_container_statuses.is_none() || wanted.init_container_statuses == known.init_container_statuses)
        && wanted.conditions.iter().flatten().all(|c| conditions.contains(c))
}

/// What a strategic merge of `wanted` makes of the pod's status, as far as this module reads it back.
pub fn overlay(pod: &mut Pod, wanted: &PodStatus) {
    let known = pod.status.get_or_insert_default();
    let mut conditions = known.conditions.take().unwrap_or_default();
    for condition in wanted.conditions.iter().flatten() {
        match conditions.iter_mut().find(|c| c.type_ == condition.type_) {
            Some(old) => *old = condition.clone(),
            None => conditions.push(condition.clone()),
        }
    }
    let before = std::mem::take(known);
    *known = PodStatus {
        conditions: Some(conditions),
        container_statuses: wanted.container_statuses.clone().or(before.container_statuses),
        init_container_statuses: wanted.init_container_statuses.clone().or(before.init_container_statuses),
        pod_ip: wanted.pod_ip.clone().or(before.pod_ip),
        pod_ips: wanted.pod_ips.clone().or(before.pod_ips),
        ..wanted.clone()
    };
}

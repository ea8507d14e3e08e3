//! What the runtime has of one pod, as the planner and the status see it.
use isopod_api::k8s::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};
use isopod_runtime::{ContainerId, ContainerState, ContainerStatus, SandboxState, SandboxStatus};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Labels of sandboxes and containers: how a later agent finds out what it has before it (kubelet's `types/labels.go`).
pub mod label {
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Of what a running container cannot change: name and image.
    pub const HASH: &str = "io.kubernetes.container.hash";
    pub const IMAGE_ID: &str = "isopod.dev/image-id";
    /// Where the container's file for its last words is on the machine.
    pub const TERMINATION_FILE: &str = "isopod.dev/termination-file";
}

/// One pod in the runtime.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Oldest first.
    pub sandboxes: Vec<SandboxStatus>,
    /// Of all sandboxes, newest first.
    pub containers: Vec<ContainerStatus>,
    /// Of the ready sandbox; none on the host's network.
    pub address: Option<IpAddr>,
    /// Last words of ended containers.
    pub words: BTreeMap<ContainerId, String>,
}

impl Observed {
    pub fn new(mut sandboxes: Vec<SandboxStatus>, mut containers: Vec<ContainerStatus>) -> Self {
        sandboxes.sort_by_key(|s| (s.config.attempt, s.created_at));
        containers.sort_by_key(|c| std::cmp::Reverse((c.created_at, c.config.attempt)));
        Self { sandboxes, containers, ..Self::default() }
    }

    /// The newest instance of a container.
    pub fn latest(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().find(|c| c.config.name == name)
    }

    /// All its instances, newest first.
    pub fn instances<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ContainerStatus> {
        self.containers.iter().filter(move |c| c.config.name == name)
    }

    /// The sandbox in which containers can be made: the newest, if it is ready.
    pub fn sandbox(&self) -> Option<&SandboxStatus> {
        self.sandboxes.last().filter(|s| s.state == SandboxState::Ready)
    }

    pub fn running(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.containers.iter().filter(|c| c.state == ContainerState::Running)
    }

    /// Nothing of it can run.
    pub fn is_quiet(&self) -> bool {
        self.sandboxes.iter().all(|s| s.state != SandboxState::Ready) && self.running().next().is_none()
    }
}

/// Which list of a pod's containers one is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Init,
    /// An init container that goes on running (`restartPolicy: Always`, KEP-753).
    Sidecar,
    Main,
    Ephemeral,
}

impl Kind {
    /// The list's field in the pod's spec, for events.
    pub fn field(self) -> &'static str {
        match self {
            Self::Init | Self::Sidecar => "initContainers",
            Self::Main => "containers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }
}

pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// An ephemeral container as any other: their fields are the same but for the target.
pub fn plain(ephemeral: &EphemeralContainer) -> Container {
    let e = ephemeral.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        lifecycle: e.lifecycle,
        name: e.name,
        ports: e.ports,
        resources: e.resources,
        security_context: e.security_context,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_devices: e.volume_devices,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
        ..Container::default()
    }
}

/// The container of this name, from whichever list.
pub fn find(spec: &PodSpec, name: &str) -> Option<(Kind, Container)> {
    if let Some(c) = spec.containers.iter().find(|c| c.name == name) {
        return Some((Kind::Main, c.clone()));
    }
    if let Some(c) = spec.init_containers.iter().flatten().find(|c| c.name == name) {
        return Some((if is_sidecar(c) { Kind::Sidecar } else { Kind::Init }, c.clone()));
    }
    spec.ephemeral_containers.iter().flatten().find(|c| c.name == name).map(|c| (Kind::Ephemeral, plain(c)))
}

/// Changes when a running container no longer is what its spec says: the name and the image (`HashContainer`).
pub fn hash(container: &Container) -> String {
    let mut hash = Sha256::new();
    hash.update(container.name.as_bytes());
    hash.update([0]);
    hash.update(container.image.as_deref().unwrap_or("").as_bytes());
    let mut text = hex::encode(hash.finalize());
    text.truncate(16);
    text
}

/// `name_namespace(uid)`, as the kubelet's messages call a pod.
pub fn pod_words(pod: &Pod) -> String {
    let m = &pod.metadata;
    let part = |p: &Option<String>| p.clone().unwrap_or_default();
    format!("{}_{}({})", part(&m.name), part(&m.namespace), part(&m.uid))
}

/// As Go prints a duration of whole seconds: `10s`, `1m20s`, `5m0s`.
pub fn go_seconds(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_go_prints_them() {
        let all: Vec<_> = [0, 10, 80, 300, 3600, 3725].map(go_seconds).to_vec();
        assert_eq!(all, ["0s", "10s", "1m20s", "5m0s", "1h0m0s", "1h2m5s"]);
    }

    #[test]
    fn only_name_and_image_make_another_container() {
        let one = Container { name: "a".into(), image: Some("x:1".into()), ..Container::default() };
        assert_eq!(hash(&one), hash(&Container { tty: Some(true), ..one.clone() }));
        assert_ne!(hash(&one), hash(&Container { image: Some("x:2".into()), ..one.clone() }));
    }
}

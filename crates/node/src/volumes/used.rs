//! Which of a pod's volumes its containers use, and how: only those are set up, as kubelet does.
use k8s_openapi::api::core::v1::{Pod, Volume, VolumeDevice, VolumeMount};
use std::collections::BTreeSet;

/// How a volume is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Mount,
    /// As a block device.
    Device,
}

/// In the pod's order.
pub(crate) fn volumes(pod: &Pod) -> Vec<(&Volume, By)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let (mut mounted, mut devices) = (BTreeSet::new(), BTreeSet::new());
    let mut add = |mounts: &'_ Option<Vec<VolumeMount>>, blocks: &'_ Option<Vec<VolumeDevice>>| {
        mounted.extend(mounts.iter().flatten().map(|m| m.name.clone()));
        devices.extend(blocks.iter().flatten().map(|d| d.name.clone()));
    };
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        add(&container.volume_mounts, &container.volume_devices);
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        add(&container.volume_mounts, &container.volume_devices);
    }
    let by = |volume: &&Volume| match (devices.contains(&volume.name), mounted.contains(&volume.name)) {
        (true, _) => Some(By::Device),
        (false, true) => Some(By::Mount),
        (false, false) => None,
    };
    spec.volumes.iter().flatten().filter_map(|volume| Some((volume, by(&volume)?))).collect()
}

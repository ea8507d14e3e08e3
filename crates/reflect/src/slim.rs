//! What mirrors leave out, so that ten thousand pods fit into memory several times over.
//!
//! `managedFields` in every mirror: nobody here reads them, and they would be most of it. In the mirror of *all* pods, which the
//! control plane shares, also what only the node that runs a pod needs: the environment, command and mounts of containers, and volumes
//! that come out of the API or out of nothing (a pod's token volume alone takes 5 KB). Claims and disks stay: schedulers and
//! controllers reason about them. A node mirrors its own pods (a selection), and has them whole.
use crate::HasMeta;
use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use kube::api::WatchEvent;
use std::any::Any;

/// How much of its objects a mirror holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All but `managedFields`.
    Whole,
    /// What the control plane acts on.
    ControlPlane,
}

/// As an object is mirrored, in memory of just its size: what was decoded has vectors with room to grow, a copy has not.
pub(crate) fn slim<K: HasMeta + Clone>(mut object: K, detail: Detail) -> K {
    object.object_meta_mut().managed_fields = None;
    if detail == Detail::ControlPlane
        && let Some(pod) = (&mut object as &mut dyn Any).downcast_mut::<Pod>()
    {
        slim_pod(pod);
    }
    object.clone()
}

pub(crate) fn slim_event<K: HasMeta + Clone>(event: WatchEvent<K>, detail: Detail) -> WatchEvent<K> {
    match event {
        WatchEvent::Added(object) => WatchEvent::Added(slim(object, detail)),
        WatchEvent::Modified(object) => WatchEvent::Modified(slim(object, detail)),
        WatchEvent::Deleted(object) => WatchEvent::Deleted(slim(object, detail)),
        other => other,
    }
}

fn slim_pod(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    spec.containers.iter_mut().for_each(slim_container);
    spec.init_containers.iter_mut().flatten().for_each(slim_container);
    if let Some(volumes) = &mut spec.volumes {
        volumes.retain(|volume| !is_made_by_the_node(volume));
    }
}

fn slim_container(container: &mut Container) {
    container.env = None;
    container.env_from = None;
    container.command = None;
    container.args = None;
    container.volume_mounts = None;
}

fn is_made_by_the_node(v: &Volume) -> bool {
    v.projected.is_some()
        || v.config_map.is_some()
        || v.secret.is_some()
        || v.downward_api.is_some()
        || v.empty_dir.is_some()
        || v.image.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "annotations": {"a": "b"}, "managedFields": [{"manager": "m"}]},
            "spec": {
                "containers": [{"name": "c", "image": "i", "command": ["x"], "env": [{"name": "E", "value": "v"}],
                    "resources": {"requests": {"cpu": "1"}}, "ports": [{"containerPort": 80}]}],
                "volumes": [
                    {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "tmp", "emptyDir": {}},
                    {"name": "own", "ephemeral": {}},
                    {"name": "host", "hostPath": {"path": "/"}}
                ]
            },
            "status": {"phase": "Running"}
        }))
        .unwrap()
    }

    #[test]
    fn a_node_has_its_pods_whole() {
        let mut expected = pod();
        expected.metadata.managed_fields = None;
        assert_eq!(slim(pod(), Detail::Whole), expected);
    }

    #[test]
    fn the_control_plane_keeps_what_it_acts_on() {
        let slim = serde_json::to_value(slim(pod(), Detail::ControlPlane)).unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "annotations": {"a": "b"}},
            "spec": {
                "containers": [{"name": "c", "image": "i",
                    "resources": {"requests": {"cpu": "1"}}, "ports": [{"containerPort": 80}]}],
                "volumes": [
                    {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "own", "ephemeral": {}},
                    {"name": "host", "hostPath": {"path": "/"}}
                ]
            },
            "status": {"phase": "Running"}
        });
        assert_eq!(slim, expected);
    }
}

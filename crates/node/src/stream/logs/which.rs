//! Which instance of a container has the log that is wanted, and why there is none
//! (`pkg/kubelet/kubelet_pods.go`, validateContainerLogStatus).
use super::super::route::ContainerName;
use crate::seams::{Running, RunningContainer};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// Does the pod's spec have it?
pub fn has_container(pod: &Pod, name: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let init = spec.init_containers.iter().flatten().map(|c| c.name.as_str());
    let own = spec.containers.iter().map(|c| c.name.as_str());
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| c.name.as_str());
    init.chain(own).chain(ephemeral).any(|n| n == name)
}

/// The error is what a person is told.
pub async fn container(
    running: &dyn Running,
    pod: &Pod,
    name: &ContainerName,
    previous: bool,
) -> Result<RunningContainer, String> {
    let find = |before| running.container(&name.namespace, &name.pod, &name.container, before);
    if !previous {
        // What runs is asked first: the status may lag behind.
        return match find(false).await {
            Some(container) => Ok(container),
            None => Err(no_log(status(pod, &name.container), name)),
        };
    }
    let missing = || format!("previous terminated container {:?} in pod {:?} not found", name.container, name.pod);
    let last = status(pod, &name.container).and_then(|s| s.last_state.as_ref()).and_then(|s| s.terminated.as_ref());
    let id = last.and_then(|t| t.container_id.as_deref()).filter(|id| !id.is_empty());
    let Some(id) = id.map(|id| id.split_once("://").map_or(id, |(_, id)| id)) else {
        // The status of a container that has just begun again may not say yet that it did.
        return find(true).await.ok_or_else(missing);
    };
    // While it waits to begin again, the last one that ended is the newest there is.
    for before in [false, true] {
        if let Some(container) = find(before).await.filter(|c| c.id.0 == id) {
            return Ok(container);
        }
    }
    Err(missing())
}

fn status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|s| s.name == name)
}

fn no_log(status: Option<&ContainerStatus>, name: &ContainerName) -> String {
    let of = format!("container {:?} in pod {:?}", name.container, name.pod);
    let Some(status) = status else { return format!("{of} is not available") };
    let state = status.state.as_ref();
    let ended =
        |state: Option<&k8s_openapi::api::core::v1::ContainerState>| state.is_some_and(|s| s.terminated.is_some());
    if ended(state) || ended(status.last_state.as_ref()) {
        return format!("{of} is terminated");
    }
    match state.and_then(|s| s.waiting.as_ref()).map(|w| w.reason.as_deref().unwrap_or_default()) {
        Some("ErrImagePull") => format!("{of} is waiting to start: image can't be pulled"),
        Some("ImagePullBackOff") => format!("{of} is waiting to start: trying and failing to pull image"),
        Some(reason) => format!("{of} is waiting to start: {reason}"),
        None => format!("{of} is waiting to start - no logs yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn people_are_told_why_there_is_no_log() {
        let name = ContainerName { namespace: "ns".into(), pod: "web".into(), container: "c".into() };
        let told = |state: Value| {
            let pod: Pod = serde_json::from_value(json!({
                "spec": {"containers": [{"name": "c"}]},
                "status": {"containerStatuses": [{"name": "c", "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0}]}
            }))
            .unwrap();
            no_log(super::status(&pod, "c"), &name)
        };
        let waiting = |reason: &str| told(json!({"waiting": {"reason": reason}}));
        assert_eq!(
            waiting("ContainerCreating"),
            "container \"c\" in pod \"web\" is waiting to start: ContainerCreating"
        );
        assert_eq!(
            waiting("ErrImagePull"),
            "container \"c\" in pod \"web\" is waiting to start: image can't be pulled"
        );
        assert_eq!(
            waiting("ImagePullBackOff"),
            "container \"c\" in pod \"web\" is waiting to start: trying and failing to pull image"
        );
        assert_eq!(told(json!({})), "container \"c\" in pod \"web\" is waiting to start - no logs yet");
        assert_eq!(told(json!({"terminated": {"exitCode": 1}})), "container \"c\" in pod \"web\" is terminated");
        assert_eq!(no_log(None, &name), "container \"c\" in pod \"web\" is not available");
    }
}

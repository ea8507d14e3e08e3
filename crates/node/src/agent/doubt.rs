//! What the API says of a node's pods after the node was away: a pod that was ready then, and whose sandbox is gone (`isopod down`, a
//! reboot), is not ready now. The agent would say so itself once it has looked at each pod; said beforehand, nobody is sent to a pod that is
//! not there, and no rollout counts it, in between.
use isopod_api::k8s::api::core::v1::Pod;
use isopod_runtime::{Runtime, SandboxState};
use jiff::Timestamp;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Writes that the pods of `node` that no longer run are not ready. To be done before the agent runs, and before anybody is told that the
/// node is there. `client` acts as the node.
pub async fn doubt(client: &kube::Client, node: &str, runtime: &dyn Runtime) -> Result<(), String> {
    let sandboxes = runtime.sandboxes().await.map_err(|e| e.to_string())?;
    let alive = sandboxes.into_iter().filter(|s| s.state == SandboxState::Ready).map(|s| s.config.uid).collect();
    let mine = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = Api::<Pod>::all(client.clone()).list(&mine).await.map_err(|e| e.to_string())?.items;
    for (pod, patch) in pods.iter().filter_map(|pod| Some((pod, denial(pod, &alive, Timestamp::now())?))) {
        let meta = &pod.metadata;
        let (namespace, name) =
            (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        let api = Api::<Pod>::namespaced(client.clone(), namespace);
        match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            done => done.map(drop).map_err(|e| e.to_string())?,
        }
    }
    Ok(())
}

/// What has to be written of a pod, if what is written is no longer true.
fn denial(pod: &Pod, alive: &BTreeSet<String>, now: Timestamp) -> Option<Value> {
    let uid = pod.metadata.uid.as_deref()?;
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let said = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
    if alive.contains(uid) || !said("Ready") && !said("ContainersReady") {
        return None;
    }
    let no = |kind: &str| {
        json!({
            "type": kind, "status": "False", "reason": "ContainersNotReady", "lastTransitionTime": now.to_string(),
            "message": "the node was stopped, and the pod's containers with it",
        })
    };
    // Their uid goes along: another pod of this name is none of ours.
    Some(json!({"metadata": {"uid": uid}, "status": {"conditions": [no("Ready"), no("ContainersReady")]}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_and_not_so_is_denied() {
        let pod = |ready: &str| -> Pod {
            let conditions = json!([{"type": "Ready", "status": ready}, {"type": "PodScheduled", "status": "True"}]);
            serde_json::from_value(json!({"metadata": {"uid": "u"}, "status": {"conditions": conditions}})).unwrap()
        };
        let (gone, alive) = (BTreeSet::new(), BTreeSet::from(["u".to_owned()]));
        let now = Timestamp::from_second(0).unwrap();
        assert_eq!(denial(&pod("True"), &alive, now), None);
        assert_eq!(denial(&pod("False"), &gone, now), None);
        let patch = denial(&pod("True"), &gone, now).unwrap();
        assert_eq!(patch["metadata"]["uid"], "u");
        let said: Vec<_> = patch["status"]["conditions"].as_array().unwrap().iter().collect();
        assert!(
            said.iter().all(|c| c["status"] == "False" && c["lastTransitionTime"] == "1970-01-01T00:00:00Z"),
            "{said:?}"
        );
        let nothing: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}})).unwrap();
        assert_eq!(denial(&nothing, &gone, now), None, "it was never said to be ready");
    }
}

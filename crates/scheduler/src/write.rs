//! The requests the scheduler makes. Answers are not decoded: the watch brings what matters.
use crate::pod::{DISRUPTION_TARGET, PREEMPTED, PodInfo};
use crate::view::View;
use crate::volumes::{SELECTED_NODE, VolumeAction, is_bound};
use isopod_reflect::Key;
use kube::Client;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the claims of a pod may take to be bound (`bindTimeoutSeconds`).
const VOLUME_TIMEOUT: Duration = Duration::from_secs(600);

/// How often a status is written anew when the pod changed meanwhile, and how long the mirror is given to show it.
const CONFLICTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("cannot form the request: {0}")]
    Form(#[from] http::Error),
    #[error("cannot encode the body: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("{}", words(.0))]
    Client(#[from] kube::Error),
    #[error("volume {0} is gone")]
    VolumeGone(String),
    #[error("timed out waiting for volumes to be bound")]
    VolumesSlow,
}

fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl WriteError {
    /// Somebody else wrote first.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Client(kube::Error::Api(status)) if status.code == 409)
    }
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Client(kube::Error::Api(status)) if status.code == 404)
    }
}

fn pod_path(key: &Key) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", key.namespace, key.name)
}

async fn send(
    client: &Client,
    method: http::Method,
    path: String,
    media: &str,
    body: &Value,
) -> Result<(), WriteError> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, media)
        .body(serde_json::to_vec(body)?)?;
    client.request_text(request).await?;
    Ok(())
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Binds a pod, its volumes first.
pub async fn bind(
    client: &Client,
    view: &View,
    pod: &PodInfo,
    node: &str,
    volumes: &[VolumeAction],
) -> Result<(), WriteError> {
    if !volumes.is_empty() {
        bind_volumes(client, view, pod, node, volumes).await?;
    }
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": &*pod.key.name, "namespace": &*pod.key.namespace, "uid": pod.uid},
        "target": {"kind": "Node", "name": node},
    });
    send(client, http::Method::POST, format!("{}/binding", pod_path(&pod.key)), JSON, &binding).await
}

async fn bind_volumes(
    client: &Client,
    view: &View,
    pod: &PodInfo,
    node: &str,
    actions: &[VolumeAction],
) -> Result<(), WriteError> {
    let namespace = &pod.key.namespace;
    let mut changes = view.claims.subscribe();
    for action in actions {
        match action {
            VolumeAction::Provision { claim } => {
                let patch = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
                let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}");
                send(client, http::Method::PATCH, path, MERGE, &patch).await?;
            }
            VolumeAction::Bind { volume, claim } => reserve(client, view, namespace, volume, claim).await?,
        }
    }
    let all_bound = || pod.claims.iter().all(|c| view.claims.get(namespace, &c.name).is_some_and(|c| is_bound(&c)));
    let wait = async {
        while !all_bound() {
            if changes.next_batch().await.is_none() {
                break;
            }
        }
    };
    tokio::time::timeout(VOLUME_TIMEOUT, wait).await.map_err(|_| WriteError::VolumesSlow)
}

/// Points a volume at a claim; the volume controller completes the binding. Fails if the volume changed meanwhile.
async fn reserve(client: &Client, view: &View, namespace: &str, volume: &str, claim: &str) -> Result<(), WriteError> {
    let gone = || WriteError::VolumeGone(volume.to_owned());
    let known = view.volumes.get("", volume).ok_or_else(gone)?;
    let object = view.claims.get(namespace, claim).ok_or_else(gone)?;
    let patch = json!({
        "metadata": {
            "resourceVersion": known.metadata.resource_version,
            "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
        },
        "spec": {"claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim,
            "uid": object.metadata.uid, "resourceVersion": object.metadata.resource_version,
        }},
    });
    send(client, http::Method::PATCH, format!("/api/v1/persistentvolumes/{volume}"), MERGE, &patch).await
}

/// Patches a pod's status; the uid makes it fail if the pod was replaced meanwhile.
pub async fn patch_status(client: &Client, key: &Key, uid: &str, status: &Value) -> Result<(), WriteError> {
    let patch = json!({"metadata": {"uid": uid}, "status": status});
    send(client, http::Method::PATCH, format!("{}/status", pod_path(key)), STRATEGIC, &patch).await
}

/// Patches the status of a pod that has no node. Once it is bound nothing is written: what is said of a pod that was refused must
/// not overtake its binding, so each attempt holds only for the version of the pod that was seen without a node.
pub async fn patch_waiting(
    client: &Client,
    view: &View,
    key: &Key,
    uid: &str,
    status: &Value,
) -> Result<(), WriteError> {
    for attempt in 1..=CONFLICTS {
        let known = view.pods.get(&key.namespace, &key.name).filter(|p| p.metadata.uid.as_deref() == Some(uid));
        let waits = known.filter(|p| p.spec.as_ref().is_some_and(|s| s.node_name.as_deref().unwrap_or("").is_empty()));
        let Some(pod) = waits else { return Ok(()) };
        let version = &pod.metadata.resource_version;
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": version}, "status": status});
        match send(client, http::Method::PATCH, format!("{}/status", pod_path(key)), STRATEGIC, &patch).await {
            Err(error) if error.is_conflict() && attempt < CONFLICTS => tokio::time::sleep(PAUSE * attempt).await,
            other => return other,
        }
    }
    Ok(())
}

/// Says why a victim goes, then deletes it with its own grace period. A victim that is gone already is fine.
pub async fn evict(client: &Client, victim: &PodInfo, scheduler: &str) -> Result<(), WriteError> {
    let condition = json!({
        "type": DISRUPTION_TARGET, "status": "True", "reason": PREEMPTED,
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
        "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "observedGeneration": victim.generation,
    });
    match patch_status(client, &victim.key, &victim.uid, &json!({"conditions": [condition]})).await {
        Err(error) if error.is_not_found() => return Ok(()),
        other => other?,
    }
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": victim.uid}});
    match send(client, http::Method::DELETE, pod_path(&victim.key), JSON, &options).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

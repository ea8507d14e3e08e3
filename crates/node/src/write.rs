//! The requests that node agents make about pods, real and hollow. Of answers only the version is read: the watch brings what matters.
use isopod_reflect::Key;
use kube::Client;
use serde_json::{Value, json};

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("cannot form the request: {0}")]
    Form(#[from] http::Error),
    #[error("cannot encode the body: {0}")]
    Encode(#[from] serde_json::Error),
    #[error(transparent)]
    Client(#[from] kube::Error),
}

impl WriteError {
    /// The object is gone: nothing is left to write. (Replaced by another of its name it is only in the way until the watch shows
    /// that: a conflict is tried again.)
    pub fn is_gone(&self) -> bool {
        self.code() == Some(404)
    }

    /// Another object has its name now.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The HTTP status, when the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Client(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

fn pod_path(key: &Key) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", key.namespace, key.name)
}

/// Posts a pod's status (a strategic merge patch of it; `null` takes a field away). The uid makes it fail if the pod was
/// replaced meanwhile, as a kubelet's patch does.
pub async fn post_status(
    client: &Client,
    key: &Key,
    uid: &str,
    status: &impl serde::Serialize,
) -> Result<(), WriteError> {
    patch_status(client, key, uid, &serde_json::to_value(status)?).await.map(drop)
}

/// [`post_status`] for a status that is a value already. Returns the version it made.
pub async fn patch_status(client: &Client, key: &Key, uid: &str, status: &Value) -> Result<Option<u64>, WriteError> {
    let body = serde_json::to_vec(&json!({"metadata": {"uid": uid}, "status": status}))?;
    let request = http::Request::patch(format!("{}/status", pod_path(key)))
        .header(http::header::CONTENT_TYPE, "application/strategic-merge-patch+json")
        .body(body)?;
    let answer = client.request_text(request).await?;
    Ok(serde_json::from_str::<Written>(&answer).ok().and_then(|w| w.metadata.resource_version?.parse().ok()))
}

/// What is read of an answer.
#[derive(serde::Deserialize)]
struct Written {
    metadata: WrittenMeta,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMeta {
    resource_version: Option<String>,
}

/// Removes the object of a pod whose containers are gone.
pub async fn delete(client: &Client, key: &Key, uid: &str) -> Result<(), WriteError> {
    let options = json!({
        "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": uid},
    });
    let request = http::Request::delete(pod_path(key))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&options)?)?;
    client.request_text(request).await?;
    Ok(())
}

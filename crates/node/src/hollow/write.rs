//! The requests hollow nodes make. Answers are not decoded: the watch brings what matters.
use isopod_api::k8s::api::core::v1::PodStatus;
use isopod_reflect::Key;
use kube::Client;
use serde_json::json;

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
        matches!(self, Self::Client(kube::Error::Api(status)) if status.code == 404)
    }
}

fn pod_path(key: &Key) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", key.namespace, key.name)
}

/// Posts a pod's status. The uid makes it fail if the pod was replaced meanwhile, as a kubelet's patch does.
pub async fn post_status(client: &Client, key: &Key, uid: &str, status: &PodStatus) -> Result<(), WriteError> {
    let body = serde_json::to_vec(&json!({"metadata": {"uid": uid}, "status": status}))?;
    let request = http::Request::patch(format!("{}/status", pod_path(key)))
        .header(http::header::CONTENT_TYPE, "application/strategic-merge-patch+json")
        .body(body)?;
    client.request_text(request).await?;
    Ok(())
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

//! Requests as controllers make them, and what answers mean to them.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// 404, or 409 by a uid precondition: what was meant is not there any more.
pub fn is_gone(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    // The wording of `k8s.io/apiserver/pkg/storage` (`Preconditions.Check`); no reason or cause tells it apart.
    status.code == 404 || (status.code == 409 && status.message.contains("UID in precondition"))
}

pub fn is_conflict(error: &kube::Error) -> bool {
    code(error) == 409 && !already_exists(error)
}

pub fn already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists")
}

/// 403 with the cause `NamespaceTerminating`.
pub fn namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.details.iter().flat_map(|d| &d.causes).any(|c| c.reason == "NamespaceTerminating")
}

/// The error as events and conditions tell it: the API server's own message.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// A merge patch; `None` if the object is gone meanwhile.
pub async fn merge<K>(api: &Api<K>, object: &ObjectMeta, patch: Value) -> Result<Option<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let name = object.name.as_deref().unwrap_or("");
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(written) => Ok(Some(written)),
        Err(e) if code(&e) == 404 || code(&e) == 422 => Ok(None),
        Err(e) => Err(e),
    }
}

//! What the server itself asks about namespaces.
use super::store_error;
use crate::ApiServer;
use isopod_api::k8s::api::core::v1::Namespace;
use isopod_api::status::ApiError;

/// A namespace as admission sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceState {
    /// Nothing new may be created in it.
    pub terminating: bool,
}

impl ApiServer {
    /// The namespace as it is stored now; `None` if it is not.
    pub async fn namespace(&self, name: &str) -> Result<Option<NamespaceState>, ApiError> {
        let key = format!("/registry/namespaces/{name}");
        let Some(kv) = self.store.get(&key).await.map_err(store_error)? else { return Ok(None) };
        let namespace: Namespace = serde_json::from_slice(&kv.value).map_err(ApiError::internal)?;
        Ok(Some(NamespaceState { terminating: namespace.metadata.deletion_timestamp.is_some() }))
    }
}

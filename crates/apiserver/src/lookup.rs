//! Stored objects as the server itself needs them: typed, by kind and name, for admission and the reviews.
use crate::ApiServer;
use crate::registry::store_error;
use isopod_api::status::ApiError;
use isopod_store::Range;
use serde::de::DeserializeOwned;

impl ApiServer {
    /// The object as it is stored now. `storage` is the kind's folder (`Descriptor::storage`), `namespace` empty for the cluster's.
    pub async fn read<T: DeserializeOwned>(
        &self,
        storage: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<T>, ApiError> {
        let key = format!("{}{name}", folder(storage, namespace));
        let Some(kv) = self.store.get(&key).await.map_err(store_error)? else { return Ok(None) };
        serde_json::from_slice(&kv.value).map(Some).map_err(ApiError::internal)
    }

    /// All objects of a kind, of one namespace or of all.
    pub async fn read_all<T: DeserializeOwned>(&self, storage: &str, namespace: &str) -> Result<Vec<T>, ApiError> {
        let range = Range { prefix: folder(storage, namespace), ..Range::default() };
        let found = self.store.range(range).await.map_err(store_error)?;
        found.items.iter().map(|kv| serde_json::from_slice(&kv.value).map_err(ApiError::internal)).collect()
    }
}

fn folder(storage: &str, namespace: &str) -> String {
    if namespace.is_empty() { format!("/registry/{storage}/") } else { format!("/registry/{storage}/{namespace}/") }
}

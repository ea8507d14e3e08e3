//! Stored objects: from bytes to typed and back.
use super::store_error;
use crate::ApiServer;
use crate::resources::Resource;
use bytes::Bytes;
use isopod_api::catalogue::Object;
use isopod_api::status::ApiError;
use isopod_store::{KeyValue, Revision};
use serde_json::Value;
use std::sync::OnceLock;

/// A stored object as an update finds it: typed, with its resourceVersion, in the served version.
#[derive(Debug)]
pub struct Live {
    pub kv: KeyValue,
    pub object: Box<dyn Object>,
    value: OnceLock<Value>,
}

impl Live {
    pub fn read(resource: &Resource, kv: KeyValue) -> Result<Self, ApiError> {
        let mut object = decode_stored(resource, &kv.value)?;
        object.meta_mut().resource_version = Some(kv.mod_revision.to_string());
        Ok(Self { kv, object, value: OnceLock::new() })
    }
    pub async fn get(server: &ApiServer, resource: &Resource, key: &str) -> Result<Option<Self>, ApiError> {
        let kv = server.store.get(key).await.map_err(store_error)?;
        kv.map(|kv| Self::read(resource, kv)).transpose()
    }
    pub fn revision(&self) -> Revision {
        self.kv.mod_revision
    }
    /// With `apiVersion`, `kind` and `metadata.resourceVersion`.
    pub fn value(&self) -> &Value {
        self.value.get_or_init(|| self.object.to_value())
    }
}

pub(crate) fn decode_stored(resource: &Resource, json: &[u8]) -> Result<Box<dyn Object>, ApiError> {
    if json.starts_with(&resource.stored_head) {
        return resource.ops.decode_json(json).map_err(|e| damaged(&e));
    }
    let value = serde_json::from_slice(json).map_err(|e| damaged(&e))?;
    resource.ops.decode(resource.ops.from_storage(value)).map_err(|e| damaged(&e))
}

fn damaged(error: &serde_json::Error) -> ApiError {
    ApiError::internal(format_args!("a stored object cannot be read: {error}"))
}

/// As it is stored: without resourceVersion, beginning with apiVersion, kind and metadata.
pub(crate) fn encode(resource: &Resource, object: &mut dyn Object) -> Bytes {
    object.meta_mut().resource_version = None;
    object.meta_mut().self_link = None;
    if !resource.converts {
        let json = object.to_json();
        if json.starts_with(&resource.stored_head) {
            return json.into();
        }
    }
    canonical(resource.ops.to_storage(object.to_value()))
}

/// JSON text with apiVersion, kind and metadata in front.
pub(crate) fn canonical(value: Value) -> Bytes {
    let Value::Object(mut map) = value else { return Bytes::from(value.to_string()) };
    let mut out = String::from("{");
    for head in ["apiVersion", "kind", "metadata"] {
        if let Some(field) = map.remove(head) {
            out.push_str(&format!("\"{head}\":{field},"));
        }
    }
    for (name, field) in &map {
        out.push_str(&format!("{}:{field},", Value::from(name.as_str())));
    }
    if out.ends_with(',') {
        out.pop();
    }
    out.push('}');
    Bytes::copy_from_slice(out.as_bytes())
}

//! Bodies to objects: media types, strictness, type errors in Kubernetes' words.
use super::managed::type_of;
use super::patch::{Patch, PatchType};
use crate::query::{FieldValidation, WriteOptions};
use crate::resources::Resource;
use crate::respond::Warnings;
use isopod_api::catalogue::Object;
use isopod_api::field::{self, Path};
use isopod_api::status::{ApiError, Named};
use isopod_api::strategic;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A body with what is needed to read it.
pub(crate) struct Body<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) content_type: &'a str,
    pub(crate) validation: FieldValidation,
}

/// Where a value to be decoded came from: it decides how its errors are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Sent,
    Patched,
    Applied,
}

/// What bodies may be (`protobuf` is not read; clients that speak it speak JSON too).
const MEDIA: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

fn parse(body: &Body<'_>) -> Result<Value, ApiError> {
    match body.content_type {
        "" | "application/json" => serde_json::from_slice(body.bytes).map_err(|e| ApiError::bad_request(e.to_string())),
        "application/yaml" => yaml(body.bytes),
        _ => Err(ApiError::unsupported_media_type(&MEDIA)),
    }
}

fn yaml(bytes: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|e| ApiError::bad_request(e.to_string()))?;
    serde_saphyr::from_str(text).map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))
}

/// The object a POST or PUT brings, defaulted.
pub(crate) fn object(resource: &Resource, body: &Body<'_>, warnings: &Warnings) -> Result<Box<dyn Object>, ApiError> {
    let value = parse(body)?;
    self::value(resource, value, Source::Sent, body.validation, warnings)
}

/// A body of a kind that is not in the catalogue, or not as the object of its path: Binding, Scale, Eviction.
pub(crate) fn typed<T: DeserializeOwned>(
    body: &Body<'_>,
    _group: &str,
    version: &str,
    kind: &str,
    _warnings: &Warnings,
) -> Result<T, ApiError> {
    let value = parse(body)?;
    serde_json::from_value(value).map_err(|e| cannot_handle(kind, version, &e.to_string()))
}

fn cannot_handle(kind: &str, version: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
}

/// A value as an object of the kind, defaulted.
pub(crate) fn value(
    resource: &Resource,
    value: Value,
    source: Source,
    _validation: FieldValidation,
    _warnings: &Warnings,
) -> Result<Box<dyn Object>, ApiError> {
    let d = resource.descriptor();
    let patched = (source == Source::Patched).then(|| value.to_string());
    let mut object = resource.ops.decode(value).map_err(|e| match &patched {
        Some(text) => {
            let error = field::Error::invalid(&Path::new("patch"), text, e.to_string());
            ApiError::invalid(Named::new("", ""), "", &[error])
        }
        None => cannot_handle(d.kind, d.version, &e.to_string()),
    })?;
    resource.ops.default(&mut *object);
    Ok(object)
}

/// The body of a PATCH.
pub(crate) fn patch(
    kind: PatchType,
    _resource: &Resource,
    bytes: &[u8],
    options: &WriteOptions,
    _warnings: &Warnings,
) -> Result<Patch, ApiError> {
    let json = || serde_json::from_slice(bytes).map_err(|e| ApiError::bad_request(e.to_string()));
    Ok(match kind {
        PatchType::Json => Patch::Json(json()?),
        PatchType::Merge => Patch::Merge(json()?),
        PatchType::Strategic => Patch::Strategic(json()?),
        PatchType::Apply => Patch::Apply(yaml(bytes)?, options.force.unwrap_or(false)),
    })
}

/// The most operations of one JSON patch (`maxJSONPatchOperations`).
const MAX_OPERATIONS: usize = 10_000;

/// `value` after a JSON, merge or strategic merge patch.
pub(crate) fn apply_patch(resource: &Resource, patch: &Patch, value: &Value) -> Result<Value, ApiError> {
    match patch {
        Patch::Json(operations) => json_patch(operations, value),
        Patch::Merge(patch) => {
            let mut value = value.clone();
            json_patch::merge(&mut value, patch);
            Ok(value)
        }
        Patch::Strategic(patch) => {
            let Some(ty) = type_of(resource) else { return Err(ApiError::generic(415)) };
            strategic::merge(value.clone(), patch.clone(), ty).map_err(|e| match e.code() {
                400 => ApiError::bad_request(e.to_string()),
                422 => ApiError::generic(422),
                _ => ApiError::unclassified(e.to_string()),
            })
        }
        Patch::Apply(..) => Err(ApiError::internal("an apply is not a patch of a value")),
    }
}

fn json_patch(operations: &Value, value: &Value) -> Result<Value, ApiError> {
    let Some(list) = operations.as_array() else {
        let message = "json: cannot unmarshal object into Go value of type jsonpatch.Patch";
        return Err(ApiError::bad_request(message));
    };
    if list.len() > MAX_OPERATIONS {
        let message = format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", list.len());
        return Err(ApiError::request_too_large(message));
    }
    let patch: json_patch::Patch = serde_json::from_value(operations.clone()).map_err(|_| ApiError::generic(422))?;
    let mut value = value.clone();
    json_patch::patch(&mut value, &patch).map_err(|_| ApiError::generic(422))?;
    Ok(value)
}

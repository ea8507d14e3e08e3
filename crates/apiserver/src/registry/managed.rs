//! Who owns which fields, as the generic path needs it: around [`isopod_api::apply`].
use super::object::Live;
use super::write::WriteContext;
use crate::handler::Call;
use crate::resources::Resource;
use isopod_api::apply::{self, ApplyError, Force, Request};
use isopod_api::catalogue::Object;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use isopod_api::schema::{TypeRef, builtin};
use isopod_api::status::ApiError;
use serde_json::Value;

/// The shape of a kind; `None` for one the schema does not know (its fields are not tracked).
pub(crate) fn type_of(resource: &Resource) -> Option<TypeRef<'static>> {
    let d = resource.descriptor();
    builtin().kind(d.group, d.version, d.kind)
}

fn request<'a>(cx: &'a WriteContext<'_>, api_version: &'a str) -> Option<Request<'a>> {
    let d = cx.resource.descriptor();
    Some(Request {
        ty: type_of(cx.resource)?,
        manager: cx.manager,
        api_version,
        kind: d.kind,
        subresource: cx.subresource,
        reset: cx.resource.reset_fields(cx.subresource),
        now: cx.server.now(),
    })
}

/// Writes `metadata.managedFields` of an object about to be stored by anything but an apply.
pub(super) fn update(cx: &WriteContext<'_>, live: Option<&Live>, object: &mut dyn Object) -> Result<(), ApiError> {
    let api_version = cx.resource.api_version();
    let Some(request) = request(cx, api_version) else { return Ok(()) };
    let mut value = object.to_value();
    apply::update(&request, live.map(Live::value), &mut value);
    if let Some(live) = live {
        apply::keep_times_if_unchanged(live.value(), &mut value);
    }
    object.meta_mut().managed_fields = entries(&mut value)?;
    Ok(())
}

fn entries(value: &mut Value) -> Result<Option<Vec<ManagedFieldsEntry>>, ApiError> {
    let taken = value.get_mut("metadata").and_then(|m| m.as_object_mut()).and_then(|m| m.remove("managedFields"));
    match taken {
        None | Some(Value::Null) => Ok(None),
        Some(entries) => serde_json::from_value(entries).map(Some).map_err(ApiError::internal),
    }
}

/// Server-side apply: the new object with its managed fields.
pub(super) fn apply(
    cx: &WriteContext<'_>,
    live: Option<&Live>,
    config: &Value,
    force: bool,
) -> Result<Value, ApiError> {
    let api_version = cx.resource.api_version();
    let Some(request) = request(cx, api_version) else {
        return Err(ApiError::internal(format_args!("{} cannot be applied", cx.resource.descriptor().kind)));
    };
    let force = if force { Force::Yes } else { Force::No };
    let mut applied = apply::apply(&request, live.map(Live::value), config, force).map_err(|e| refused(&e))?.object;
    if let Some(live) = live {
        apply::keep_times_if_unchanged(live.value(), &mut applied);
    }
    Ok(applied)
}

/// Server-side apply of a Scale.
pub(super) fn apply_scale(
    call: &Call,
    ty: TypeRef<'static>,
    scale: &Value,
    config: &Value,
    force: bool,
    manager: &str,
) -> Result<Value, ApiError> {
    let reset = apply::FieldSet::from_fields(&[&["status"]]);
    let request = Request {
        ty,
        manager,
        api_version: apply::SCALE_VERSION,
        kind: "Scale",
        subresource: "scale",
        reset: &reset,
        now: call.server.now(),
    };
    let force = if force { Force::Yes } else { Force::No };
    Ok(apply::apply(&request, Some(scale), config, force).map_err(|e| refused(&e))?.object)
}

pub(crate) fn refused(error: &ApplyError) -> ApiError {
    match error {
        ApplyError::Conflict(conflicts) => {
            let mut status = ApiError::new(409, "Conflict", conflicts.to_string());
            for conflict in &conflicts.0 {
                status = status.with_cause("FieldManagerConflict", conflict.message(), &conflict.field());
            }
            status
        }
        ApplyError::WrongType(_) | ApplyError::ManagedFieldsSent => ApiError::bad_request(error.to_string()),
        ApplyError::Decode(_) | ApplyError::PatchObject { .. } | ApplyError::Typed { .. } => {
            ApiError::unclassified(error.to_string())
        }
    }
}

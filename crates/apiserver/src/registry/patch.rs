//! PATCH in its four kinds (`endpoints/handlers/patch.go`). A patch is applied to the newest object; when somebody else writes
//! meanwhile it is applied again.
use super::create::match_namespace;
use super::decode::{self, Source};
use super::managed;
use super::object::Live;
use super::update::check_name;
use super::write::{Produced, Rules, WriteContext};
use crate::body::Body;
use crate::handler::Call;
use crate::query::{FieldValidation, WriteOptions, manager_or_user_agent};
use bytes::Bytes;
use http::{Response, StatusCode};
use isopod_api::go_order::Touched;
use isopod_api::status::ApiError;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    pub(crate) fn from_content_type(content_type: &str) -> Result<Self, ApiError> {
        match content_type {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(ApiError::generic(415)),
        }
    }
}

/// The body of a patch, read once; what a strict reading found beside it (repeated keys, unknown fields of operations).
pub(crate) enum Patch {
    Json(Value, Vec<String>),
    Merge(Value, Vec<String>),
    Strategic(Value, Vec<String>),
    /// The configuration and whether conflicts are overridden.
    Apply(Value, bool),
}

pub(crate) async fn patch(call: &Call, body: Bytes) -> Result<Response<Body>, ApiError> {
    let cx = call.write_context("", false);
    Box::pin(patch_by(call, body, cx.rules)).await
}

/// The same by the rules of a subresource.
pub(crate) async fn patch_by(call: &Call, body: Bytes, rules: Rules) -> Result<Response<Body>, ApiError> {
    let kind = PatchType::from_content_type(call.content_type())?;
    let options = WriteOptions::from_query(&call.query, "PatchOptions", kind == PatchType::Apply)?;
    let patch = decode::patch(kind, &body, &options, &call.warnings)?;
    let manager = manager_or_user_agent(&options.field_manager, call.user_agent());
    let cx = WriteContext { rules, ..call.write_context(&manager, options.dry_run) };
    if let Patch::Apply(config, _) = &patch {
        check_applied(call, config)?;
    }
    let produce = |live: Option<&Live>| produce(call, &cx, &patch, live, &options);
    let may_create = matches!(patch, Patch::Apply(..)) && call.info.subresource.is_empty();
    let written = Box::pin(cx.update(&produce, may_create)).await?;
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    call.answer_written(code, &written)
}

/// The configuration must be of the object the path names.
fn check_applied(call: &Call, config: &Value) -> Result<(), ApiError> {
    let meta = config.get("metadata");
    let text = |key: &str| meta.and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default();
    let given = text("name");
    if !given.is_empty() && given != call.info.name {
        let name = &call.info.name;
        let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(message));
    }
    let namespace = text("namespace");
    if call.resource.namespaced() && !namespace.is_empty() && namespace != call.info.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

fn produce(
    call: &Call,
    cx: &WriteContext<'_>,
    patch: &Patch,
    live: Option<&Live>,
    options: &WriteOptions,
) -> Result<Produced, ApiError> {
    let (value, applied) = match (patch, live) {
        (Patch::Apply(config, force), live) => (managed::apply(cx, live, config, *force)?, true),
        (_, None) => return Err(ApiError::not_found(call.resource.named(), &call.info.name)),
        (patch, Some(live)) => (decode::apply_patch(&call.resource, patch, live.value())?, false),
    };
    let mut object = decode::value(&call.resource, &value, patch.source(), options.field_validation, &call.warnings)?;
    if live.is_none() {
        refuse_uid(call, object.meta().uid.as_deref().unwrap_or_default())?;
    }
    match_namespace(&call.resource, object.meta_mut(), &call.info.namespace)?;
    if applied && live.is_none() {
        object.meta_mut().name = Some(call.info.name.clone());
        // A version only says which object is meant where there is one.
        object.meta_mut().resource_version = None;
    }
    check_name(object.meta(), &call.info.name)?;
    Ok(Produced { object, applied })
}

/// What is to be created cannot have an identity already (`applyPatch`).
fn refuse_uid(call: &Call, uid: &str) -> Result<(), ApiError> {
    if uid.is_empty() {
        return Ok(());
    }
    let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
    Err(ApiError::conflict(call.resource.named(), &call.info.name, why))
}

/// A Scale with any kind of patch applied. An applied one carries its managed fields.
pub(crate) fn scale_patch(
    call: &Call,
    patch: &Patch,
    scale: &Value,
    manager: &str,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let Some(ty) = isopod_api::schema::builtin().kind("autoscaling", "v1", "Scale") else {
        return Err(ApiError::generic(415));
    };
    let value = match patch {
        Patch::Apply(config, force) => managed::apply_scale(call, ty, scale, config, *force, manager)?,
        Patch::Strategic(patch, _) => isopod_api::strategic::merge(scale.clone(), patch.clone(), ty)
            .map_err(|e| ApiError::unclassified(e.to_string()))?,
        patch => decode::apply_patch(&call.resource, patch, scale)?,
    };
    decode::patched(ty, &value, patch.source(), validation, &call.warnings)
}

impl Patch {
    /// How errors in what it makes of an object are told.
    fn source(&self) -> Source<'_> {
        match self {
            Self::Apply(..) => Source::Applied,
            Self::Strategic(patch, strict) => Source::Strategic(patch, strict),
            Self::Json(operations, strict) => Source::Patched(Touched::Operations(operations), strict),
            Self::Merge(patch, strict) => Source::Patched(Touched::Merge(patch), strict),
        }
    }
}

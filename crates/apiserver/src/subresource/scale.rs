//! `scale`: the number of replicas of anything that has one, as `autoscaling/v1` Scale
//! (`pkg/registry/apps/deployment/storage`, ScaleREST).
use super::Handler;
use crate::body::{Body, RequestBody};
use crate::handler::{Call, plain_form, read_body};
use crate::negotiate::Shape;
use crate::query::{WriteOptions, manager_or_user_agent};
use crate::registry::decode::{self, Body as Sent};
use crate::registry::{Live, PatchType, Produced, WriteContext, Written, check_name, match_namespace, scale_patch};
use crate::request::Verb;
use crate::respond;
use crate::table::{self, Include};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use isopod_api::apply::{self, SCALE_VERSION};
use isopod_api::catalogue::{Column, PrintContext};
use isopod_api::field::{self, Path};
use isopod_api::k8s::api::autoscaling::v1::Scale;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::LabelSelector;
use isopod_api::names::{dns1123_subdomain, validate_object_meta};
use isopod_api::print::{AGE, NAME, age_cell, integer};
use isopod_api::selector::Selector;
use isopod_api::status::{ApiError, Named};
use serde_json::{Value, json};

pub(super) struct Scales;

#[async_trait]
impl Handler for Scales {
    fn serves(&self, _: &str, _: &str, subresource: &str) -> bool {
        subresource == "scale"
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        match call.info.verb {
            Verb::Get => {
                let key = call.resource.key(&call.info.namespace, &call.info.name);
                let live = Live::get(&call.server, &call.resource, &key).await?;
                let live = live.ok_or_else(|| {
                    let resource = format!("{}/scale", call.resource.descriptor().plural);
                    ApiError::not_found(Named::new(call.resource.descriptor().group, &resource), &call.info.name)
                })?;
                answer(call, &scale_of(live.value()))
            }
            Verb::Update => {
                let options = WriteOptions::from_query(&call.query, "UpdateOptions", false)?;
                let body = read_body(request.into_body()).await?;
                let sent =
                    Sent { bytes: &body, content_type: call.content_type(), validation: options.field_validation };
                let scale: Value = decode::typed(&sent, "autoscaling", "v1", "Scale", &call.warnings)?;
                let make = |_: &Value| Ok(scale.clone());
                write(call, &options, Owners::Hidden, &make).await
            }
            _ => {
                let kind = PatchType::from_content_type(call.content_type())?;
                let options = WriteOptions::from_query(&call.query, "PatchOptions", kind == PatchType::Apply)?;
                let body = read_body(request.into_body()).await?;
                let patch = decode::patch(kind, &body, &options, &call.warnings)?;
                let manager = manager_or_user_agent(&options.field_manager, call.user_agent());
                let make = |scale: &Value| scale_patch(call, &patch, scale, &manager, options.field_validation);
                let owners = if kind == PatchType::Apply { Owners::Shown } else { Owners::Hidden };
                write(call, &options, owners, &make).await
            }
        }
    }
}

fn not_found(call: &Call) -> ApiError {
    ApiError::not_found(call.resource.named(), &call.info.name)
}

type Make<'m> = &'m (dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync);

/// Whether what makes the new Scale is shown who owns the replicas of the old one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owners {
    /// For server-side apply, which tells of conflicts with them.
    Shown,
    Hidden,
}

async fn write(
    call: &Call,
    options: &WriteOptions,
    owners: Owners,
    make: Make<'_>,
) -> Result<Response<Body>, ApiError> {
    let manager = manager_or_user_agent(&options.field_manager, call.user_agent());
    let cx = WriteContext { ..call.write_context(&manager, options.dry_run) };
    let produce = |live: Option<&Live>| {
        let live = live.ok_or_else(|| not_found(call))?;
        let produced = produce(call, &manager, live, owners, make)?;
        if call.info.verb == Verb::Update {
            // Who puts a whole Scale means the object of that uid.
            cx.check_uid(produced.object.meta(), live)?;
        }
        Ok(produced)
    };
    let written = Box::pin(cx.update(&produce, false)).await?;
    answer(call, &scale_of(&value_of(&written)))
}

fn value_of(written: &Written) -> Value {
    let mut value = written.object.to_value();
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.insert("resourceVersion".to_owned(), written.revision.to_string().into());
    }
    value
}

fn produce(call: &Call, manager: &str, live: &Live, owners: Owners, make: Make<'_>) -> Result<Produced, ApiError> {
    let mut parent = live.value().clone();
    let old = scale_of(&parent);
    let mut new = match owners {
        Owners::Hidden => make(&old)?,
        Owners::Shown => make(&owned(&old, &parent)?)?,
    };
    let scale: Scale = serde_json::from_value(new.clone())
        .map_err(|e| ApiError::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {e}")))?;
    let mut meta = scale.metadata.clone();
    match_namespace(&call.resource, &mut meta, &call.info.namespace)?;
    check_name(&meta, &call.info.name)?;
    validate(call, &scale)?;
    let replicas = scale.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
    own(call, manager, &old, &mut new, &mut parent)?;
    if let Some(spec) = parent.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("replicas".to_owned(), replicas.into());
    }
    let mut object = call.resource.ops.decode(parent).map_err(ApiError::internal)?;
    let meta = &scale.metadata;
    object.meta_mut().resource_version.clone_from(&meta.resource_version);
    if meta.uid.as_deref().is_some_and(|u| !u.is_empty()) {
        object.meta_mut().uid.clone_from(&meta.uid);
    }
    Ok(Produced { object, applied: true })
}

fn replicas_path() -> [apply::Element; 2] {
    ["spec", "replicas"].map(apply::Element::field)
}

fn set_entries(object: &mut Value, entries: Option<Value>) {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
        if let Some(entries) = entries {
            meta.insert("managedFields".to_owned(), entries);
        }
    }
}

/// A Scale with who owns its replicas in the parent.
fn owned(scale: &Value, parent: &Value) -> Result<Value, ApiError> {
    let entries = parent.get("metadata").and_then(|m| m.get("managedFields"));
    let own = apply::to_scale(entries, &replicas_path()).map_err(|e| ApiError::unclassified(e.to_string()))?;
    let mut scale = scale.clone();
    set_entries(&mut scale, own);
    Ok(scale)
}

/// The parent's managed fields after the Scale's change.
fn own(call: &Call, manager: &str, old: &Value, new: &mut Value, parent: &mut Value) -> Result<(), ApiError> {
    let Some(ty) = isopod_api::schema::builtin().kind("autoscaling", "v1", "Scale") else { return Ok(()) };
    let entries = parent.get("metadata").and_then(|m| m.get("managedFields")).cloned();
    let applied = new.get("metadata").and_then(|m| m.get("managedFields")).is_some();
    if !applied {
        let before = owned(old, parent)?;
        let reset = apply::FieldSet::from_fields(&[&["status"]]);
        let request = apply::Request {
            ty,
            manager,
            api_version: SCALE_VERSION,
            kind: "Scale",
            subresource: "scale",
            reset: &reset,
            now: call.server.now(),
        };
        apply::update(&request, Some(&before), new);
    }
    let scale = new.get("metadata").and_then(|m| m.get("managedFields"));
    let version = call.resource.api_version();
    let merged = apply::to_parent(entries.as_ref(), scale, &replicas_path(), version)
        .map_err(|e| ApiError::unclassified(e.to_string()))?;
    set_entries(parent, merged);
    Ok(())
}

/// `ValidateScale`
fn validate(call: &Call, scale: &Scale) -> Result<(), ApiError> {
    let named = Named::new("autoscaling", "Scale");
    let mut meta = scale.metadata.clone();
    meta.namespace.get_or_insert_with(|| call.info.namespace.clone());
    let mut errors = validate_object_meta(&meta, true, dns1123_subdomain, &Path::new("metadata"));
    let replicas = scale.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
    if replicas < 0 {
        let at = Path::new("spec").child("replicas");
        errors.push(field::Error::invalid(&at, replicas, "must be greater than or equal to 0"));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(named, &call.info.name, &errors)) }
}

/// The Scale of a parent object.
pub(crate) fn scale_of(parent: &Value) -> Value {
    let meta = parent.get("metadata");
    let mut own = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta.and_then(|m| m.get(field)) {
            own.insert(field.to_owned(), value.clone());
        }
    }
    let number = |part: &str| parent.get(part).and_then(|p| p.get("replicas")).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": number("status")});
    if let Some(selector) = selector_text(parent) {
        status["selector"] = selector.into();
    }
    let mut spec = json!({});
    if number("spec") != 0 {
        spec["replicas"] = number("spec").into();
    }
    json!({"kind": "Scale", "apiVersion": SCALE_VERSION, "metadata": own, "spec": spec, "status": status})
}

/// The selector as text: a LabelSelector, or a plain map (ReplicationController).
fn selector_text(parent: &Value) -> Option<String> {
    let selector = parent.get("spec")?.get("selector")?;
    let plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    let selector = if plain {
        let map = serde_json::from_value(selector.clone()).ok()?;
        Selector::from_map(&map)
    } else {
        let selector: LabelSelector = serde_json::from_value(selector.clone()).ok()?;
        Selector::from_label_selector(Some(&selector)).ok()?
    };
    Some(selector.to_string()).filter(|s| !s.is_empty())
}

/// The columns of a Scale (`printScale`).
const COLUMNS: [Column; 4] = [
    NAME,
    integer("Desired", "desired number of instances for the scaled object."),
    integer("Available", "actual number of observed instances of the scaled object."),
    AGE,
];

fn answer(call: &Call, scale: &Value) -> Result<Response<Body>, ApiError> {
    if call.form.shape != Shape::Table {
        return Ok(respond::value(StatusCode::OK, plain_form(call.form).encoding, scale));
    }
    let version = call.form.meta_version();
    let meta = &scale["metadata"];
    let time = serde_json::from_value(meta["creationTimestamp"].clone()).ok();
    let number = |part: &str| scale[part]["replicas"].as_i64().unwrap_or(0);
    let age = age_cell(time.as_ref(), &PrintContext { now: call.server.now() });
    let object = match Include::from_query(&call.query)? {
        Include::None => Value::Null,
        Include::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": meta}),
        Include::Object => scale.clone(),
    };
    let columns: Value = serde_json::from_str(&table::columns(&COLUMNS)).map_err(ApiError::internal)?;
    let table = json!({"kind": "Table", "apiVersion": version, "metadata": {"resourceVersion": meta["resourceVersion"]},
        "columnDefinitions": columns,
        "rows": [{"cells": [meta["name"], number("spec"), number("status"), age], "object": object}]});
    Ok(respond::value(StatusCode::OK, call.form.encoding, &table))
}

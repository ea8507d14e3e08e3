//! `pods/ephemeralcontainers` and `pods/resize`: updates of a pod that its own rules would refuse, each within its own bounds
//! (`podEphemeralContainersStrategy`, `podResizeStrategy` in `pkg/registry/core/pod/strategy.go`).
use super::Handler;
use crate::body::{Body, RequestBody};
use crate::handler::{Call, read_body};
use crate::query::{WriteOptions, manager_or_user_agent};
use crate::registry::decode::{self, Body as Sent, Source};
use crate::registry::{Live, PatchType, Produced, Rules, WriteContext, patched_value};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use isopod_api::catalogue::Object;
use isopod_api::field::{self, Path};
use isopod_api::k8s::api::core::v1::{Container, Pod, PodSpec};
use isopod_api::status::ApiError;
use std::collections::BTreeMap;

pub(super) struct PodContainers;

#[async_trait]
impl Handler for PodContainers {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group.is_empty() && resource == "pods" && matches!(subresource, "ephemeralcontainers" | "resize")
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        if call.info.verb == crate::request::Verb::Get {
            return crate::registry::get(call).await;
        }
        let is_patch = call.info.verb == crate::request::Verb::Patch;
        let kind = if is_patch { Some(PatchType::from_content_type(call.content_type())?) } else { None };
        let options = if is_patch { "PatchOptions" } else { "UpdateOptions" };
        let options = WriteOptions::from_query(&call.query, options, kind == Some(PatchType::Apply))?;
        let body = read_body(request.into_body()).await?;
        let manager = manager_or_user_agent(&options.field_manager, call.user_agent());
        let patch = kind.map(|k| decode::patch(k, &call.resource, &body, &options, &call.warnings)).transpose()?;
        let sent = Sent { bytes: &body, content_type: call.content_type(), validation: options.field_validation };
        let whole = if patch.is_none() { Some(decode::object(&call.resource, &sent, &call.warnings)?) } else { None };
        let produce = |live: Option<&Live>| {
            let live = live.ok_or_else(|| ApiError::not_found(call.resource.named(), &call.info.name))?;
            let wanted: Box<dyn Object> = match (&patch, &whole) {
                (Some(patch), _) => {
                    let value = patched_value(call, patch, live.value())?;
                    decode::value(&call.resource, value, Source::Patched, options.field_validation, &call.warnings)?
                }
                (None, Some(whole)) => whole.boxed_clone(),
                (None, None) => return Err(ApiError::internal("neither body nor patch")),
            };
            let object = merge(call, live, &*wanted)?;
            Ok(Produced { object, applied: false })
        };
        let cx = WriteContext { rules: Rules::Own, ..call.write_context(&manager, options.dry_run) };
        let written = Box::pin(cx.update(&produce, false)).await?;
        call.answer_written(StatusCode::OK, &written)
    }
}

/// The stored pod with what this subresource may change taken from `wanted`; the kind's validation has the last word.
fn merge(call: &Call, live: &Live, wanted: &dyn Object) -> Result<Box<dyn Object>, ApiError> {
    let mut object = live.object.boxed_clone();
    let (Some(pod), Some(wanted)) = (object.downcast_mut::<Pod>(), wanted.downcast::<Pod>()) else {
        return Err(ApiError::internal("no Pod"));
    };
    pod.metadata.resource_version.clone_from(&wanted.metadata.resource_version);
    let spec = pod.spec.get_or_insert_default();
    let empty = PodSpec::default();
    let wanted = wanted.spec.as_ref().unwrap_or(&empty);
    let errors = if call.info.subresource == "resize" { resize(spec, wanted) } else { ephemeral(spec, wanted) };
    if !errors.is_empty() {
        return Err(ApiError::invalid(call.resource.named_kind(), &call.info.name, &errors));
    }
    let mut errors = field::Errors::new();
    errors.extend(call.resource.ops.validate(&*object));
    if errors.is_empty() {
        Ok(object)
    } else {
        Err(ApiError::invalid(call.resource.named_kind(), &call.info.name, &errors))
    }
}

/// Containers are added, never changed or taken away (`ValidatePodEphemeralContainersUpdate`).
fn ephemeral(spec: &mut PodSpec, wanted: &PodSpec) -> field::Errors {
    let mut errors = field::Errors::new();
    let at = Path::new("spec").child("ephemeralContainers");
    let new = wanted.ephemeral_containers.clone().unwrap_or_default();
    let by_name: BTreeMap<&str, _> = new.iter().map(|c| (c.name.as_str(), c)).collect();
    for old in spec.ephemeral_containers.iter().flatten() {
        match by_name.get(old.name.as_str()) {
            None => errors.push(field::Error::forbidden(
                &at,
                format!("existing ephemeral containers {} may not be removed\n", crate::query::quote(&old.name)),
            )),
            Some(new) if *new != old => errors.push(field::Error::forbidden(
                &at,
                format!("existing ephemeral containers {} may not be changed\n", crate::query::quote(&old.name)),
            )),
            Some(_) => {}
        }
    }
    spec.ephemeral_containers = (!new.is_empty()).then_some(new);
    errors
}

/// Only the resources and resize policies of containers (`ValidatePodResize`).
fn resize(spec: &mut PodSpec, wanted: &PodSpec) -> field::Errors {
    let mut target = spec.clone();
    copy_resources(&mut target.containers, &wanted.containers);
    if let (Some(to), Some(from)) = (&mut target.init_containers, &wanted.init_containers) {
        copy_resources(to, from);
    }
    let mut errors = field::Errors::new();
    if target != *wanted {
        errors.push(field::Error::forbidden(&Path::new("spec"), "only cpu and memory resources are mutable"));
    }
    *spec = target;
    errors
}

fn copy_resources(to: &mut [Container], from: &[Container]) {
    for container in to {
        if let Some(wanted) = from.iter().find(|c| c.name == container.name) {
            container.resources.clone_from(&wanted.resources);
            container.resize_policy.clone_from(&wanted.resize_policy);
        }
    }
}

//! POST to a collection (`endpoints/handlers/create.go`).
use super::decode::{self, Body as Sent};
use super::write::{Produced, Rules, WriteContext};
use crate::body::Body;
use crate::handler::Call;
use crate::query::{WriteOptions, manager_or_user_agent};
use crate::resources::Resource;
use bytes::Bytes;
use http::{Response, StatusCode};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::status::ApiError;

pub(crate) async fn create(call: &Call, body: Bytes) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::from_query(&call.query, "CreateOptions", false)?;
    let sent = Sent { bytes: &body, content_type: call.content_type(), validation: options.field_validation };
    let mut object = decode::object(&call.resource, &sent, &call.warnings)?;
    match_namespace(&call.resource, object.meta_mut(), &call.info.namespace)?;
    let name = object.meta().name.clone().unwrap_or_default();
    let manager = manager_or_user_agent(&options.field_manager, call.user_agent());
    let cx = WriteContext {
        server: &call.server,
        resource: &call.resource,
        namespace: &call.info.namespace,
        name: &name,
        subresource: "",
        rules: Rules::Object,
        user: &call.user,
        manager: &manager,
        command: call.command(),
        dry_run: options.dry_run,
        warnings: &call.warnings,
        body: None,
    };
    let written = Box::pin(cx.create(Produced { object, applied: false })).await?;
    call.answer_written(StatusCode::CREATED, &written)
}

/// `EnsureObjectNamespaceMatchesRequestNamespace`.
pub(crate) fn match_namespace(resource: &Resource, meta: &mut ObjectMeta, requested: &str) -> Result<(), ApiError> {
    if !resource.namespaced() {
        meta.namespace = None;
        return Ok(());
    }
    match meta.namespace.as_deref().unwrap_or_default() {
        "" => meta.namespace = Some(requested.to_owned()),
        given if given == requested => {}
        _ => {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}

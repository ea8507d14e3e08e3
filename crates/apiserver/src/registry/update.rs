//! PUT: a whole object for a whole object (`endpoints/handlers/update.go`).
use super::create::match_namespace;
use super::decode::{self, Body as Sent};
use super::metadata::precondition_failed;
use super::view::object_json;
use super::write::{Produced, Rules, WriteContext, Written};
use crate::body::Body;
use crate::handler::Call;
use crate::query::{WriteOptions, manager_or_user_agent};
use bytes::Bytes;
use http::{Response, StatusCode};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::status::ApiError;

pub(crate) async fn update(call: &Call, body: Bytes) -> Result<Response<Body>, ApiError> {
    Box::pin(update_by(call, body, call.rules())).await
}

/// The same by the rules of a subresource.
pub(crate) async fn update_by(call: &Call, body: Bytes, rules: Rules) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::from_query(&call.query, "UpdateOptions", false)?;
    let sent = Sent { bytes: &body, content_type: call.content_type(), validation: options.field_validation };
    let mut object = decode::object(&call.resource, &sent, &call.warnings)?;
    match_namespace(&call.resource, object.meta_mut(), &call.info.namespace)?;
    check_name(object.meta(), &call.info.name)?;
    let manager = manager_or_user_agent(&options.field_manager, call.user_agent());
    let cx = WriteContext { rules, ..call.write_context(&manager, options.dry_run) };
    let may_create = call.resource.descriptor().create_on_update && call.info.subresource.is_empty();
    let produce = |live: Option<&super::Live>| {
        let mut object = object.boxed_clone();
        if let Some(live) = live {
            cx.check_uid(object.meta(), live)?;
        }
        if live.is_none() && object.meta().uid.as_deref().is_some_and(|u| !u.is_empty()) {
            let uid = object.meta().uid.clone().unwrap_or_default();
            let key = call.resource.key(&call.info.namespace, &call.info.name);
            let why = precondition_failed(&key, "UID", &uid, "");
            return Err(ApiError::conflict(call.resource.named(), &call.info.name, why));
        }
        if live.is_none() {
            object.meta_mut().resource_version = None;
        }
        Ok(Produced { object, applied: false })
    };
    let written = Box::pin(cx.update(&produce, may_create)).await?;
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    call.answer_written(code, &written)
}

/// `checkName`.
pub(crate) fn check_name(meta: &ObjectMeta, name: &str) -> Result<(), ApiError> {
    match meta.name.as_deref().unwrap_or_default() {
        "" => Err(ApiError::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        given if given == name => Ok(()),
        given => Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        ))),
    }
}

impl Call {
    fn rules(&self) -> Rules {
        if self.info.subresource == "status" { Rules::Status } else { Rules::Object }
    }

    /// A write to the object the path names.
    pub(crate) fn write_context<'a>(&'a self, manager: &'a str, dry_run: bool) -> WriteContext<'a> {
        WriteContext {
            server: &self.server,
            resource: &self.resource,
            namespace: &self.info.namespace,
            name: &self.info.name,
            subresource: &self.info.subresource,
            rules: self.rules(),
            user: &self.user,
            manager,
            command: self.command(),
            dry_run,
            warnings: &self.warnings,
            body: None,
        }
    }

    /// What a write made, in the form asked for.
    pub(crate) fn answer_written(&self, code: StatusCode, written: &Written) -> Result<Response<Body>, ApiError> {
        if written.revision == 0 {
            // Only a dry run has no version.
            let text = object_json(&self.resource, &written.json, 0)?;
            let mut value: serde_json::Value = serde_json::from_slice(&text).map_err(ApiError::internal)?;
            if let Some(meta) = value.get_mut("metadata").and_then(|m| m.as_object_mut()) {
                meta.remove("resourceVersion");
            }
            return Ok(crate::respond::value(code, self.form.encoding, &value));
        }
        self.answer(code, &written.json, written.revision)
    }
}

//! `namespaces/finalize`: the namespace controller takes its finalizer away (`pkg/registry/core/namespace`, finalizeStrategy).
use super::Handler;
use crate::body::{Body, RequestBody};
use crate::handler::{Call, read_body};
use crate::query::{WriteOptions, manager_or_user_agent};
use crate::registry::decode::{self, Body as Sent};
use crate::registry::{Live, OwnRules, Produced, Rules, WriteContext, check_name};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use isopod_api::catalogue::Object;
use isopod_api::field::Errors;
use isopod_api::k8s::api::core::v1::Namespace;
use isopod_api::kinds::namespace;
use isopod_api::status::ApiError;

pub(super) struct NamespaceFinalize;

/// Only `spec.finalizers` is taken from the request, where the object is produced.
struct FinalizeRules;

impl OwnRules for FinalizeRules {
    fn validate(&self, new: &dyn Object, old: &dyn Object) -> Errors {
        match (new.downcast::<Namespace>(), old.downcast::<Namespace>()) {
            (Some(new), Some(old)) => namespace::validate_finalize(new, old),
            _ => Errors::new(),
        }
    }
}

#[async_trait]
impl Handler for NamespaceFinalize {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group.is_empty() && resource == "namespaces" && subresource == "finalize"
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let options = WriteOptions::from_query(&call.query, "UpdateOptions", false)?;
        let body = read_body(request.into_body()).await?;
        let sent = Sent { bytes: &body, content_type: call.content_type(), validation: options.field_validation };
        let object = decode::object(&call.resource, &sent, &call.warnings)?;
        check_name(object.meta(), &call.info.name)?;
        let Some(sent) = object.downcast::<Namespace>() else { return Err(ApiError::internal("no Namespace")) };
        let manager = manager_or_user_agent(&options.field_manager, call.user_agent());
        let produce = |live: Option<&Live>| {
            let live = live.ok_or_else(|| ApiError::not_found(call.resource.named(), &call.info.name))?;
            let mut object = live.object.boxed_clone();
            let namespace: &mut Namespace =
                object.downcast_mut().ok_or_else(|| ApiError::internal("a namespace of another kind"))?;
            namespace.spec.clone_from(&sent.spec);
            namespace.metadata.resource_version.clone_from(&sent.metadata.resource_version);
            if sent.metadata.uid.as_deref().is_some_and(|u| !u.is_empty()) {
                namespace.metadata.uid.clone_from(&sent.metadata.uid);
            }
            Ok(Produced { object, applied: false })
        };
        let cx = WriteContext { rules: Rules::Own(&FinalizeRules), ..call.write_context(&manager, options.dry_run) };
        let written = Box::pin(cx.update(&produce, false)).await?;
        call.answer_written(StatusCode::OK, &written)
    }
}

//! `pods/binding` and the `bindings` resource: the scheduler's word on where a pod runs (`pkg/registry/core/pod/storage`,
//! BindingREST).
use super::Handler;
use crate::body::{Body, RequestBody};
use crate::handler::{Call, read_body};
use crate::query::WriteOptions;
use crate::registry::decode::{self, Body as Sent};
use crate::registry::{Live, OwnRules, Produced, Rules, WriteContext, precondition_failed};
use crate::respond;
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use isopod_api::field;
use isopod_api::k8s::api::core::v1::{Binding, Pod};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::Time;
use isopod_api::kinds::pod;
use isopod_api::status::{ApiError, Named};
use serde_json::json;
use std::sync::Arc;

pub(super) struct Bindings;

/// A binding is checked before it is carried out.
struct BindingRules;

impl OwnRules for BindingRules {
    /// A running pod that nobody changed is of generation 1 (conformance, "Pods Generation").
    fn raises_generation(&self) -> bool {
        false
    }
}

#[async_trait]
impl Handler for Bindings {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group.is_empty() && matches!((resource, subresource), ("pods", "binding") | ("bindings", ""))
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let options = WriteOptions::from_query(&call.query, "CreateOptions", false)?;
        let body = read_body(request.into_body()).await?;
        let sent = Sent { bytes: &body, content_type: call.content_type(), validation: options.field_validation };
        let mut binding: Binding = decode::typed(&sent, "", "v1", "Binding", &call.warnings)?;
        let errors = pod::binding::validate(&binding);
        if !errors.is_empty() {
            return Err(ApiError::unclassified(field::aggregate(&errors)));
        }
        let Some(pods) = call.server.resources.get("", "v1", "pods") else { return Err(ApiError::generic(404)) };
        let name = match call.info.name.as_str() {
            "" => binding.metadata.name.clone().unwrap_or_default(),
            name => name.to_owned(),
        };
        let given = binding.metadata.name.as_deref().unwrap_or_default();
        if !given.is_empty() && given != name {
            let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            return Err(ApiError::bad_request(message));
        }
        if name.is_empty() {
            return Err(ApiError::unclassified("metadata.name: Required value"));
        }
        if binding.target.kind.as_deref() == Some("Node") {
            let node = binding.target.name.clone().unwrap_or_default();
            crate::admission::place(&mut binding.metadata, &node, &call.server).await?;
        }
        bind(call, pods, &name, &binding, options.dry_run).await?;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(respond::value(StatusCode::CREATED, call.form.encoding, &status))
    }
}

async fn bind(
    call: &Call,
    pods: &Arc<crate::resources::Resource>,
    name: &str,
    binding: &Binding,
    dry_run: bool,
) -> Result<(), ApiError> {
    let now = Time(jiff::Timestamp::from_second(call.server.now().as_second()).unwrap_or_default());
    let produce = |live: Option<&Live>| {
        let live = live.ok_or_else(|| ApiError::not_found(pods.named(), name))?;
        let mut object = live.object.boxed_clone();
        let pod: &mut Pod = object.downcast_mut().ok_or_else(|| ApiError::internal("a pod of another kind"))?;
        assign(pod, name, binding, &now)?;
        // Whoever binds owns nothing of the pod: the fields are the server's doing.
        Ok(Produced { object, applied: true })
    };
    let cx = WriteContext {
        server: &call.server,
        resource: pods,
        namespace: &call.info.namespace,
        name,
        subresource: "binding",
        rules: Rules::Own(&BindingRules),
        user: &call.user,
        manager: "",
        command: "",
        dry_run,
        warnings: &call.warnings,
        body: None,
    };
    Box::pin(cx.update(&produce, false)).await.map(drop)
}

/// The binding's preconditions, then the pod's own.
fn assign(pod: &mut Pod, name: &str, binding: &Binding, now: &Time) -> Result<(), ApiError> {
    let refuse = |why: String| ApiError::conflict(Named::new("", "pods/binding"), name, why);
    for (what, asked, is) in [
        ("UID", &binding.metadata.uid, &pod.metadata.uid),
        ("ResourceVersion", &binding.metadata.resource_version, &pod.metadata.resource_version),
    ] {
        let (asked, is) = (asked.as_deref().unwrap_or_default(), is.as_deref().unwrap_or_default());
        if !asked.is_empty() && asked != is {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let key = format!("/registry/pods/{namespace}/{name}");
            return Err(refuse(precondition_failed(&key, what, asked, is)));
        }
    }
    pod::binding::assign(pod, binding, now).map_err(|e| refuse(e.to_string()))
}

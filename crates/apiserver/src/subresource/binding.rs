//! `pods/binding` and the `bindings` resource: the scheduler's word on where a pod runs (`pkg/registry/core/pod/storage`,
//! BindingREST).
use super::Handler;
use crate::body::{Body, RequestBody};
use crate::handler::{Call, read_body};
use crate::query::{FieldValidation, WriteOptions};
use crate::registry::decode::{self, Body as Sent};
use crate::registry::{Live, Produced, Rules, WriteContext};
use crate::respond;
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use isopod_api::field::{self, Path};
use isopod_api::k8s::api::core::v1::{Binding, Pod, PodCondition};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::Time;
use isopod_api::status::{ApiError, Named};
use serde_json::json;
use std::sync::Arc;

pub(super) struct Bindings;

#[async_trait]
impl Handler for Bindings {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group.is_empty() && matches!((resource, subresource), ("pods", "binding") | ("bindings", ""))
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let options = WriteOptions::from_query(&call.query, "CreateOptions", false)?;
        let body = read_body(request.into_body()).await?;
        let sent = Sent { bytes: &body, content_type: call.content_type(), validation: options.field_validation };
        let binding: Binding = decode::typed(&sent, "", "v1", "Binding", &call.warnings)?;
        if let Some(error) = problem(&binding) {
            return Err(ApiError::unclassified(error.to_string()));
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
        bind(call, pods, &name, &binding, options.dry_run).await?;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        let _ = FieldValidation::Warn;
        Ok(respond::value(StatusCode::CREATED, call.form.encoding, &status))
    }
}

/// `ValidatePodBinding`
fn problem(binding: &Binding) -> Option<field::Error> {
    let target = Path::new("target");
    let kind = binding.target.kind.as_deref().unwrap_or_default();
    if !kind.is_empty() && kind != "Node" {
        return Some(field::Error::not_supported(&target.child("kind"), kind, &["<empty>", "Node"]));
    }
    let name = binding.target.name.as_deref().unwrap_or_default();
    name.is_empty().then(|| field::Error::required(&target.child("name"), ""))
}

async fn bind(
    call: &Call,
    pods: &Arc<crate::resources::Resource>,
    name: &str,
    binding: &Binding,
    dry_run: bool,
) -> Result<(), ApiError> {
    let now = Time(call.server.now());
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
        rules: Rules::Own,
        user: &call.user,
        manager: "",
        dry_run,
        warnings: &call.warnings,
        body: None,
    };
    Box::pin(cx.update(&produce, false)).await.map(drop)
}

/// `setPodNodeAndMetadata`
fn assign(pod: &mut Pod, name: &str, binding: &Binding, now: &Time) -> Result<(), ApiError> {
    let refuse = |why: String| ApiError::conflict(Named::new("", "pods/binding"), name, why);
    if let (Some(asked), Some(is)) = (&binding.metadata.uid, &pod.metadata.uid)
        && !asked.is_empty()
        && asked != is
    {
        return Err(refuse(format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {is}")));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Err(refuse(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let spec = pod.spec.get_or_insert_default();
    if let Some(node) = spec.node_name.as_deref().filter(|n| !n.is_empty()) {
        return Err(refuse(format!("pod {name} is already assigned to node {}", crate::query::quote(node))));
    }
    if spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()) {
        return Err(refuse(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    spec.node_name.clone_from(&binding.target.name);
    if let Some(annotations) = &binding.metadata.annotations {
        pod.metadata.annotations.get_or_insert_default().extend(annotations.clone());
    }
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    match conditions.iter_mut().find(|c| c.type_ == "PodScheduled") {
        Some(c) if c.status == "True" => {}
        Some(c) => {
            *c = scheduled(pod.metadata.generation, now);
        }
        None => conditions.push(scheduled(pod.metadata.generation, now)),
    }
    Ok(())
}

fn scheduled(generation: Option<i64>, now: &Time) -> PodCondition {
    let second = jiff::Timestamp::from_second(now.0.as_second()).unwrap_or(now.0);
    PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(Time(second)),
        observed_generation: generation,
        ..PodCondition::default()
    }
}

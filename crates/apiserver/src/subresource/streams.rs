//! `pods/log`, `pods/exec`, `pods/attach`, `pods/portforward` and `nodes/proxy`: checked here, carried by the [`NodeProxy`]
//! (`pkg/registry/core/pod/strategy.go`, LogLocation and streamLocation).
//!
//! [`NodeProxy`]: crate::node_proxy::NodeProxy
use super::Handler;
use crate::body::{Body, RequestBody};
use crate::handler::Call;
use crate::node_proxy::Stream;
use crate::registry::Live;
use async_trait::async_trait;
use http::{Request, Response};
use isopod_api::k8s::api::core::v1::{Node, Pod};
use isopod_api::status::ApiError;

pub(super) struct PodStreams;

#[async_trait]
impl Handler for PodStreams {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group.is_empty()
            && matches!(
                (resource, subresource),
                ("pods", "log" | "exec" | "attach" | "portforward") | ("nodes", "proxy")
            )
    }
    fn streams(&self) -> bool {
        true
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let key = call.resource.key(&call.info.namespace, &call.info.name);
        let live = Live::get(&call.server, &call.resource, &key).await?;
        let live = live.ok_or_else(|| ApiError::not_found(call.resource.named(), &call.info.name))?;
        if let Some(node) = live.object.downcast::<Node>() {
            let node = node.clone();
            let proxy = proxy(call)?;
            return proxy.node(&node, &call.info.rest, request).await;
        }
        let Some(pod) = live.object.downcast::<Pod>() else { return Err(ApiError::internal("no Pod")) };
        let stream = match call.info.subresource.as_str() {
            "log" => Stream::Log,
            "exec" => Stream::Exec,
            "attach" => Stream::Attach,
            _ => Stream::PortForward,
        };
        let container = match stream {
            Stream::PortForward => String::new(),
            _ => choose_container(pod, call.query.text("container"))?,
        };
        let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
        if node.is_empty() {
            // A log that does not exist yet is empty; the rest needs a node.
            return match stream {
                Stream::Log => Ok(crate::respond::bytes(http::StatusCode::OK, "text/plain", Body::empty())),
                _ => Err(ApiError::bad_request(format!("pod {} does not have a host assigned", call.info.name))),
            };
        }
        let pod = pod.clone();
        proxy(call)?.stream(stream, &pod, &container, request).await
    }
}

fn proxy(call: &Call) -> Result<std::sync::Arc<Box<dyn crate::node_proxy::NodeProxy>>, ApiError> {
    call.server
        .node_proxy
        .load_full()
        .ok_or_else(|| ApiError::service_unavailable("this server has no way to the nodes: no node agent is attached"))
}

/// The container meant: the one named, the only one, or the one of the default-container annotation for logs.
fn choose_container(pod: &Pod, asked: &str) -> Result<String, ApiError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let names: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    let init: Vec<&str> = spec.init_containers.iter().flatten().map(|c| c.name.as_str()).collect();
    let ephemeral: Vec<&str> = spec.ephemeral_containers.iter().flatten().map(|c| c.name.as_str()).collect();
    if !asked.is_empty() {
        return if names.iter().chain(&init).chain(&ephemeral).any(|n| *n == asked) {
            Ok(asked.to_owned())
        } else {
            Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}")))
        };
    }
    if let [only] = names.as_slice()
        && init.is_empty()
        && ephemeral.is_empty()
    {
        return Ok((*only).to_owned());
    }
    let annotations = pod.metadata.annotations.as_ref();
    let preferred = annotations.and_then(|a| a.get("kubectl.kubernetes.io/default-container"));
    if let Some(preferred) = preferred.filter(|p| names.contains(&p.as_str())) {
        return Ok(preferred.clone());
    }
    let mut message =
        format!("a container name must be specified for pod {name}, choose one of: [{}]", names.join(" "));
    if !init.is_empty() {
        message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    if !ephemeral.is_empty() {
        message.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
    }
    Err(ApiError::bad_request(message))
}

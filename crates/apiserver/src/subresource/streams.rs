//! `pods/log`, `pods/exec`, `pods/attach`, `pods/portforward` and `nodes/proxy`: checked here, carried by the [`NodeProxy`]
//! (`pkg/registry/core/pod/strategy.go`, LogLocation and streamLocation).
//!
//! [`NodeProxy`]: crate::node_proxy::NodeProxy
use super::Handler;
use crate::body::{Body, RequestBody};
use crate::handler::{Call, attributes, authorize};
use crate::node_proxy::{LogOptions, Stream, Streams, Target, ports};
use crate::registry::Live;
use crate::request::{ResourceInfo, Verb};
use async_trait::async_trait;
use http::{Request, Response};
use isopod_api::k8s::api::core::v1::{Node, Pod};
use isopod_api::status::{ApiError, Named};

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
            return proxy(call)?.node(&node, &call.info.rest, request).await;
        }
        let Some(pod) = live.object.downcast::<Pod>() else { return Err(ApiError::internal("no Pod")) };
        let pod = pod.clone();
        may_create(call, request.method()).await?;
        let stream = read_stream(call, &pod)?;
        let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
        if node.is_empty() {
            // A log that does not exist yet is empty; the rest needs a node.
            return match stream {
                Stream::Log { .. } => Ok(crate::respond::bytes(http::StatusCode::OK, "text/plain", Body::empty())),
                _ => Err(ApiError::bad_request(format!("pod {} does not have a host assigned", call.info.name))),
            };
        }
        let proxy = proxy(call)?;
        let found = call.server.read::<Node>("nodes", "", node).await?;
        let node = found.ok_or_else(|| ApiError::not_found(Named::new("", "nodes"), node))?;
        proxy.stream(Target { pod: &pod, node: &node, stream }, request).await
    }
}

/// A WebSocket begins with GET: whoever may only read pods may not run commands in them
/// (`AuthorizePodWebsocketUpgradeCreatePermission`).
async fn may_create(call: &Call, method: &http::Method) -> Result<(), ApiError> {
    if call.info.subresource == "log" || method == http::Method::POST {
        return Ok(());
    }
    let info = ResourceInfo { verb: Verb::Create, ..call.info.clone() };
    authorize(&call.server, &attributes(&call.user, &info)).await
}

/// What is wanted, read from the query and checked.
fn read_stream(call: &Call, pod: &Pod) -> Result<Stream, ApiError> {
    let query = &call.query;
    let container = || choose_container(pod, query.text("container"));
    Ok(match call.info.subresource.as_str() {
        "log" => {
            let options = LogOptions::from_query(query, &call.info.name)?;
            Stream::Log { container: container()?, options }
        }
        "exec" => Stream::Exec {
            container: container()?,
            streams: Streams::from_query(query),
            command: query.all("command").map(str::to_owned).collect(),
        },
        "attach" => Stream::Attach { container: container()?, streams: Streams::from_query(query) },
        _ => Stream::PortForward { ports: ports(query)? },
    })
}

fn proxy(call: &Call) -> Result<std::sync::Arc<Box<dyn crate::node_proxy::NodeProxy>>, ApiError> {
    call.server
        .node_proxy
        .load_full()
        .ok_or_else(|| ApiError::service_unavailable("this server has no way to the nodes: no node agent is attached"))
}

/// The container meant: the one named, or the only one of the pod's own (`validateContainer`).
fn choose_container(pod: &Pod, asked: &str) -> Result<String, ApiError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let Some(spec) = &pod.spec else { return Err(ApiError::internal("a pod without spec")) };
    let init = spec.init_containers.iter().flatten().map(|c| c.name.as_str());
    let own = spec.containers.iter().map(|c| c.name.as_str());
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| c.name.as_str());
    let all: Vec<&str> = init.chain(own).chain(ephemeral).collect();
    match (asked, spec.containers.as_slice()) {
        ("", [only]) => Ok(only.name.clone()),
        ("", []) => Err(ApiError::bad_request(format!("a container name must be specified for pod {name}"))),
        ("", _) => {
            let choice = all.join(" ");
            let message = format!("a container name must be specified for pod {name}, choose one of: [{choice}]");
            Err(ApiError::bad_request(message))
        }
        (asked, _) if all.contains(&asked) => Ok(asked.to_owned()),
        (asked, _) => Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_is_chosen() {
        let pod = |names: &[&str]| -> Pod {
            let containers: Vec<_> = names.iter().map(|n| json!({"name": n})).collect();
            let init = json!([{"name": "setup"}]);
            serde_json::from_value(json!({
                "metadata": {"name": "web"}, "spec": {"containers": containers, "initContainers": init}
            }))
            .unwrap()
        };
        for (pod, asked, expected) in [
            (pod(&["a"]), "", Ok("a")),
            (pod(&["a", "b"]), "b", Ok("b")),
            (pod(&["a", "b"]), "setup", Ok("setup")),
            (pod(&["a", "b"]), "", Err("a container name must be specified for pod web, choose one of: [setup a b]")),
            (pod(&["a"]), "c", Err("container c is not valid for pod web")),
        ] {
            let chosen = choose_container(&pod, asked).map_err(|e| e.message);
            assert_eq!(chosen.as_deref().map_err(String::as_str), expected);
        }
    }
}

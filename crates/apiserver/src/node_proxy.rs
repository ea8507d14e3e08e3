//! The way to a node's containers: logs, exec, attach, port-forward. The node implements it; without it these requests are
//! answered 503.
use crate::body::{Body, RequestBody};
use async_trait::async_trait;
use http::{Request, Response};
use isopod_api::k8s::api::core::v1::{Node, Pod};
use isopod_api::status::ApiError;

/// What is wanted of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Log,
    Exec,
    Attach,
    PortForward,
}

/// Carries a request to the node agent that runs the pod. The request is the client's own (its query and upgrade headers
/// untouched); for exec, attach and port-forward the answer is `101 Switching Protocols` and the implementation takes
/// `hyper::upgrade::on` of the request.
#[async_trait]
pub trait NodeProxy: Send + Sync {
    /// `container` is chosen and exists in the pod; the pod is bound to a node.
    async fn stream(
        &self,
        stream: Stream,
        pod: &Pod,
        container: &str,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, ApiError>;

    /// `GET /api/v1/nodes/NAME/proxy/PATH`: the node agent's own endpoints (`healthz`, `stats/summary`, `metrics`).
    async fn node(&self, node: &Node, path: &str, request: Request<RequestBody>) -> Result<Response<Body>, ApiError>;
}

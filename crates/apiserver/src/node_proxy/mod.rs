//! The way to a node's containers: logs, exec, attach, port-forward, metrics. [`Kubelets`] is the real one; without any, these
//! requests are answered 503.
mod client;
mod kubelets;
mod location;
mod upgrade;

pub use client::TlsError;
pub use kubelets::Kubelets;
pub(crate) use location::ports;
pub use location::{LogOptions, Stream, Streams};
pub(crate) use upgrade::{join as join_upgraded, wanted as wants_upgrade};

use crate::body::{Body, RequestBody};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use isopod_api::k8s::api::core::v1::{Node, Pod};
use isopod_api::status::ApiError;

/// What is wanted of which pod. The container is chosen and exists in the pod; the pod is bound to the node.
pub struct Target<'a> {
    pub pod: &'a Pod,
    pub node: &'a Node,
    pub stream: Stream,
}

/// Carries requests to the node agents.
#[async_trait]
pub trait NodeProxy: Send + Sync {
    /// The request is the client's own, with its upgrade headers. For exec, attach and port-forward the answer is
    /// `101 Switching Protocols`, and the implementation takes `hyper::upgrade::on` of the request.
    async fn stream(&self, target: Target<'_>, request: Request<RequestBody>) -> Result<Response<Body>, ApiError>;

    /// `GET /api/v1/nodes/NAME/proxy/PATH`: the node agent's own endpoints (`healthz`, `stats/summary`, `metrics`).
    async fn node(&self, node: &Node, path: &str, request: Request<RequestBody>) -> Result<Response<Body>, ApiError>;

    /// What the API server itself wants of a node agent (`/stats/summary`): the body, whole and bounded.
    async fn fetch(&self, node: &Node, path_and_query: &str) -> Result<Bytes, ApiError>;
}

//! Subresources and virtual resources: what is not simply an object read or written. `status` is: it goes the generic way with the
//! status rules. All others are [`Handler`]s.
mod binding;
mod containers;
mod finalize;
mod pod_tls;
mod proxy;
mod scale;
mod streams;

use crate::body::{Body, RequestBody};
use crate::handler::Call;
use crate::resources::Resource;
use async_trait::async_trait;
use http::{Request, Response};
use isopod_api::catalogue::Scale;
use isopod_api::status::ApiError;
use std::sync::Arc;

/// Answers the requests for one subresource, or for a resource of which nothing is stored (reviews; `subresource` is empty).
#[async_trait]
pub trait Handler: Send + Sync {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool;
    /// It answers with a stream of unknown length: no timeout, no content negotiation.
    fn streams(&self) -> bool {
        false
    }
    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError>;
}

/// The handlers that need nothing but the API server itself.
pub fn builtin() -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(scale::Scales),
        Arc::new(binding::Bindings),
        Arc::new(containers::PodContainers),
        Arc::new(finalize::NamespaceFinalize),
        Arc::new(streams::PodStreams),
        Arc::new(proxy::Proxy),
        Arc::new(crate::metrics_api::MetricsApi),
    ]
}

/// All handlers; the last that serves wins.
pub(crate) struct Handlers(Vec<Arc<dyn Handler>>);

const READ_WRITE: &[&str] = &["get", "patch", "update"];

impl Handlers {
    pub(crate) fn new(handlers: &[Arc<dyn Handler>]) -> Self {
        Self(handlers.iter().rev().cloned().collect())
    }

    pub(crate) fn find(&self, resource: &Resource, subresource: &str) -> Option<&Arc<dyn Handler>> {
        let d = resource.descriptor();
        self.0.iter().find(|h| h.serves(d.group, d.plural, subresource))
    }

    pub(crate) fn streams(&self, resource: &Resource, subresource: &str) -> bool {
        !subresource.is_empty() && self.find(resource, subresource).is_some_and(|h| h.streams())
    }

    /// What a subresource answers to; `None`: there is no such subresource.
    pub(crate) fn verbs(&self, resource: &Resource, subresource: &str) -> Option<&'static [&'static str]> {
        let d = resource.descriptor();
        match subresource {
            "status" => d.status.then_some(READ_WRITE),
            "scale" => (!matches!(d.scale, Scale::None)).then_some(READ_WRITE),
            _ => {
                let known = d.subresources.iter().find(|s| s.name == subresource)?;
                self.find(resource, subresource).map(|_| known.verbs)
            }
        }
    }
}

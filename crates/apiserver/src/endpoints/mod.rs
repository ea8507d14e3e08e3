//! Paths that are not resources: discovery, OpenAPI, version, health, metrics, the key set of service account tokens.
mod discovery;
mod health;
mod index;
mod metrics;
mod openapi;
mod openid;
mod version;

use crate::auth::tokens::Keys;
use crate::{Body, Endpoint};
use http::{HeaderMap, Method, Response, StatusCode, header};
use isopod_api::catalogue::KindOps;
use std::sync::Arc;

pub use discovery::Discovery;

/// All of them. `version` is this binary's own, shown beside Kubernetes'.
pub fn standard(kinds: &[&'static dyn KindOps], keys: &Arc<Keys>) -> Vec<Arc<dyn Endpoint>> {
    vec![
        Arc::new(index::Index::new(kinds)),
        Arc::new(health::Health),
        Arc::new(version::Version),
        Arc::new(metrics::Metrics),
        Arc::new(openid::OpenId(Arc::clone(keys))),
        Arc::new(discovery::Discovery::new(kinds)),
        Arc::new(openapi::OpenApi::new(kinds, version::git_version())),
    ]
}

/// Answers GET (and HEAD); anything else is 405.
fn reads(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// A document with an ETag: 304 for who has it already.
fn with_etag(mut response: Response<Body>, etag: &str, request: &HeaderMap) -> Response<Body> {
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    if known.flat_map(|v| v.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == etag) {
        response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    if let Ok(value) = etag.parse() {
        response.headers_mut().insert(header::ETAG, value);
    }
    response.headers_mut().insert(header::VARY, header::HeaderValue::from_static("Accept"));
    response
}

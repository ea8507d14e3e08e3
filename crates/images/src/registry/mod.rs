//! Registries (OCI distribution-spec): pull and push.
//!
//! A registry is reached over HTTPS; one on this machine's loopback also over plain HTTP. Credentials are those that the caller has (pull
//! secrets), then those of `~/.docker/config.json` and the helpers it names, then none. `registries.json` in the store may name mirrors, which are asked first, and
//! registries without TLS:
//!
//! ```json
//! {"mirrors": {"docker.io": ["http://127.0.0.1:5000"]}, "insecure": ["registry.lab:5000"]}
//! ```
mod auth;
mod config;
mod helper;
mod http;
mod pull;
mod push;
mod session;

pub use config::RegistryConfig;
pub use pull::Pulls;

use crate::digest::Digest;

/// Asks for a file, with no credentials; redirects are followed.
pub(crate) async fn fetch(uri: &::http::Uri) -> Result<::http::Response<hyper::body::Incoming>, http::HttpError> {
    http::get(::http::Method::GET, uri, &::http::HeaderMap::new()).await
}

/// Who wants to know about layers on their way.
pub trait PullProgress: Send + Sync {
    fn layer(&self, digest: &Digest, what: &str);
    /// So many of so many bytes are here; called often.
    fn bytes(&self, _digest: &Digest, _done: u64, _total: u64) {}
}

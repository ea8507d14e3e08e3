//! Registries (OCI distribution-spec): pull and push.
//!
//! A registry is reached over HTTPS; one on this machine's loopback also over plain HTTP. Credentials are those that the caller has (pull
//! secrets), then those of `~/.docker/config.json`, then none. `registries.json` in the store may name mirrors, which are asked first, and
//! registries without TLS:
//!
//! ```json
//! {"mirrors": {"docker.io": ["http://127.0.0.1:5000"]}, "insecure": ["registry.lab:5000"]}
//! ```
mod auth;
mod config;
mod http;
mod pull;
mod push;
mod session;

pub use config::RegistryConfig;
pub use pull::Pulls;

use crate::digest::Digest;

/// Who wants to know about layers on their way.
pub trait PullProgress: Send + Sync {
    fn layer(&self, digest: &Digest, what: &str);
}

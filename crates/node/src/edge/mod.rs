//! What the edge process ([`isopod_network::edge`]) is told: Kubernetes objects in, changes of a DNS zone and of the HTTP proxy's
//! backends out.
//!
//! ```text
//! mirrors of Services, EndpointSlices, Namespaces ─▶ zone (pure) ─▶ feed_dns ─▶ EdgeClient::dns
//!                                                 ─▶ backends (pure) ─▶ feed_proxy ─▶ EdgeClient::proxy ─▶ watermark
//! ```
//! A feed tells everything once, then what changes; whatever was not taken is told again, whole.
pub mod backends;
mod dns;
mod proxy;
mod touched;
pub mod zone;

pub use dns::feed_dns;
pub use proxy::feed_proxy;

use async_trait::async_trait;
use isopod_network::contract::{NetworkError, PortName};
use isopod_network::dns::Change;
use isopod_network::edge::EdgeClient;
use isopod_network::proxy::Backends;
use std::time::Duration;

/// After the edge process did not take what it was told.
const RETRY: Duration = Duration::from_secs(1);

/// Who is told. When a call returns, it is so.
#[async_trait]
pub trait Told: Send + Sync + 'static {
    async fn dns(&self, replace: bool, changes: Vec<Change>) -> Result<(), NetworkError>;
    async fn proxy(&self, replace: bool, ports: Vec<(PortName, Option<Backends>)>) -> Result<(), NetworkError>;
}

#[async_trait]
impl Told for EdgeClient {
    async fn dns(&self, replace: bool, changes: Vec<Change>) -> Result<(), NetworkError> {
        Self::dns(self, replace, changes).await
    }
    async fn proxy(&self, replace: bool, ports: Vec<(PortName, Option<Backends>)>) -> Result<(), NetworkError> {
        Self::proxy(self, replace, ports).await
    }
}

#[cfg(test)]
mod tests;

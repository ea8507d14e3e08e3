//! What a pod's own sockets say about requests in flight: [`SocketDiag`], the kernel's sock_diag asked inside the pod's network
//! namespace.
//!
//! ```text
//! look ─ thread enters the namespace ─▶ diag: dump of TCP sockets ─▶ classify: waiting | in flight | idle ─▶ Traffic
//! on_the_way ─ quiesce, then connection tracking of this thread's own namespace: SYNs that no socket has seen; one listing for all
//!              pods that ask at the same time ([`together`])
//! ```
//! The dump is bytes from the kernel and parsed as such ([`diag::parse`]); what a socket means is a pure function
//! ([`classify::count`]).
pub mod classify;
pub mod diag;
mod together;

use crate::conntrack::Unanswered;
use crate::contract::{NetworkError, Result, Sockets, Traffic};
use async_trait::async_trait;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use together::Together;

/// [`Sockets`] over the kernel's sock_diag. A look is one short-lived thread and one dump per family.
#[derive(Debug, Default)]
pub struct SocketDiag {
    unanswered: Together<Unanswered>,
}

#[async_trait]
impl Sockets for SocketDiag {
    async fn look(&self, netns: &Path, address: IpAddr, ports: &[u16]) -> Result<Traffic> {
        let path = PathBuf::from(netns);
        let dumped = tokio::task::spawn_blocking(move || crate::netns::within(&path, diag::dump)).await;
        let context = || format!("looking at sockets in {}", netns.display());
        let dumped = dumped.map_err(|e| NetworkError::Invalid { context: context(), message: e.to_string() })?;
        let dumped = dumped.map_err(|source| NetworkError::Kernel { context: context(), source })?;
        Ok(classify::count(&dumped, address, ports))
    }

    async fn on_the_way(&self, address: IpAddr, ports: &[u16]) -> Result<usize> {
        let IpAddr::V4(address) = address.to_canonical() else { return Ok(0) };
        let ports = ports.to_vec();
        let context = || format!("looking for connections on their way to {address}");
        let failed = |source| NetworkError::Kernel { context: context(), source };
        let list = || {
            crate::quiesce::quiesce_now();
            Unanswered::list()
        };
        let listed =
            self.unanswered.ask(async || tokio::task::spawn_blocking(list).await.map_err(io::Error::other)?).await;
        let listed = listed.map_err(failed)?;
        let counted = tokio::task::spawn_blocking(move || listed.at(address, &ports)).await;
        counted.map_err(io::Error::other).and_then(|counted| counted).map_err(failed)
    }
}

#[cfg(test)]
mod tests;

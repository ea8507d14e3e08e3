//! What a pod's own sockets say about requests in flight: [`SocketDiag`], the kernel's sock_diag asked inside the pod's network
//! namespace.
//!
//! ```text
//! look ─ thread enters the namespace ─▶ diag: dump of TCP sockets ─▶ classify: waiting | in flight | idle ─▶ Traffic
//! on_the_way ─ quiesce, then connection tracking of this thread's own namespace: SYNs that no socket has seen
//! ```
//! The dump is bytes from the kernel and parsed as such ([`diag::parse`]); what a socket means is a pure function
//! ([`classify::count`]).
pub mod classify;
pub mod diag;

use crate::contract::{NetworkError, Result, Sockets, Traffic};
use async_trait::async_trait;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// [`Sockets`] over the kernel's sock_diag. Holds nothing; a look is one short-lived thread and one dump per family.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketDiag;

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
        let listed = tokio::task::spawn_blocking(move || {
            crate::quiesce::quiesce_now();
            crate::conntrack::unanswered(address, &ports)
        })
        .await;
        let context = || format!("looking for connections on their way to {address}");
        let listed = listed.map_err(|e| NetworkError::Invalid { context: context(), message: e.to_string() })?;
        listed.map_err(|source| NetworkError::Kernel { context: context(), source })
    }
}

#[cfg(test)]
mod tests;

//! What a pod's own sockets say about requests in flight: [`SocketDiag`], the kernel's sock_diag asked inside the pod's network
//! namespace.
//!
//! ```text
//! look ─ thread enters the namespace ─▶ diag: dump of TCP sockets ─▶ classify: waiting | in flight | idle ─▶ Traffic
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
        let (netns, ports) = (PathBuf::from(netns), ports.to_vec());
        let (tell, told) = tokio::sync::oneshot::channel();
        // Of its own, and not one of tokio's: a thread that changed its namespace must never serve anything else.
        std::thread::Builder::new()
            .name("sock-diag".into())
            .spawn(move || {
                let looked = look_now(&netns, address, &ports);
                // Nobody waits any more: the caller was cancelled.
                let _cancelled = tell.send(looked);
            })
            .map_err(|source| NetworkError::Kernel { context: "starting a thread".into(), source })?;
        told.await.unwrap_or_else(|_| {
            let context = "looking at sockets".to_owned();
            Err(NetworkError::Invalid { context, message: "the thread ended early".into() })
        })
    }
}

fn look_now(netns: &Path, address: IpAddr, ports: &[u16]) -> Result<Traffic> {
    let kernel = |context: String| move |source| NetworkError::Kernel { context, source };
    diag::enter(netns).map_err(kernel(format!("entering {}", netns.display())))?;
    let dumped = diag::dump().map_err(kernel("sock_diag".into()))?;
    Ok(classify::count(&dumped, address, ports))
}

#[cfg(test)]
mod tests;

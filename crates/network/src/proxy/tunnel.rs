//! After an upgrade: bytes, both ways, until both sides have ended.
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts a client's connection as long as it lives: a process that is to end waits for it.
pub struct Open(Arc<AtomicUsize>);

impl Open {
    pub fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub fn join(client: OnUpgrade, pod: OnUpgrade, open: Open) {
    tokio::spawn(async move {
        let _open = open;
        let (client, pod) = match tokio::try_join!(client, pod) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "upgrade failed"),
        };
        let (mut client, mut pod) = (TokioIo::new(client), TokioIo::new(pod));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut pod).await {
            tracing::debug!(%error, "tunnel ended");
        }
    });
}

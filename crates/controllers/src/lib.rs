//! Who acts: the controllers. Each watches objects through shared reflectors, decides by a pure `plan` and carries it out with a
//! `kube::Client` of its own identity. None polls; none knows the store or the API server.
//!
//! A controller is two files: `plan.rs` (no clock, no I/O; all the thinking and nearly all the tests) and `run.rs` (watching and
//! carrying out). A pass acts on one key, never before it has observed what the pass before it did, and ends.
pub mod deployment;
mod mutant;
pub mod owner;
pub mod pod;
pub mod replicaset;
mod spawner;
mod write;

pub use spawner::Spawner;

use isopod_reflect::{Key, Reflectors};
use tokio_util::sync::CancellationToken;

/// Why a pass ended early. It is retried after a back-off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(kube::Error),
    /// The answer is the API server's own; its message is what people read.
    #[error("{}", .0.message)]
    Refused(Box<kube::core::Status>),
    #[error("{0} is being deleted and adopts nothing")]
    Leaving(Key),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            other => Self::Client(other),
        }
    }
}

/// Runs all controllers until `shutdown`. `clients` gives each its own identity: it is called with the name of the controller's
/// service account in `kube-system` (`deployment-controller`, `replicaset-controller`, …).
pub async fn run_all(
    clients: impl Fn(&str) -> kube::Client + Send + Sync + 'static,
    reflectors: Reflectors,
    shutdown: CancellationToken,
) {
    let spawner = Spawner::new(clients, reflectors, shutdown);
    deployment::deployments(&spawner);
    replicaset::replica_sets(&spawner);
    replicaset::replication_controllers(&spawner);
    spawner.ended().await;
}

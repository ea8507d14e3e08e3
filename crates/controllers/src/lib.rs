//! Who acts: the controllers. Each watches objects through shared reflectors, decides by a pure `plan` and carries it out with a
//! `kube::Client` of its own identity. None polls; none knows the store or the API server.
//!
//! A controller is two files: `plan.rs` (no clock, no I/O; all the thinking and nearly all the tests) and `run.rs` (watching and
//! carrying out). A pass acts on one key, never before it has observed what the pass before it did, and ends.
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod endpointslice;
pub mod ephemeral_volume;
pub mod garbage;
mod kinds;
pub mod mirroring;
mod mutant;
pub mod namespace;
pub mod nodelifecycle;
pub mod owner;
pub mod persistent_volume;
pub mod pod;
pub mod podgc;
pub mod quota;
pub mod replicaset;
pub mod serviceaccount;
mod spawner;
pub mod volume_protection;
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
    #[error("no kind \"{kind}\" in \"{api_version}\" is served")]
    UnknownKind { api_version: String, kind: String },
    #[error("content remains: {0}")]
    Remaining(String),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            other => Self::Client(other),
        }
    }
}

/// What the controllers need to know of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The CA certificate (PEM) that is published in every namespace as `kube-root-ca.crt`; `None`: not published.
    pub root_ca: Option<String>,
}

/// Runs all controllers until `shutdown`. `clients` gives each its own identity: it is called with the name of the controller's
/// service account in `kube-system` (`deployment-controller`, `replicaset-controller`, …).
pub async fn run_all(
    clients: impl Fn(&str) -> kube::Client + Send + Sync + 'static,
    reflectors: Reflectors,
    config: Config,
    shutdown: CancellationToken,
) {
    let spawner = Spawner::new(clients, reflectors, shutdown);
    deployment::deployments(&spawner);
    replicaset::replica_sets(&spawner);
    replicaset::replication_controllers(&spawner);
    endpointslice::endpoint_slices(&spawner);
    endpoints::endpoints(&spawner);
    mirroring::endpoint_mirroring(&spawner);
    serviceaccount::service_accounts(&spawner);
    if let Some(ca) = config.root_ca {
        serviceaccount::root_ca(&spawner, ca);
    }
    nodelifecycle::node_lifecycle(&spawner);
    nodelifecycle::taint_eviction(&spawner);
    podgc::pod_gc(&spawner);
    disruption::disruption(&spawner);
    persistent_volume::persistent_volumes(&spawner);
    volume_protection::claim_protection(&spawner);
    volume_protection::volume_protection(&spawner);
    ephemeral_volume::ephemeral_volumes(&spawner);
    // Last: it takes over the mirrors that the others asked for.
    let (kinds, discovery) =
        kinds::Kinds::follow(spawner.client("generic-garbage-collector"), spawner.reflectors.clone());
    spawner.spawn(discovery);
    garbage::garbage_collector(&spawner, &kinds);
    namespace::namespaces(&spawner, &kinds);
    quota::resource_quotas(&spawner, &kinds);
    spawner.ended().await;
}

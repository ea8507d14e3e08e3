//! ReplicaSet and ReplicationController: keep as many pods as asked for (`pkg/controller/replicaset`). One plan serves both.
pub mod plan;
pub mod rank;
mod run;
mod subject;

pub use run::{replica_sets, replication_controllers};
pub use subject::Subject;

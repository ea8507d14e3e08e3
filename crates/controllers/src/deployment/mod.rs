//! Deployment: roll a set of pods from one template to the next (`pkg/controller/deployment`).
//!
//! The decisions are Kubernetes' own; the order of a pass is that of its `syncDeployment`. Two guards are ours, and hold whatever
//! order events come in: room for new pods counts pods that an old ReplicaSet has not let go of yet ([`sets::Sets::at_most`]), and
//! pods that a ReplicaSet is already to lose do not count as available ([`sets::available`]).
mod annotations;
mod automatic;
mod cause;
mod cleanup;
mod difference;
mod failure;
pub mod plan;
#[cfg(test)]
mod proof;
mod recreate;
mod rollback;
mod rolling;
mod run;
mod scaling;
mod sets;
mod status;
mod strategy;
mod template;

pub use run::deployments;

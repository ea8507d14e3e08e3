//! Generic ephemeral volumes: makes the claim of each from the template in the pod (`pkg/controller/volume/ephemeral`, KEP-1698).
//! The pod owns it, so that it goes with the pod.
pub mod plan;
mod run;

pub use run::ephemeral_volumes;

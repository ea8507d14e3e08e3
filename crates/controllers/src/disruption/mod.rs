//! How many pods of a PodDisruptionBudget may be disrupted now (`pkg/controller/disruption`). Eviction reads it.
pub mod plan;
mod run;

pub use run::disruption;

//! Claims and volumes in use outlive their deletion: a finalizer holds them until nobody needs them (`pkg/controller/volume/pvcprotection`,
//! `pvprotection`). Admission puts the finalizers on; these controllers take them off, and put on those that are missing.
pub mod plan;
mod run;

pub use run::{claim_protection, volume_protection};
pub(crate) use run::{index_pods, users};

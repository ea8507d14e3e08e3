//! How much of each ResourceQuota is used (`pkg/controller/resourcequota`). Admission charges what comes in; this controller counts
//! anew when something goes, ends, or when the quota changes.
pub mod plan;
mod run;

pub use run::resource_quotas;

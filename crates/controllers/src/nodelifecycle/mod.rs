//! Nodes that fall silent: conditions, taints, and the pods on them (`pkg/controller/nodelifecycle`, `pkg/controller/tainteviction`).
//!
//! A node speaks through its Lease and its status. Silence is measured by our own clock from when we last heard it: its clock may
//! be wrong, and after a restart of ours it has the whole time again.
pub mod eviction;
pub mod plan;
mod run;

pub(crate) use run::{delete_pod, disrupt};
pub use run::{node_lifecycle, taint_eviction};

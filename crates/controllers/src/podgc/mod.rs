//! Pods that nobody else will clean up (`pkg/controller/podgc`): on nodes that are gone, deleted before they were bound, and too
//! many that have ended.
pub mod plan;
mod run;

pub use run::pod_gc;

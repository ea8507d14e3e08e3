//! Namespace deletion: everything in it goes, then it (`pkg/controller/namespace/deletion`).
pub mod plan;
mod run;

pub use run::namespaces;

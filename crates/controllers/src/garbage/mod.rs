//! Garbage collection: what nobody owns any more goes (`pkg/controller/garbagecollector`).
//!
//! Deletion is *background* (the owner goes, then its dependents), *foreground* (the owner waits, marked by the finalizer
//! `foregroundDeletion`, until the dependents that block it are gone) or *orphan* (dependents are let go of first).
pub mod graph;
pub mod plan;
mod run;

pub use run::garbage_collector;

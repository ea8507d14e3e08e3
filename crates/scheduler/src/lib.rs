//! The scheduler: gives pods without a node a node, or says in Kubernetes' words why there is none.
//!
//! The thinking is pure: [`cluster`] is what is known, [`plan`] finds a node through [`filter`]s and [`score`]s, [`preempt`] finds who
//! would have to leave, [`queue`] knows who is next, [`report`] says why not. [`run`] is thin: it follows the reflectors, lets the
//! planner decide one pod at a time, assumes the decision at once and writes many bindings in parallel.
//!
//! Semantics are those of kube-scheduler v1.37 with its default profile: the same plugins in the same order, the same weights, the
//! same messages.
pub mod affinity;
pub mod classes;
pub mod cluster;
pub mod filter;
pub mod known;
pub mod plan;
pub mod pod;
pub mod preempt;
pub mod queue;
pub mod report;
pub mod requirement;
pub mod resources;
mod run;
pub mod score;
pub mod taint;
mod view;
pub mod volumes;
mod write;

pub use run::run;

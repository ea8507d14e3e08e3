//! EndpointSlices of Services with a selector (`pkg/controller/endpointslice`, `k8s.io/endpointslice`; KEP-752, KEP-1672).
//!
//! A pod counts as ready here as soon as its *containers* are (and its readiness gates hold): proxies program it, say so, and only
//! then does its node post `Ready` (DESIGN.md, "The way of a change"). So a pod that counts as available can really be reached.
pub mod endpoint;
pub mod plan;
mod run;

pub use run::endpoint_slices;
pub(crate) use run::services_of;

//! Endpoints of Services with a selector: the older form of EndpointSlices, which some clients still read
//! (`pkg/controller/endpoint`).
pub mod plan;
mod run;

pub use run::endpoints;

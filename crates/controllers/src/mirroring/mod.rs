//! EndpointSlices for Endpoints that people write by hand, for Services without a selector (`pkg/controller/endpointslicemirroring`).
pub mod plan;
mod run;

pub use run::endpoint_mirroring;

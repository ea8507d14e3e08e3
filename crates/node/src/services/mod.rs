//! Services for this node's kernel: Kubernetes objects in, a [`ServiceTable`](isopod_network::contract::ServiceTable) out, and the word
//! that it is programmed.
//!
//! ```text
//! mirrors of Services, EndpointSlices ─▶ translate, topology (pure) ─▶ Programmer ─▶ ServicePath::program
//!                                                                        └─▶ watermark "programmed up to version X" ─▶ drain, here and (publish) elsewhere
//! mirror of Nodes ─▶ place: the zone this node stands in
//!                 ─▶ peers ─▶ routes to other nodes' pods
//! watermarks of other nodes ─▶ fence ─▶ which addresses of pods that are gone must rest
//! ```
pub mod fence;
pub mod peers;
pub mod place;
mod programmer;
mod publish;
pub mod topology;
pub mod translate;

pub use programmer::{Listeners, Programmer};
pub use publish::publish;

#[cfg(test)]
mod tests;

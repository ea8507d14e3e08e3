//! Between "no new connections" and SIGTERM, and between "containers ready" and `Ready`: [`Gate`], the real [`TrafficGate`].
//!
//! ```text
//! drained:   slices show it on its way out ─▶ every proxy has programmed that ─▶ its sockets are quiet ─▶ preStop, SIGTERM
//!            (a bounded part of the grace period: [`bound`])
//! routable:  slices have it ─▶ every proxy has programmed that ─▶ the node posts `Ready`
//! ```
//! What comes next is decided by pure functions ([`leaving`], [`arriving`]) over what the mirrors hold ([`sight::Sight`]); the
//! proxies' acknowledgement is one watermark a node ([`watermark`]). A pod that no Service selects is not delayed at all.
//!
//! [`TrafficGate`]: crate::seams::TrafficGate
pub mod arriving;
pub mod bound;
mod gate;
pub mod leaving;
pub mod sight;
pub mod watermark;

pub use gate::Gate;
pub use sight::{Mirrors, Sight};

#[cfg(test)]
mod tests;

//! The HTTP proxy for Service ports with an `appProtocol` of HTTP: balances each request, so that keep-alive clients lose none
//! when pods come and go.
//!
//! ```text
//! listener of a Service port ─▶ worker (one thread a core, its own pools) ─▶ forward: choose, send, try another ─▶ pod
//! ```
//! - A connection of a client belongs to no pod: the next request goes wherever the [`table`] says then. So a pod that drains
//!   gets no further request, and nobody has to be disconnected for it; connections kept to it are closed at once, HTTP/2 ones
//!   when their streams have ended.
//! - What was refused before anything was sent is sent to another pod, as is what is safe to repeat (RFC 9110 §9.2.2) and met
//!   a connection that was just being closed.
//! - A WebSocket belongs to its pod: after the upgrade bytes are copied until one side ends.
//! - When the process is to end, clients are told so (`Connection: close`, GOAWAY) with an answer, never between two.
mod body;
mod forward;
mod headers;
mod socket;
pub mod table;
mod tunnel;
mod upstream;
mod worker;

pub use table::{Backends, Protocol};
pub use worker::{Proxy, Workers};

#[cfg(test)]
mod tests;

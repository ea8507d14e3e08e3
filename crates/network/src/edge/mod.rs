//! What must not blink with the control plane: DNS and the HTTP proxy, in a process of their own that outlives it.
//!
//! ```text
//! control plane ─ EdgeClient ─ unix socket, protocol ─▶ `isopod edge` : DnsServer, Proxy
//!                                                          │ upgrade: listening sockets and all that was told (handover)
//!                                                          ▼
//!                                                      `isopod edge` of the new version; the old one serves its
//!                                                      connections to their end
//! ```
//! Invariants: no listening socket is closed before somebody else accepts from it; the process needs the control plane for
//! changes only; whatever it was told it can be told again.
mod client;
mod handover;
mod process;
pub mod protocol;
mod sockets;

pub use client::{EdgeClient, EdgeConfig, Listening, stop};
pub use process::{SOCKET, main};
pub use protocol::{DnsSettings, Settings};

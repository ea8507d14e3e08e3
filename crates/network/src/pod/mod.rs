//! Links and addresses of pods: routed veth pairs.
//!
//! ```text
//!   pod:  eth0 POD/32 ── default via 169.254.1.1 ──┐ one veth pair a pod, no bridge between them
//!   host: isoHASH-N ── route POD/32 ───────────────┘
//!   host: isoHASH (a bridge without ports): the node's own address, the route of the service range, DNS
//!   host: unreachable POD_CIDR, so that nothing for a pod that is gone leaves by the uplink
//! ```
//! Routed instead of bridged because then every packet passes the machine's IP hooks: host → Service, pod → Service and pod →
//! itself through its own Service all work with any setting of `br_netfilter` (measured, see ARCHITECTURE.md).
mod addresses;
mod config;
mod firewall;
mod kernel;
mod links;
mod passage;
mod plumb;
mod reaper;
mod sysctl;
mod uplink;

pub use config::{InvalidRange, NetworkConfig, Range};
pub use links::Links;
pub(crate) use plumb::loopback_up;

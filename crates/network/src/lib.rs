//! Packets on one machine: pod links and addresses, Services as kernel rules, drain, DNS, the HTTP proxy. No Kubernetes object
//! here: the node agent translates them into the plain types of [`contract`].
//!
//! - [`pod`]: [`pod::Links`] gives each pod a routed veth pair and an address (`PodNetwork`).
//! - `netlink`: raw messages to the kernel; [`netns`]: work inside another network namespace.
pub mod contract;
pub mod drain;
mod netlink;
pub mod netns;
pub mod pod;
mod range;

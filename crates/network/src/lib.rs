//! Packets on one machine: pod links and addresses, Services as kernel rules, drain, DNS, the HTTP proxy. No Kubernetes object
//! here: the node agent translates them into the plain types of [`contract`].
//!
//! - [`pod`]: [`pod::Links`] gives each pod a routed veth pair and an address (`PodNetwork`).
//! - [`drain`]: what a pod's sockets say about requests in flight (`Sockets`).
//! - [`dns`]: cluster DNS; [`proxy`]: HTTP by the request, for Service ports that say they speak it.
//! - [`service`]: [`service::Services`] keeps one nf_tables table equal to the `ServiceTable` (`ServicePath`).
//! - `nft`: rules as values, their text, their bytes, transactions; `conntrack`: connections found and forgotten.
//! - [`edge`]: the process that hosts both and outlives the control plane.
//! - [`quiesce()`]: until no packet is on its way by rules of before.
//! - `netlink`: raw messages to the kernel; [`netns`]: work inside another network namespace.
mod conntrack;
pub mod contract;
pub mod dns;
pub mod drain;
pub mod edge;
mod netlink;
pub mod netns;
mod nft;
pub mod pod;
pub mod proxy;
mod quiesce;
mod range;
pub mod service;

pub use quiesce::quiesce;

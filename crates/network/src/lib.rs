//! Packets on one machine: pod links and addresses, Services as kernel rules, drain, DNS, the HTTP proxy. No Kubernetes object
//! here: the node agent translates them into the plain types of [`contract`].
pub mod contract;
pub mod drain;

//! Cluster DNS as the Kubernetes DNS specification 1.1.0 says
//! (<https://github.com/kubernetes/dns/blob/master/docs/specification.md>; silent spots as CoreDNS' `kubernetes` plugin does).
//!
//! [`zone::Zone`] is what there is, a plain value; [`answer::answer`] is pure; [`server`] serves it over UDP and TCP by hickory;
//! [`forward`] asks the machine's resolvers everything else.
pub mod answer;
pub mod forward;
pub mod server;
pub mod zone;

pub use server::DnsServer;
pub use zone::{Change, Record, Zone};

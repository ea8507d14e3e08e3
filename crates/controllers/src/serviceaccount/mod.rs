//! What every namespace has: the ServiceAccount `default` (`pkg/controller/serviceaccount`) and the ConfigMap
//! `kube-root-ca.crt` (`pkg/controller/certificates/rootcacertpublisher`).
pub mod plan;
mod run;

pub use run::{root_ca, service_accounts};

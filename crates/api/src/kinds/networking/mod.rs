//! Ways into and through the cluster (`pkg/registry/networking`, `pkg/apis/networking/validation`).
pub mod ingress;
pub mod ingress_class;
pub mod ip_address;
pub mod network_policy;
pub mod service_cidr;

/// `networking.k8s.io`
pub const GROUP: &str = "networking.k8s.io";

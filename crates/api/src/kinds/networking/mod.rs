//! Ways into and through the cluster (`pkg/registry/networking`, `pkg/apis/networking/validation`).
pub mod ingress;
pub mod ingress_class;
pub mod network_policy;

/// `networking.k8s.io`
pub const GROUP: &str = "networking.k8s.io";

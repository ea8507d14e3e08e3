//! Who else is asked before a write (`pkg/registry/admissionregistration`, `pkg/apis/admissionregistration/validation`).
pub mod client;
pub mod hook;
pub mod mutating;
pub mod validating;

/// `admissionregistration.k8s.io`
pub const GROUP: &str = "admissionregistration.k8s.io";

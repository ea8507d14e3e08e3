//! Who may do what: roles and their bindings (KEP-2907 and before; `pkg/registry/rbac`, `pkg/apis/rbac/validation`).
pub mod bindings;
pub mod roles;

/// `rbac.authorization.k8s.io`
pub const GROUP: &str = "rbac.authorization.k8s.io";

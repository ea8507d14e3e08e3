//! The rows of the catalogue, one file a kind. A new kind is a new file and one line in [`all`].
use crate::catalogue::{KindOps, Typed};

pub mod addresses;
pub mod config_map;
pub mod endpoint_slice;
pub mod endpoints;
pub mod internal;
pub mod lease;
pub mod limit_range;
pub mod namespace;
pub mod node;
pub mod pod_disruption_budget;
pub mod priority_class;
pub mod resource_names;
pub mod resource_quota;
pub mod rules;
pub mod secret;
pub mod service;
pub mod service_account;

/// Every built-in kind, in the order of discovery (group, then plural).
pub fn all() -> Vec<&'static dyn KindOps> {
    vec![
        // v1
        &Typed::<config_map::ConfigMaps>::NEW,
        &Typed::<endpoints::AllEndpoints>::NEW,
        &Typed::<limit_range::LimitRanges>::NEW,
        &Typed::<namespace::Namespaces>::NEW,
        &Typed::<node::Nodes>::NEW,
        &Typed::<resource_quota::ResourceQuotas>::NEW,
        &Typed::<secret::Secrets>::NEW,
        &Typed::<service_account::ServiceAccounts>::NEW,
        &Typed::<service::Services>::NEW,
        // policy/v1
        &Typed::<pod_disruption_budget::PodDisruptionBudgets>::NEW,
        // scheduling.k8s.io/v1
        &Typed::<priority_class::PriorityClasses>::NEW,
        // coordination.k8s.io/v1
        &Typed::<lease::Leases>::NEW,
        // discovery.k8s.io/v1
        &Typed::<endpoint_slice::EndpointSlices>::NEW,
    ]
}

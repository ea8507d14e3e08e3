//! Values as they stand in Kubernetes' error messages where it validates its internal types: their fields have the names of
//! the Go structs, in their order, and nothing is left out.
use crate::k8s::api::core::v1 as core;
use crate::k8s::api::rbac::v1 as rbac;
use crate::k8s::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;
use crate::kinds::rules::text;
use serde::Serialize;

/// `core.ServicePort`, as a key of protocol and port.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServicePort<'a> {
    name: &'a str,
    protocol: &'a str,
    app_protocol: Option<&'a str>,
    port: i32,
    target_port: i32,
    node_port: i32,
}

impl<'a> ServicePort<'a> {
    pub fn key(protocol: &'a str, port: i32) -> Self {
        Self { name: "", protocol, app_protocol: None, port, target_port: 0, node_port: 0 }
    }
}

/// `core.Taint`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Taint<'a> {
    key: &'a str,
    value: &'a str,
    effect: &'a str,
    time_added: Option<&'a Time>,
}

impl<'a> From<&'a core::Taint> for Taint<'a> {
    fn from(t: &'a core::Taint) -> Self {
        Self { key: &t.key, value: text(&t.value), effect: &t.effect, time_added: t.time_added.as_ref() }
    }
}

/// `core.NodeAddress`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeAddress<'a> {
    r#type: &'a str,
    address: &'a str,
}

impl<'a> From<&'a core::NodeAddress> for NodeAddress<'a> {
    fn from(a: &'a core::NodeAddress) -> Self {
        Self { r#type: &a.type_, address: &a.address }
    }
}

/// `core.ScopeSelector`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScopeSelector<'a> {
    match_expressions: Option<Vec<ScopeRequirement<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ScopeRequirement<'a> {
    scope_name: &'a str,
    operator: &'a str,
    values: Option<&'a [String]>,
}

impl<'a> From<&'a core::ScopeSelector> for ScopeSelector<'a> {
    fn from(s: &'a core::ScopeSelector) -> Self {
        let requirement = |r: &'a core::ScopedResourceSelectorRequirement| ScopeRequirement {
            scope_name: &r.scope_name,
            operator: &r.operator,
            values: r.values.as_deref(),
        };
        Self { match_expressions: s.match_expressions.as_ref().map(|e| e.iter().map(requirement).collect()) }
    }
}

/// `policy.PodDisruptionBudgetSpec`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BudgetSpec<'a> {
    min_available: Option<&'a IntOrString>,
    selector: Option<&'a LabelSelector>,
    max_unavailable: Option<&'a IntOrString>,
    unhealthy_pod_eviction_policy: Option<&'a str>,
}

impl<'a> From<&'a crate::k8s::api::policy::v1::PodDisruptionBudgetSpec> for BudgetSpec<'a> {
    fn from(s: &'a crate::k8s::api::policy::v1::PodDisruptionBudgetSpec) -> Self {
        Self {
            min_available: s.min_available.as_ref(),
            selector: s.selector.as_ref(),
            max_unavailable: s.max_unavailable.as_ref(),
            unhealthy_pod_eviction_policy: s.unhealthy_pod_eviction_policy.as_deref(),
        }
    }
}

/// `rbac.RoleRef`
#[derive(Serialize)]
pub struct RoleRef<'a> {
    #[serde(rename = "APIGroup")]
    api_group: &'a str,
    #[serde(rename = "Kind")]
    kind: &'a str,
    #[serde(rename = "Name")]
    name: &'a str,
}

impl<'a> From<&'a rbac::RoleRef> for RoleRef<'a> {
    fn from(r: &'a rbac::RoleRef) -> Self {
        Self { api_group: text(&r.api_group), kind: &r.kind, name: &r.name }
    }
}

/// `core.ObjectReference`
#[derive(Serialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct ObjectReference<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    #[serde(rename = "UID")]
    uid: &'a str,
    #[serde(rename = "APIVersion")]
    api_version: &'a str,
    resource_version: &'a str,
    field_path: &'a str,
}

impl<'a> From<&'a core::ObjectReference> for ObjectReference<'a> {
    fn from(r: &'a core::ObjectReference) -> Self {
        Self {
            kind: text(&r.kind),
            namespace: text(&r.namespace),
            name: text(&r.name),
            uid: text(&r.uid),
            api_version: text(&r.api_version),
            resource_version: text(&r.resource_version),
            field_path: text(&r.field_path),
        }
    }
}

/// `core.EventSource`
#[derive(Serialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct EventSource<'a> {
    component: &'a str,
    host: &'a str,
}

impl<'a> EventSource<'a> {
    pub fn of(s: Option<&'a core::EventSource>) -> Self {
        Self { component: s.map_or("", |s| text(&s.component)), host: s.map_or("", |s| text(&s.host)) }
    }
}

/// `authorization.NonResourceAttributes`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NonResourceAttributes<'a> {
    path: &'a str,
    verb: &'a str,
}

impl<'a> From<&'a crate::k8s::api::authorization::v1::NonResourceAttributes> for NonResourceAttributes<'a> {
    fn from(a: &'a crate::k8s::api::authorization::v1::NonResourceAttributes) -> Self {
        Self { path: text(&a.path), verb: text(&a.verb) }
    }
}

//! Admission: what the cluster has to say about a write, after authorization and before it is stored. A chain of plugins that
//! may change objects (`mutate`) and refuse them (`validate`), as in `k8s.io/apiserver/pkg/admission`.
mod change_record;
mod lifecycle;
mod node_restriction;
mod plugins;
mod pod_security;
mod quota;
pub mod rules;

pub use change_record::ChangeRecord;
pub use lifecycle::NamespaceLifecycle;
pub use plugins::place;

use crate::ApiServer;
use crate::auth::UserInfo;
use crate::respond::Warnings;
use async_trait::async_trait;
use isopod_api::catalogue::{Descriptor, Object};
use isopod_api::status::{ApiError, Named};
use serde_json::Value;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// What a plugin knows of the request beside the objects.
pub struct Attributes<'a> {
    pub server: &'a Arc<ApiServer>,
    pub operation: Operation,
    pub kind: &'static Descriptor,
    /// Empty for the object itself.
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty while a name is still to be generated.
    pub name: &'a str,
    pub user: &'a UserInfo,
    /// What the person used: the sub-command if the client tells (`kubectl set image`), else its field manager.
    pub program: &'a str,
    pub dry_run: bool,
    /// The body of a subresource that is no object of the kind: Binding, Eviction, Scale, TokenRequest.
    pub body: Option<&'a Value>,
    pub warnings: &'a Warnings,
}

impl Attributes<'_> {
    pub fn is(&self, group: &str, resource: &str, subresource: &str) -> bool {
        self.kind.group == group && self.kind.plural == resource && self.subresource == subresource
    }
    /// `admission.NewForbidden`: `pods "p" is forbidden: WHY`.
    pub fn forbidden(&self, why: impl std::fmt::Display) -> ApiError {
        ApiError::forbidden(Named::new(self.kind.group, self.kind.plural), self.name, why)
    }
}

/// One plugin. For deletions `object` is absent and `old` is what is deleted.
#[async_trait]
pub trait Admission: Send + Sync {
    fn name(&self) -> &'static str;
    /// Cheap: whether this plugin has anything to say about such a request.
    fn handles(&self, attributes: &Attributes<'_>) -> bool;
    async fn mutate(
        &self,
        _object: &mut dyn Object,
        _old: Option<&dyn Object>,
        _attributes: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        Ok(())
    }
    async fn validate(
        &self,
        _object: Option<&dyn Object>,
        _old: Option<&dyn Object>,
        _attributes: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}

/// The plugins in their order (`pkg/kubeapiserver/options/plugins.go`).
#[derive(Clone, Default)]
pub struct Chain(pub Vec<Arc<dyn Admission>>);

impl Chain {
    /// What a Kubernetes API server has switched on and this one knows, in Kubernetes' order; and [`ChangeRecord`].
    pub fn standard() -> Self {
        Self(vec![
            Arc::new(NamespaceLifecycle),
            Arc::new(plugins::LimitRanger),
            Arc::new(plugins::ServiceAccounts),
            Arc::new(node_restriction::NodeRestriction),
            Arc::new(pod_security::PodSecurity),
            Arc::new(plugins::Priorities),
            Arc::new(plugins::Tolerations),
            Arc::new(plugins::Storage),
            Arc::new(plugins::ClaimResize),
            Arc::new(plugins::RuntimeClasses),
            Arc::new(plugins::DefaultIngressClass),
            Arc::new(plugins::TopologyLabels),
            Arc::new(ChangeRecord::default()),
            Arc::new(quota::Quotas),
        ])
    }

    pub(crate) async fn mutate(
        &self,
        object: &mut dyn Object,
        old: Option<&dyn Object>,
        attributes: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        for plugin in self.0.iter().filter(|p| p.handles(attributes)) {
            plugin.mutate(object, old, attributes).await?;
        }
        Ok(())
    }

    pub(crate) async fn validate(
        &self,
        object: Option<&dyn Object>,
        old: Option<&dyn Object>,
        attributes: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        for plugin in self.0.iter().filter(|p| p.handles(attributes)) {
            plugin.validate(object, old, attributes).await?;
        }
        Ok(())
    }
}

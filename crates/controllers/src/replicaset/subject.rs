//! What ReplicaSet and ReplicationController have in common, as the plan sees it.
use crate::owner::controller_ref;
use isopod_api::selector::{Selector, label::SelectorError};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use std::fmt::Debug;

/// A condition of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub since: Option<Timestamp>,
}

/// The status of either kind. Counts that are 0 are left out when it is written, as Go's `omitempty` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub replicas: i32,
    pub fully_labeled: i32,
    pub ready: i32,
    pub available: i32,
    /// Only ReplicaSets report it.
    pub terminating: Option<i32>,
    pub observed_generation: i64,
    pub conditions: Vec<Condition>,
}

/// A kind that keeps pods.
pub trait Subject:
    kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + serde::Serialize
    + serde::de::DeserializeOwned
    + Clone
    + Debug
    + Send
    + Sync
    + 'static
{
    const KIND: &'static str;
    const API_VERSION: &'static str;
    /// The name it acts and signs events under.
    const COMPONENT: &'static str;
    const REPORTS_TERMINATING: bool;

    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> Result<Selector, SelectorError>;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn status(&self) -> Status;
    #[must_use]
    fn with_status(&self, status: &Status) -> Self;

    fn as_owner(&self) -> OwnerReference {
        controller_ref(Self::API_VERSION, Self::KIND, self.metadata())
    }
    fn metadata(&self) -> &ObjectMeta {
        kube::Resource::meta(self)
    }
    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or("")
    }
}

/// `None` for 0: what `omitempty` leaves out.
pub(crate) fn present<N: Default + PartialEq>(n: N) -> Option<N> {
    (n != N::default()).then_some(n)
}

impl Subject for ReplicaSet {
    const KIND: &'static str = "ReplicaSet";
    const API_VERSION: &'static str = "apps/v1";
    const COMPONENT: &'static str = "replicaset-controller";
    const REPORTS_TERMINATING: bool = true;

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }
    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }
    fn selector(&self) -> Result<Selector, SelectorError> {
        Selector::from_label_selector(Some(&self.spec.selector))
    }
    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.template.as_ref()
    }
    fn status(&self) -> Status {
        let Some(s) = &self.status else { return Status::default() };
        Status {
            replicas: s.replicas,
            fully_labeled: s.fully_labeled_replicas.unwrap_or(0),
            ready: s.ready_replicas.unwrap_or(0),
            available: s.available_replicas.unwrap_or(0),
            terminating: s.terminating_replicas,
            observed_generation: s.observed_generation.unwrap_or(0),
            conditions: s
                .conditions
                .iter()
                .flatten()
                .map(|c| Condition {
                    kind: c.type_.clone().unwrap_or_default(),
                    status: c.status.clone().unwrap_or_default(),
                    reason: c.reason.clone().unwrap_or_default(),
                    message: c.message.clone().unwrap_or_default(),
                    since: c.last_transition_time.as_ref().map(|t| t.0),
                })
                .collect(),
        }
    }
    fn with_status(&self, status: &Status) -> Self {
        let conditions = status.conditions.iter().map(|c| ReplicaSetCondition {
            type_: Some(c.kind.clone()),
            status: Some(c.status.clone()),
            reason: present(c.reason.clone()),
            message: present(c.message.clone()),
            last_transition_time: c.since.map(Time),
        });
        let conditions: Vec<_> = conditions.collect();
        let status = ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: present(status.fully_labeled),
            ready_replicas: present(status.ready),
            available_replicas: present(status.available),
            terminating_replicas: status.terminating,
            observed_generation: present(status.observed_generation),
            conditions: (!conditions.is_empty()).then_some(conditions),
        };
        Self { status: Some(status), ..self.clone() }
    }
}

impl Subject for ReplicationController {
    const KIND: &'static str = "ReplicationController";
    const API_VERSION: &'static str = "v1";
    const COMPONENT: &'static str = "replication-controller";
    const REPORTS_TERMINATING: bool = false;

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }
    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }
    fn selector(&self) -> Result<Selector, SelectorError> {
        let labels = self.spec.as_ref().and_then(|s| s.selector.as_ref());
        Ok(labels.filter(|l| !l.is_empty()).map_or(Selector::Nothing, Selector::from_map))
    }
    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }
    fn status(&self) -> Status {
        let Some(s) = &self.status else { return Status::default() };
        Status {
            replicas: s.replicas,
            fully_labeled: s.fully_labeled_replicas.unwrap_or(0),
            ready: s.ready_replicas.unwrap_or(0),
            available: s.available_replicas.unwrap_or(0),
            terminating: None,
            observed_generation: s.observed_generation.unwrap_or(0),
            conditions: s
                .conditions
                .iter()
                .flatten()
                .map(|c| Condition {
                    kind: c.type_.clone(),
                    status: c.status.clone(),
                    reason: c.reason.clone().unwrap_or_default(),
                    message: c.message.clone().unwrap_or_default(),
                    since: c.last_transition_time.as_ref().map(|t| t.0),
                })
                .collect(),
        }
    }
    fn with_status(&self, status: &Status) -> Self {
        let conditions = status.conditions.iter().map(|c| ReplicationControllerCondition {
            type_: c.kind.clone(),
            status: c.status.clone(),
            reason: present(c.reason.clone()),
            message: present(c.message.clone()),
            last_transition_time: c.since.map(Time),
        });
        let conditions: Vec<_> = conditions.collect();
        let status = ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: present(status.fully_labeled),
            ready_replicas: present(status.ready),
            available_replicas: present(status.available),
            observed_generation: present(status.observed_generation),
            conditions: (!conditions.is_empty()).then_some(conditions),
        };
        Self { status: Some(status), ..self.clone() }
    }
}

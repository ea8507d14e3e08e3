//! The rows of the catalogue, one file a kind. A new kind is a new file and one line in [`all`].
use crate::catalogue::{KindOps, Typed};

pub mod access_reviews;
pub mod addresses;
pub mod admission;
pub mod authentication_reviews;
pub mod binding;
pub mod config_map;
pub mod controller_revision;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod endpoint_slice;
pub mod endpoints;
pub mod event;
pub mod horizontal_pod_autoscaler;
pub mod internal;
pub mod job;
pub mod lease;
pub mod limit_range;
pub mod namespace;
pub mod networking;
pub mod node;
pub mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
pub mod pod_disruption_budget;
pub mod pod_template;
pub mod priority_class;
pub mod rbac;
pub mod replica_set;
pub mod replication_controller;
pub mod resource_names;
pub mod resource_quota;
pub mod rules;
pub mod runtime_class;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod stateful_set;
pub mod storage;
pub mod storage_class;
pub mod storage_words;
pub mod volume_internal;
pub mod workload;

/// Every built-in kind, in the order of discovery (group, then plural).
pub fn all() -> Vec<&'static dyn KindOps> {
    vec![
        // v1
        &Typed::<binding::Bindings>::NEW,
        &Typed::<config_map::ConfigMaps>::NEW,
        &Typed::<endpoints::AllEndpoints>::NEW,
        &Typed::<event::Events>::NEW,
        &Typed::<limit_range::LimitRanges>::NEW,
        &Typed::<namespace::Namespaces>::NEW,
        &Typed::<node::Nodes>::NEW,
        &Typed::<pod::Pods>::NEW,
        &Typed::<pod_template::PodTemplates>::NEW,
        &Typed::<replication_controller::ReplicationControllers>::NEW,
        &Typed::<persistent_volume::PersistentVolumes>::NEW,
        &Typed::<persistent_volume_claim::PersistentVolumeClaims>::NEW,
        &Typed::<resource_quota::ResourceQuotas>::NEW,
        &Typed::<secret::Secrets>::NEW,
        &Typed::<service_account::ServiceAccounts>::NEW,
        &Typed::<service::Services>::NEW,
        // apps/v1
        &Typed::<controller_revision::ControllerRevisions>::NEW,
        &Typed::<daemon_set::DaemonSets>::NEW,
        &Typed::<deployment::Deployments>::NEW,
        &Typed::<replica_set::ReplicaSets>::NEW,
        &Typed::<stateful_set::StatefulSets>::NEW,
        // events.k8s.io/v1
        &Typed::<event::events_v1::EventsV1>::NEW,
        // authentication.k8s.io/v1
        &Typed::<authentication_reviews::SelfSubjectReviews>::NEW,
        &Typed::<authentication_reviews::TokenReviews>::NEW,
        // authorization.k8s.io/v1
        &Typed::<access_reviews::LocalSubjectAccessReviews>::NEW,
        &Typed::<access_reviews::SelfSubjectAccessReviews>::NEW,
        &Typed::<access_reviews::SelfSubjectRulesReviews>::NEW,
        &Typed::<access_reviews::SubjectAccessReviews>::NEW,
        // autoscaling/v2, autoscaling/v1
        &Typed::<horizontal_pod_autoscaler::HorizontalPodAutoscalers>::NEW,
        &Typed::<horizontal_pod_autoscaler::v1::HorizontalPodAutoscalersV1>::NEW,
        // batch/v1
        &Typed::<cron_job::CronJobs>::NEW,
        &Typed::<job::Jobs>::NEW,
        // networking.k8s.io/v1
        &Typed::<networking::ingress_class::IngressClasses>::NEW,
        &Typed::<networking::ingress::Ingresses>::NEW,
        &Typed::<networking::ip_address::IpAddresses>::NEW,
        &Typed::<networking::network_policy::NetworkPolicies>::NEW,
        &Typed::<networking::service_cidr::ServiceCidrs>::NEW,
        // policy/v1
        &Typed::<pod_disruption_budget::PodDisruptionBudgets>::NEW,
        // rbac.authorization.k8s.io/v1
        &Typed::<rbac::bindings::ClusterRoleBindings>::NEW,
        &Typed::<rbac::roles::ClusterRoles>::NEW,
        &Typed::<rbac::bindings::RoleBindings>::NEW,
        &Typed::<rbac::roles::Roles>::NEW,
        // admissionregistration.k8s.io/v1
        &Typed::<admission::mutating::MutatingWebhooks>::NEW,
        &Typed::<admission::validating::ValidatingWebhooks>::NEW,
        // scheduling.k8s.io/v1
        &Typed::<priority_class::PriorityClasses>::NEW,
        // storage.k8s.io/v1
        &Typed::<storage::csi_driver::CsiDrivers>::NEW,
        &Typed::<storage::csi_node::CsiNodes>::NEW,
        &Typed::<storage::csi_storage_capacity::CsiStorageCapacities>::NEW,
        &Typed::<storage_class::StorageClasses>::NEW,
        &Typed::<storage::volume_attachment::VolumeAttachments>::NEW,
        &Typed::<storage::volume_attributes_class::VolumeAttributesClasses>::NEW,
        // coordination.k8s.io/v1
        &Typed::<lease::Leases>::NEW,
        // node.k8s.io/v1
        &Typed::<runtime_class::RuntimeClasses>::NEW,
        // discovery.k8s.io/v1
        &Typed::<endpoint_slice::EndpointSlices>::NEW,
    ]
}

//! The texts that documents carry, from the JSON schemas of k8s-openapi (feature `schemars`), collected once.
use crate::k8s::api;
use crate::k8s::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};
use std::sync::LazyLock;

static DEFINITIONS: LazyLock<Map<String, Value>> = LazyLock::new(collect);

/// What is said of a type; empty if nothing.
pub(super) fn of_type(name: &str) -> &'static str {
    match text(DEFINITIONS.get(name)) {
        "" if name.ends_with("List") => "A list of objects.",
        text => text,
    }
}

/// What is said of a type's field. Lists are generic in k8s-openapi: their fields are described here.
pub(super) fn of_field(name: &str, field: &str) -> &'static str {
    let of = |name: &str| text(DEFINITIONS.get(name).and_then(|d| d.get("properties")).and_then(|p| p.get(field)));
    match field {
        "apiVersion" | "kind" if name.ends_with("List") => of("io.k8s.api.core.v1.Pod"),
        "metadata" if name.ends_with("List") => "Standard list metadata.",
        "items" if name.ends_with("List") && of(name).is_empty() => "The objects of the list.",
        _ => of(name),
    }
}

fn text(schema: Option<&'static Value>) -> &'static str {
    schema.and_then(|s| s.get("description")).and_then(Value::as_str).unwrap_or_default()
}

struct Collector(SchemaGenerator);

impl Collector {
    fn add<T: JsonSchema>(mut self) -> Self {
        self.0.subschema_for::<T>();
        self
    }
}

fn collect() -> Map<String, Value> {
    let collector = Collector(SchemaGenerator::default());
    let collector = collector
        .add::<meta::DeleteOptions>()
        .add::<meta::Status>()
        .add::<meta::ListMeta>()
        .add::<meta::APIResourceList>()
        .add::<meta::Patch>()
        .add::<api::core::v1::Binding>()
        .add::<api::policy::v1::Eviction>()
        .add::<api::autoscaling::v1::Scale>()
        .add::<api::authentication::v1::SelfSubjectReview>()
        .add::<api::authentication::v1::TokenRequest>()
        .add::<api::authentication::v1::TokenReview>()
        .add::<api::authorization::v1::LocalSubjectAccessReview>()
        .add::<api::authorization::v1::SelfSubjectAccessReview>()
        .add::<api::authorization::v1::SelfSubjectRulesReview>()
        .add::<api::authorization::v1::SubjectAccessReview>();
    let collector = others(workloads(core(collector)));
    let mut generator = collector.0;
    generator.take_definitions(false)
}

fn core(collector: Collector) -> Collector {
    use api::core::v1 as c;
    collector
        .add::<c::ComponentStatus>()
        .add::<c::ConfigMap>()
        .add::<c::Endpoints>()
        .add::<c::Event>()
        .add::<c::LimitRange>()
        .add::<c::Namespace>()
        .add::<c::Node>()
        .add::<c::PersistentVolume>()
        .add::<c::PersistentVolumeClaim>()
        .add::<c::Pod>()
        .add::<c::PodTemplate>()
        .add::<c::ReplicationController>()
        .add::<c::ResourceQuota>()
        .add::<c::Secret>()
        .add::<c::Service>()
        .add::<c::ServiceAccount>()
}

fn workloads(collector: Collector) -> Collector {
    collector
        .add::<api::apps::v1::ControllerRevision>()
        .add::<api::apps::v1::DaemonSet>()
        .add::<api::apps::v1::Deployment>()
        .add::<api::apps::v1::ReplicaSet>()
        .add::<api::apps::v1::StatefulSet>()
        .add::<api::autoscaling::v1::HorizontalPodAutoscaler>()
        .add::<api::autoscaling::v2::HorizontalPodAutoscaler>()
        .add::<api::batch::v1::CronJob>()
        .add::<api::batch::v1::Job>()
        .add::<api::policy::v1::PodDisruptionBudget>()
        .add::<api::scheduling::v1::PriorityClass>()
}

fn others(collector: Collector) -> Collector {
    collector
        .add::<api::admissionregistration::v1::MutatingWebhookConfiguration>()
        .add::<api::admissionregistration::v1::ValidatingAdmissionPolicy>()
        .add::<api::admissionregistration::v1::ValidatingAdmissionPolicyBinding>()
        .add::<api::admissionregistration::v1::ValidatingWebhookConfiguration>()
        .add::<api::certificates::v1::CertificateSigningRequest>()
        .add::<api::coordination::v1::Lease>()
        .add::<api::discovery::v1::EndpointSlice>()
        .add::<api::events::v1::Event>()
        .add::<api::flowcontrol::v1::FlowSchema>()
        .add::<api::flowcontrol::v1::PriorityLevelConfiguration>()
        .add::<api::networking::v1::IPAddress>()
        .add::<api::networking::v1::Ingress>()
        .add::<api::networking::v1::IngressClass>()
        .add::<api::networking::v1::NetworkPolicy>()
        .add::<api::networking::v1::ServiceCIDR>()
        .add::<api::node::v1::RuntimeClass>()
        .add::<api::rbac::v1::ClusterRole>()
        .add::<api::rbac::v1::ClusterRoleBinding>()
        .add::<api::rbac::v1::Role>()
        .add::<api::rbac::v1::RoleBinding>()
        .add::<api::resource::v1::DeviceClass>()
        .add::<api::resource::v1::ResourceClaim>()
        .add::<api::resource::v1::ResourceClaimTemplate>()
        .add::<api::resource::v1::ResourceSlice>()
        .add::<api::storage::v1::CSIDriver>()
        .add::<api::storage::v1::CSINode>()
        .add::<api::storage::v1::CSIStorageCapacity>()
        .add::<api::storage::v1::StorageClass>()
        .add::<api::storage::v1::VolumeAttachment>()
        .add::<api::storage::v1::VolumeAttributesClass>()
        .add::<crate::k8s::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>()
        .add::<crate::k8s::kube_aggregator::pkg::apis::apiregistration::v1::APIService>()
}

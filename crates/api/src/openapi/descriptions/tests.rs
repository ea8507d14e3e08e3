//! The file against its source. `ISOPOD_UPDATE=1` writes it anew, after another version of k8s-openapi.
use super::*;
use crate::k8s::api;
use crate::k8s::apimachinery::pkg::apis::meta::v1 as meta;
use flate2::Compression;
use flate2::write::GzEncoder;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};
use std::io::Write;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/openapi/descriptions/texts.json.gz");

#[test]
fn the_file_says_what_the_schemas_say() {
    let definitions = collect();
    let said = |schema: &Value| schema.get("description").and_then(Value::as_str).map(ToOwned::to_owned);
    let mut wanted = Texts::new();
    for (name, schema) in &definitions {
        let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let fields = fields.filter_map(|(field, schema)| Some((field.clone(), said(schema)?)));
        let texts: BTreeMap<String, String> =
            said(schema).map(|t| (String::new(), t)).into_iter().chain(fields).collect();
        if !texts.is_empty() {
            wanted.insert(name.clone(), texts);
        }
    }
    if std::env::var_os("ISOPOD_UPDATE").is_some() {
        let mut gz = GzEncoder::new(std::fs::File::create(FILE).unwrap(), Compression::best());
        gz.write_all(&serde_json::to_vec(&wanted).unwrap()).unwrap();
        gz.finish().unwrap();
        return;
    }
    assert!(wanted.len() > 500);
    assert!(*TEXTS == wanted, "ISOPOD_UPDATE=1 cargo test -p isopod-api descriptions writes {FILE} anew");
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

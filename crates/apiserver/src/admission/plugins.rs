//! The plugins around the [`super::rules`]: each looks up what its rule refers to and applies it
//! (`plugin/pkg/admission/*`; which are on by default: `pkg/kubeapiserver/options/plugins.go`).
use super::rules::{classes, limit_ranger, priority, service_account, storage, tolerations, topology_labels};
use super::{Admission, Attributes, Operation};
use crate::ApiServer;
use crate::registry::generate_name;
use async_trait::async_trait;
use isopod_api::catalogue::Object;
use isopod_api::k8s::api::core::v1::{LimitRange, Node, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount};
use isopod_api::k8s::api::networking::v1::Ingress;
use isopod_api::k8s::api::node::v1::RuntimeClass;
use isopod_api::k8s::api::scheduling::v1::PriorityClass;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::kinds::priority_class::SYSTEM_CLASSES;
use isopod_api::status::ApiError;
use std::sync::Arc;
use std::time::Duration;

fn creates(a: &Attributes<'_>, group: &str, resource: &str) -> bool {
    a.operation == Operation::Create && a.is(group, resource, "")
}

/// How often, and how far apart, the account every namespace is given is looked for: a pod may come the moment after its namespace
/// (`plugin/pkg/admission/serviceaccount/admission.go`: ten times, 100 to 200 ms apart).
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(150);

pub struct ServiceAccounts;

impl ServiceAccounts {
    async fn account(a: &Attributes<'_>, name: &str) -> Result<Option<ServiceAccount>, ApiError> {
        let looks = if name == service_account::DEFAULT { LOOKS } else { 1 };
        for look in 0..looks {
            if look > 0 {
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
            let found = a.server.read::<ServiceAccount>("serviceaccounts", a.namespace, name).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Admission for ServiceAccounts {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        creates(a, "", "pods")
    }
    async fn mutate(
        &self,
        object: &mut dyn Object,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.downcast_mut::<Pod>() else { return Ok(()) };
        let Some(name) = service_account::wanted(pod).map(str::to_owned) else { return Ok(()) };
        let Some(account) = Self::account(a, &name).await? else {
            let why =
                format!("error looking up service account {}/{name}: serviceaccount \"{name}\" not found", a.namespace);
            return Err(a.forbidden(why));
        };
        service_account::admit(pod, &account, &generate_name(""));
        Ok(())
    }
}

pub struct Priorities;

#[async_trait]
impl Admission for Priorities {
    fn name(&self) -> &'static str {
        "Priority"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        creates(a, "", "pods") || a.is("scheduling.k8s.io", "priorityclasses", "")
    }
    async fn mutate(
        &self,
        object: &mut dyn Object,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.downcast_mut::<Pod>() else { return Ok(()) };
        let classes = a.server.read_all::<PriorityClass>("priorityclasses", "").await?;
        priority::admit(pod, &classes).map_err(|why| a.forbidden(why))
    }
    async fn validate(
        &self,
        object: Option<&dyn Object>,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        if a.operation == Operation::Delete && SYSTEM_CLASSES.iter().any(|(name, ..)| *name == a.name) {
            return Err(a.forbidden("this is a system priority class and cannot be deleted"));
        }
        let Some(class) = object.and_then(|o| o.downcast::<PriorityClass>()) else { return Ok(()) };
        let others = a.server.read_all::<PriorityClass>("priorityclasses", "").await?;
        priority::admit_class(class, &others).map_err(|why| a.forbidden(why))
    }
}

/// DefaultTolerationSeconds and TaintNodesByCondition.
pub struct Tolerations;

#[async_trait]
impl Admission for Tolerations {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        creates(a, "", "pods") || creates(a, "", "nodes")
    }
    async fn mutate(
        &self,
        object: &mut dyn Object,
        _: Option<&dyn Object>,
        _: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        if let Some(pod) = object.downcast_mut::<Pod>() {
            tolerations::admit_pod(pod);
        } else if let Some(node) = object.downcast_mut::<Node>() {
            tolerations::admit_node(node);
        }
        Ok(())
    }
}

pub struct LimitRanger;

#[async_trait]
impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        let claim = a.is("", "persistentvolumeclaims", "") && a.operation != Operation::Delete;
        creates(a, "", "pods") || claim
    }
    async fn mutate(
        &self,
        object: &mut dyn Object,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        if let Some(pod) = object.downcast_mut::<Pod>() {
            limit_ranger::default_pod(pod, &ranges(a).await?);
        }
        Ok(())
    }
    async fn validate(
        &self,
        object: Option<&dyn Object>,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let Some(object) = object else { return Ok(()) };
        let broken = if let Some(pod) = object.downcast::<Pod>() {
            limit_ranger::check_pod(pod, &ranges(a).await?)
        } else if let Some(claim) = object.downcast::<PersistentVolumeClaim>() {
            limit_ranger::check_claim(claim, &ranges(a).await?)
        } else {
            Vec::new()
        };
        match broken.as_slice() {
            [] => Ok(()),
            [one] => Err(a.forbidden(one)),
            many => Err(a.forbidden(format!("[{}]", many.join(", ")))),
        }
    }
}

async fn ranges(a: &Attributes<'_>) -> Result<Vec<LimitRange>, ApiError> {
    a.server.read_all("limitranges", a.namespace).await
}

/// DefaultStorageClass and StorageObjectInUseProtection.
pub struct Storage;

#[async_trait]
impl Admission for Storage {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        creates(a, "", "persistentvolumeclaims") || creates(a, "", "persistentvolumes")
    }
    async fn mutate(
        &self,
        object: &mut dyn Object,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        if let Some(claim) = object.downcast_mut::<PersistentVolumeClaim>() {
            storage::admit_claim(claim, &a.server.read_all("storageclasses", "").await?);
        } else if let Some(volume) = object.downcast_mut::<PersistentVolume>() {
            storage::admit_volume(volume);
        }
        Ok(())
    }
}

/// PersistentVolumeClaimResize
pub struct ClaimResize;

#[async_trait]
impl Admission for ClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        a.operation == Operation::Update && a.is("", "persistentvolumeclaims", "")
    }
    async fn validate(
        &self,
        object: Option<&dyn Object>,
        old: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let claim = |o: Option<&dyn Object>| o.and_then(|o| o.downcast::<PersistentVolumeClaim>()).cloned();
        let (Some(new), Some(old)) = (claim(object), claim(old)) else { return Ok(()) };
        if new.spec == old.spec {
            return Ok(());
        }
        let classes = a.server.read_all("storageclasses", "").await?;
        storage::admit_growth(&new, &old, &classes).map_err(|why| a.forbidden(why))
    }
}

/// RuntimeClass
pub struct RuntimeClasses;

/// The class the pod names: there must be one of that name.
async fn runtime_class(pod: &Pod, a: &Attributes<'_>) -> Result<Option<RuntimeClass>, ApiError> {
    let Some(name) = classes::wanted(pod) else { return Ok(None) };
    match a.server.read::<RuntimeClass>("runtimeclasses", "", name).await? {
        Some(class) => Ok(Some(class)),
        None => Err(a.forbidden(format!("pod rejected: RuntimeClass \"{name}\" not found"))),
    }
}

#[async_trait]
impl Admission for RuntimeClasses {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        creates(a, "", "pods")
    }
    async fn mutate(
        &self,
        object: &mut dyn Object,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.downcast_mut::<Pod>() else { return Ok(()) };
        let class = runtime_class(pod, a).await?;
        classes::admit_pod(pod, class.as_ref()).map_err(|why| a.forbidden(why))
    }
    async fn validate(
        &self,
        object: Option<&dyn Object>,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.and_then(|o| o.downcast::<Pod>()) else { return Ok(()) };
        let class = runtime_class(pod, a).await?;
        classes::check_pod(pod, class.as_ref()).map_err(|why| a.forbidden(why))
    }
}

/// DefaultIngressClass
pub struct DefaultIngressClass;

#[async_trait]
impl Admission for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        creates(a, "networking.k8s.io", "ingresses")
    }
    async fn mutate(
        &self,
        object: &mut dyn Object,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        if let Some(ingress) = object.downcast_mut::<Ingress>() {
            classes::admit_ingress(ingress, &a.server.read_all("ingressclasses", "").await?);
        }
        Ok(())
    }
}

/// PodTopologyLabels of pods that come with a node; those that are bound get theirs with the binding ([`super::place`]).
pub struct TopologyLabels;

#[async_trait]
impl Admission for TopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        creates(a, "", "pods")
    }
    async fn mutate(
        &self,
        object: &mut dyn Object,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.downcast_mut::<Pod>() else { return Ok(()) };
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
        place(&mut pod.metadata, &node, a.server).await
    }
}

/// Adds the place of a node to `meta`. A node that is not known says nothing.
pub async fn place(meta: &mut ObjectMeta, node: &str, server: &Arc<ApiServer>) -> Result<(), ApiError> {
    if node.is_empty() {
        return Ok(());
    }
    if let Some(node) = server.read::<Node>("nodes", "", node).await? {
        topology_labels::admit(meta, &node.metadata);
    }
    Ok(())
}

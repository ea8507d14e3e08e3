//! PodSecurity: looks up what the namespace allows ([`rules::pod_security`](super::rules::pod_security)).
use super::rules::pod_security::{Level, Policies, already_there, matters, violation};
use super::{Admission, Attributes, Operation};
use async_trait::async_trait;
use isopod_api::catalogue::Object;
use isopod_api::k8s::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use isopod_api::k8s::api::batch::v1::{CronJob, Job};
use isopod_api::k8s::api::core::v1::{Namespace, Pod, PodSpec, PodTemplate, ReplicationController};
use isopod_api::status::{ApiError, Named};

pub struct PodSecurity;

/// The pods that a workload would make.
fn template(object: &dyn Object) -> Option<&PodSpec> {
    if let Some(o) = object.downcast::<Deployment>() {
        return o.spec.template.spec.as_ref();
    }
    if let Some(o) = object.downcast::<ReplicaSet>() {
        return o.spec.template.as_ref()?.spec.as_ref();
    }
    if let Some(o) = object.downcast::<ReplicationController>() {
        return o.spec.as_ref()?.template.as_ref()?.spec.as_ref();
    }
    if let Some(o) = object.downcast::<DaemonSet>() {
        return o.spec.template.spec.as_ref();
    }
    if let Some(o) = object.downcast::<StatefulSet>() {
        return o.spec.template.spec.as_ref();
    }
    if let Some(o) = object.downcast::<Job>() {
        return o.spec.as_ref()?.template.spec.as_ref();
    }
    if let Some(o) = object.downcast::<CronJob>() {
        return o.spec.job_template.spec.as_ref()?.template.spec.as_ref();
    }
    object.downcast::<PodTemplate>()?.template.as_ref()?.spec.as_ref()
}

#[async_trait]
impl Admission for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        const WORKLOADS: [&str; 8] = [
            "Deployment",
            "ReplicaSet",
            "ReplicationController",
            "DaemonSet",
            "StatefulSet",
            "Job",
            "CronJob",
            "PodTemplate",
        ];
        match (a.kind.kind, a.subresource, a.operation) {
            (_, _, Operation::Delete | Operation::Connect) => false,
            ("Pod", "" | "ephemeralcontainers", _) | ("Namespace", "", _) => true,
            (kind, "", _) => WORKLOADS.contains(&kind),
            _ => false,
        }
    }
    async fn validate(
        &self,
        object: Option<&dyn Object>,
        old: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let Some(object) = object else { return Ok(()) };
        if let Some(namespace) = object.downcast::<Namespace>() {
            let old = old.and_then(|o| o.downcast::<Namespace>());
            check_labels(namespace, old)?;
            return tell_of_pods(namespace, old, a).await;
        }
        let Some(namespace) = a.server.read::<Namespace>("namespaces", "", a.namespace).await? else { return Ok(()) };
        let (policies, _) = Policies::of(namespace.metadata.labels.as_ref());
        if policies.enforce.level == Level::Privileged && policies.warn.level == Level::Privileged {
            return Ok(());
        }
        let pod = object.downcast::<Pod>();
        let Some(spec) = pod.map_or_else(|| template(object), |pod| pod.spec.as_ref()) else { return Ok(()) };
        let before = old.and_then(|o| o.downcast::<Pod>()).and_then(|pod| pod.spec.as_ref());
        if before.is_some_and(|before| !matters(spec, before)) {
            return Ok(());
        }
        if pod.is_some()
            && let Some(why) = violation(spec, &policies.enforce, "violates")
        {
            return Err(a.forbidden(why));
        }
        if let Some(text) = violation(spec, &policies.warn, "would violate") {
            a.warnings.add(text);
        }
        Ok(())
    }
}

/// A tighter rule does not touch the pods that are there; who sets it hears of them.
async fn tell_of_pods(new: &Namespace, old: Option<&Namespace>, a: &Attributes<'_>) -> Result<(), ApiError> {
    let Some(old) = old else { return Ok(()) };
    let enforce = |namespace: &Namespace| Policies::of(namespace.metadata.labels.as_ref()).0.enforce;
    let policy = enforce(new);
    if !policy.tightens(&enforce(old)) {
        return Ok(());
    }
    let name = new.metadata.name.as_deref().unwrap_or_default();
    for text in already_there(name, &a.server.read_all::<Pod>("pods", name).await?, &policy) {
        a.warnings.add(text);
    }
    Ok(())
}

/// Labels that say nothing known are refused when they come.
fn check_labels(new: &Namespace, old: Option<&Namespace>) -> Result<(), ApiError> {
    let faults = |namespace: &Namespace| -> Vec<String> {
        Policies::of(namespace.metadata.labels.as_ref()).1.iter().map(ToString::to_string).collect()
    };
    if old.is_some_and(|old| faults(old) == faults(new)) {
        return Ok(());
    }
    let errors = Policies::of(new.metadata.labels.as_ref()).1;
    if errors.is_empty() {
        return Ok(());
    }
    let name = new.metadata.name.as_deref().unwrap_or_default();
    Err(ApiError::invalid(Named::new("", "Namespace"), name, &errors))
}

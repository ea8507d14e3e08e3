//! `pods/NAME/eviction`: a deletion that asks the disruption budgets first (`pkg/registry/core/pod/storage/eviction.go`).
use super::read;
use crate::body::{Body, RequestBody};
use crate::handler::Call;
use crate::registry::{Live, OwnRules, Produced, Rules, WriteContext, delete_object};
use crate::resources::Resource;
use crate::respond;
use crate::subresource::Handler;
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use isopod_api::k8s::api::core::v1::{Pod, PodCondition};
use isopod_api::k8s::api::policy::v1::{Eviction, PodDisruptionBudget};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Preconditions, Time};
use isopod_api::selector::Selector;
use isopod_api::status::{ApiError, Named};
use jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;

pub(super) struct Evictions;

/// What an eviction changes is the server's own doing, and right.
struct EvictionRules;
impl OwnRules for EvictionRules {}

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// More evictions than this that the disruption controller has not seen yet are refused.
const MOST_PENDING: usize = 2000;

#[async_trait]
impl Handler for Evictions {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group.is_empty() && resource == "pods" && subresource == "eviction"
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let (eviction, options) = read::<Eviction>(call, request, ("policy", "v1", "Eviction")).await?;
        let name = call.info.name.as_str();
        if eviction.metadata.name.as_deref().is_some_and(|n| !n.is_empty() && n != name) {
            return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
        }
        let delete = eviction.delete_options.unwrap_or_default();
        let dry_run = options.dry_run || delete.dry_run.as_ref().is_some_and(|d| !d.is_empty());
        let namespace = call.info.namespace.as_str();
        let pod = call.server.read::<Pod>("pods", namespace, name).await?;
        let pod = pod.ok_or_else(|| ApiError::not_found(Named::new("", "pods"), name))?;
        if !free_to_go(&pod) {
            let budgets = matching(call, &pod).await?;
            match budgets.as_slice() {
                [] => {}
                [budget] => charge(call, budget, &pod, dry_run).await?,
                _ => {
                    // 500 without a reason, and drain tells people this text.
                    return Err(ApiError::unclassified(
                        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                    ));
                }
            }
        }
        remove(call, &pod, delete, dry_run).await?;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(respond::value(StatusCode::CREATED, call.form.encoding, &status))
    }
}

/// A pod that does not run, or goes anyway, disrupts nothing (`canIgnorePDB`).
fn free_to_go(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || pod.metadata.deletion_timestamp.is_some()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

async fn matching(call: &Call, pod: &Pod) -> Result<Vec<PodDisruptionBudget>, ApiError> {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let all = call.server.read_all::<PodDisruptionBudget>("poddisruptionbudgets", &call.info.namespace).await?;
    let selects = |budget: &PodDisruptionBudget| {
        let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
        selector.is_some() && Selector::from_label_selector(selector).is_ok_and(|s| s.matches(&labels))
    };
    Ok(all.into_iter().filter(selects).collect())
}

/// Takes one disruption from the budget, or says why there is none.
async fn charge(call: &Call, budget: &PodDisruptionBudget, pod: &Pod, dry_run: bool) -> Result<(), ApiError> {
    if !is_ready(pod) {
        let policy = budget.spec.as_ref().and_then(|s| s.unhealthy_pod_eviction_policy.as_deref());
        let status = budget.status.clone().unwrap_or_default();
        let (is, wanted) = (status.current_healthy.unwrap_or_default(), status.desired_healthy.unwrap_or_default());
        let healthy = is >= wanted && wanted > 0;
        if policy == Some("AlwaysAllow") || healthy {
            return Ok(());
        }
    }
    let resource = resource(call, "policy", "poddisruptionbudgets")?;
    let name = budget.metadata.name.clone().unwrap_or_default();
    let pod_name = call.info.name.clone();
    let now = call.server.now();
    let produce = |live: Option<&Live>| {
        let live = live.ok_or_else(|| ApiError::not_found(resource.named(), &name))?;
        let mut object = live.object.boxed_clone();
        let budget: &mut PodDisruptionBudget =
            object.downcast_mut().ok_or_else(|| ApiError::internal("a budget of another kind"))?;
        decrement(budget, &name, &pod_name, now)?;
        Ok(Produced { object, applied: true })
    };
    let cx = context(call, &resource, &name, "status", dry_run);
    Box::pin(cx.update(&produce, false)).await.map(drop)
}

fn decrement(budget: &mut PodDisruptionBudget, name: &str, pod: &str, now: Timestamp) -> Result<(), ApiError> {
    let generation = budget.metadata.generation;
    let status = budget.status.get_or_insert_default();
    let busy = |cause: String, seconds| {
        ApiError::too_many_requests(REFUSED, seconds).with_cause("DisruptionBudget", cause, "")
    };
    if status.observed_generation < generation {
        return Err(busy(format!("The disruption budget {name} is still being processed by the server."), 10));
    }
    let forbidden = |why| Err(ApiError::forbidden(Named::new("policy", "poddisruptionbudget"), name, why));
    let allowed = status.disruptions_allowed.unwrap_or_default();
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    let pending = status.disrupted_pods.get_or_insert_default();
    if pending.len() > MOST_PENDING {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let (needs, has) = (status.desired_healthy.unwrap_or_default(), status.current_healthy.unwrap_or_default());
        let cause = format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently");
        return Err(busy(cause, 0));
    }
    status.disruptions_allowed = Some(allowed.saturating_sub(1));
    pending.insert(pod.to_owned(), Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
    Ok(())
}

/// Says on the pod why it goes, then deletes exactly what was looked at.
async fn remove(call: &Call, pod: &Pod, mut options: DeleteOptions, dry_run: bool) -> Result<(), ApiError> {
    let resource = resource(call, "", "pods")?;
    let name = call.info.name.as_str();
    let now = call.server.now();
    let produce = |live: Option<&Live>| {
        let live = live.ok_or_else(|| ApiError::not_found(resource.named(), name))?;
        let mut object = live.object.boxed_clone();
        let pod: &mut Pod = object.downcast_mut().ok_or_else(|| ApiError::internal("a pod of another kind"))?;
        disrupted(pod, now);
        Ok(Produced { object, applied: true })
    };
    let cx = context(call, &resource, name, "status", dry_run);
    Box::pin(cx.update(&produce, false)).await?;
    let preconditions = options.preconditions.get_or_insert_with(Preconditions::default);
    if preconditions.uid.is_none() {
        preconditions.uid.clone_from(&pod.metadata.uid);
    }
    let cx = context(call, &resource, name, "", dry_run);
    Box::pin(delete_object(&cx, &options)).await.map(drop)
}

fn disrupted(pod: &mut Pod, now: Timestamp) {
    let generation = pod.metadata.generation;
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let condition = PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: Some("EvictionByEvictionAPI".into()),
        message: Some("Eviction API: evicting".into()),
        last_transition_time: Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
        observed_generation: generation,
        ..PodCondition::default()
    };
    match conditions.iter_mut().find(|c| c.type_ == condition.type_) {
        Some(known) if known.status == "True" => {}
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}

fn resource(call: &Call, group: &str, plural: &str) -> Result<Arc<Resource>, ApiError> {
    let found = call.server.resources().get(group, "v1", plural);
    found.cloned().ok_or_else(|| ApiError::generic(404))
}

fn context<'a>(
    call: &'a Call,
    resource: &'a Arc<Resource>,
    name: &'a str,
    subresource: &'a str,
    dry_run: bool,
) -> WriteContext<'a> {
    WriteContext {
        server: &call.server,
        resource,
        namespace: &call.info.namespace,
        name,
        subresource,
        rules: Rules::Own(&EvictionRules),
        user: &call.user,
        manager: "",
        command: "",
        dry_run,
        warnings: &call.warnings,
        body: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn budget(status: Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"name": "b", "generation": 2}, "spec": {}, "status": status}))
            .unwrap()
    }

    #[test]
    fn a_budget_is_spent_one_by_one() {
        let base = json!({"currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3, "disruptionsAllowed": 1, "observedGeneration": 2});
        let mut b = budget(base.clone());
        decrement(&mut b, "b", "p", Timestamp::UNIX_EPOCH).unwrap();
        let status = b.status.clone().unwrap();
        assert_eq!((status.disruptions_allowed, status.disrupted_pods.unwrap().len()), (Some(0), 1));
        let error = decrement(&mut b, "b", "q", Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (429, REFUSED));
        let mut stale = base;
        stale["observedGeneration"] = json!(1);
        let error = decrement(&mut budget(stale), "b", "q", Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(error.details.unwrap().retry_after_seconds, Some(10));
    }
}

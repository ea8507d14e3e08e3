//! In-place resize (KEP-1287): what a running pod has been allotted of this node, as opposed to what its spec asks for now.
//!
//! A wish that the node can never fulfil is `Infeasible`, one that it cannot fulfil beside the others here is `Deferred` and looked at
//! again; until then the pod is run and shown with what it has (`pkg/kubelet/allocation`). The kubelet keeps that in a file; here it is in
//! the API: while a resize is pending, a pod's status tells the resources that its containers have ([`of_status`]). Pure.
use super::admit::{lacks, needs};
use super::amounts::measure;
use crate::volumes::downward::Allocatable;
use isopod_api::k8s::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};

/// The condition's type while a resize cannot be done.
pub const PENDING: &str = "PodResizePending";

/// Why a resize is not done yet: the condition's reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub reason: &'static str,
    pub message: String,
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

/// Whether both ask for the same.
pub(super) fn is_same(one: &PodSpec, other: &PodSpec) -> bool {
    let of = |spec: &PodSpec| containers(spec).map(|c| c.resources.clone().unwrap_or_default()).collect::<Vec<_>>();
    one.resources == other.resources && of(one) == of(other)
}

/// Whether the node can give `spec` what it asks for, beside `others`.
pub(super) fn judge(spec: &PodSpec, others: &[&Pod], allocatable: &Allocatable) -> Result<(), Pending> {
    for (name, asked) in needs(spec) {
        let there = allocatable.get(&name).and_then(|text| measure(&name, &text.0)).unwrap_or(0);
        if asked > there {
            let message = format!("Node didn't have enough capacity: {name}, requested: {asked}, capacity: {there}");
            return Err(Pending { reason: "Infeasible", message });
        }
    }
    lacks(spec, others, allocatable).map_or(Ok(()), |(name, asked, used, there)| {
        let message =
            format!("Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {there}");
        Err(Pending { reason: "Deferred", message })
    })
}

/// `pod` with the resources of `allotted`.
pub(super) fn with_resources_of(pod: &Pod, allotted: &PodSpec) -> Pod {
    let find = |own: &Container| containers(allotted).find(|c| c.name == own.name).and_then(|c| c.resources.clone());
    let mut pod = replaced(pod, &find);
    if let Some(spec) = pod.spec.as_mut() {
        spec.resources.clone_from(&allotted.resources);
    }
    pod
}

fn replaced(pod: &Pod, find: &dyn Fn(&Container) -> Option<ResourceRequirements>) -> Pod {
    let mut pod = pod.clone();
    let spec = pod.spec.iter_mut();
    for container in spec.flat_map(|s| s.containers.iter_mut().chain(s.init_containers.iter_mut().flatten())) {
        container.resources = find(container);
    }
    pod
}

/// A pod as an earlier agent has allotted it: with what its status tells, if a resize was pending; else with what it asks for.
pub(super) fn of_status(pod: &Pod) -> Option<Pod> {
    let status = pod.status.as_ref()?;
    let pending = status.conditions.iter().flatten().any(|c| c.type_ == PENDING && c.status == "True");
    let told: Vec<&ContainerStatus> =
        [&status.container_statuses, &status.init_container_statuses].into_iter().flatten().flatten().collect();
    // One that has not run yet has what it asks for.
    let find = |own: &Container| {
        let known = told.iter().find(|s| s.name == own.name).and_then(|s| s.resources.clone());
        known.or_else(|| own.resources.clone())
    };
    pending.then(|| replaced(pod, &find))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_api::k8s::apimachinery::pkg::api::resource::Quantity as Text;
    use serde_json::json;

    fn asks(cpu: &str) -> Pod {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        serde_json::from_value(json!({"spec": {"containers": [container]}})).unwrap()
    }

    #[test]
    fn what_never_fits_is_told_from_what_does_not_fit_now() {
        let room: Allocatable = [("cpu", "2"), ("pods", "9")].map(|(k, v)| (k.to_owned(), Text(v.into()))).into();
        let other = asks("1");
        let of =
            |cpu: &str| judge(asks(cpu).spec.as_ref().unwrap(), &[&other], &room).map_err(|p| (p.reason, p.message));
        assert_eq!(of("1"), Ok(()));
        let message = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000";
        assert_eq!(of("1500m"), Err(("Deferred", message.to_owned())));
        let message = "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000";
        assert_eq!(of("3"), Err(("Infeasible", message.to_owned())));
    }

    #[test]
    fn a_pending_pod_keeps_what_it_has_over_a_restart() {
        let (wish, has) = (asks("3"), asks("1"));
        let kept = with_resources_of(&wish, has.spec.as_ref().unwrap());
        assert!(is_same(kept.spec.as_ref().unwrap(), has.spec.as_ref().unwrap()));
        assert!(!is_same(wish.spec.as_ref().unwrap(), has.spec.as_ref().unwrap()));
        let mut told = wish;
        assert_eq!(of_status(&told), None);
        told.status = serde_json::from_value(json!({
            "conditions": [{"type": PENDING, "status": "True", "reason": "Infeasible"}],
            "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "resources": {"requests": {"cpu": "1"}}}]
        }))
        .unwrap();
        let found = of_status(&told).unwrap();
        assert!(is_same(found.spec.as_ref().unwrap(), has.spec.as_ref().unwrap()));
    }
}

//! Whether the finalizer goes on or off. Pure.
use crate::pod;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
pub const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// Not in use any more.
    Free,
    /// It came without.
    Protect,
}

fn step(meta: &ObjectMeta, finalizer: &str, in_use: bool) -> Step {
    let has = meta.finalizers.iter().flatten().any(|f| f == finalizer);
    match (meta.deletion_timestamp.is_some(), has) {
        (true, true) if !in_use => Step::Free,
        (false, false) => Step::Protect,
        _ => Step::Nothing,
    }
}

/// `users`: all pods that name the claim.
pub fn claim<'a>(claim: &PersistentVolumeClaim, users: impl IntoIterator<Item = &'a Pod>) -> Step {
    step(&claim.metadata, CLAIM_FINALIZER, users.into_iter().any(|p| uses(p, claim)))
}

/// A bound volume belongs to its claim.
pub fn volume(volume: &PersistentVolume) -> Step {
    let bound = volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    step(&volume.metadata, VOLUME_FINALIZER, bound)
}

/// A pod without a node uses nothing yet; one that its node has let go of, nothing any more. One that merely ended still does: its
/// node may have the volume mounted (`podUsesPVC`).
fn uses(user: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let gone = user.metadata.deletion_timestamp.is_some() && user.metadata.deletion_grace_period_seconds == Some(0);
    if pod::node(user).is_empty() || gone {
        return false;
    }
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let pod_name = user.metadata.name.as_deref().unwrap_or_default();
    user.spec.iter().flat_map(|s| s.volumes.iter().flatten()).any(|volume| {
        let named = volume.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == name);
        let made = volume.ephemeral.is_some() && format!("{pod_name}-{}", volume.name) == name;
        named
            || (made && pod::controller_of(&claim.metadata).is_some_and(|o| Some(&o.uid) == user.metadata.uid.as_ref()))
    })
}

/// The claims a pod names, its own ones too.
pub fn claims_of(pod: &Pod) -> Vec<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{name}-{}", volume.name)),
            (None, None) => None,
        })
        .collect()
}

/// The object's finalizers after the step.
pub fn finalizers(meta: &ObjectMeta, finalizer: &str, step: Step) -> Vec<String> {
    let mut all = meta.finalizers.clone().unwrap_or_default();
    match step {
        Step::Nothing => {}
        Step::Free => all.retain(|f| f != finalizer),
        Step::Protect => all.push(finalizer.to_owned()),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_claim_is_held_by_pods_that_have_a_node() {
        let claim: PersistentVolumeClaim =
            serde_json::from_value(json!({"metadata": {"name": "p-e", "namespace": "ns",
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [CLAIM_FINALIZER],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pu", "controller": true}]}}))
            .unwrap();
        let pod = |node: &str, meta: Value, volume: Value| -> Pod {
            let mut object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "pu"},
                "spec": {"nodeName": node, "containers": [], "volumes": [volume]}});
            object["metadata"].as_object_mut().unwrap().extend(meta.as_object().unwrap().clone());
            serde_json::from_value(object).unwrap()
        };
        let named = json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-e"}});
        let own = json!({"name": "e", "ephemeral": {}});
        let leaving =
            |grace: i64| json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace});
        let table = [
            (pod("n", json!({}), named.clone()), Step::Nothing),
            (pod("", json!({}), named.clone()), Step::Free),
            (pod("n", leaving(30), named.clone()), Step::Nothing),
            (pod("n", leaving(0), named.clone()), Step::Free),
            (pod("n", json!({}), own.clone()), Step::Nothing),
            (pod("n", json!({"uid": "another"}), own), Step::Free),
            (pod("n", json!({}), json!({"name": "v", "persistentVolumeClaim": {"claimName": "x"}})), Step::Free),
        ];
        for (user, expected) in &table {
            assert_eq!(super::claim(&claim, [user]), *expected, "{user:?}");
        }
        assert_eq!(super::claim(&claim, table.iter().map(|(p, _)| p)), Step::Nothing, "one is enough");
        let mut fresh = claim.clone();
        fresh.metadata.deletion_timestamp = None;
        assert_eq!(super::claim(&fresh, []), Step::Nothing);
        fresh.metadata.finalizers = Some(vec!["other".into()]);
        assert_eq!(super::claim(&fresh, []), Step::Protect);
        assert_eq!(finalizers(&fresh.metadata, CLAIM_FINALIZER, Step::Protect), ["other", CLAIM_FINALIZER]);
        assert_eq!(finalizers(&claim.metadata, CLAIM_FINALIZER, Step::Free), [""; 0]);
    }

    #[test]
    fn a_volume_is_held_by_being_bound() {
        let volume = |phase: &str, leaving: bool| -> PersistentVolume {
            serde_json::from_value(json!({"metadata": {"name": "v", "finalizers": [VOLUME_FINALIZER],
                "deletionTimestamp": leaving.then_some("2026-01-01T00:00:00Z")}, "status": {"phase": phase}}))
            .unwrap()
        };
        for (phase, leaving, expected) in [
            ("Bound", true, Step::Nothing),
            ("Released", true, Step::Free),
            ("Available", true, Step::Free),
            ("Available", false, Step::Nothing),
        ] {
            assert_eq!(super::volume(&volume(phase, leaving)), expected, "{phase} {leaving}");
        }
    }
}

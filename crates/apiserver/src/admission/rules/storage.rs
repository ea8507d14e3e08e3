//! DefaultStorageClass, StorageObjectInUseProtection and PersistentVolumeClaimResize: a claim without a class gets the default one; claims and volumes in use
//! outlive their deletion.
use isopod_api::k8s::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use isopod_api::k8s::api::storage::v1::StorageClass;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::kinds::storage_class::default_class;
use isopod_api::kinds::storage_words::class_of;
use isopod_api::quantity::{self, Quantity};

pub const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
pub const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
const LEGACY_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub fn admit_claim(claim: &mut PersistentVolumeClaim, classes: &[StorageClass]) {
    protect(&mut claim.metadata, CLAIM_FINALIZER);
    let legacy = claim.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(LEGACY_CLASS));
    let Some(spec) = claim.spec.as_mut() else { return };
    // An empty name is an answer too: no class, no provisioning.
    if legacy || spec.storage_class_name.is_some() {
        return;
    }
    spec.storage_class_name = default_class(classes).and_then(|c| c.metadata.name.clone());
}

pub fn admit_volume(volume: &mut PersistentVolume) {
    protect(&mut volume.metadata, VOLUME_FINALIZER);
}

/// PersistentVolumeClaimResize: a claim grows if it is bound and its class allows it.
pub fn admit_growth(
    new: &PersistentVolumeClaim,
    old: &PersistentVolumeClaim,
    classes: &[StorageClass],
) -> Result<(), &'static str> {
    if requested(new) <= requested(old) {
        return Ok(());
    }
    if old.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Bound") {
        return Err("Only bound persistent volume claims can be expanded");
    }
    let name = class(new);
    let allowed =
        classes.iter().any(|c| c.metadata.name.as_deref() == Some(name) && c.allow_volume_expansion == Some(true));
    if allowed && name == class(old) {
        return Ok(());
    }
    Err(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    )
}

fn class(claim: &PersistentVolumeClaim) -> &str {
    class_of(&claim.metadata, claim.spec.as_ref().and_then(|s| s.storage_class_name.as_ref()))
}

fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    let storage = claim.spec.as_ref().and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get("storage"));
    storage.and_then(|q| quantity::parse(q).ok()).unwrap_or(Quantity::ZERO)
}

fn protect(metadata: &mut ObjectMeta, finalizer: &str) {
    let finalizers = metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_api::kinds::storage_class::DEFAULT_ANNOTATION;
    use serde_json::{Value, json};

    fn class(name: &str, default: &str, created: &str) -> StorageClass {
        serde_json::from_value(json!({"provisioner": "p", "metadata":
            {"name": name, "creationTimestamp": created, "annotations": {DEFAULT_ANNOTATION: default}}}))
        .unwrap()
    }

    #[test]
    fn the_youngest_default_is_taken() {
        let classes = [
            class("old", "true", "2026-01-01T00:00:00Z"),
            class("b", "true", "2026-02-01T00:00:00Z"),
            class("a", "true", "2026-02-01T00:00:00Z"),
            class("no", "false", "2026-03-01T00:00:00Z"),
        ];
        let cases: [(Value, &[StorageClass], Value); 4] = [
            (json!({}), &classes, json!("a")),
            (json!({}), &classes[3..], Value::Null),
            (json!({"storageClassName": ""}), &classes, json!("")),
            (json!({"storageClassName": "x"}), &classes, json!("x")),
        ];
        for (spec, classes, expected) in cases {
            let mut claim: PersistentVolumeClaim =
                serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": spec})).unwrap();
            admit_claim(&mut claim, classes);
            admit_claim(&mut claim, classes);
            assert_eq!(json!(claim.spec.unwrap().storage_class_name), expected, "{spec}");
            assert_eq!(claim.metadata.finalizers.unwrap(), [CLAIM_FINALIZER]);
        }
    }

    #[test]
    fn claims_grow_when_bound_and_allowed() {
        let mut grows = class("grows", "false", "2026-01-01T00:00:00Z");
        grows.allow_volume_expansion = Some(true);
        let classes = [grows, class("fixed", "false", "2026-01-01T00:00:00Z")];
        let claim = |class: &str, size: &str, phase: &str| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": {"storageClassName": class,
                "resources": {"requests": {"storage": size}}}, "status": {"phase": phase}}))
            .unwrap()
        };
        let refused = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        let cases = [
            (("grows", "2Gi", "Bound"), Ok(())),
            (("grows", "1024Mi", "Bound"), Ok(())),
            (("grows", "2Gi", "Pending"), Err("Only bound persistent volume claims can be expanded")),
            (("fixed", "2Gi", "Bound"), Err(refused)),
            (("", "2Gi", "Bound"), Err(refused)),
            (("fixed", "1Gi", "Bound"), Ok(())),
        ];
        for ((name, size, phase), expected) in cases {
            let (old, new) = (claim(name, "1Gi", phase), claim(name, size, phase));
            assert_eq!(admit_growth(&new, &old, &classes), expected, "{name} {size} {phase}");
        }
    }
}

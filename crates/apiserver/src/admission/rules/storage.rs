//! DefaultStorageClass and StorageObjectInUseProtection: a claim without a class gets the default one; claims and volumes in use
//! outlive their deletion.
use isopod_api::k8s::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use isopod_api::k8s::api::storage::v1::StorageClass;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::kinds::storage_class::default_class;

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
}

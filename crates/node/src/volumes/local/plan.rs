//! What is next for a claim or a volume of this provisioner
//! (`sig-storage-lib-external-provisioner/controller.go`, `external-resizer/pkg/controller`). Pure.
use isopod_api::kinds::storage_words::class_of;
use isopod_api::quantity;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;

pub use isopod_api::bootstrap::PROVISIONER;

/// Keeps a volume until its directory is gone.
pub const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const ASKED: &str = "volume.kubernetes.io/storage-provisioner";
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const HOSTNAME: &str = "kubernetes.io/hostname";

#[derive(Clone, Debug, PartialEq)]
pub enum ClaimStep {
    Nothing,
    /// It is to be bound at once and nobody has taken it on yet: do so, for this node.
    Take(String),
    /// Make its volume on this node.
    Provision(String),
    /// It cannot be had; people are told.
    Refuse(String),
    /// Give it as much as it now asks for.
    Grow {
        volume: String,
        size: Quantity,
    },
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref().and_then(|a| a.get(key)).map(String::as_str).filter(|v| !v.is_empty())
}

/// The name of a claim's class.
pub fn class_name(claim: &PersistentVolumeClaim) -> &str {
    class_of(&claim.metadata, claim.spec.as_ref().and_then(|s| s.storage_class_name.as_ref()))
}

/// `volume`: the one that the claim names, if it is there.
pub fn claim(
    claim: &PersistentVolumeClaim,
    class: Option<&StorageClass>,
    volume: Option<&PersistentVolume>,
    nodes: &BTreeSet<String>,
) -> ClaimStep {
    let Some(spec) = &claim.spec else { return ClaimStep::Nothing };
    if let Some(volume) = volume {
        return grow(claim, class, volume, nodes);
    }
    let named = spec.volume_name.as_ref().is_some_and(|v| !v.is_empty());
    let ours = annotation(&claim.metadata, ASKED) == Some(PROVISIONER);
    let Some(class) = class.filter(|c| c.provisioner == PROVISIONER) else { return ClaimStep::Nothing };
    if named || !ours || claim.metadata.deletion_timestamp.is_some() {
        return ClaimStep::Nothing;
    }
    let node = match annotation(&claim.metadata, SELECTED_NODE) {
        Some(node) if nodes.contains(node) => node,
        Some(_) => return ClaimStep::Nothing,
        None if class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") => return ClaimStep::Nothing,
        None => return nodes.first().map_or(ClaimStep::Nothing, |node| ClaimStep::Take(node.clone())),
    };
    let class_name = class.metadata.name.as_deref().unwrap_or_default();
    let refuse =
        |why: &str| ClaimStep::Refuse(format!("failed to provision volume with StorageClass {class_name:?}: {why}"));
    if spec.volume_mode.as_deref() == Some("Block") {
        refuse("isopod.dev/local makes directories, not block devices")
    } else if spec.selector.is_some() {
        refuse("claim Selector is not supported")
    } else if spec.data_source_ref.is_some() || spec.data_source.is_some() {
        refuse("dataSource is not supported")
    } else {
        ClaimStep::Provision(node.to_owned())
    }
}

fn storage(list: Option<&std::collections::BTreeMap<String, Quantity>>) -> Option<&Quantity> {
    list?.get("storage")
}

fn grow(
    claim: &PersistentVolumeClaim,
    class: Option<&StorageClass>,
    volume: &PersistentVolume,
    nodes: &BTreeSet<String>,
) -> ClaimStep {
    let bound = claim.status.as_ref().filter(|s| s.phase.as_deref() == Some("Bound"));
    let allowed = class.is_some_and(|c| c.allow_volume_expansion == Some(true));
    let wanted = storage(claim.spec.as_ref().and_then(|s| s.resources.as_ref()?.requests.as_ref()));
    let (Some(status), Some(wanted), true) = (bound, wanted, allowed && is_ours(volume, nodes)) else {
        return ClaimStep::Nothing;
    };
    let has = storage(status.capacity.as_ref()).and_then(|q| quantity::parse(q).ok());
    match (quantity::parse(wanted), has) {
        (Ok(number), Some(has)) if number > has => {
            let name = volume.metadata.name.clone().unwrap_or_default();
            ClaimStep::Grow { volume: name, size: wanted.clone() }
        }
        _ => ClaimStep::Nothing,
    }
}

/// The name of the claim's volume.
pub fn volume_name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default())
}

/// The claim's volume, which only its node can use.
pub fn provisioned(claim: &PersistentVolumeClaim, class: &StorageClass, node: &str, path: &str) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let requested = spec.resources.and_then(|r| r.requests).unwrap_or_default();
    let capacity = requested.into_iter().filter(|(name, _)| name == "storage").collect();
    let here = NodeSelectorRequirement {
        key: HOSTNAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![here]), match_fields: None };
    let policy = class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned());
    let finalizers = (policy == "Delete").then(|| vec![FINALIZER.to_owned()]);
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(volume_name(claim)),
            annotations: Some([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())].into()),
            finalizers,
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes,
            capacity: Some(capacity),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: claim.metadata.namespace.clone(),
                name: claim.metadata.name.clone(),
                uid: claim.metadata.uid.clone(),
                resource_version: claim.metadata.resource_version.clone(),
                field_path: None,
            }),
            local: Some(LocalVolumeSource { path: path.to_owned(), fs_type: None }),
            mount_options: class.mount_options.clone(),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![term] }),
            }),
            persistent_volume_reclaim_policy: Some(policy),
            storage_class_name: Some(class_name(claim).to_owned()),
            volume_mode: spec.volume_mode,
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// Made by this provisioner on one of these nodes.
pub fn is_ours(volume: &PersistentVolume, nodes: &BTreeSet<String>) -> bool {
    let required = volume.spec.as_ref().and_then(|s| s.node_affinity.as_ref()?.required.as_ref());
    let terms = required.map(|r| r.node_selector_terms.as_slice()).unwrap_or_default();
    let here = |term: &NodeSelectorTerm| {
        let requirements = term.match_expressions.iter().flatten();
        requirements
            .into_iter()
            .any(|r| r.key == HOSTNAME && r.operator == "In" && r.values.iter().flatten().any(|v| nodes.contains(v)))
    };
    annotation(&volume.metadata, PROVISIONED_BY) == Some(PROVISIONER) && terms.iter().any(here)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeStep {
    Nothing,
    /// Its directory goes, then it.
    Delete,
    /// It is to stay though it was made to be deleted: it needs no guard any more.
    Unguard,
}

pub fn volume(volume: &PersistentVolume, nodes: &BTreeSet<String>) -> VolumeStep {
    if !is_ours(volume, nodes) {
        return VolumeStep::Nothing;
    }
    let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    let policy = volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    let guarded = volume.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    let leaving = volume.metadata.deletion_timestamp.is_some();
    match policy {
        Some("Delete") if phase == "Released" || (leaving && guarded && !matches!(phase, "Bound" | "Pending")) => {
            VolumeStep::Delete
        }
        Some("Delete") => VolumeStep::Nothing,
        _ if guarded => VolumeStep::Unguard,
        _ => VolumeStep::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn merged<T: serde::de::DeserializeOwned>(mut base: Value, change: &Value) -> T {
        json_patch::merge(&mut base, change);
        serde_json::from_value(base).unwrap()
    }

    fn class(change: Value) -> StorageClass {
        merged(
            json!({"metadata": {"name": "isopod-local"}, "provisioner": PROVISIONER, "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true}),
            &change,
        )
    }

    fn base_claim() -> Value {
        json!({"metadata": {"name": "c", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "annotations": {ASKED: PROVISIONER, SELECTED_NODE: "n"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "isopod-local", "volumeMode": "Filesystem",
                "resources": {"requests": {"storage": "1Gi"}}}})
    }

    fn nodes() -> BTreeSet<String> {
        ["n".to_owned()].into()
    }

    #[test]
    fn provisions_what_is_asked_of_this_node() {
        let refuse = |why: &str| {
            ClaimStep::Refuse(format!("failed to provision volume with StorageClass \"isopod-local\": {why}"))
        };
        let immediate = json!({"volumeBindingMode": "Immediate"});
        let nobody = json!({"metadata": {"annotations": {SELECTED_NODE: null}}});
        let table = [
            (json!({}), json!({}), ClaimStep::Provision("n".into())),
            (json!({"metadata": {"annotations": {SELECTED_NODE: "other"}}}), json!({}), ClaimStep::Nothing),
            (nobody.clone(), json!({}), ClaimStep::Nothing),
            (nobody, immediate.clone(), ClaimStep::Take("n".into())),
            (json!({}), immediate, ClaimStep::Provision("n".into())),
            (json!({"metadata": {"annotations": {ASKED: "other"}}}), json!({}), ClaimStep::Nothing),
            (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), json!({}), ClaimStep::Nothing),
            (json!({}), json!({"provisioner": "other"}), ClaimStep::Nothing),
            (json!({"spec": {"volumeName": "v"}}), json!({}), ClaimStep::Nothing),
            (
                json!({"spec": {"volumeMode": "Block"}}),
                json!({}),
                refuse("isopod.dev/local makes directories, not block devices"),
            ),
            (json!({"spec": {"selector": {}}}), json!({}), refuse("claim Selector is not supported")),
        ];
        for (change, of_class, expected) in table {
            let got = super::claim(&merged(base_claim(), &change), Some(&class(of_class)), None, &nodes());
            assert_eq!(got, expected, "{change}");
        }
    }

    #[test]
    fn a_volume_is_made_for_its_claim_and_its_node() {
        let claim = merged(base_claim(), &json!({}));
        let volume = provisioned(&claim, &class(json!({})), "n", "/data/volumes/pvc-u");
        insta::assert_snapshot!(serde_json::to_string(&volume).unwrap(), @r#"{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"annotations":{"pv.kubernetes.io/provisioned-by":"isopod.dev/local"},"finalizers":["external-provisioner.volume.kubernetes.io/finalizer"],"name":"pvc-u"},"spec":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},"claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","name":"c","namespace":"ns","resourceVersion":"7","uid":"u"},"local":{"path":"/data/volumes/pvc-u"},"nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":["n"]}]}]}},"persistentVolumeReclaimPolicy":"Delete","storageClassName":"isopod-local","volumeMode":"Filesystem"}}"#);
        assert!(is_ours(&volume, &nodes()) && !is_ours(&volume, &["m".to_owned()].into()));
    }

    #[test]
    fn deletes_released_volumes_and_guards_no_others() {
        let made = provisioned(&merged(base_claim(), &json!({})), &class(json!({})), "n", "/p");
        let made = serde_json::to_value(&made).unwrap();
        let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let phase = |phase: &str| json!({"status": {"phase": phase}});
        let both = |mut a: Value, b: &Value| {
            json_patch::merge(&mut a, b);
            a
        };
        let retain = json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}});
        let table = [
            (phase("Bound"), VolumeStep::Nothing),
            (phase("Released"), VolumeStep::Delete),
            (phase("Available"), VolumeStep::Nothing),
            (both(phase("Bound"), &leaving), VolumeStep::Nothing),
            (both(phase("Available"), &leaving), VolumeStep::Delete),
            (both(phase("Released"), &retain), VolumeStep::Unguard),
            (both(both(phase("Released"), &retain), &json!({"metadata": {"finalizers": []}})), VolumeStep::Nothing),
            (
                both(phase("Released"), &json!({"metadata": {"annotations": {PROVISIONED_BY: "other"}}})),
                VolumeStep::Nothing,
            ),
        ];
        for (change, expected) in table {
            assert_eq!(super::volume(&merged(made.clone(), &change), &nodes()), expected, "{change}");
        }
    }

    #[test]
    fn grows_when_the_class_allows() {
        let volume = provisioned(&merged(base_claim(), &json!({})), &class(json!({})), "n", "/p");
        let bound = json!({"spec": {"volumeName": "pvc-u", "resources": {"requests": {"storage": "2Gi"}}},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        let step = |change: &Value, of_class: Value| {
            let mut claim = base_claim();
            json_patch::merge(&mut claim, &bound);
            super::claim(&merged(claim, change), Some(&class(of_class)), Some(&volume), &nodes())
        };
        let grow = ClaimStep::Grow { volume: "pvc-u".into(), size: Quantity("2Gi".into()) };
        assert_eq!(step(&json!({}), json!({})), grow);
        assert_eq!(step(&json!({}), json!({"allowVolumeExpansion": false})), ClaimStep::Nothing);
        assert_eq!(step(&json!({"status": {"capacity": {"storage": "2Gi"}}}), json!({})), ClaimStep::Nothing);
        assert_eq!(step(&json!({"status": {"phase": "Lost"}}), json!({})), ClaimStep::Nothing);
    }
}

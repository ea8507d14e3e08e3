//! From a claim to a directory: the checks that kubelet makes before it mounts a persistent volume
//! (`desired_state_of_world_populator.go`, `pkg/volume/{local,hostpath}`).
use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error("error processing PVC {claim}: {reason}")]
    Claim { claim: String, reason: String },
    #[error("error processing PVC {claim}: failed to fetch PVC from API server: {reason}")]
    NoClaim { claim: String, reason: String },
    #[error("error processing PVC {claim}: failed to fetch PV {volume} from API server: {reason}")]
    NoVolume { claim: String, volume: String, reason: String },
    #[error("PVC {claim} was not created for pod {pod} (pod is not owner)")]
    NotOurs { claim: String, pod: String },
    #[error("NodeAffinity check failed for volume {0:?} : no matching NodeSelectorTerms")]
    ElsewhereOnly(String),
    #[error("volume {0} has volumeMode Block, but is specified in volumeMounts")]
    Block(String),
    #[error("no volume plugin matched: isopod mounts local and hostPath volumes, not {0}")]
    Unsupported(&'static str),
}

/// Where the content of a persistent volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A directory that belongs to the volume.
    Local(String),
    /// Something of the machine, with the type it must have.
    HostPath(String, String),
}

/// The claim a pod's volume stands for, and whether it must have been made for this very pod.
pub(crate) fn claim_name(pod: &Pod, volume: &k8s_openapi::api::core::v1::Volume) -> Option<(String, bool)> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some((source.claim_name.clone(), false));
    }
    volume.ephemeral.as_ref()?;
    Some((format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name), true))
}

/// The name of the volume that the claim is bound to.
pub(crate) fn volume_of(
    claim: &PersistentVolumeClaim,
    pod: &Pod,
    ephemeral: bool,
    volume: &str,
) -> Result<String, ClaimError> {
    let key = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    };
    let name = key(&claim.metadata);
    let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
    if ephemeral && !owners.iter().any(|o| o.controller == Some(true) && Some(&o.uid) == pod.metadata.uid.as_ref()) {
        return Err(ClaimError::NotOurs { claim: name, pod: key(&pod.metadata) });
    }
    let refuse = |reason: &str| Err(ClaimError::Claim { claim: name.clone(), reason: reason.to_owned() });
    if claim.metadata.deletion_timestamp.is_some() {
        return refuse("PVC is being deleted");
    }
    if claim.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Bound") {
        return refuse("PVC is not bound");
    }
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(ClaimError::Block(volume.to_owned()));
    }
    match spec.volume_name.filter(|v| !v.is_empty()) {
        Some(bound) => Ok(bound),
        None => refuse("PVC has empty pvc.Spec.VolumeName"),
    }
}

/// Where the volume is, if it is the claim's and can be used on this node. `node` is asked for only if it matters.
pub(crate) fn place(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
    node: Option<&Node>,
) -> Result<Place, ClaimError> {
    let name = volume.metadata.name.clone().unwrap_or_default();
    let spec = volume.spec.clone().unwrap_or_default();
    let claimed = spec.claim_ref.as_ref().and_then(|r| r.uid.as_ref());
    if claimed.is_none() || claimed != claim.metadata.uid.as_ref() {
        let claim = format!(
            "{}/{}",
            claim.metadata.namespace.as_deref().unwrap_or_default(),
            claim.metadata.name.as_deref().unwrap_or_default()
        );
        let reason = format!("PV {name:?} is bound to another claim");
        return Err(ClaimError::Claim { claim, reason });
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(ClaimError::Block(name));
    }
    let required = spec.node_affinity.as_ref().and_then(|a| a.required.as_ref());
    if let Some(required) = required
        && !node.is_some_and(|node| required.node_selector_terms.iter().any(|term| matches(term, node)))
    {
        return Err(ClaimError::ElsewhereOnly(name));
    }
    if let Some(local) = spec.local {
        return Ok(Place::Local(local.path));
    }
    match spec.host_path {
        Some(host) => Ok(Place::HostPath(host.path, host.type_.unwrap_or_default())),
        None => Err(ClaimError::Unsupported(kind(&spec))),
    }
}

fn kind(spec: &k8s_openapi::api::core::v1::PersistentVolumeSpec) -> &'static str {
    let table = [
        (spec.csi.is_some(), "csi"),
        (spec.nfs.is_some(), "nfs"),
        (spec.iscsi.is_some(), "iscsi"),
        (spec.fc.is_some(), "fc"),
        (spec.rbd.is_some(), "rbd"),
        (spec.cephfs.is_some(), "cephfs"),
        (spec.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (spec.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (spec.azure_disk.is_some() || spec.azure_file.is_some(), "azure"),
    ];
    table.iter().find(|(is, _)| *is).map_or("this source", |(_, name)| name)
}

/// `nodeaffinity.NewLazyErrorNodeSelector`: an empty term matches nothing, what is malformed neither.
fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let name = node.metadata.name.clone().unwrap_or_default();
    let fields = BTreeMap::from([("metadata.name".to_owned(), name)]);
    let by_labels = term.match_expressions.as_deref().unwrap_or_default();
    let by_fields = term.match_fields.as_deref().unwrap_or_default();
    !(by_labels.is_empty() && by_fields.is_empty())
        && by_labels.iter().all(|r| holds(r, labels))
        && by_fields.iter().all(|r| holds(r, &fields))
}

fn holds(requirement: &NodeSelectorRequirement, values: &BTreeMap<String, String>) -> bool {
    let wanted = requirement.values.as_deref().unwrap_or_default();
    let found = values.get(&requirement.key);
    let number = |text: &String| text.parse::<i64>().ok();
    let compare = |test: fn(i64, i64) -> bool| {
        let (Some(found), [bound]) = (found.and_then(number), wanted) else { return false };
        number(bound).is_some_and(|bound| test(found, bound))
    };
    match requirement.operator.as_str() {
        "In" => found.is_some_and(|f| wanted.contains(f)),
        "NotIn" => found.is_none_or(|f| !wanted.contains(f)),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => compare(|a, b| a > b),
        "Lt" => compare(|a, b| a < b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(change: Value) -> PersistentVolumeClaim {
        let mut claim = json!({"metadata": {"name": "c", "namespace": "ns", "uid": "cu"},
            "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}});
        json_patch::merge(&mut claim, &change);
        serde_json::from_value(claim).unwrap()
    }

    #[test]
    fn a_claim_must_be_bound_and_ours() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "pu"}})).unwrap();
        let owner = |uid: &str| {
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p",
            "uid": uid, "controller": true}]}})
        };
        let not_ours = "PVC ns/c was not created for pod ns/p (pod is not owner)";
        let table = [
            (json!({}), false, "v"),
            (owner("pu"), true, "v"),
            (json!({}), true, not_ours),
            (owner("other"), true, not_ours),
            (json!({"status": {"phase": "Pending"}}), false, "error processing PVC ns/c: PVC is not bound"),
            (
                json!({"spec": {"volumeName": ""}}),
                false,
                "error processing PVC ns/c: PVC has empty pvc.Spec.VolumeName",
            ),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
                false,
                "error processing PVC ns/c: PVC is being deleted",
            ),
            (
                json!({"spec": {"volumeMode": "Block"}}),
                false,
                "volume data has volumeMode Block, but is specified in volumeMounts",
            ),
        ];
        for (change, ephemeral, expected) in table {
            let got = volume_of(&claim(change.clone()), &pod, ephemeral, "data").unwrap_or_else(|e| e.to_string());
            assert_eq!(got, expected, "{change}");
        }
    }

    #[test]
    fn a_volume_must_be_the_claims_and_reachable_from_here() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"zone": "a", "size": "5"}}})).unwrap();
        let near = |key: &str, operator: &str, values: Value| {
            json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]}}})
        };
        let local = json!({"local": {"path": "/l"}});
        let elsewhere = "NodeAffinity check failed for volume \"v\" : no matching NodeSelectorTerms";
        let table = [
            (json!({}), "Local(\"/l\")"),
            (near("zone", "In", json!(["a", "b"])), "Local(\"/l\")"),
            (near("zone", "NotIn", json!(["a"])), elsewhere),
            (near("rack", "NotIn", json!(["a"])), "Local(\"/l\")"),
            (near("size", "Gt", json!(["4"])), "Local(\"/l\")"),
            (near("size", "Lt", json!(["4"])), elsewhere),
            (near("rack", "DoesNotExist", json!([])), "Local(\"/l\")"),
            (json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{}]}}}), elsewhere),
            (
                json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchFields":
                [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}}}),
                "Local(\"/l\")",
            ),
            (json!({"local": null, "hostPath": {"path": "/h", "type": "File"}}), "HostPath(\"/h\", \"File\")"),
            (
                json!({"local": null, "nfs": {"path": "/h", "server": "s"}}),
                "no volume plugin matched: isopod mounts local and hostPath volumes, not nfs",
            ),
            (json!({"claimRef": {"uid": "other"}}), "error processing PVC ns/c: PV \"v\" is bound to another claim"),
        ];
        for (change, expected) in table {
            let mut volume = json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"uid": "cu"}}});
            json_patch::merge(&mut volume["spec"], &local);
            json_patch::merge(&mut volume["spec"], &change);
            let volume = serde_json::from_value(volume).unwrap();
            let got = place(&volume, &claim(json!({})), Some(&node));
            assert_eq!(got.map_or_else(|e| e.to_string(), |p| format!("{p:?}")), expected, "{change}");
        }
    }
}

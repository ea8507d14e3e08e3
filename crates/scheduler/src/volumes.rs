//! What a pod's claims demand of a node (`volumebinding/volume_binding.go`, `binder.go`).
//!
//! Claims of a class with immediate binding must be bound before the pod is placed; claims that wait for their first consumer are
//! bound with the pod: to a volume that is there already, or to one that is provisioned for the node chosen.
use crate::cluster::NodeInfo;
use crate::filter::{Plugin, Rejection};
use crate::pod::{Claim, PodInfo};
use crate::requirement::{Labels, NodeDemand, NodeTerm, Selector};
use isopod_api::k8s::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use isopod_api::k8s::api::storage::v1::StorageClass;
use isopod_api::quantity;
use std::sync::Arc;

/// Set on a claim to ask for a volume on this node.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Set on a claim when both sides of its binding are written.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Where claims, volumes and classes are looked up.
pub trait VolumeView {
    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>>;
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>>;
    fn volumes_of_class(&self, class: &str) -> Vec<Arc<PersistentVolume>>;
    fn class(&self, name: &str) -> Option<Arc<StorageClass>>;
    /// How many other pods use a claim.
    fn claim_users(&self, namespace: &str, claim: &str, except_uid: &str) -> usize;
}

/// What has to be written before the pod can be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeAction {
    /// Reserve the volume for the claim.
    Bind { volume: String, claim: String },
    /// Ask for a volume on the node.
    Provision { claim: String },
}

/// A volume that a waiting claim could be bound to.
#[derive(Clone, Debug)]
struct Candidate {
    name: String,
    demand: NodeDemand,
    capacity: i64,
    /// Reserved for this very claim.
    reserved: bool,
}

/// Any of these, each a list of (label, allowed values); none at all allows every node.
type Topologies = Vec<Vec<(String, Vec<String>)>>;

#[derive(Clone, Debug)]
struct Waiting {
    claim: String,
    /// Already promised to a node.
    selected: Option<String>,
    /// Fit for the claim, smallest first.
    candidates: Vec<Candidate>,
    /// Where its class can provision; `None`: it cannot.
    provision: Option<Topologies>,
}

#[derive(Clone, Debug, Default)]
pub struct VolumeNeeds {
    /// Refused whatever the node.
    pub refused: Option<Rejection>,
    /// The demands of volumes that the pod's claims are bound to; `None`: the volume is gone.
    bound: Vec<Option<NodeDemand>>,
    waiting: Vec<Waiting>,
}

impl VolumeNeeds {
    pub fn new(pod: &PodInfo, view: &dyn VolumeView) -> Self {
        let mut needs = Self::default();
        for claim in &pod.claims {
            if let Err(refused) = needs.add(pod, claim, view) {
                needs.refused = Some(refused);
                break;
            }
        }
        needs
    }

    fn add(&mut self, pod: &PodInfo, claim: &Claim, view: &dyn VolumeView) -> Result<(), Rejection> {
        let refuse = |reason: String| Err(Rejection::final_(Plugin::VolumeBinding, reason));
        let name = &claim.name;
        let namespace = &*pod.key.namespace;
        let Some(object) = view.claim(namespace, name) else {
            return refuse(if claim.ephemeral {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
            } else {
                format!("persistentvolumeclaim {name:?} not found")
            });
        };
        let spec = object.spec.clone().unwrap_or_default();
        let volume = spec.volume_name.clone().unwrap_or_default();
        if object.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Lost") {
            return refuse(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
        }
        if object.metadata.deletion_timestamp.is_some() {
            return refuse(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        if claim.ephemeral && !is_owned_by(&object, pod) {
            let reason = format!("PVC {namespace}/{name} was not created for pod {} (pod is not owner)", pod.key);
            return refuse(reason);
        }
        let alone = spec.access_modes.iter().flatten().any(|m| m == "ReadWriteOncePod");
        if alone && view.claim_users(namespace, name, &pod.uid) > 0 {
            let reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
            return Err(Rejection::resolvable(Plugin::VolumeRestrictions, reason));
        }
        if is_bound(&object) {
            self.bound.push(view.volume(&volume).map(|v| demand_of(&v)));
            return Ok(());
        }
        let annotation = |key| object.metadata.annotations.as_ref().and_then(|a| a.get(key)).cloned();
        let class = spec.storage_class_name.clone().unwrap_or_default();
        let class = view.class(&class).filter(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
        let Some(class) = class.filter(|_| volume.is_empty()) else {
            return refuse("pod has unbound immediate PersistentVolumeClaims".to_owned());
        };
        let class_name = class.metadata.name.clone().unwrap_or_default();
        self.waiting.push(Waiting {
            claim: name.clone(),
            selected: annotation(SELECTED_NODE),
            candidates: candidates(&object, view.volumes_of_class(&class_name)),
            provision: topologies(&class),
        });
        Ok(())
    }

    pub(crate) fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let no = |reason| Err(Rejection::final_(Plugin::VolumeBinding, reason));
        if self.bound.iter().any(Option::is_none) {
            return no("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
        }
        if self.bound.iter().flatten().any(|demand| !demand.matches(&node.name, &node.facts.labels)) {
            return no("node(s) didn't match PersistentVolume's node affinity");
        }
        if !self.waiting.is_empty() && self.choose(node).is_none() {
            return no("node(s) didn't find available persistent volumes to bind");
        }
        Ok(())
    }

    /// What to write if the pod goes to this node; `None`: not all claims can be met there.
    pub fn choose(&self, node: &NodeInfo) -> Option<Vec<VolumeAction>> {
        let mut taken: Vec<&str> = Vec::new();
        let mut actions = Vec::new();
        for waiting in &self.waiting {
            if let Some(selected) = &waiting.selected {
                if **selected != *node.name {
                    return None;
                }
                actions.push(VolumeAction::Provision { claim: waiting.claim.clone() });
                continue;
            }
            let fits =
                |c: &&Candidate| !taken.contains(&c.name.as_str()) && c.demand.matches(&node.name, &node.facts.labels);
            let claim = waiting.claim.clone();
            if let Some(found) = waiting.candidates.iter().find(fits) {
                taken.push(&found.name);
                actions.push(VolumeAction::Bind { volume: found.name.clone(), claim });
            } else if waiting.provision.as_ref().is_some_and(|t| allows(t, &node.facts.labels)) {
                actions.push(VolumeAction::Provision { claim });
            } else {
                return None;
            }
        }
        Some(actions)
    }
}

/// Whether a claim has its volume, and both sides say so.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let named = claim.spec.as_ref().and_then(|s| s.volume_name.as_ref()).is_some_and(|name| !name.is_empty());
    named && claim.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(BIND_COMPLETED))
}

fn is_owned_by(claim: &PersistentVolumeClaim, pod: &PodInfo) -> bool {
    let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|o| o.controller == Some(true) && o.uid == pod.uid)
}

fn demand_of(volume: &PersistentVolume) -> NodeDemand {
    let required = volume.spec.as_ref().and_then(|s| s.node_affinity.as_ref()).and_then(|a| a.required.as_ref());
    let terms = required.map(|r| r.node_selector_terms.iter().filter_map(NodeTerm::new).collect());
    NodeDemand { selector: Labels::new(), terms }
}

/// `pkg/controller/volume/persistentvolume/util.FindMatchingVolume`, but for the node.
fn candidates(claim: &PersistentVolumeClaim, volumes: Vec<Arc<PersistentVolume>>) -> Vec<Candidate> {
    let spec = claim.spec.clone().unwrap_or_default();
    let wanted = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).and_then(|r| r.get("storage"));
    let wanted = wanted.and_then(|q| quantity::parse(q).ok()).map_or(0, |q| q.value());
    let selector = spec.selector.as_ref().map(|s| Selector::new(Some(s)));
    let mode = |m: &Option<String>| m.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let mut found: Vec<Candidate> = Vec::new();
    for volume in volumes {
        let Some(has) = &volume.spec else { continue };
        let reserved = has.claim_ref.as_ref().map(|r| {
            r.name == claim.metadata.name
                && r.namespace == claim.metadata.namespace
                && r.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref())
        });
        let available = match reserved {
            Some(for_us) => for_us,
            None => volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available"),
        };
        let capacity = has.capacity.as_ref().and_then(|c| c.get("storage")).and_then(|q| quantity::parse(q).ok());
        let capacity = capacity.map_or(0, |q| q.value());
        let modes = has.access_modes.as_deref().unwrap_or_default();
        let fits = available
            && volume.metadata.deletion_timestamp.is_none()
            && mode(&has.volume_mode) == mode(&spec.volume_mode)
            && capacity >= wanted
            && selector.as_ref().is_none_or(|s| s.matches(volume.metadata.labels.as_ref().unwrap_or(&Labels::new())))
            && spec.access_modes.iter().flatten().all(|m| modes.contains(m));
        if fits {
            let name = volume.metadata.name.clone().unwrap_or_default();
            found.push(Candidate { name, demand: demand_of(&volume), capacity, reserved: reserved == Some(true) });
        }
    }
    found.sort_by(|a, b| {
        b.reserved.cmp(&a.reserved).then(a.capacity.cmp(&b.capacity)).then_with(|| a.name.cmp(&b.name))
    });
    found
}

fn topologies(class: &StorageClass) -> Option<Topologies> {
    if class.provisioner.is_empty() || class.provisioner == NO_PROVISIONER {
        return None;
    }
    let terms = class.allowed_topologies.as_deref().unwrap_or_default().iter();
    let expressions = terms.map(|t| t.match_label_expressions.iter().flatten());
    Some(expressions.map(|all| all.map(|e| (e.key.clone(), e.values.clone())).collect()).collect())
}

fn allows(topologies: &Topologies, labels: &Labels) -> bool {
    let holds = |term: &Vec<(String, Vec<String>)>| {
        !term.is_empty() && term.iter().all(|(key, values)| labels.get(key).is_some_and(|v| values.contains(v)))
    };
    topologies.is_empty() || topologies.iter().any(holds)
}

//! A pod as the scheduler reads it: parsed once, when it is heard of, and shared.
use crate::affinity::{Affinities, AffinityTerm, Weighted};
use crate::requirement::{Labels, NodeDemand, NodeTerm, Requirement, Selector};
use crate::resources::{self, Resources, Weight};
use isopod_api::k8s::api::core::v1::{
    Affinity, ContainerPort, NodeAffinity, Pod, PodSpec, Toleration, TopologySpreadConstraint,
};
use isopod_reflect::Key;
use std::sync::Arc;

/// The condition by which a preempted pod is known (`v1.DisruptionTarget`), and its reason.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";
pub const PREEMPTED: &str = "PreemptionByScheduler";

/// A port of the node that a pod wants for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// `0.0.0.0` is every address.
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

pub const ANY_ADDRESS: &str = "0.0.0.0";

impl HostPort {
    fn new(port: &ContainerPort) -> Option<Self> {
        let number = port.host_port.filter(|p| *p > 0)?;
        let or = |text: &Option<String>, default: &str| {
            text.as_deref().filter(|t| !t.is_empty()).unwrap_or(default).to_owned()
        };
        Some(Self { ip: or(&port.host_ip, ANY_ADDRESS), protocol: or(&port.protocol, "TCP"), port: number })
    }

    /// Whether both cannot be on one node (`HostPortInfo.CheckConflict`).
    pub fn conflicts(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ANY_ADDRESS || other.ip == ANY_ADDRESS)
    }
}

/// A topology spread constraint, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    pub max_skew: i64,
    pub key: String,
    pub selector: Selector,
    pub min_domains: i64,
    /// Only nodes that the pod's selector and affinity accept are counted.
    pub honor_affinity: bool,
    /// Only nodes whose taints the pod tolerates are counted.
    pub honor_taints: bool,
}

/// A claim that a pod mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub name: String,
    /// Made by the ephemeral volume controller, owned by the pod.
    pub ephemeral: bool,
}

/// The controller that made a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub kind: String,
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct PodInfo {
    pub key: Key,
    pub uid: String,
    pub labels: Arc<Labels>,
    pub generation: Option<i64>,
    /// Empty: not bound yet.
    pub node: String,
    pub nominated: Option<String>,
    pub scheduler: String,
    pub priority: i32,
    /// False: `preemptionPolicy: Never`.
    pub preempts: bool,
    pub terminating: bool,
    /// Succeeded or Failed: takes nothing of its node any more.
    pub terminal: bool,
    /// Terminating because the scheduler wanted its room.
    pub preempted: bool,
    pub gated: bool,
    pub started: Option<jiff::Timestamp>,
    pub requests: Resources,
    pub weight: Weight,
    pub ports: Vec<HostPort>,
    pub tolerations: Vec<Toleration>,
    pub demand: NodeDemand,
    pub preferred_nodes: Vec<(i64, NodeTerm)>,
    pub affinity: Arc<Affinities>,
    pub hard_spread: Vec<Spread>,
    pub soft_spread: Vec<Spread>,
    /// Says itself how it is spread, so that the cluster's defaults do not apply.
    pub own_spread: bool,
    pub images: Vec<String>,
    pub containers: usize,
    pub claims: Vec<Claim>,
    pub owner: Option<Owner>,
}

impl PodInfo {
    pub fn new(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let status = pod.status.as_ref();
        let labels = meta.labels.clone().unwrap_or_default();
        let (requests, weight) = resources::of_pod(pod);
        let key = Key::of(meta);
        let terminating = meta.deletion_timestamp.is_some();
        let spread = spec.topology_spread_constraints.as_deref().unwrap_or_default();
        let affinity = spec.affinity.as_ref();
        let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation,
            node: spec.node_name.clone().unwrap_or_default(),
            nominated: status.and_then(|s| s.nominated_node_name.clone()).filter(|n| !n.is_empty()),
            scheduler: spec.scheduler_name.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            terminating,
            terminal: status.and_then(|s| s.phase.as_deref()).is_some_and(|p| p == "Succeeded" || p == "Failed"),
            preempted: terminating && was_preempted(pod),
            gated: spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()),
            started: status.and_then(|s| s.start_time.as_ref()).map(|t| t.0),
            requests,
            weight,
            ports: host_ports(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            demand: demand(spec),
            preferred_nodes: preferred_nodes(affinity.and_then(|a| a.node_affinity.as_ref())),
            affinity: Arc::new(affinities(affinity, &key, &labels)),
            hard_spread: spreads(spread, "DoNotSchedule", &labels),
            soft_spread: spreads(spread, "ScheduleAnyway", &labels),
            own_spread: !spread.is_empty(),
            images: containers().filter_map(|c| c.image.clone()).collect(),
            containers: containers().count(),
            claims: claims(spec, &key.name),
            owner: owner(pod),
            labels: Arc::new(labels),
            key,
        }
    }

    /// The same pod on a node: as it will be once the binding is observed.
    pub fn bound_to(&self, node: &str) -> Self {
        Self { node: node.to_owned(), ..self.clone() }
    }

    /// Whether it takes room on a node.
    pub fn is_placed(&self) -> bool {
        !self.node.is_empty() && !self.terminal
    }
}

fn was_preempted(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let target = conditions.iter().find(|c| c.type_ == DISRUPTION_TARGET);
    target.is_some_and(|c| c.status == "True" && c.reason.as_deref() == Some(PREEMPTED))
}

fn owner(pod: &Pod) -> Option<Owner> {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|o| o.controller == Some(true))?;
    Some(Owner { kind: owner.kind.clone(), name: owner.name.clone() })
}

/// Sidecars keep their ports; an init container's are free again before the pod runs (`schedutil.GetHostPorts`).
fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports.filter_map(HostPort::new).collect()
}

fn demand(spec: &PodSpec) -> NodeDemand {
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    NodeDemand {
        selector: spec.node_selector.clone().unwrap_or_default(),
        terms: required.map(|r| r.node_selector_terms.iter().filter_map(NodeTerm::new).collect()),
    }
}

fn preferred_nodes(affinity: Option<&NodeAffinity>) -> Vec<(i64, NodeTerm)> {
    let preferred = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
    let terms = preferred.unwrap_or_default().iter().filter(|p| p.weight != 0);
    terms.filter_map(|p| Some((i64::from(p.weight), NodeTerm::new(&p.preference)?))).collect()
}

fn affinities(affinity: Option<&Affinity>, key: &Key, labels: &Labels) -> Affinities {
    let term = |t| AffinityTerm::new(t, &key.namespace, labels);
    let mut all = Affinities::default();
    if let Some(near) = affinity.and_then(|a| a.pod_affinity.as_ref()) {
        let required = near.required_during_scheduling_ignored_during_execution.iter().flatten();
        let preferred = near.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        all.near = required.map(term).collect();
        all.rather_near = preferred.map(|w| Weighted::new(w, &key.namespace, labels)).collect();
    }
    if let Some(far) = affinity.and_then(|a| a.pod_anti_affinity.as_ref()) {
        let required = far.required_during_scheduling_ignored_during_execution.iter().flatten();
        let preferred = far.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        all.far = required.map(term).collect();
        all.rather_far = preferred.map(|w| Weighted::new(w, &key.namespace, labels)).collect();
    }
    all
}

/// `matchLabelKeys` narrow the selector to pods that share the pod's own values (KEP-3243).
fn spreads(constraints: &[TopologySpreadConstraint], action: &str, labels: &Labels) -> Vec<Spread> {
    let wanted = constraints.iter().filter(|c| c.when_unsatisfiable == action);
    wanted
        .map(|c| {
            let mut selector = Selector::new(c.label_selector.as_ref());
            for key in c.match_label_keys.iter().flatten() {
                if let Some(value) = labels.get(key) {
                    selector.and(Requirement::equals(key, value));
                }
            }
            Spread {
                max_skew: i64::from(c.max_skew),
                key: c.topology_key.clone(),
                selector,
                min_domains: c.min_domains.map_or(1, i64::from),
                honor_affinity: c.node_affinity_policy.as_deref().unwrap_or("Honor") == "Honor",
                honor_taints: c.node_taints_policy.as_deref().unwrap_or("Ignore") == "Honor",
            }
        })
        .collect()
}

fn claims(spec: &PodSpec, pod: &str) -> Vec<Claim> {
    let volumes = spec.volumes.iter().flatten();
    volumes
        .filter_map(|v| match (&v.persistent_volume_claim, &v.ephemeral) {
            (Some(claim), _) => Some(Claim { name: claim.claim_name.clone(), ephemeral: false }),
            (None, Some(_)) => Some(Claim { name: format!("{pod}-{}", v.name), ephemeral: true }),
            (None, None) => None,
        })
        .collect()
}

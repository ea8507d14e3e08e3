//! Filters: which nodes can take a pod at all, and in Kubernetes' words why the others cannot.
//!
//! [`Cycle::new`] is what the scheduling framework calls PreFilter, [`Cycle::check`] is Filter. The order of the plugins is that
//! of `pkg/scheduler/apis/config/v1/default_plugins.go`; the first to say no ends the matter for a node.
mod affinity;
mod fit;
mod node;
pub(crate) mod spread;

use crate::cluster::{Cluster, NodeInfo};
use crate::pod::PodInfo;
use crate::volumes::VolumeNeeds;
use std::borrow::Cow;

/// Who said no. A pod waits until something happens that the ones who refused it care about (see `queue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Plugin {
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    VolumeBinding,
    PodTopologySpread,
    InterPodAffinity,
}

impl Plugin {
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeUnschedulable => "NodeUnschedulable",
            Self::NodeName => "NodeName",
            Self::TaintToleration => "TaintToleration",
            Self::NodeAffinity => "NodeAffinity",
            Self::NodePorts => "NodePorts",
            Self::NodeResourcesFit => "NodeResourcesFit",
            Self::VolumeRestrictions => "VolumeRestrictions",
            Self::VolumeBinding => "VolumeBinding",
            Self::PodTopologySpread => "PodTopologySpread",
            Self::InterPodAffinity => "InterPodAffinity",
        }
    }
}

/// Why a node, or every node, is not for this pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub plugin: Plugin,
    /// Whether removing pods from the node could change it (`Unschedulable`, not `UnschedulableAndUnresolvable`).
    pub resolvable: bool,
    pub reasons: Vec<Cow<'static, str>>,
}

impl Rejection {
    pub(crate) fn final_(plugin: Plugin, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { plugin, resolvable: false, reasons: vec![reason.into()] }
    }
    pub(crate) fn resolvable(plugin: Plugin, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { plugin, resolvable: true, reasons: vec![reason.into()] }
    }
}

/// What one decision needs to know of the whole cluster, computed once for all nodes.
pub struct Cycle<'a> {
    cluster: &'a Cluster,
    pod: &'a PodInfo,
    volumes: &'a VolumeNeeds,
    affinity: affinity::State<'a>,
    spread: spread::State<'a>,
}

impl<'a> Cycle<'a> {
    pub fn new(cluster: &'a Cluster, pod: &'a PodInfo, volumes: &'a VolumeNeeds) -> Self {
        let affinity = affinity::State::new(cluster, pod);
        let spread = spread::State::new(cluster, pod);
        Self { cluster, pod, volumes, affinity, spread }
    }

    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// Whether the node can take the pod.
    pub fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let pod = self.pod;
        node::unschedulable(pod, node)?;
        node::name(pod, node)?;
        node::taints(pod, node)?;
        node::affinity(pod, node)?;
        fit::ports(pod, node)?;
        fit::resources(pod, node)?;
        self.volumes.check(node)?;
        self.spread.check(node)?;
        self.affinity.check(node)
    }
}

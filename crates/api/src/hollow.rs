//! Nodes that only simulate their pods: nobody is at their addresses, or somebody else is, so nothing is ever sent there.
use crate::k8s::api::core::v1::Node;

/// Marks them.
pub const LABEL: &str = "isopod.dev/hollow";
/// Why something cannot be had of one of their pods.
pub const SIMULATED: &str = "the pod is only simulated (its node is hollow): it has no logs, no files and no processes";

pub fn is_hollow(node: &Node) -> bool {
    node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL))
}

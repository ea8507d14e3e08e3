//! NodeRestriction: a node agent touches its own node, lease and pods, and nobody else's
//! (`plugin/pkg/admission/noderestriction`).
use super::{Admission, Attributes, Operation};
use async_trait::async_trait;
use isopod_api::catalogue::Object;
use isopod_api::k8s::api::core::v1::Pod;
use isopod_api::status::ApiError;

pub struct NodeRestriction;

/// The node a user is, by its name and group.
fn node_of<'a>(a: &'a Attributes<'_>) -> Option<&'a str> {
    let is_node = a.user.groups.iter().any(|g| g == "system:nodes");
    a.user.name.strip_prefix("system:node:").filter(|_| is_node)
}

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        node_of(a).is_some()
    }
    async fn validate(
        &self,
        object: Option<&dyn Object>,
        old: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let Some(node) = node_of(a) else { return Ok(()) };
        match (a.kind.group, a.kind.plural) {
            ("", "pods") => pod(node, object, old, a),
            ("", "nodes") if a.name != node => {
                Err(a.forbidden(format!("node \"{node}\" is not allowed to modify node \"{}\"", a.name)))
            }
            ("coordination.k8s.io", "leases") if a.namespace != "kube-node-lease" || a.name != node => Err(
                a.forbidden(format!("can only access node lease with the same name as the requesting node ({node})"))
            ),
            _ => Ok(()),
        }
    }
}

fn pod(node: &str, object: Option<&dyn Object>, old: Option<&dyn Object>, a: &Attributes<'_>) -> Result<(), ApiError> {
    let mirror = |pod: &Pod| {
        pod.metadata.annotations.as_ref().is_some_and(|m| m.contains_key(super::rules::service_account::MIRROR))
    };
    let placed = old.or(object).and_then(|o| o.downcast::<Pod>());
    let assigned = placed.and_then(|p| p.spec.as_ref()).and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    match a.operation {
        Operation::Create if a.subresource == "eviction" && assigned == node => Ok(()),
        Operation::Create if !placed.is_some_and(mirror) => Err(a.forbidden(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node can only create mirror pods",
        )),
        _ if assigned == node => Ok(()),
        Operation::Update => Err(a.forbidden(format!(
            "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
        ))),
        Operation::Delete => {
            Err(a.forbidden(format!("node \"{node}\" can only delete pods with spec.nodeName set to itself")))
        }
        Operation::Create | Operation::Connect => {
            Err(a.forbidden(format!("node \"{node}\" can only create pods with spec.nodeName set to itself")))
        }
    }
}

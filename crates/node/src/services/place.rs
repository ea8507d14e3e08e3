//! [`Place`]: where this node stands, kept true by the mirror of Nodes.
use super::topology::Here;
use isopod_reflect::{Change, Reflectors, Subscription};
use k8s_openapi::api::core::v1::Node;

const ZONE: &str = "topology.kubernetes.io/zone";

/// This node's name and zone.
pub struct Place {
    here: Here,
    of_nodes: Subscription<Node>,
}

impl Place {
    /// Nothing waits for the mirror: as long as this node's zone is not known, no endpoint is preferred for it.
    pub fn of(node: &str, reflectors: &Reflectors) -> Self {
        let here = Here { node: node.to_owned(), zone: None };
        Self { here, of_nodes: reflectors.of::<Node>().subscribe() }
    }

    pub fn here(&self) -> &Here {
        &self.here
    }

    /// Resolves when the zone is another one; false at the end of the mirror. Dropped in between, it loses nothing.
    pub async fn moved(&mut self) -> bool {
        while let Some(batch) = self.of_nodes.next_batch().await {
            if self.take(&batch) {
                return true;
            }
        }
        false
    }

    fn take(&mut self, batch: &[Change<Node>]) -> bool {
        let own = batch.iter().find(|change| *change.key.name == *self.here.node);
        let zone = |node: &Node| node.metadata.labels.as_ref()?.get(ZONE).filter(|zone| !zone.is_empty()).cloned();
        let Some(change) = own else { return false };
        let now = change.new.as_deref().and_then(zone);
        std::mem::replace(&mut self.here.zone, now) != self.here.zone
    }
}

//! What the planner asks of objects other than pods and nodes, looked up in the shared mirrors.
use crate::pod::PodInfo;
use crate::preempt::Budget;
use crate::requirement::Selector;
use crate::volumes::VolumeView;
use isopod_api::k8s::api::apps::v1::{ReplicaSet, StatefulSet};
use isopod_api::k8s::api::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use isopod_api::k8s::api::policy::v1::PodDisruptionBudget;
use isopod_api::k8s::api::storage::v1::StorageClass;
use isopod_reflect::{Reflector, Reflectors};
use std::sync::Arc;
use std::time::Duration;

/// How long mirrors may take to fill before that is said aloud.
const PATIENCE: Duration = Duration::from_secs(10);
/// Name of the index of pods by the claims they mount.
const BY_CLAIM: &str = "scheduler-claim";

fn claims_of(pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes
        .filter_map(|v| v.persistent_volume_claim.as_ref())
        .map(|c| format!("{namespace}/{}", c.claim_name))
        .collect()
}

/// The mirrors that the scheduler reads.
#[derive(Clone)]
pub struct View {
    pub pods: Reflector<Pod>,
    pub nodes: Reflector<Node>,
    pub namespaces: Reflector<Namespace>,
    pub claims: Reflector<PersistentVolumeClaim>,
    pub volumes: Reflector<PersistentVolume>,
    pub classes: Reflector<StorageClass>,
    services: Reflector<Service>,
    replica_sets: Reflector<ReplicaSet>,
    replication_controllers: Reflector<ReplicationController>,
    stateful_sets: Reflector<StatefulSet>,
    budgets: Reflector<PodDisruptionBudget>,
}

impl View {
    pub fn new(reflectors: &Reflectors) -> Self {
        let pods = reflectors.of::<Pod>();
        pods.add_index(BY_CLAIM, claims_of);
        Self {
            pods,
            nodes: reflectors.of(),
            namespaces: reflectors.of(),
            claims: reflectors.of(),
            volumes: reflectors.of(),
            classes: reflectors.of(),
            services: reflectors.of(),
            replica_sets: reflectors.of(),
            replication_controllers: reflectors.of(),
            stateful_sets: reflectors.of(),
            budgets: reflectors.of(),
        }
    }

    /// All that a decision may depend on has been seen once.
    pub async fn synced(&self) {
        tokio::join!(
            self.pods.synced(),
            self.nodes.synced(),
            self.namespaces.synced(),
            self.claims.synced(),
            self.volumes.synced(),
            self.classes.synced(),
            self.services.synced(),
            self.replica_sets.synced(),
            self.replication_controllers.synced(),
            self.stateful_sets.synced(),
            self.budgets.synced(),
        );
    }

    /// Says, for as long as it is not [`synced`](Self::synced), which mirrors are missing. Never returns.
    pub async fn complain(&self) {
        loop {
            tokio::time::sleep(PATIENCE).await;
            let mirrors = [
                ("pods", self.pods.is_synced()),
                ("nodes", self.nodes.is_synced()),
                ("namespaces", self.namespaces.is_synced()),
                ("persistentvolumeclaims", self.claims.is_synced()),
                ("persistentvolumes", self.volumes.is_synced()),
                ("storageclasses", self.classes.is_synced()),
                ("services", self.services.is_synced()),
                ("replicasets", self.replica_sets.is_synced()),
                ("replicationcontrollers", self.replication_controllers.is_synced()),
                ("statefulsets", self.stateful_sets.is_synced()),
                ("poddisruptionbudgets", self.budgets.is_synced()),
            ];
            let missing: Vec<&str> = mirrors.iter().filter(|(_, synced)| !synced).map(|(name, _)| *name).collect();
            tracing::warn!(?missing, "the scheduler cannot begin: it has not seen these yet");
        }
    }

    /// Selects the pods that this one is spread among by default (`helper.DefaultSelector`): all that its Services select, and
    /// what its controller selects.
    pub fn siblings(&self, pod: &PodInfo) -> Option<Selector> {
        if pod.own_spread {
            return None;
        }
        let mut selector = self.owners_selector(pod).unwrap_or_else(|| Selector::All(Vec::new()));
        for service in self.services.list_in(&pod.key.namespace) {
            let Some(labels) = service.spec.as_ref().and_then(|s| s.selector.as_ref()) else { continue };
            let selects = Selector::of_map(labels);
            if selects.matches(&pod.labels) {
                selector.and_all(selects);
            }
        }
        (!selector.is_empty()).then_some(selector)
    }

    fn owners_selector(&self, pod: &PodInfo) -> Option<Selector> {
        let owner = pod.owner.as_ref()?;
        let (namespace, name) = (&*pod.key.namespace, &*owner.name);
        match &*owner.kind {
            "ReplicaSet" => {
                let owner = self.replica_sets.get(namespace, name)?;
                Some(Selector::new(Some(&owner.spec.selector)))
            }
            "StatefulSet" => {
                let owner = self.stateful_sets.get(namespace, name)?;
                Some(Selector::new(Some(&owner.spec.selector)))
            }
            "ReplicationController" => {
                let owner = self.replication_controllers.get(namespace, name)?;
                Some(Selector::of_map(owner.spec.as_ref()?.selector.as_ref()?))
            }
            _ => None,
        }
    }

    pub fn budgets(&self) -> Vec<Budget> {
        let budget = |b: &PodDisruptionBudget| {
            let status = b.status.as_ref();
            Budget {
                namespace: b.metadata.namespace.clone().unwrap_or_default(),
                selector: Selector::new(b.spec.as_ref().and_then(|s| s.selector.as_ref())),
                allowed: status.and_then(|s| s.disruptions_allowed).map_or(0, i64::from),
                disrupted: status
                    .iter()
                    .flat_map(|s| s.disrupted_pods.iter().flatten())
                    .map(|(k, _)| k.clone())
                    .collect(),
            }
        };
        self.budgets.list().iter().map(|b| budget(b)).collect()
    }
}

impl VolumeView for View {
    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(namespace, name)
    }
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get("", name)
    }
    fn volumes_of_class(&self, class: &str) -> Vec<Arc<PersistentVolume>> {
        let of = |v: &PersistentVolume| v.spec.as_ref().and_then(|s| s.storage_class_name.clone()).unwrap_or_default();
        self.volumes.list().into_iter().filter(|v| of(v) == class).collect()
    }
    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.classes.get("", name)
    }
    fn claim_users(&self, namespace: &str, claim: &str, except_uid: &str) -> usize {
        let users = self.pods.by_index(BY_CLAIM, &format!("{namespace}/{claim}"));
        users.iter().map(|p| PodInfo::new(p)).filter(|p| p.is_placed() && p.uid != except_uid).count()
    }
}

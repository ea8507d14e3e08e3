//! Carries it out: woken by budgets, pods and the sizes of what owns them.
use super::plan::{self, Scale, View};
use crate::pod::controller_of;
use crate::replicaset::Subject;
use crate::replicaset::plan::until;
use crate::{Spawner, write};
use isopod_api::selector::Selector;
use isopod_reflect::{Backoff, Expectations, Key, Queue, Reflector, Verdict};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "disruption-controller";
const WORKERS: usize = 4;
/// Pod events are taken together for this long; an eviction meanwhile is checked against the status' version.
const GATHER: Duration = Duration::from_millis(20);

struct Controller {
    client: kube::Client,
    budgets: Reflector<PodDisruptionBudget>,
    pods: Reflector<Pod>,
    sets: Reflector<ReplicaSet>,
    deployments: Reflector<Deployment>,
    replication: Reflector<ReplicationController>,
    stateful: Reflector<StatefulSet>,
    expected: Expectations<Key>,
    queue: Arc<Queue<Key>>,
}

fn selector(budget: &PodDisruptionBudget) -> Selector {
    let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    Selector::from_label_selector(selector).unwrap_or(Selector::Nothing)
}

/// Runs the disruption controller.
pub fn disruption(spawner: &Spawner) {
    let queue = Queue::new(Backoff::RETRY);
    let controller = Arc::new(Controller {
        client: spawner.client(NAME),
        budgets: spawner.reflectors.of(),
        pods: spawner.reflectors.of(),
        sets: spawner.reflectors.of(),
        deployments: spawner.reflectors.of(),
        replication: spawner.reflectors.of(),
        stateful: spawner.reflectors.of(),
        expected: Expectations::default(),
        queue: Arc::clone(&queue),
    });
    spawner.follow(&controller.budgets, {
        let queue = Arc::clone(&queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.follow(&controller.pods, {
        let controller = Arc::clone(&controller);
        move |change| {
            for pod in change.old.iter().chain(&change.new) {
                controller.wake_for(&pod.metadata);
            }
        }
    });
    // Another size of an owner is another number of pods expected.
    spawner.follow(&controller.deployments, {
        let controller = Arc::clone(&controller);
        move |change| {
            let size = |d: &Option<Arc<Deployment>>| d.as_ref().map(|d| d.spec.replicas);
            if size(&change.old) != size(&change.new) {
                controller.wake_namespace(&change.key.namespace);
            }
        }
    });
    spawner.follow(&controller.sets, {
        let controller = Arc::clone(&controller);
        move |change| {
            let size = |rs: &Option<Arc<ReplicaSet>>| rs.as_ref().map(|rs| rs.spec.replicas);
            if size(&change.old) != size(&change.new) {
                controller.wake_namespace(&change.key.namespace);
            }
        }
    });
    let mirrors =
        (controller.budgets.clone(), controller.pods.clone(), controller.sets.clone(), controller.deployments.clone());
    spawner.work(queue, WORKERS, mirrors, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

impl Controller {
    fn wake_for(&self, pod: &ObjectMeta) {
        let none = BTreeMap::new();
        for budget in self.budgets.list_in(pod.namespace.as_deref().unwrap_or("")) {
            if selector(&budget).matches(pod.labels.as_ref().unwrap_or(&none)) {
                self.queue.add_after(Key::of(&budget.metadata), GATHER);
            }
        }
    }

    fn wake_namespace(&self, namespace: &str) {
        for budget in self.budgets.list_in(namespace) {
            self.queue.add_after(Key::of(&budget.metadata), GATHER);
        }
    }

    async fn reconcile(&self, key: &Key) -> Verdict {
        let Some(budget) = self.budgets.get(&key.namespace, &key.name) else {
            self.expected.forget(key);
            return Verdict::Done;
        };
        if self.expected.outstanding(key, &self.budgets) {
            return Verdict::Done;
        }
        let (selector, none) = (selector(&budget), BTreeMap::new());
        let mut pods = self.pods.list_in(&key.namespace);
        pods.retain(|p| selector.matches(p.metadata.labels.as_ref().unwrap_or(&none)));
        let scale = self.scale(&key.namespace, &pods);
        let now = Timestamp::now();
        let (status, look_again) = plan::plan(&View { budget: &budget, pods: &pods, scale: &scale, now });
        let done = look_again.map_or(Verdict::Done, |at| Verdict::After(until(at, now)));
        if budget.status.as_ref() == Some(&status) {
            return done;
        }
        let new = PodDisruptionBudget { status: Some(status), ..(*budget).clone() };
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.replace_status(&key.name, &PostParams::default(), &new).await {
            Ok(written) => {
                self.expected.wrote(key, &written.metadata);
                done
            }
            Err(e) if write::is_gone(&e) => Verdict::Done,
            Err(error) => {
                tracing::debug!(%key, %error, "budget not written");
                Verdict::Retry
            }
        }
    }

    /// The sizes of all owners of the pods, each counted once (`getExpectedScale`). Pods without an owner do not count.
    fn scale(&self, namespace: &str, pods: &[Arc<Pod>]) -> Scale {
        let (mut owners, mut total) = (HashSet::new(), 0);
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else { continue };
            let (uid, size) = self.size(namespace, owner)?;
            if owners.insert(uid) {
                total += size;
            }
        }
        Ok(total)
    }

    fn size(&self, namespace: &str, owner: &OwnerReference) -> Result<(String, i64), String> {
        let missing = || format!("found no controllers for pod owner {} \"{}\"", owner.kind, owner.name);
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = self.sets.get(namespace, &owner.name).filter(|s| s.uid() == owner.uid).ok_or_else(missing)?;
                let deployment = controller_of(&set.metadata).filter(|o| o.kind == "Deployment").and_then(|o| {
                    self.deployments.get(namespace, &o.name).filter(|d| d.metadata.uid.as_ref() == Some(&o.uid))
                });
                Ok(match deployment {
                    Some(d) => (d.metadata.uid.clone().unwrap_or_default(), d.spec.replicas.unwrap_or(1).into()),
                    None => (owner.uid.clone(), set.replicas().into()),
                })
            }
            "ReplicationController" => {
                let found = self.replication.get(namespace, &owner.name).ok_or_else(missing)?;
                Ok((owner.uid.clone(), found.replicas().into()))
            }
            "StatefulSet" => {
                let found = self.stateful.get(namespace, &owner.name).ok_or_else(missing)?;
                Ok((owner.uid.clone(), found.spec.replicas.unwrap_or(1).into()))
            }
            _ => Err(missing()),
        }
    }
}

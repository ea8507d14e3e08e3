//! Carries it out: deletes content kind by kind, pods first, and takes the namespace's finalizer away when nothing is left.
use super::plan::{self, Outcome};
use crate::kinds::{Kind, Kinds};
use crate::{Error, Spawner, write};
use isopod_reflect::{Backoff, Key, Queue, Reflector, Reflectors, Verdict};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "namespace-controller";
/// The namespace's own finalizer (`corev1.FinalizerKubernetes`).
const FINALIZER: &str = "kubernetes";
const WORKERS: usize = 8;
/// Objects that go bring a pass each; a moment gathers them.
const GATHER: Duration = Duration::from_millis(50);
/// Content that nobody tells us about (kinds without watch): Kubernetes estimates as much (`finalizerEstimateSeconds`).
const LOOK_AGAIN: Duration = Duration::from_secs(15);

struct Controller {
    client: kube::Client,
    namespaces: Reflector<Namespace>,
    kinds: Kinds,
    queue: Arc<Queue<Key>>,
    followed: Mutex<HashSet<(String, String)>>,
    reflectors: Reflectors,
}

/// Runs the namespace controller.
pub fn namespaces(spawner: &Spawner, kinds: &Kinds) {
    let queue = Queue::new(Backoff::RETRY);
    let controller = Arc::new(Controller {
        client: spawner.client(NAME),
        namespaces: spawner.reflectors.of(),
        kinds: kinds.clone(),
        queue: Arc::clone(&queue),
        followed: Mutex::default(),
        reflectors: spawner.reflectors.clone(),
    });
    spawner.follow(&controller.namespaces, {
        let queue = Arc::clone(&queue);
        move |change| {
            if change.new.as_ref().is_some_and(|n| n.metadata.deletion_timestamp.is_some()) {
                queue.add(change.key.clone());
            }
        }
    });
    spawner.work(queue, WORKERS, controller.namespaces.clone(), move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

impl Controller {
    async fn reconcile(self: &Arc<Self>, key: &Key) -> Verdict {
        let Some(namespace) = self.namespaces.get("", &key.name) else { return Verdict::Done };
        if namespace.metadata.deletion_timestamp.is_none() {
            return Verdict::Done;
        }
        match self.delete(&namespace, &key.name).await {
            Ok(true) => Verdict::Done,
            Ok(false) => Verdict::After(LOOK_AGAIN),
            Err(error) => {
                tracing::debug!(%key, %error, "namespace not deleted yet");
                Verdict::Retry
            }
        }
    }

    /// One round; whether nothing is left to do.
    async fn delete(self: &Arc<Self>, namespace: &Namespace, name: &str) -> Result<bool, Error> {
        let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.clone()).unwrap_or_default();
        if !finalizers.iter().any(|f| f == FINALIZER) {
            return Ok(true);
        }
        let kinds = self.kinds.known().await;
        let outcome = self.delete_content(&kinds, name).await;
        if !outcome.is_done() {
            self.write_status(namespace, name, &outcome).await?;
            return if outcome.errors.is_empty() {
                Ok(false)
            } else {
                Err(Error::Remaining(outcome.errors.join(", ")))
            };
        }
        let mut new = namespace.clone();
        if let Some(spec) = &mut new.spec {
            spec.finalizers = Some(finalizers.into_iter().filter(|f| f != FINALIZER).collect());
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api.replace_subresource::<Namespace>("finalize", name, &PostParams::default(), &new).await {
            Ok(_) => Ok(true),
            Err(e) if write::is_gone(&e) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    /// Pods go before everything else (KEP-5080): what they use must not vanish under them.
    async fn delete_content(self: &Arc<Self>, kinds: &[Kind], name: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let is_pods = |k: &&Kind| k.qualified() == "pods";
        let content = |k: &&Kind| k.namespaced && k.can("delete");
        for kind in kinds.iter().filter(content).filter(is_pods) {
            self.delete_kind(kind, name, &mut outcome).await;
        }
        if !outcome.is_done() {
            return outcome;
        }
        for kind in kinds.iter().filter(content).filter(|k| !is_pods(k)) {
            self.delete_kind(kind, name, &mut outcome).await;
        }
        outcome
    }

    async fn delete_kind(self: &Arc<Self>, kind: &Kind, namespace: &str, outcome: &mut Outcome) {
        let result = self.try_delete_kind(kind, namespace, outcome).await;
        if let Err(error) = result {
            outcome.errors.push(write::words(&error));
        }
    }

    async fn try_delete_kind(
        self: &Arc<Self>,
        kind: &Kind,
        namespace: &str,
        outcome: &mut Outcome,
    ) -> Result<(), kube::Error> {
        let api = kind.api(&self.client, namespace);
        let present = api.list_metadata(&ListParams::default().limit(1)).await?;
        if present.items.is_empty() {
            return Ok(());
        }
        if kind.can("deletecollection") {
            api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        } else {
            for object in api.list_metadata(&ListParams::default()).await?.items {
                let deleted =
                    api.delete(object.metadata.name.as_deref().unwrap_or(""), &DeleteParams::background()).await;
                deleted.map(drop).or_else(|e| if write::is_gone(&e) { Ok(()) } else { Err(e) })?;
            }
        }
        let left = api.list_metadata(&ListParams::default()).await?.items;
        if left.is_empty() {
            return Ok(());
        }
        outcome.left.insert(kind.dotted(), left.len());
        for finalizer in left.iter().flat_map(|o| o.metadata.finalizers.iter().flatten()) {
            *outcome.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        self.wake_when_gone(kind);
        Ok(())
    }

    /// What is left will go by itself (pods stop, finalizers are taken away): each object that goes wakes its namespace.
    fn wake_when_gone(self: &Arc<Self>, kind: &Kind) {
        let id = (kind.resource.group.clone(), kind.resource.plural.clone());
        if !kind.can("watch") || !self.followed.lock().insert(id.clone()) {
            return;
        }
        let mut changes = self.reflectors.metadata(&kind.resource).subscribe_meta();
        let controller = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(batch) = changes.next_batch_meta().await {
                let Some(controller) = controller.upgrade() else { return };
                for change in batch.iter().filter(|c| c.new.is_none()) {
                    let namespace = Key::new("", &change.key.namespace);
                    let leaving = controller.namespaces.get("", &change.key.namespace);
                    if leaving.is_some_and(|n| n.metadata.deletion_timestamp.is_some()) {
                        controller.queue.add_after(namespace, GATHER);
                    }
                }
            }
            if let Some(controller) = controller.upgrade() {
                controller.followed.lock().remove(&id);
            }
        });
    }

    async fn write_status(&self, namespace: &Namespace, name: &str, outcome: &Outcome) -> Result<(), Error> {
        let old = namespace.status.clone().unwrap_or_default();
        let status = plan::status(&old, outcome, Timestamp::now());
        if status == old {
            return Ok(());
        }
        let new = Namespace { status: Some(status), ..namespace.clone() };
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api.replace_status(name, &PostParams::default(), &new).await {
            Ok(_) => Ok(()),
            Err(e) if write::is_gone(&e) || write::is_conflict(&e) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

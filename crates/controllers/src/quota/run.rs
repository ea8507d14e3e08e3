//! Carries it out: woken by quotas, and by objects that go or end.
use super::plan::{self, Content};
use crate::kinds::Kinds;
use crate::pod::is_terminal;
use crate::{Spawner, write};
use isopod_reflect::{Backoff, Expectations, HasMeta, Key, Queue, Reflector, Reflectors, Verdict};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "resourcequota-controller";
const WORKERS: usize = 4;
/// Counting waits a moment after a change: admission has charged objects that the mirrors do not show yet, and counting without
/// them would give their place away twice.
const GATHER: Duration = Duration::from_millis(250);

struct Controller {
    client: kube::Client,
    quotas: Reflector<ResourceQuota>,
    pods: Reflector<Pod>,
    services: Reflector<Service>,
    claims: Reflector<PersistentVolumeClaim>,
    reflectors: Reflectors,
    kinds: Kinds,
    followed: Mutex<HashSet<String>>,
    expected: Expectations<Key>,
    queue: Arc<Queue<Key>>,
}

/// Runs the quota controller.
pub fn resource_quotas(spawner: &Spawner, kinds: &Kinds) {
    let queue = Queue::new(Backoff::RETRY);
    let controller = Arc::new(Controller {
        client: spawner.client(NAME),
        quotas: spawner.reflectors.of(),
        pods: spawner.reflectors.of(),
        services: spawner.reflectors.of(),
        claims: spawner.reflectors.of(),
        reflectors: spawner.reflectors.clone(),
        kinds: kinds.clone(),
        followed: Mutex::default(),
        expected: Expectations::default(),
        queue: Arc::clone(&queue),
    });
    spawner.follow(&controller.quotas, {
        let queue = Arc::clone(&queue);
        move |change| {
            // A charge by admission is not ours to look at: only what bounds, and a quota nobody has counted yet.
            let spec = |q: &Option<Arc<ResourceQuota>>| q.as_ref().map(|q| q.spec.clone());
            if spec(&change.old) != spec(&change.new) {
                queue.add(change.key.clone());
            }
        }
    });
    spawner.follow(&controller.pods, {
        let controller = Arc::clone(&controller);
        move |change| {
            let ended = |p: &Option<Arc<Pod>>| p.as_ref().is_none_or(|p| is_terminal(p));
            if change.old.is_some() && ended(&change.new) && !ended(&change.old) {
                controller.wake(&change.key.namespace);
            }
        }
    });
    follow_all(spawner, &controller, &controller.services);
    follow_all(spawner, &controller, &controller.claims);
    let mirrors =
        (controller.quotas.clone(), controller.pods.clone(), controller.services.clone(), controller.claims.clone());
    spawner.work(queue, WORKERS, mirrors, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

fn follow_all<K: HasMeta>(spawner: &Spawner, controller: &Arc<Controller>, mirror: &Reflector<K>) {
    let controller = Arc::clone(controller);
    spawner.follow(mirror, move |change| {
        if change.old.is_some() {
            controller.wake(&change.key.namespace);
        }
    });
}

impl Controller {
    fn wake(&self, namespace: &str) {
        for quota in self.quotas.list_in(namespace) {
            self.queue.add_after(Key::of(&quota.metadata), GATHER);
        }
    }

    async fn reconcile(self: &Arc<Self>, key: &Key) -> Verdict {
        let Some(quota) = self.quotas.get(&key.namespace, &key.name) else {
            self.expected.forget(key);
            return Verdict::Done;
        };
        if self.expected.outstanding(key, &self.quotas) {
            return Verdict::After(GATHER);
        }
        let mut content = Content {
            pods: self.pods.list_in(&key.namespace),
            services: self.services.list_in(&key.namespace),
            claims: self.claims.list_in(&key.namespace),
            ..Content::default()
        };
        for name in plan::others(&quota) {
            if let Some(number) = self.count(&name, &key.namespace).await {
                content.others.insert(name, number);
            }
        }
        let status = plan::plan(&quota, &content);
        if quota.status.as_ref() == Some(&status) {
            return Verdict::Done;
        }
        let new = ResourceQuota { status: Some(status), ..(*quota).clone() };
        let api: Api<ResourceQuota> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.replace_status(&key.name, &PostParams::default(), &new).await {
            Ok(written) => {
                self.expected.wrote(key, &written.metadata);
                Verdict::Done
            }
            Err(e) if write::is_gone(&e) => Verdict::Done,
            Err(error) => {
                // Admission charged it meanwhile: count again.
                tracing::debug!(%key, %error, "quota not written");
                Verdict::Retry
            }
        }
    }

    /// Objects of a kind in a namespace; `None`: no such kind is served.
    async fn count(self: &Arc<Self>, name: &str, namespace: &str) -> Option<usize> {
        let kinds = self.kinds.known().await;
        let kind = kinds.iter().find(|k| k.namespaced && k.qualified() == name && k.can("watch"))?;
        let mirror = self.reflectors.metadata(&kind.resource);
        mirror.synced_meta().await;
        if self.followed.lock().insert(name.to_owned()) {
            let (controller, mut changes) = (Arc::downgrade(self), mirror.subscribe_meta());
            tokio::spawn(async move {
                while let Some(batch) = changes.next_batch_meta().await {
                    let Some(controller) = controller.upgrade() else { return };
                    for change in batch.iter().filter(|c| c.old.is_some() && c.new.is_none()) {
                        controller.wake(&change.key.namespace);
                    }
                }
            });
        }
        Some(mirror.list_meta_in(namespace).len())
    }
}

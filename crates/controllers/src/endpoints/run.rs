//! Carries it out: watches Services, pods and Endpoints.
use super::plan;
use crate::endpointslice::services_of;
use crate::{Spawner, write};
use isopod_reflect::{Backoff, Expectations, Key, Queue, Reflector, Verdict};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::api::{Api, PostParams};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "endpoint-controller";
const WORKERS: usize = 4;
/// Nobody waits for this older form: pod events are taken together for longer (`--endpoint-updates-batch-period` exists for it).
const GATHER: Duration = Duration::from_millis(100);

/// Runs the Endpoints controller.
pub fn endpoints(spawner: &Spawner) {
    let queue: Arc<Queue<Key>> = Queue::new(Backoff::RETRY);
    let client = spawner.client(NAME);
    let (services, pods, endpoints): (Reflector<Service>, Reflector<Pod>, Reflector<Endpoints>) =
        (spawner.reflectors.of(), spawner.reflectors.of(), spawner.reflectors.of());
    spawner.follow(&services, {
        let queue = Arc::clone(&queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.follow(&endpoints, {
        let queue = Arc::clone(&queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.follow(&pods, {
        let (queue, services) = (Arc::clone(&queue), services.clone());
        move |change| {
            for key in services_of(&services, change.old.iter().chain(&change.new)) {
                queue.add_after(key, GATHER);
            }
        }
    });
    let expected: Arc<Expectations<Key>> = Arc::default();
    let mirrors = (services.clone(), pods.clone(), endpoints.clone());
    spawner.work(queue, WORKERS, mirrors, move |key: Key| {
        let (client, services, pods, endpoints) = (client.clone(), services.clone(), pods.clone(), endpoints.clone());
        let expected = Arc::clone(&expected);
        async move {
            if expected.outstanding(&key, &endpoints) {
                return Verdict::Done;
            }
            let existing = endpoints.get(&key.namespace, &key.name);
            let Some(service) = services.get(&key.namespace, &key.name) else {
                expected.forget(&key);
                return Verdict::Done;
            };
            let selects = service.spec.as_ref().and_then(|s| s.selector.as_ref()).is_some_and(|s| !s.is_empty());
            let pods = if selects { pods.list_in(&key.namespace) } else { Vec::new() };
            let Some(wanted) = plan::plan(&service, &pods, existing.as_deref()) else { return Verdict::Done };
            let api: Api<Endpoints> = Api::namespaced(client, &key.namespace);
            let written = match existing {
                Some(_) => api.replace(&key.name, &PostParams::default(), &wanted).await,
                None => api.create(&PostParams::default(), &wanted).await,
            };
            match written {
                Ok(written) => {
                    expected.wrote(&key, &written.metadata);
                    Verdict::Done
                }
                Err(e) if write::namespace_terminating(&e) || write::is_gone(&e) => Verdict::Done,
                Err(error) => {
                    tracing::debug!(%key, %error, "endpoints not written");
                    Verdict::Retry
                }
            }
        }
    });
    // Endpoints of a deleted Service have no owner: they go with it, by name (`syncService`).
    spawn_removal(spawner);
}

fn spawn_removal(spawner: &Spawner) {
    let queue: Arc<Queue<Key>> = Queue::new(Backoff::RETRY);
    let client = spawner.client(NAME);
    let (services, endpoints): (Reflector<Service>, Reflector<Endpoints>) =
        (spawner.reflectors.of(), spawner.reflectors.of());
    spawner.follow(&services, {
        let queue = Arc::clone(&queue);
        move |change| {
            if change.new.is_none() {
                queue.add(change.key.clone());
            }
        }
    });
    spawner.work(queue, 1, (services.clone(), endpoints.clone()), move |key: Key| {
        let (client, services, endpoints) = (client.clone(), services.clone(), endpoints.clone());
        async move {
            if services.get(&key.namespace, &key.name).is_some() || endpoints.get(&key.namespace, &key.name).is_none() {
                return Verdict::Done;
            }
            let api: Api<Endpoints> = Api::namespaced(client, &key.namespace);
            match api.delete(&key.name, &kube::api::DeleteParams::default()).await {
                Ok(_) => Verdict::Done,
                Err(e) if write::is_gone(&e) => Verdict::Done,
                Err(error) => {
                    tracing::debug!(%key, %error, "endpoints not deleted");
                    Verdict::Retry
                }
            }
        }
    });
}

//! Carries it out: watches Endpoints, Services and the slices made here.
use super::plan::{self, MANAGER, Plan};
use crate::endpointslice::plan::{MANAGED_BY, SERVICE_NAME};
use crate::{Error, Spawner, write};
use isopod_reflect::{Backoff, Expectations, Key, Queue, Reflector, Verdict};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, PostParams};
use std::sync::Arc;

const NAME: &str = "endpointslicemirroring-controller";
const WORKERS: usize = 2;
const BY_ENDPOINTS: &str = "mirrored-endpoints";

/// `NAMESPACE/ENDPOINTS` of slices made here.
fn by_endpoints(slice: &EndpointSlice) -> Vec<String> {
    let labels = slice.metadata.labels.as_ref().filter(|l| l.get(MANAGED_BY).is_some_and(|m| m == MANAGER));
    let name = labels.and_then(|l| l.get(SERVICE_NAME));
    name.map(|n| format!("{}/{n}", slice.metadata.namespace.as_deref().unwrap_or(""))).into_iter().collect()
}

/// Runs the mirroring controller.
pub fn endpoint_mirroring(spawner: &Spawner) {
    let queue: Arc<Queue<Key>> = Queue::new(Backoff::RETRY);
    let client = spawner.client(NAME);
    let (services, endpoints, slices): (Reflector<Service>, Reflector<Endpoints>, Reflector<EndpointSlice>) =
        (spawner.reflectors.of(), spawner.reflectors.of(), spawner.reflectors.of());
    slices.add_index(BY_ENDPOINTS, by_endpoints);
    spawner.follow(&services, {
        let queue = Arc::clone(&queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.follow(&endpoints, {
        let queue = Arc::clone(&queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.follow(&slices, {
        let queue = Arc::clone(&queue);
        move |change| {
            for name in by_endpoints(&change.latest) {
                if let Some((namespace, name)) = name.split_once('/') {
                    queue.add(Key::new(namespace, name));
                }
            }
        }
    });
    let expected: Arc<Expectations<Key>> = Arc::default();
    let mirrors = (services.clone(), endpoints.clone(), slices.clone());
    spawner.work(queue, WORKERS, mirrors, move |key: Key| {
        let (client, services, endpoints, slices) =
            (client.clone(), services.clone(), endpoints.clone(), slices.clone());
        let expected = Arc::clone(&expected);
        async move {
            if expected.outstanding(&key, &slices) {
                return Verdict::Done;
            }
            let found = slices.by_index(BY_ENDPOINTS, &format!("{}/{}", key.namespace, key.name));
            let source = endpoints.get(&key.namespace, &key.name);
            let service = services.get(&key.namespace, &key.name);
            let plan = plan::plan(source.as_deref(), service.as_deref(), &found);
            match carry_out(&client, &expected, &key, &plan).await {
                Ok(()) => Verdict::Done,
                Err(error) => {
                    tracing::debug!(%key, %error, "mirror slices not written");
                    Verdict::Retry
                }
            }
        }
    });
}

async fn carry_out(client: &kube::Client, expected: &Expectations<Key>, key: &Key, plan: &Plan) -> Result<(), Error> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &key.namespace);
    for slice in &plan.create {
        match api.create(&PostParams::default(), slice).await {
            Ok(made) => expected.wrote(key, &made.metadata),
            Err(e) if write::namespace_terminating(&e) => {}
            Err(e) => return Err(e.into()),
        }
    }
    for slice in &plan.update {
        let name = slice.metadata.name.as_deref().unwrap_or("");
        expected.wrote(key, &api.replace(name, &PostParams::default(), slice).await?.metadata);
    }
    for slice in &plan.delete {
        match api.delete(slice.metadata.name.as_deref().unwrap_or(""), &DeleteParams::default()).await {
            Ok(_) => expected.deleted(key, Key::of(&slice.metadata), slice.metadata.uid.clone()),
            Err(e) if write::is_gone(&e) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

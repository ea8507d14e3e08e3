//! Carries the plan out: watches Services, pods, slices and nodes' zones.
use super::plan::{self, MANAGED_BY, MANAGER, Plan, SERVICE_NAME, View};
use crate::{Error, Spawner, write};
use isopod_api::selector::Selector;
use isopod_reflect::{Backoff, Expectations, Key, Queue, Reflector, Verdict};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "endpointslice-controller";
const WORKERS: usize = 8;
/// Pod events of a service are taken together for this long.
const GATHER: Duration = Duration::from_millis(4);
const ZONE: &str = "topology.kubernetes.io/zone";
const BY_SERVICE: &str = "service-name";

struct Controller {
    client: kube::Client,
    services: Reflector<Service>,
    pods: Reflector<Pod>,
    slices: Reflector<EndpointSlice>,
    nodes: Reflector<Node>,
    expected: Expectations<Key>,
    queue: Arc<Queue<Key>>,
}

/// `NAMESPACE/SERVICE` of slices that this controller manages.
fn by_service(slice: &EndpointSlice) -> Vec<String> {
    let Some(labels) = &slice.metadata.labels else { return Vec::new() };
    let managed = labels.get(MANAGED_BY).is_some_and(|m| m == MANAGER);
    let service = labels.get(SERVICE_NAME).filter(|_| managed);
    service.map(|s| format!("{}/{s}", slice.metadata.namespace.as_deref().unwrap_or(""))).into_iter().collect()
}

/// Keys of the services that select one of the pod's states.
pub(crate) fn services_of<'a>(services: &Reflector<Service>, pods: impl Iterator<Item = &'a Arc<Pod>>) -> Vec<Key> {
    let mut keys = Vec::new();
    for pod in pods {
        let Some(labels) = &pod.metadata.labels else { continue };
        for service in services.list_in(pod.metadata.namespace.as_deref().unwrap_or("")) {
            let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty());
            if selector.is_some_and(|s| Selector::from_map(s).matches(labels)) {
                keys.push(Key::of(&service.metadata));
            }
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

/// Runs the EndpointSlice controller.
pub fn endpoint_slices(spawner: &Spawner) {
    let queue = Queue::new(Backoff::RETRY);
    let controller = Arc::new(Controller {
        client: spawner.client(NAME),
        services: spawner.reflectors.of(),
        pods: spawner.reflectors.of(),
        slices: spawner.reflectors.of(),
        nodes: spawner.reflectors.of(),
        expected: Expectations::default(),
        queue: Arc::clone(&queue),
    });
    controller.slices.add_index(BY_SERVICE, by_service);
    spawner.follow(&controller.services, {
        let queue = Arc::clone(&queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.follow(&controller.pods, {
        let controller = Arc::clone(&controller);
        move |change| {
            let states = change.old.iter().chain(&change.new);
            for key in services_of(&controller.services, states) {
                controller.queue.add_after(key, GATHER);
            }
        }
    });
    spawner.follow(&controller.slices, {
        let queue = Arc::clone(&queue);
        move |change| {
            for name in by_service(&change.latest) {
                if let Some((namespace, service)) = name.split_once('/') {
                    queue.add(Key::new(namespace, service));
                }
            }
        }
    });
    spawner.follow(&controller.nodes, {
        let controller = Arc::clone(&controller);
        move |change| {
            let zone = |n: &Option<Arc<Node>>| n.as_ref().and_then(|n| n.metadata.labels.as_ref()?.get(ZONE).cloned());
            if zone(&change.old) != zone(&change.new) {
                controller.services.list().iter().for_each(|s| controller.queue.add(Key::of(&s.metadata)));
            }
        }
    });
    let mirrors =
        (controller.services.clone(), controller.pods.clone(), controller.slices.clone(), controller.nodes.clone());
    spawner.work(queue, WORKERS, mirrors, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Verdict {
        if self.expected.outstanding(key, &self.slices) {
            return Verdict::Done;
        }
        // Slices of a service that is gone go by garbage collection.
        let Some(service) = self.services.get(&key.namespace, &key.name) else {
            self.expected.forget(key);
            return Verdict::Done;
        };
        let slices = self.slices.by_index(BY_SERVICE, &format!("{}/{}", key.namespace, key.name));
        let slices: Vec<_> = slices.into_iter().filter(|s| s.metadata.deletion_timestamp.is_none()).collect();
        let none = BTreeMap::new();
        let labels = service.spec.as_ref().and_then(|s| s.selector.as_ref()).unwrap_or(&none);
        let pods = if labels.is_empty() { Vec::new() } else { self.pods.list_in(&key.namespace) };
        let zone = |node: &str| self.nodes.get("", node).and_then(|n| n.metadata.labels.as_ref()?.get(ZONE).cloned());
        let plan = plan::plan(&View { service: &service, pods: &pods, slices: &slices, zone: &zone });
        match self.carry_out(key, &plan).await {
            Ok(()) => Verdict::Done,
            Err(error) => {
                tracing::debug!(%key, %error, "endpoint slices not written");
                Verdict::Retry
            }
        }
    }

    async fn carry_out(&self, key: &Key, plan: &Plan) -> Result<(), Error> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        for slice in &plan.update {
            let name = slice.metadata.name.as_deref().unwrap_or("");
            let written = api.replace(name, &PostParams::default(), slice).await?;
            self.expected.wrote(key, &written.metadata);
        }
        for slice in &plan.create {
            match api.create(&PostParams::default(), slice).await {
                Ok(made) => self.expected.wrote(key, &made.metadata),
                Err(e) if write::namespace_terminating(&e) => {}
                Err(e) => return Err(e.into()),
            }
        }
        // Last: an endpoint that moved is in its new slice before it leaves the old one.
        for slice in &plan.delete {
            let preconditions = Preconditions { uid: slice.metadata.uid.clone(), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match api.delete(slice.metadata.name.as_deref().unwrap_or(""), &params).await {
                Ok(_) => self.expected.deleted(key, Key::of(&slice.metadata), slice.metadata.uid.clone()),
                Err(e) if write::is_gone(&e) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

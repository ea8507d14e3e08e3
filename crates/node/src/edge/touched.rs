//! Which Services have changed, in themselves or in their endpoints.
use isopod_reflect::{Change, Key, Reflector, Reflectors, Subscription};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeSet;
use std::sync::Arc;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const BY_SERVICE: &str = "edge-service";

/// Services with their slices, and what has changed of them.
pub struct Touched {
    services: Reflector<Service>,
    slices: Reflector<EndpointSlice>,
    of_services: Subscription<Service>,
    of_slices: Subscription<EndpointSlice>,
    pending: BTreeSet<Key>,
}

fn key(slice: &EndpointSlice) -> Option<Key> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.as_deref().unwrap_or(""), service))
}

fn index(slice: &EndpointSlice) -> Vec<String> {
    key(slice).map(|k| k.to_string()).into_iter().collect()
}

/// A slice may go from one Service to another.
fn keys(batch: &[Change<EndpointSlice>]) -> impl Iterator<Item = Key> + use<'_> {
    let states = batch.iter().flat_map(|c| [c.old.as_deref(), Some(c.latest.as_ref())]);
    states.flatten().filter_map(key)
}

impl Touched {
    /// Everything there is counts as changed at first. Resolves when the mirrors hold the whole truth.
    pub async fn start(reflectors: &Reflectors) -> Self {
        let (services, slices) = (reflectors.of::<Service>(), reflectors.of::<EndpointSlice>());
        slices.add_index(BY_SERVICE, index);
        services.synced().await;
        slices.synced().await;
        let (of_services, of_slices) = (services.subscribe(), slices.subscribe());
        Self { services, slices, of_services, of_slices, pending: BTreeSet::new() }
    }

    /// How far the slices have come, and every Service that has changed up to there.
    pub fn take(&mut self) -> (u64, BTreeSet<Key>) {
        // What the mirror has when its version is read is in the changes taken after that.
        let version = self.slices.resource_version();
        self.pending.extend(self.of_services.take().into_iter().map(|c| c.key));
        self.pending.extend(keys(&self.of_slices.take()));
        (version, std::mem::take(&mut self.pending))
    }

    /// Resolves when something has changed; false at the end. Dropped in between, it loses nothing.
    pub async fn changed(&mut self) -> bool {
        tokio::select! {
            batch = self.of_services.next_batch() => {
                batch.map(|batch| self.pending.extend(batch.into_iter().map(|c| c.key))).is_some()
            }
            batch = self.of_slices.next_batch() => batch.map(|batch| self.pending.extend(keys(&batch))).is_some(),
        }
    }

    /// These are to be looked at again, for a reason of their own.
    pub fn touch(&mut self, keys: impl Iterator<Item = Key>) {
        self.pending.extend(keys);
    }

    pub fn get(&self, key: &Key) -> Option<(Arc<Service>, Vec<Arc<EndpointSlice>>)> {
        let service = self.services.get(&key.namespace, &key.name)?;
        Some((service, self.slices.by_index(BY_SERVICE, &key.to_string())))
    }
}

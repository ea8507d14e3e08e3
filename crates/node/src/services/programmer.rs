//! [`Programmer`]: keeps this node's kernel equal to the mirrors, and says how far it has come.
use super::place::Place;
use super::translate::{self, SERVICE_NAME};
use isopod_network::contract::{PortName, Protocol, ServicePath, ServiceTable};
use isopod_reflect::{Change, Reflector, Reflectors, Subscription};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Where this node's HTTP proxy listens for a port. Ports that are not there lead straight to pods.
pub type Listeners = BTreeMap<PortName, SocketAddr>;

const BY_SERVICE: &str = "services-service";
/// After the kernel refused a table.
const RETRY: Duration = Duration::from_secs(1);

/// Translates what changes and programs it.
pub struct Programmer {
    place: Place,
    services: Reflector<Service>,
    slices: Reflector<EndpointSlice>,
    path: Arc<dyn ServicePath>,
    listeners: watch::Receiver<Arc<Listeners>>,
}

/// A Service, by namespace and name.
type Name = (String, String);

fn service_of(slice: &EndpointSlice) -> Option<Name> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some((slice.metadata.namespace.clone().unwrap_or_default(), service.clone()))
}

fn index(slice: &EndpointSlice) -> Vec<String> {
    service_of(slice).map(|(namespace, service)| format!("{namespace}/{service}")).into_iter().collect()
}

impl Programmer {
    /// The reflectors' client must be able to list and watch Services, EndpointSlices and Nodes. Must be called within a tokio runtime.
    pub fn new(
        node: &str,
        reflectors: &Reflectors,
        path: Arc<dyn ServicePath>,
        listeners: watch::Receiver<Arc<Listeners>>,
    ) -> Self {
        let (services, slices) = (reflectors.of(), reflectors.of::<EndpointSlice>());
        slices.add_index(BY_SERVICE, index);
        Self { place: Place::of(node, reflectors), services, slices, path, listeners }
    }

    /// Runs until the mirrors end. `programmed` rises to version X when every EndpointSlice up to X is in
    /// the kernel; it is what drain waits for, so nothing is told before the kernel has answered.
    pub async fn run(mut self, programmed: watch::Sender<u64>) {
        self.services.synced().await;
        self.slices.synced().await;
        let mut changes = Changes { services: self.services.subscribe(), slices: self.slices.subscribe() };
        let mut table = ServiceTable::default();
        let mut touched = BTreeSet::new();
        let mut alive = true;
        while alive {
            // What the mirror has when its version is read is in the changes taken after that.
            let version = self.slices.resource_version();
            changes.take(&mut touched);
            self.renew(&mut table, &mut touched);
            if self.program(&table).await {
                programmed.send_if_modified(|held| std::mem::replace(held, version.max(*held)) < version);
                alive = self.wait(&mut changes, &table, &mut touched).await;
            } else {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn program(&self, table: &ServiceTable) -> bool {
        let result = self.path.program(table).await;
        if let Err(error) = &result {
            tracing::error!(%error, "Services could not be programmed: trying again");
        }
        result.is_ok()
    }

    /// Waits for the next change; false at the end.
    async fn wait(&mut self, changes: &mut Changes, table: &ServiceTable, touched: &mut BTreeSet<Name>) -> bool {
        tokio::select! {
            batch = changes.services.next_batch() => batch.map(|batch| touched.extend(of_services(&batch))).is_some(),
            batch = changes.slices.next_batch() => batch.map(|batch| touched.extend(of_slices(&batch))).is_some(),
            moved = self.place.moved() => {
                touched.extend(all(table));
                moved
            }
            // Without a proxy its sender may be gone: then nothing changes any more.
            Ok(()) = self.listeners.changed() => {
                touched.extend(all(table));
                true
            }
        }
    }

    /// Translates the touched Services anew.
    fn renew(&mut self, table: &mut ServiceTable, touched: &mut BTreeSet<Name>) {
        let listeners = Arc::clone(&self.listeners.borrow_and_update());
        for (namespace, service) in std::mem::take(touched) {
            let slices = self.slices.by_index(BY_SERVICE, &format!("{namespace}/{service}"));
            let ports = match self.services.get(&namespace, &service) {
                Some(service) => translate::ports(&service, &slices, self.place.here()),
                None => BTreeMap::new(),
            };
            for name in names(table, &namespace, &service) {
                table.ports.remove(&name);
            }
            for (name, mut port) in ports {
                port.proxy = listeners.get(&name).copied();
                table.ports.insert(name, port);
            }
        }
    }
}

/// Every Service of the table.
fn all(table: &ServiceTable) -> impl Iterator<Item = Name> + use<'_> {
    table.ports.keys().map(|name| (name.namespace.clone(), name.service.clone()))
}

/// The ports that one Service has in the table.
fn names(table: &ServiceTable, namespace: &str, service: &str) -> Vec<PortName> {
    let first = PortName {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        port: String::new(),
        protocol: Protocol::Tcp,
    };
    let names = table.ports.range(first..).map(|(name, _)| name);
    names.take_while(|name| name.namespace == namespace && name.service == service).cloned().collect()
}

struct Changes {
    services: Subscription<Service>,
    slices: Subscription<EndpointSlice>,
}

impl Changes {
    fn take(&mut self, touched: &mut BTreeSet<Name>) {
        touched.extend(of_services(&self.services.take()));
        touched.extend(of_slices(&self.slices.take()));
    }
}

fn of_services(batch: &[Change<Service>]) -> impl Iterator<Item = Name> + use<'_> {
    batch.iter().map(|change| (change.key.namespace.to_string(), change.key.name.to_string()))
}

/// A slice may go from one Service to another.
fn of_slices(batch: &[Change<EndpointSlice>]) -> impl Iterator<Item = Name> + use<'_> {
    batch.iter().flat_map(|change| {
        let states = [change.old.as_deref(), Some(change.latest.as_ref())];
        states.into_iter().flatten().filter_map(service_of)
    })
}

//! Feeds cluster DNS.
use super::touched::Touched;
use super::{RETRY, Told, zone};
use isopod_network::dns::zone::{Change, Record};
use isopod_reflect::{Key, Reflectors, Subscription};
use k8s_openapi::api::core::v1::Namespace;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was told.
#[derive(Default)]
struct Known {
    namespaces: BTreeSet<String>,
    records: BTreeMap<Key, Record>,
}

impl Known {
    fn namespace(&mut self, name: &str, exists: bool) -> Option<Change> {
        let changed = if exists { self.namespaces.insert(name.to_owned()) } else { self.namespaces.remove(name) };
        changed.then(|| Change::Namespace { name: name.to_owned(), exists })
    }

    fn record(&mut self, key: Key, record: Option<Record>) -> Option<Change> {
        let before = match record.clone() {
            Some(record) => self.records.insert(key.clone(), record),
            None => self.records.remove(&key),
        };
        let (namespace, name) = (key.namespace.to_string(), key.name.to_string());
        (before != record).then_some(Change::Service { namespace, name, record })
    }

    fn whole(&self) -> Vec<Change> {
        let namespaces = self.namespaces.iter().map(|name| Change::Namespace { name: name.clone(), exists: true });
        let services = self.records.iter().map(|(key, record)| Change::Service {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            record: Some(record.clone()),
        });
        namespaces.chain(services).collect()
    }
}

/// Keeps DNS equal to the mirrors until they end. The reflectors' client must be able to list and watch Services, EndpointSlices and
/// Namespaces.
pub async fn feed_dns(reflectors: &Reflectors, told: Arc<dyn Told>) {
    let namespaces = reflectors.of::<Namespace>();
    let mut touched = Touched::start(reflectors).await;
    namespaces.synced().await;
    let mut of_namespaces = namespaces.subscribe();
    let (mut known, mut replace) = (Known::default(), true);
    loop {
        let changes = gather(&mut known, &mut touched, &mut of_namespaces);
        let changes = if replace { known.whole() } else { changes };
        if replace || !changes.is_empty() {
            let taken = told.dns(replace, changes).await;
            replace = taken.is_err();
            if let Err(error) = taken {
                tracing::warn!(%error, "DNS could not be told: trying again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        let alive = tokio::select! {
            alive = touched.changed() => alive,
            batch = of_namespaces.next_batch() => match batch {
                // Told with the next: names of namespaces hurry nobody, but they must not be lost.
                Some(batch) => {
                    let changes: Vec<Change> =
                        batch.iter().filter_map(|c| known.namespace(&c.key.name, c.new.is_some())).collect();
                    replace = !changes.is_empty() && told.dns(false, changes).await.is_err();
                    true
                }
                None => false,
            },
        };
        if !alive {
            return;
        }
    }
}

fn gather(known: &mut Known, touched: &mut Touched, of_namespaces: &mut Subscription<Namespace>) -> Vec<Change> {
    let batch = of_namespaces.take();
    let mut changes: Vec<Change> = batch.iter().filter_map(|c| known.namespace(&c.key.name, c.new.is_some())).collect();
    for key in touched.take().1 {
        let record = touched.get(&key).and_then(|(service, slices)| zone::record(&service, &slices));
        changes.extend(known.record(key, record));
    }
    changes
}

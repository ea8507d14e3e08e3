//! Carries it out: woken by namespaces, and by the objects themselves when somebody deletes or changes them.
use super::plan::{self, DEFAULT, ROOT_CA};
use crate::{Error, Spawner, write};
use isopod_reflect::{Backoff, Expectations, Key, Queue, Reflector, Selection, Verdict};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Api, PostParams};
use std::sync::Arc;

const WORKERS: usize = 4;

/// Runs the ServiceAccount controller.
pub fn service_accounts(spawner: &Spawner) {
    let client = spawner.client("service-account-controller");
    let (namespaces, accounts): (Reflector<Namespace>, Reflector<ServiceAccount>) =
        (spawner.reflectors.of(), spawner.reflectors.of());
    let queue = Queue::new(Backoff::RETRY);
    wake(spawner, &queue, &namespaces, &accounts, DEFAULT);
    let expected: Arc<Expectations<Key>> = Arc::default();
    spawner.work(queue, WORKERS, (namespaces.clone(), accounts.clone()), move |key: Key| {
        let (client, namespaces, accounts) = (client.clone(), namespaces.clone(), accounts.clone());
        let expected = Arc::clone(&expected);
        async move {
            if expected.outstanding(&key, &accounts) {
                return Verdict::Done;
            }
            let Some(namespace) = namespaces.get("", &key.name) else { return Verdict::Done };
            let Some(new) = plan::account(&namespace, accounts.get(&key.name, DEFAULT).as_deref()) else {
                return Verdict::Done;
            };
            let api: Api<ServiceAccount> = Api::namespaced(client, &key.name);
            let made = api.create(&PostParams::default(), &new).await;
            judge(&key, made.map(|m| expected.wrote(&key, &m.metadata)))
        }
    });
}

/// Publishes the cluster's CA certificate (PEM) in every namespace.
pub fn root_ca(spawner: &Spawner, ca: String) {
    let client = spawner.client("root-ca-cert-publisher");
    let namespaces: Reflector<Namespace> = spawner.reflectors.of();
    let maps: Reflector<ConfigMap> = spawner
        .reflectors
        .selected(Selection { fields: Some(format!("metadata.name={ROOT_CA}")), ..Selection::default() });
    let queue = Queue::new(Backoff::RETRY);
    wake(spawner, &queue, &namespaces, &maps, ROOT_CA);
    let (ca, expected): (Arc<str>, Arc<Expectations<Key>>) = (ca.into(), Arc::default());
    spawner.work(queue, WORKERS, (namespaces.clone(), maps.clone()), move |key: Key| {
        let (client, namespaces, maps) = (client.clone(), namespaces.clone(), maps.clone());
        let (ca, expected) = (Arc::clone(&ca), Arc::clone(&expected));
        async move {
            if expected.outstanding(&key, &maps) {
                return Verdict::Done;
            }
            let Some(namespace) = namespaces.get("", &key.name) else { return Verdict::Done };
            let Some(new) = plan::root_ca(&namespace, maps.get(&key.name, ROOT_CA).as_deref(), &ca) else {
                return Verdict::Done;
            };
            let api: Api<ConfigMap> = Api::namespaced(client, &key.name);
            let written = if new.metadata.resource_version.is_some() {
                api.replace(ROOT_CA, &PostParams::default(), &new).await
            } else {
                api.create(&PostParams::default(), &new).await
            };
            judge(&key, written.map(|m| expected.wrote(&key, &m.metadata)))
        }
    });
}

/// Wakes a namespace for its own changes and for those of the object named `name` in it.
fn wake<K: isopod_reflect::HasMeta>(
    spawner: &Spawner,
    queue: &Arc<Queue<Key>>,
    namespaces: &Reflector<Namespace>,
    objects: &Reflector<K>,
    name: &'static str,
) {
    spawner.follow(namespaces, {
        let queue = Arc::clone(queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.follow(objects, {
        let queue = Arc::clone(queue);
        move |change| {
            if &*change.key.name == name {
                queue.add(Key::new("", &change.key.namespace));
            }
        }
    });
}

fn judge(key: &Key, result: Result<(), kube::Error>) -> Verdict {
    match result {
        Ok(()) => Verdict::Done,
        Err(e) if write::already_exists(&e) || write::is_gone(&e) || write::namespace_terminating(&e) => Verdict::Done,
        Err(error) => {
            tracing::debug!(%key, error = %Error::from(error), "not written");
            Verdict::Retry
        }
    }
}

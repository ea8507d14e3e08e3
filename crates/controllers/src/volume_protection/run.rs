//! Carries it out: claims are woken by themselves and by pods that come to rest or go, volumes by themselves.
use super::plan::{self, CLAIM_FINALIZER, Step, VOLUME_FINALIZER};
use crate::{Spawner, write};
use isopod_reflect::{Backoff, Key, Queue, Reflector, Verdict};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;
use std::sync::Arc;

const WORKERS: usize = 2;
/// Name of the index of pods by the claims they name.
const BY_CLAIM: &str = "protection-claim";
/// Pods asked for at once.
const PAGE: u32 = 500;

fn by_claim(pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    plan::claims_of(pod).into_iter().map(|name| Key::new(namespace, &name).to_string()).collect()
}

pub(crate) fn index_pods(pods: &Reflector<Pod>) {
    pods.add_index(BY_CLAIM, by_claim);
}

/// The pods that name a claim; they must have been indexed.
pub(crate) fn users(pods: &Reflector<Pod>, claim: &Key) -> Vec<Arc<Pod>> {
    pods.by_index(BY_CLAIM, &claim.to_string())
}

/// Runs the protection of claims.
pub fn claim_protection(spawner: &Spawner) {
    let client = spawner.client("pvc-protection-controller");
    let claims: Reflector<PersistentVolumeClaim> = spawner.reflectors.of();
    let pods: Reflector<Pod> = spawner.reflectors.of();
    index_pods(&pods);
    let queue = Queue::new(Backoff::RETRY);
    spawner.follow(&claims, {
        let queue = Arc::clone(&queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.follow(&pods, {
        let queue = Arc::clone(&queue);
        move |change| {
            let leaves = |p: &Arc<Pod>| p.metadata.deletion_timestamp.is_some();
            // Only a pod that goes can free a claim.
            if change.new.as_ref().is_none_or(leaves) {
                let pod = change.old.as_ref().unwrap_or(&change.latest);
                plan::claims_of(pod).iter().for_each(|name| queue.add(Key::new(&change.key.namespace, name)));
            }
        }
    });
    spawner.work(queue, WORKERS, (claims.clone(), pods.clone()), move |key: Key| {
        let (client, claims, pods) = (client.clone(), claims.clone(), pods.clone());
        async move {
            let Some(claim) = claims.get(&key.namespace, &key.name) else { return Verdict::Done };
            let step = plan::claim(&claim, users(&pods, &key).iter().map(|p| &**p));
            if step == Step::Free {
                // The mirror may not know the newest pod yet, and what is freed now is gone for good.
                match used_indeed(&client, &claim).await {
                    Ok(false) => {}
                    Ok(true) => return Verdict::Done,
                    Err(error) => return judge(&key, Err(error)),
                }
            }
            let api: Api<PersistentVolumeClaim> = Api::namespaced(client, &key.namespace);
            judge(&key, apply(&api, &claim.metadata, CLAIM_FINALIZER, step).await)
        }
    });
}

async fn used_indeed(client: &kube::Client, claim: &PersistentVolumeClaim) -> Result<bool, kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), claim.metadata.namespace.as_deref().unwrap_or_default());
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        if plan::claim(claim, &page.items) != Step::Free {
            return Ok(true);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(false),
        }
    }
}

/// Runs the protection of volumes.
pub fn volume_protection(spawner: &Spawner) {
    let client = spawner.client("pv-protection-controller");
    let volumes: Reflector<PersistentVolume> = spawner.reflectors.of();
    let queue = Queue::new(Backoff::RETRY);
    spawner.follow(&volumes, {
        let queue = Arc::clone(&queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.work(queue, WORKERS, volumes.clone(), move |key: Key| {
        let (client, volumes) = (client.clone(), volumes.clone());
        async move {
            let Some(volume) = volumes.get("", &key.name) else { return Verdict::Done };
            let api: Api<PersistentVolume> = Api::all(client);
            judge(&key, apply(&api, &volume.metadata, VOLUME_FINALIZER, plan::volume(&volume)).await)
        }
    });
}

/// The version in the patch makes it fail on any other state of the object.
async fn apply<K>(api: &Api<K>, meta: &ObjectMeta, finalizer: &str, step: Step) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    if step == Step::Nothing {
        return Ok(());
    }
    let finalizers = plan::finalizers(meta, finalizer, step);
    let patch = json!({"metadata":
        {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers}});
    write::merge(api, meta, patch).await.map(drop)
}

fn judge(key: &Key, result: Result<(), kube::Error>) -> Verdict {
    match result {
        Ok(()) => Verdict::Done,
        Err(error) => {
            tracing::debug!(%key, error = write::words(&error), "finalizer not changed");
            Verdict::Retry
        }
    }
}

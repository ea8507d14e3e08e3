//! Carries it out: follows the metadata of every kind there is, one mirror each (shared with whoever mirrors the kind in full).
use super::graph::{Graph, ORPHAN, waits_for_dependents};
use super::plan::{self, Action, Dependent, Owner, Policy, View};
use crate::kinds::{Item, Kind, Kinds};
use crate::owner::owners_patch;
use crate::{Error, Spawner, write};
use futures::StreamExt;
use isopod_reflect::{Backoff, HasMeta, Key, MetaReflector, Queue, Reflectors, Verdict};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

const NAME: &str = "generic-garbage-collector";
/// Objects worked on at once (`--concurrent-gc-syncs` is 20; here a request is cheap).
const WORKERS: usize = 32;
/// Dependents let go of at once.
const PARALLEL: usize = 16;

/// Group and plural.
type KindId = (Arc<str>, Arc<str>);

struct Followed {
    kind: Kind,
    mirror: Arc<dyn MetaReflector>,
    task: tokio::task::AbortHandle,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Collector {
    client: kube::Client,
    reflectors: Reflectors,
    kinds: RwLock<HashMap<KindId, Followed>>,
    graph: Mutex<Graph>,
    queue: Arc<Queue<Item>>,
}

/// Runs the garbage collector.
pub fn garbage_collector(spawner: &Spawner, kinds: &Kinds) {
    let queue = Queue::new(Backoff::RETRY);
    let collector = Arc::new(Collector {
        client: spawner.client(NAME),
        reflectors: spawner.reflectors.clone(),
        kinds: RwLock::default(),
        graph: Mutex::default(),
        queue: Arc::clone(&queue),
    });
    let mut changes = kinds.changes();
    changes.mark_changed();
    let follower = Arc::clone(&collector);
    spawner.spawn(async move {
        while changes.changed().await.is_ok() {
            let served = changes.borrow_and_update().clone();
            if let Some(served) = served {
                follower.follow(&served);
            }
        }
    });
    let shutdown = spawner.shutdown.clone();
    let ready = kinds.clone();
    let ending = Arc::clone(&collector);
    spawner.spawn_to_end(async move {
        tokio::select! {
            _ = ready.known() => {}
            () = shutdown.cancelled() => return,
        }
        queue
            .run(WORKERS, shutdown, move |item| {
                let collector = Arc::clone(&collector);
                async move { collector.work(&item).await }
            })
            .await;
        ending.kinds.write().clear();
    });
}

fn id(kind: &Kind) -> KindId {
    (kind.resource.group.as_str().into(), kind.resource.plural.as_str().into())
}

impl Collector {
    /// Follows what is served now, no more and no less.
    fn follow(self: &Arc<Self>, served: &[Kind]) {
        let wanted: Vec<&Kind> = served.iter().filter(|k| k.can("watch") && k.can("delete") && !k.is_event()).collect();
        let mut kinds = self.kinds.write();
        kinds.retain(|_, f| {
            let stays = wanted.iter().any(|k| **k == f.kind);
            if !stays {
                self.reflectors.forget_metadata(&f.kind.resource.group, &f.kind.resource.plural);
            }
            stays
        });
        for kind in wanted {
            let id = id(kind);
            if kinds.contains_key(&id) {
                continue;
            }
            let mirror = self.reflectors.metadata(&kind.resource);
            let task = tokio::spawn(Arc::clone(self).observe(id.clone(), Arc::clone(&mirror))).abort_handle();
            kinds.insert(id, Followed { kind: kind.clone(), mirror, task });
        }
    }

    async fn observe(self: Arc<Self>, kind: KindId, mirror: Arc<dyn MetaReflector>) {
        let mut changes = mirror.subscribe_meta();
        while let Some(batch) = changes.next_batch_meta().await {
            for change in batch {
                let item = Item { kind: kind.clone(), key: change.key };
                let old = change.old.as_deref().map(HasMeta::object_meta);
                let new = change.new.as_deref().map(HasMeta::object_meta);
                let wake = self.graph.lock().observe(&item, old, new);
                wake.into_iter().for_each(|item| self.queue.add(item));
            }
        }
    }

    fn mirror(&self, item: &Item) -> Option<(Kind, Arc<dyn MetaReflector>)> {
        self.kinds.read().get(&item.kind).map(|f| (f.kind.clone(), Arc::clone(&f.mirror)))
    }

    fn meta(&self, item: &Item) -> Option<ObjectMeta> {
        let (_, mirror) = self.mirror(item)?;
        mirror.get_meta(&item.key.namespace, &item.key.name).map(|o| o.object_meta().clone())
    }

    async fn work(&self, item: &Item) -> Verdict {
        let Some((kind, mirror)) = self.mirror(item) else { return Verdict::Done };
        mirror.synced_meta().await;
        let Some(meta) = self.meta(item) else { return Verdict::Done };
        match self.attempt(item, &kind, &meta).await {
            Ok(()) => Verdict::Done,
            Err(error) => {
                tracing::debug!(?item, %error, "garbage not collected");
                Verdict::Retry
            }
        }
    }

    async fn attempt(&self, item: &Item, kind: &Kind, meta: &ObjectMeta) -> Result<(), Error> {
        let mut owners = Vec::new();
        for reference in meta.owner_references.iter().flatten() {
            owners.push(self.owner(reference, meta).await?);
        }
        let dependents = self.dependents(meta.uid.as_deref().unwrap_or(""));
        let api = kind.api(&self.client, &item.key.namespace);
        match plan::plan(&View { meta, owners: &owners, dependents: &dependents }) {
            Action::Nothing => {}
            Action::Wake(items) => items.into_iter().for_each(|i| self.queue.add(i)),
            Action::RemoveFinalizer(name) => self.remove_finalizer(item, kind, meta, name).await?,
            Action::Orphan(items) => {
                let uid = meta.uid.as_deref().unwrap_or("");
                let mut released = futures::stream::iter(items)
                    .map(|dependent| async move { self.release(&dependent, uid).await })
                    .buffer_unordered(PARALLEL);
                while let Some(released) = released.next().await {
                    released?;
                }
                self.remove_finalizer(item, kind, meta, ORPHAN).await?;
            }
            Action::KeepOwners(owners) => {
                gone_is_fine(
                    api.patch_metadata(
                        &item.key.name,
                        &PatchParams::default(),
                        &Patch::Merge(owners_patch(meta, &owners)),
                    )
                    .await,
                )?;
            }
            Action::Delete(policy) => self.delete(item, kind, meta, policy, true).await?,
            Action::UnblockAndDelete(owners) => {
                gone_is_fine(
                    api.patch_metadata(
                        &item.key.name,
                        &PatchParams::default(),
                        &Patch::Merge(owners_patch(meta, &owners)),
                    )
                    .await,
                )?;
                self.delete(item, kind, meta, Policy::Foreground, false).await?;
            }
        }
        Ok(())
    }

    fn dependents(&self, uid: &str) -> Vec<Dependent> {
        let items = self.graph.lock().dependents(uid);
        items
            .into_iter()
            .filter_map(|item| {
                let meta = self.meta(&item)?;
                let reference = meta.owner_references.iter().flatten().find(|o| o.uid == uid)?;
                let blocks = reference.block_owner_deletion == Some(true);
                Some(Dependent { blocks, waits: waits_for_dependents(&meta), item })
            })
            .collect()
    }

    /// How an owner stands: by the mirror if it is there, else the API server is asked.
    async fn owner(&self, reference: &OwnerReference, dependent: &ObjectMeta) -> Result<Owner, Error> {
        let found = self
            .kinds
            .read()
            .values()
            .find(|f| f.kind.is(&reference.api_version, &reference.kind))
            .map(|f| (f.kind.clone(), Arc::clone(&f.mirror)));
        let Some((kind, mirror)) = found else {
            return Err(Error::UnknownKind {
                api_version: reference.api_version.clone(),
                kind: reference.kind.clone(),
            });
        };
        let namespace = if kind.namespaced { dependent.namespace.as_deref().unwrap_or("") } else { "" };
        if kind.namespaced && namespace.is_empty() {
            // A cluster-scoped object cannot be owned by a namespaced one; Kubernetes leaves it alone, too.
            return Ok(Owner::Present);
        }
        let stands = |meta: &ObjectMeta| match meta.uid.as_deref() == Some(&reference.uid) {
            true if waits_for_dependents(meta) => Owner::Waiting,
            true => Owner::Present,
            false => Owner::Absent,
        };
        if let Some(known) =
            mirror.get_meta(namespace, &reference.name).filter(|o| stands(o.object_meta()) != Owner::Absent)
        {
            return Ok(stands(known.object_meta()));
        }
        let live = kind.api(&self.client, namespace).get_metadata_opt(&reference.name).await?;
        Ok(live.map_or(Owner::Absent, |live| stands(&live.metadata)))
    }

    async fn release(&self, dependent: &Item, owner: &str) -> Result<(), Error> {
        let Some((kind, _)) = self.mirror(dependent) else { return Ok(()) };
        let Some(meta) = self.meta(dependent) else { return Ok(()) };
        let owners: Vec<OwnerReference> =
            meta.owner_references.iter().flatten().filter(|o| o.uid != owner).cloned().collect();
        let api = kind.api(&self.client, &dependent.key.namespace);
        let patch = owners_patch(&meta, &owners);
        gone_is_fine(api.patch_metadata(&dependent.key.name, &PatchParams::default(), &Patch::Merge(patch)).await)
    }

    async fn remove_finalizer(&self, item: &Item, kind: &Kind, meta: &ObjectMeta, name: &str) -> Result<(), Error> {
        let left: Vec<&String> = meta.finalizers.iter().flatten().filter(|f| *f != name).collect();
        let patch =
            json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": left}});
        let api = kind.api(&self.client, &item.key.namespace);
        gone_is_fine(api.patch_metadata(&item.key.name, &PatchParams::default(), &Patch::Merge(patch)).await)
    }

    /// `exactly`: only in the version that was judged: it may have been adopted meanwhile.
    async fn delete(
        &self,
        item: &Item,
        kind: &Kind,
        meta: &ObjectMeta,
        policy: Policy,
        exactly: bool,
    ) -> Result<(), Error> {
        let params = DeleteParams {
            propagation_policy: Some(match policy {
                Policy::Background => PropagationPolicy::Background,
                Policy::Foreground => PropagationPolicy::Foreground,
                Policy::Orphan => PropagationPolicy::Orphan,
            }),
            preconditions: Some(Preconditions {
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone().filter(|_| exactly),
            }),
            ..DeleteParams::default()
        };
        let Key { namespace, name } = &item.key;
        gone_is_fine(kind.api(&self.client, namespace).delete(name, &params).await)
    }
}

fn gone_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), Error> {
    match result {
        Ok(_) => Ok(()),
        Err(e) if write::is_gone(&e) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

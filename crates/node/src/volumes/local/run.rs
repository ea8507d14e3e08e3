//! Carries it out: woken by claims, classes and volumes.
use super::plan::{self, ClaimStep, FINALIZER, PROVISIONER, SELECTED_NODE, VolumeStep};
use super::{Ground, Local};
use crate::volumes::{on_disk, words};
use isopod_reflect::{Backoff, EventType, Key, Queue, Recorder, Reflector, Reflectors, Verdict, reference};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const WORKERS: usize = 4;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{}", words(.0))]
    Client(#[from] kube::Error),
    #[error("{0}")]
    Disk(String),
    /// It says it is ours and is not where ours are: nothing is deleted there.
    #[error("{path:?} is not where volume {volume:?} would be")]
    ElseWhere { volume: String, path: String },
}

/// A claim, or a volume (whose namespace is empty).
type Object = Key;

struct Provisioner {
    client: kube::Client,
    recorder: Recorder,
    local: Local,
    claims: Reflector<PersistentVolumeClaim>,
    volumes: Reflector<PersistentVolume>,
    classes: Reflector<StorageClass>,
    queue: Arc<Queue<Object>>,
}

/// Serves the nodes of `local` until `shutdown`. `client` may write claims, volumes and events; `reflectors` see all of them and the
/// classes.
pub async fn run(client: kube::Client, reflectors: Reflectors, local: Local, shutdown: CancellationToken) {
    let provisioner = Arc::new(Provisioner {
        recorder: Recorder::new(client.clone(), PROVISIONER, local.nodes.first().map(String::as_str)),
        client,
        local,
        claims: reflectors.of(),
        volumes: reflectors.of(),
        classes: reflectors.of(),
        queue: Queue::new(Backoff::RETRY),
    });
    let synced = async {
        tokio::join!(provisioner.claims.synced(), provisioner.volumes.synced(), provisioner.classes.synced());
    };
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = synced => {}
    }
    if let Err(error) = provisioner.sweep().await {
        tracing::warn!(%error, "could not look for abandoned volumes");
    }
    let working = Arc::clone(&provisioner);
    let work = Arc::clone(&provisioner.queue).run(WORKERS, shutdown.clone(), move |key| {
        let provisioner = Arc::clone(&working);
        async move { provisioner.reconcile(&key).await }
    });
    tokio::select! {
        () = work => {}
        () = provisioner.follow() => {}
    }
}

impl Provisioner {
    async fn follow(&self) {
        let (mut claims, mut volumes) = (self.claims.subscribe(), self.volumes.subscribe());
        let mut classes = self.classes.subscribe();
        loop {
            tokio::select! {
                Some(batch) = claims.next_batch() => batch.into_iter().for_each(|c| self.queue.add(c.key)),
                Some(batch) = volumes.next_batch() => batch.into_iter().for_each(|c| self.queue.add(c.key)),
                Some(_) = classes.next_batch() => {
                    self.claims.list().iter().for_each(|c| self.queue.add(Key::of(&c.metadata)));
                }
                else => return,
            }
        }
    }

    async fn reconcile(&self, key: &Object) -> Verdict {
        let result = if key.namespace.is_empty() {
            match self.volumes.get("", &key.name) {
                Some(volume) => self.volume(&volume).await,
                None => Ok(()),
            }
        } else {
            match self.claims.get(&key.namespace, &key.name) {
                Some(claim) => self.claim(&claim).await,
                None => Ok(()),
            }
        };
        match result {
            Ok(()) => Verdict::Done,
            Err(Error::Client(kube::Error::Api(status))) if status.code == 404 => Verdict::Done,
            Err(error) => {
                tracing::debug!(%key, %error, "local volume");
                Verdict::Retry
            }
        }
    }

    async fn claim(&self, claim: &Arc<PersistentVolumeClaim>) -> Result<(), Error> {
        let class = self.classes.get("", plan::class_name(claim));
        let named = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default();
        let volume = self.volumes.get("", named);
        let step = plan::claim(claim, class.as_deref(), volume.as_deref(), &self.local.nodes);
        match (step, class) {
            (ClaimStep::Take(node), _) => {
                let patch = json!({"metadata": {"resourceVersion": claim.metadata.resource_version,
                    "annotations": {SELECTED_NODE: node}}});
                self.patch_claim(claim, patch).await
            }
            (ClaimStep::Refuse(message), _) => {
                self.recorder.record(reference(&**claim), EventType::Warning, "ProvisioningFailed", message);
                Ok(())
            }
            (ClaimStep::Provision(node), Some(class)) => {
                let done = self.provision(claim, &class, &node).await;
                if let Err(error) = &done {
                    let class = class.metadata.name.as_deref().unwrap_or_default();
                    let message = format!("failed to provision volume with StorageClass {class:?}: {error}");
                    self.recorder.record(reference(&**claim), EventType::Warning, "ProvisioningFailed", message);
                }
                done
            }
            (ClaimStep::Grow { volume, size }, _) => self.grow(claim, &volume, &size).await,
            (ClaimStep::Nothing | ClaimStep::Provision(_), _) => Ok(()),
        }
    }

    async fn provision(&self, claim: &PersistentVolumeClaim, class: &StorageClass, node: &str) -> Result<(), Error> {
        let name = plan::volume_name(claim);
        if self.volumes.get("", &name).is_some() {
            // The binder completes it.
            return Ok(());
        }
        let path = self.local.ground.path(&name).map_err(|e| Error::Disk(e.to_string()))?;
        if matches!(self.local.ground, Ground::Disk(_)) {
            let at = path.clone();
            on_disk(move || make(&at)).await.and_then(|made| made.map_err(|e| e.to_string())).map_err(Error::Disk)?;
        }
        let volume = plan::provisioned(claim, class, node, &path.display().to_string());
        match Api::<PersistentVolume>::all(self.client.clone()).create(&PostParams::default(), &volume).await {
            Ok(_) => {}
            // By an earlier pass whose event is still to come.
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let message = format!("Successfully provisioned volume {name}");
        self.recorder.record(reference(claim), EventType::Normal, "ProvisioningSucceeded", message);
        Ok(())
    }

    /// First the volume, then the claim's status, which says when it is done.
    async fn grow(&self, claim: &PersistentVolumeClaim, volume: &str, size: &Quantity) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"spec": {"capacity": {"storage": size}}}));
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        volumes.patch(volume, &PatchParams::default(), &patch).await?;
        let status = json!({"metadata": {"resourceVersion": claim.metadata.resource_version},
            "status": {"capacity": {"storage": size}}});
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        self.claims_of(claim).patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
        let message = "Resize volume succeeded";
        self.recorder.record(reference(claim), EventType::Normal, "VolumeResizeSuccessful", message);
        Ok(())
    }

    fn claims_of(&self, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), claim.metadata.namespace.as_deref().unwrap_or_default())
    }

    async fn patch_claim(&self, claim: &PersistentVolumeClaim, patch: serde_json::Value) -> Result<(), Error> {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        self.claims_of(claim).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn volume(&self, volume: &PersistentVolume) -> Result<(), Error> {
        match plan::volume(volume, &self.local.nodes) {
            VolumeStep::Nothing => Ok(()),
            VolumeStep::Unguard => self.unguard(volume).await,
            VolumeStep::Delete => {
                let done = self.delete(volume).await;
                if let Err(error) = &done {
                    let (kind, reason) = (EventType::Warning, "VolumeFailedDelete");
                    self.recorder.record(reference(volume), kind, reason, error.to_string());
                }
                done
            }
        }
    }

    async fn delete(&self, volume: &PersistentVolume) -> Result<(), Error> {
        let name = volume.metadata.name.clone().unwrap_or_default();
        let expected = self.local.ground.path(&name).map_err(|e| Error::Disk(e.to_string()))?;
        let path = volume.spec.as_ref().and_then(|s| s.local.as_ref()).map(|l| l.path.clone()).unwrap_or_default();
        if Path::new(&path) != expected {
            return Err(Error::ElseWhere { volume: name, path });
        }
        if matches!(self.local.ground, Ground::Disk(_)) {
            let gone = on_disk(move || absent(fs::remove_dir_all(expected))).await;
            gone.and_then(|done| done.map_err(|e| e.to_string())).map_err(Error::Disk)?;
        }
        let uid = volume.metadata.uid.clone();
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        match volumes.delete(&name, &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(now) = volumes.get_opt(&name).await? else { return Ok(()) };
        self.unguard(&now).await
    }

    async fn unguard(&self, volume: &PersistentVolume) -> Result<(), Error> {
        let left: Vec<&String> = volume.metadata.finalizers.iter().flatten().filter(|f| *f != FINALIZER).collect();
        let patch = json!({"metadata": {"uid": volume.metadata.uid,
            "resourceVersion": volume.metadata.resource_version, "finalizers": left}});
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        volumes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Takes away directories that were made for claims whose volume was never written, if nothing is in them.
    async fn sweep(&self) -> Result<(), Error> {
        let Ground::Disk(data) = &self.local.ground else { return Ok(()) };
        let root = crate::volumes::layout::persistent_root(data);
        let known: Vec<String> = self.volumes.list().iter().filter_map(|v| v.metadata.name.clone()).collect();
        let work = move || -> io::Result<()> {
            for entry in absent(fs::read_dir(&root))?.into_iter().flatten() {
                let entry = entry?;
                let named = entry.file_name().into_string().is_ok_and(|n| known.contains(&n));
                if !named && let Err(error) = fs::remove_dir(entry.path()) {
                    tracing::warn!(path = %entry.path().display(), %error, "belongs to no volume");
                }
            }
            Ok(())
        };
        on_disk(work).await.and_then(|done| done.map_err(|e| e.to_string())).map_err(Error::Disk)
    }
}

/// A directory that everybody may write to, as pods run as whoever they like.
fn make(path: &PathBuf) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o777))
}

/// What is not there is nothing.
fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

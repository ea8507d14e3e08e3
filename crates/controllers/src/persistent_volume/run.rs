//! Carries it out: woken by claims, volumes and classes. What conflicts is looked at again: the other side has changed.
use super::plan::{self, ClaimStep, Note, Reclaim, View, VolumeStep};
use super::{binding, matching};
use crate::{Spawner, write};
use isopod_reflect::{Backoff, Change, EventType, Expectations, Key, Queue, Recorder, Reflector, Verdict, reference};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, PostParams};
use std::sync::Arc;

const NAME: &str = "persistent-volume-binder";
const WORKERS: usize = 4;
/// Name of the index of volumes by class.
const BY_CLASS: &str = "binder-class";
/// Name of the index of volumes by the claim they are reserved for.
const BY_CLAIM: &str = "binder-claim";

fn by_class(volume: &PersistentVolume) -> Vec<String> {
    vec![matching::volume_class(volume).to_owned()]
}

fn by_claim(volume: &PersistentVolume) -> Vec<String> {
    claim_of(volume).map(|key| key.to_string()).into_iter().collect()
}

fn claim_of(volume: &PersistentVolume) -> Option<Key> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(Key::new(reference.namespace.as_deref()?, reference.name.as_deref()?))
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

struct Binder {
    client: kube::Client,
    recorder: Recorder,
    claims: Reflector<PersistentVolumeClaim>,
    volumes: Reflector<PersistentVolume>,
    classes: Reflector<StorageClass>,
    pods: Reflector<Pod>,
    claim_queue: Arc<Queue<Key>>,
    volume_queue: Arc<Queue<Key>>,
    /// What was written for a claim or a volume (whose namespace is empty) and is not yet in the mirrors.
    claims_written: Expectations<Key>,
    volumes_written: Expectations<Key>,
}

impl View for Binder {
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get("", name)
    }
    fn volumes_for(&self, claim: &PersistentVolumeClaim) -> Vec<Arc<PersistentVolume>> {
        let mut found = self.volumes.by_index(BY_CLASS, matching::claim_class(claim));
        let reserved = self.volumes.by_index(BY_CLAIM, &Key::of(&claim.metadata).to_string());
        found.extend(reserved);
        found
    }
    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(namespace, name)
    }
    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.classes.get("", name)
    }
    fn classes(&self) -> Vec<Arc<StorageClass>> {
        self.classes.list()
    }
    fn waiting_pods(&self, claim: &PersistentVolumeClaim) -> Vec<String> {
        let users = crate::volume_protection::users(&self.pods, &Key::of(&claim.metadata));
        let waits = |p: &&Arc<Pod>| crate::pod::node(p).is_empty();
        let mut names: Vec<String> = users.iter().filter(waits).filter_map(|p| p.metadata.name.clone()).collect();
        names.sort();
        names
    }
}

/// Runs the PersistentVolume controller.
pub fn persistent_volumes(spawner: &Spawner) {
    let client = spawner.client(NAME);
    let binder = Arc::new(Binder {
        recorder: Recorder::new(client.clone(), "persistentvolume-controller", None),
        client,
        claims: spawner.reflectors.of(),
        volumes: spawner.reflectors.of(),
        classes: spawner.reflectors.of(),
        pods: spawner.reflectors.of(),
        claim_queue: Queue::new(Backoff::RETRY),
        volume_queue: Queue::new(Backoff::RETRY),
        claims_written: Expectations::default(),
        volumes_written: Expectations::default(),
    });
    binder.volumes.add_index(BY_CLASS, by_class);
    binder.volumes.add_index(BY_CLAIM, by_claim);
    crate::volume_protection::index_pods(&binder.pods);
    let b = Arc::clone(&binder);
    spawner.follow(&binder.claims, move |change| b.claim_changed(change));
    let b = Arc::clone(&binder);
    spawner.follow(&binder.volumes, move |change| b.volume_changed(change));
    let b = Arc::clone(&binder);
    spawner.follow(&binder.classes, move |_| b.wake_pending(|_| true));
    let mirrors = (binder.claims.clone(), binder.volumes.clone(), binder.classes.clone(), binder.pods.clone());
    let b = Arc::clone(&binder);
    spawner.work(Arc::clone(&binder.claim_queue), WORKERS, mirrors.clone(), move |key| {
        let b = Arc::clone(&b);
        async move { b.judge(&key, b.claim(&key).await) }
    });
    let b = Arc::clone(&binder);
    spawner.work(Arc::clone(&binder.volume_queue), WORKERS, mirrors, move |key| {
        let b = Arc::clone(&b);
        async move { b.judge(&key, b.volume(&key).await) }
    });
}

impl Binder {
    fn claim_changed(&self, change: &Change<PersistentVolumeClaim>) {
        self.claim_queue.add(change.key.clone());
        for volume in self.volumes.by_index(BY_CLAIM, &change.key.to_string()) {
            self.volume_queue.add(Key::of(&volume.metadata));
        }
    }

    fn volume_changed(&self, change: &Change<PersistentVolume>) {
        self.volume_queue.add(change.key.clone());
        for volume in change.old.iter().chain(&change.new) {
            if let Some(claim) = claim_of(volume) {
                self.claim_queue.add(claim);
            }
        }
        let name = &change.key.name;
        // Claims that ask for it by name, and, if it is free, all that wait for one like it.
        let class = change.new.as_ref().filter(|v| v.spec.as_ref().is_none_or(|s| s.claim_ref.is_none()));
        let class = class.map(|v| matching::volume_class(v).to_owned());
        self.wake_pending(|claim| {
            let wanted = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default();
            wanted == &**name || (wanted.is_empty() && class.as_deref() == Some(matching::claim_class(claim)))
        });
    }

    fn wake_pending(&self, which: impl Fn(&PersistentVolumeClaim) -> bool) {
        for claim in self.claims.list() {
            if phase(&claim) != "Bound" && which(&claim) {
                self.claim_queue.add(Key::of(&claim.metadata));
            }
        }
    }

    fn judge(&self, key: &Key, result: Result<(), kube::Error>) -> Verdict {
        match result {
            Ok(()) => Verdict::Done,
            Err(error) if write::is_gone(&error) => Verdict::Done,
            Err(error) => {
                tracing::debug!(%key, error = write::words(&error), "not bound");
                Verdict::Retry
            }
        }
    }

    fn outstanding(&self, key: &Key) -> bool {
        self.claims_written.outstanding(key, &self.claims) | self.volumes_written.outstanding(key, &self.volumes)
    }

    async fn claim(&self, key: &Key) -> Result<(), kube::Error> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else {
            self.claims_written.forget(key);
            self.volumes_written.forget(key);
            return Ok(());
        };
        if self.outstanding(key) {
            return Ok(());
        }
        let plan = plan::claim(&claim, self);
        match plan.step {
            ClaimStep::Leave => {}
            ClaimStep::Wait => {
                self.tell(&*claim, plan.note.as_ref());
                self.claim_status(key, &claim, "Pending", None).await?;
            }
            ClaimStep::Lose => {
                if phase(&claim) != "Lost" {
                    self.claim_status(key, &claim, "Lost", None).await?;
                    self.tell(&*claim, plan.note.as_ref());
                }
            }
            ClaimStep::Class(class) => {
                self.replace_claim(key, &binding::of_class(&claim, &class)).await?;
            }
            ClaimStep::Provision(provisioner) => {
                let named = match binding::provisioned_by(&claim, &provisioner) {
                    Some(new) => Arc::new(self.replace_claim(key, &new).await?),
                    None => Arc::clone(&claim),
                };
                self.tell(&*named, plan.note.as_ref());
                self.claim_status(key, &named, "Pending", None).await?;
            }
            ClaimStep::Bind(volume) => self.bind(key, &claim, &volume).await?,
        }
        Ok(())
    }

    /// Volume, its phase, claim, its status: in this order.
    async fn bind(
        &self,
        key: &Key,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> Result<(), kube::Error> {
        let mut volume = volume.clone();
        if let Some(new) = binding::claimed(&volume, claim) {
            volume = self.replace_volume(key, &new).await?;
        }
        if let Some(written) = self.phase(key, &volume, "Bound", "").await? {
            volume = written;
        }
        let mut claim = claim.clone();
        if let Some(new) = binding::completed(&claim, &volume) {
            claim = self.replace_claim(key, &new).await?;
        }
        self.claim_status(key, &claim, "Bound", Some(&volume)).await
    }

    async fn volume(&self, key: &Key) -> Result<(), kube::Error> {
        let Some(volume) = self.volumes.get("", &key.name) else {
            self.volumes_written.forget(key);
            return Ok(());
        };
        if self.outstanding(key) {
            return Ok(());
        }
        match plan::volume(&volume, self) {
            VolumeStep::Phase(phase) => {
                self.phase(key, &volume, phase, "").await?;
            }
            VolumeStep::WakeClaim(claim) => self.claim_queue.add(claim),
            VolumeStep::Unbind => {
                let freed = self.replace_volume(key, &binding::released(&volume)).await?;
                self.phase(key, &freed, "Available", "").await?;
            }
            VolumeStep::Release(reclaim) => self.release(key, &volume, reclaim).await?,
        }
        Ok(())
    }

    async fn release(&self, key: &Key, volume: &PersistentVolume, reclaim: Reclaim) -> Result<(), kube::Error> {
        let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let mut volume = volume.clone();
        if !matches!(phase, "Released" | "Failed") {
            // A claim that the mirror does not know yet must not lose its volume.
            if self.is_claimed(&volume).await? {
                return Ok(());
            }
            if let Some(written) = self.phase(key, &volume, "Released", "").await? {
                volume = written;
            }
        }
        if let Reclaim::Fail { reason, message } = reclaim
            && let Some(written) = self.phase(key, &volume, "Failed", &message).await?
        {
            self.tell(&written, Some(&Note { kind: EventType::Warning, reason, message }));
        }
        Ok(())
    }

    /// Asks the API server: the claim exists and is not bound elsewhere.
    async fn is_claimed(&self, volume: &PersistentVolume) -> Result<bool, kube::Error> {
        let Some(key) = claim_of(volume) else { return Ok(false) };
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        let Some(claim) = api.get_opt(&key.name).await? else { return Ok(false) };
        let uid = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()).and_then(|r| r.uid.clone());
        let bound_to = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|v| !v.is_empty());
        Ok(claim.metadata.uid == uid && (bound_to.is_none() || bound_to == volume.metadata.name))
    }

    async fn phase(
        &self,
        key: &Key,
        volume: &PersistentVolume,
        phase: &str,
        message: &str,
    ) -> Result<Option<PersistentVolume>, kube::Error> {
        let Some(new) = binding::with_phase(volume, phase, message, Timestamp::now()) else { return Ok(None) };
        let name = new.metadata.name.as_deref().unwrap_or_default();
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let written = api.replace_status(name, &PostParams::default(), &new).await?;
        self.volumes_written.wrote(key, &written.metadata);
        Ok(Some(written))
    }

    async fn replace_volume(&self, key: &Key, new: &PersistentVolume) -> Result<PersistentVolume, kube::Error> {
        let name = new.metadata.name.as_deref().unwrap_or_default();
        let written = Api::all(self.client.clone()).replace(name, &PostParams::default(), new).await?;
        self.volumes_written.wrote(key, &written.metadata);
        Ok(written)
    }

    async fn replace_claim(
        &self,
        key: &Key,
        new: &PersistentVolumeClaim,
    ) -> Result<PersistentVolumeClaim, kube::Error> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        let written = api.replace(&key.name, &PostParams::default(), new).await?;
        self.claims_written.wrote(key, &written.metadata);
        Ok(written)
    }

    async fn claim_status(
        &self,
        key: &Key,
        claim: &PersistentVolumeClaim,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> Result<(), kube::Error> {
        let Some(new) = binding::with_status(claim, phase, volume) else { return Ok(()) };
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        let written = api.replace_status(&key.name, &PostParams::default(), &new).await?;
        self.claims_written.wrote(key, &written.metadata);
        Ok(())
    }

    fn tell<K: kube::Resource<DynamicType = ()>>(&self, about: &K, note: Option<&Note>) {
        if let Some(note) = note {
            self.recorder.record(reference(about), note.kind, note.reason, note.message.clone());
        }
    }
}

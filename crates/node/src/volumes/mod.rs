//! The volumes of pods: what kubelet's volume manager and its plugins do, for the volumes that one machine can offer.
//!
//! | volume | where its content is |
//! |---|---|
//! | `emptyDir` | a directory of the pod, or memory (`medium: Memory`) |
//! | `hostPath` | the machine's own, checked or made by type |
//! | `configMap` | written all at once behind `..data`; changes arrive by themselves |
//! | `secret`, `projected`, `downwardAPI` | the same, in memory: never on disk |
//! | `persistentVolumeClaim`, `ephemeral` | the directory that a `local` or `hostPath` PersistentVolume names |
//!
//! Everything else is refused with a message. [`local`] is the provisioner of the class `isopod-local`.
//!
//! A volume is set up once; those made of API objects are then brought up to date whenever [`Volumes::prepare`] is called, and without
//! being asked when a ConfigMap or Secret changes ([`objects`] follows those in use) or a token is due ([`tokens`]). Once a volume is
//! there, a failed update keeps the old content and is told by an event; it stops no container.
//!
//! What must not be forgotten is on disk ([`layout`]): a new node agent finds volumes as it left them, set up or not.
mod atomic;
mod claims;
pub(crate) mod downward;
mod host_path;
mod layout;
pub mod local;
mod mount_table;
mod mounts;
mod objects;
mod ownership;
mod payload;
mod setup;
mod subpath;
mod teardown;
mod tokens;
mod used;

use crate::seams::{VolumeError, Volumes};
use async_trait::async_trait;
use isopod_reflect::{Backoff, EventType, Queue, Recorder, Verdict, reference};
use isopod_runtime::{EnvVar, Mount};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Node, Pod, Secret, Volume};
use kube::api::Api;
use layout::Layout;
use objects::Objects;
use parking_lot::Mutex;
use payload::{Inputs, Needs};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokens::Tokens;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// Pods whose objects changed that are brought up to date at once.
const WORKERS: usize = 4;
/// How often tokens are looked at, and so how soon one that could not be renewed is tried again. No timer runs until one is due:
/// timers stand still while the machine sleeps, and tokens age.
const TOKEN_LOOK: Duration = Duration::from_secs(10);
/// Uids that a slow listener may fall behind by; it then looks at all of its pods.
const TOLD: usize = 256;

/// A volume that is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ready {
    path: PathBuf,
    /// Containers must not write to it.
    read_only: bool,
    /// Of what was written last, for volumes made of API objects.
    digest: Option<u64>,
}

/// What is known of one pod's volumes.
#[derive(Default)]
struct State {
    pod: Option<Arc<Pod>>,
    ready: BTreeMap<String, Ready>,
}

/// All volumes of the pods of one node.
pub struct PodVolumes {
    client: kube::Client,
    node: String,
    data_dir: PathBuf,
    layout: Layout,
    config_maps: Objects<ConfigMap>,
    secrets: Objects<Secret>,
    tokens: Tokens,
    pods: Mutex<HashMap<String, Arc<tokio::sync::Mutex<State>>>>,
    changed: Arc<Queue<String>>,
    told: broadcast::Sender<String>,
    recorder: Recorder,
}

/// An error as people are told it: the API server's own words.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl PodVolumes {
    /// `client` acts as the node. What pods have is below `data_dir/pods`, what outlives them below `data_dir/volumes`. Updates end
    /// with `shutdown`. Must be called within a tokio runtime.
    pub fn new(client: kube::Client, node: &str, data_dir: PathBuf, shutdown: CancellationToken) -> Arc<Self> {
        let changed = Queue::new(Backoff::RETRY);
        let volumes = Arc::new(Self {
            node: node.to_owned(),
            layout: Layout::new(data_dir.clone()),
            data_dir,
            config_maps: Objects::new(client.clone(), Arc::clone(&changed)),
            secrets: Objects::new(client.clone(), Arc::clone(&changed)),
            tokens: Tokens::new(client.clone()),
            pods: Mutex::default(),
            changed: Arc::clone(&changed),
            told: broadcast::channel(TOLD).0,
            recorder: Recorder::new(client.clone(), "kubelet", Some(node)),
            client,
        });
        let looking = Arc::downgrade(&volumes);
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(async move {
            let mut looks = tokio::time::interval(TOKEN_LOOK);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                let Some(volumes) = looking.upgrade() else { return };
                volumes.tokens.due(Timestamp::now()).into_iter().for_each(|uid| volumes.changed.add(uid));
            }
        }));
        let working = Arc::downgrade(&volumes);
        tokio::spawn(changed.run(WORKERS, shutdown, move |uid| {
            let volumes = working.upgrade();
            async move {
                match volumes {
                    Some(volumes) => volumes.refresh(&uid).await,
                    None => Verdict::Done,
                }
            }
        }));
        volumes
    }

    /// Uids of pods whose volumes were brought up to date by themselves: one that could not be prepared may be ready now.
    pub fn updates(&self) -> broadcast::Receiver<String> {
        self.told.subscribe()
    }

    fn state(&self, uid: &str) -> Arc<tokio::sync::Mutex<State>> {
        Arc::clone(self.pods.lock().entry(uid.to_owned()).or_default())
    }

    async fn refresh(&self, uid: &str) -> Verdict {
        let Some(state) = self.pods.lock().get(uid).cloned() else { return Verdict::Done };
        let mut state = state.lock().await;
        let Some(pod) = state.pod.clone() else { return Verdict::Done };
        let result = self.bring_up(&pod, &mut state).await;
        // Nobody listening is fine.
        let _heard = self.told.send(uid.to_owned());
        match result {
            Ok(()) => Verdict::Done,
            Err(error) => {
                tracing::debug!(uid, %error, "volumes not up to date");
                Verdict::Retry
            }
        }
    }

    /// All used volumes, in their order; the first one's error that is not there yet.
    async fn bring_up(&self, pod: &Arc<Pod>, state: &mut State) -> Result<(), VolumeError> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let used = used::volumes(pod);
        let mut needs = Needs::default();
        used.iter().for_each(|(volume, _)| needs.add(volume));
        let inputs = Arc::new(self.fetch(pod, &uid, &needs).await);
        let mut first = Ok(());
        for (volume, by) in used {
            let known = state.ready.get(&volume.name);
            match self.one(pod, volume, by, &inputs, known).await {
                Ok(ready) => {
                    state.ready.insert(volume.name.clone(), ready);
                }
                Err(message) => {
                    let error = VolumeError { volume: volume.name.clone(), message };
                    let there = state.ready.contains_key(&volume.name) || self.is_there(&uid, volume);
                    if !there {
                        first = first.and(Err(error));
                        continue;
                    }
                    self.keep(pod, volume, state);
                    self.recorder.record(reference(&**pod), EventType::Warning, "FailedMount", error.to_string());
                }
            }
        }
        first
    }

    /// Whether an earlier node agent has written this volume.
    fn is_there(&self, uid: &str, volume: &Volume) -> bool {
        setup::directory(&self.layout, uid, volume).is_some_and(|(path, _)| atomic::is_written(&path))
    }

    fn keep(&self, pod: &Pod, volume: &Volume, state: &mut State) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if let Some((path, _)) = setup::directory(&self.layout, uid, volume) {
            let ready = Ready { path, read_only: true, digest: None };
            state.ready.entry(volume.name.clone()).or_insert(ready);
        }
    }

    async fn fetch(&self, pod: &Pod, uid: &str, needs: &Needs) -> Inputs {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let config_maps = needs
            .config_maps
            .iter()
            .map(|name| async move { (name.clone(), self.config_maps.get(namespace, name, uid).await) });
        let secrets = needs
            .secrets
            .iter()
            .map(|name| async move { (name.clone(), self.secrets.get(namespace, name, uid).await) });
        let now = Timestamp::now();
        let tokens =
            needs.tokens.iter().map(|need| async move { (need.clone(), self.tokens.get(pod, need, now).await) });
        let (config_maps, secrets, tokens, node) = tokio::join!(
            futures::future::join_all(config_maps),
            futures::future::join_all(secrets),
            futures::future::join_all(tokens),
            async { if needs.allocatable { self.node().await.ok() } else { None } },
        );
        Inputs {
            config_maps: config_maps.into_iter().collect(),
            secrets: secrets.into_iter().collect(),
            tokens: tokens.into_iter().collect(),
            allocatable: node.and_then(|n| n.status?.allocatable).unwrap_or_default(),
        }
    }

    async fn node(&self) -> Result<Node, String> {
        Api::<Node>::all(self.client.clone()).get(&self.node).await.map_err(|e| words(&e))
    }
}

#[async_trait]
impl Volumes for PodVolumes {
    async fn prepare(&self, pod: &Pod) -> Result<(), VolumeError> {
        let pod = Arc::new(pod.clone());
        let state = self.state(pod.metadata.uid.as_deref().unwrap_or_default());
        let mut state = state.lock().await;
        state.pod = Some(Arc::clone(&pod));
        self.bring_up(&pod, &mut state).await
    }

    async fn mounts(&self, pod: &Pod, container: &Container, env: &[EnvVar]) -> Result<Vec<Mount>, VolumeError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let state = self.state(uid);
        let state = state.lock().await;
        let asked = mounts::Asked::new(&self.layout, uid, container, env, &state.ready)?;
        on_disk(move || asked.carry_out())
            .await
            .unwrap_or_else(|message| Err(VolumeError { volume: String::new(), message }))
    }

    async fn used(&self, pod: &Pod) -> BTreeMap<String, u64> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let Ok(directory) = self.layout.pod(uid) else { return BTreeMap::new() };
        let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        let on_disk_only = volumes
            .filter(|v| v.empty_dir.as_ref().is_some_and(|e| e.medium.as_deref().unwrap_or_default().is_empty()));
        let paths: Vec<(String, PathBuf)> = on_disk_only
            .filter_map(|v| Some((v.name.clone(), directory.volume(layout::Plugin::EmptyDir, &v.name).ok()?)))
            .collect();
        let measured =
            move || paths.into_iter().map(|(name, path)| (name, isopod_runtime::disk_usage(&path))).collect();
        on_disk(measured).await.unwrap_or_default()
    }

    async fn remove(&self, uid: &str) -> Result<(), VolumeError> {
        let state = self.state(uid);
        let mut state = state.lock().await;
        *state = State::default();
        self.config_maps.release(uid);
        self.secrets.release(uid);
        self.tokens.forget(uid);
        let fail = |message: String| VolumeError { volume: String::new(), message };
        let directory = self.layout.pod(uid).map_err(|e| fail(e.to_string()))?;
        on_disk(move || teardown::remove(&directory))
            .await
            .and_then(|done| done.map_err(|e| e.to_string()))
            .map_err(fail)?;
        self.pods.lock().remove(uid);
        Ok(())
    }

    async fn held(&self) -> Result<Vec<String>, VolumeError> {
        let pods = self.layout.pods();
        let listed = on_disk(move || teardown::held(&pods)).await.and_then(|l| l.map_err(|e| e.to_string()));
        listed.map_err(|message| VolumeError { volume: String::new(), message })
    }
}

/// Work on disk, off the threads that serve everybody.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())
}

//! Makes one volume present.
use super::claims::{self, Place};
use super::layout::{self, Layout, Plugin};
use super::ownership::{self, Change, Ownership};
use super::payload::{Inputs, Payload, fs_group};
use super::used::By;
use super::{PodVolumes, Ready, atomic, host_path, mount_table, on_disk, payload, words};
use isopod_api::quantity;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::Api;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory of a volume that is made of API objects, and whether it is to be in memory.
pub(crate) fn directory(layout: &Layout, uid: &str, volume: &Volume) -> Option<(PathBuf, bool)> {
    let (plugin, memory) = if volume.config_map.is_some() {
        (Plugin::ConfigMap, false)
    } else if volume.secret.is_some() {
        (Plugin::Secret, true)
    } else if volume.downward_api.is_some() {
        (Plugin::DownwardApi, true)
    } else if volume.projected.is_some() {
        (Plugin::Projected, true)
    } else {
        return None;
    };
    Some((layout.pod(uid).ok()?.volume(plugin, &volume.name).ok()?, memory))
}

/// What an emptyDir is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Disk,
    /// At most so many bytes; the kernel's own bound if none is known.
    Memory(Option<u64>),
}

/// What is noted on disk of a volume that is set up once.
#[derive(Serialize, Deserialize)]
struct Note {
    path: PathBuf,
    read_only: bool,
    /// It is a file system of its own.
    #[serde(default)]
    memory: bool,
}

impl PodVolumes {
    /// Sets the volume up, or brings it up to date. The error is what follows `MountVolume.SetUp failed for volume …`.
    pub(super) async fn one(
        &self,
        pod: &Arc<Pod>,
        volume: &Volume,
        by: By,
        inputs: &Arc<Inputs>,
        known: Option<&Ready>,
    ) -> Result<Ready, String> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if let Some(made) = payload::of(volume, pod, inputs) {
            let payload = made.map_err(|e| e.to_string())?;
            let (path, memory) = directory(&self.layout, uid, volume).ok_or("the pod's uid is not a file name")?;
            return write(pod, path, memory, payload, known).await;
        }
        if let Some(ready) = known {
            return Ok(ready.clone());
        }
        let pod_dir = self.layout.pod(uid).map_err(|e| e.to_string())?;
        let note = pod_dir.note(&volume.name).map_err(|e| e.to_string())?;
        if let Some(found) = read_note(&note) {
            return Ok(Ready { path: found.path, read_only: found.read_only, digest: None });
        }
        let mut in_memory = false;
        let ready = if let Some(source) = &volume.empty_dir {
            let path = pod_dir.volume(Plugin::EmptyDir, &volume.name).map_err(|e| e.to_string())?;
            let medium = self.medium(pod, source).await?;
            in_memory = medium != Medium::Disk;
            let owner = fs_group(pod).map(|group| Ownership { group, read_only: false });
            let at = path.clone();
            on_disk(move || empty_dir(&at, medium, owner.as_ref())).await?.map_err(|e| e.to_string())?;
            Ready { path, read_only: false, digest: None }
        } else if let Some(source) = &volume.host_path {
            // Looked at anew by each node agent: nothing is noted.
            return host(source.path.clone(), source.type_.clone().unwrap_or_default()).await;
        } else if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() {
            self.persistent(pod, volume, by).await?
        } else {
            return Err(format!("no volume plugin matched: isopod does not support {}", kind(volume)));
        };
        let noted = Note { path: ready.path.clone(), read_only: ready.read_only, memory: in_memory };
        on_disk(move || write_note(&note, &noted)).await?.map_err(|e| e.to_string())?;
        Ok(ready)
    }

    /// Whether an emptyDir is in memory, and of which size at most (`calculateEmptyDirMemorySize`).
    async fn medium(&self, pod: &Pod, source: &EmptyDirVolumeSource) -> Result<Medium, String> {
        match source.medium.as_deref().unwrap_or_default() {
            "" => return Ok(Medium::Disk),
            "Memory" => {}
            huge if huge.starts_with("HugePages") => {
                return Err(format!("isopod does not support emptyDir with medium {huge}"));
            }
            other => return Err(format!("unknown storage medium {other:?}")),
        }
        let asked = source.size_limit.as_ref().and_then(bytes);
        let bound = match memory_limit(pod) {
            Some(limit) => Some(limit),
            None if asked.is_some() => None,
            None => self.node().await?.status.and_then(|s| bytes(s.allocatable?.get("memory")?)),
        };
        Ok(Medium::Memory(asked.into_iter().chain(bound).min()))
    }

    async fn persistent(&self, pod: &Pod, volume: &Volume, by: By) -> Result<Ready, String> {
        let (name, ephemeral) = claims::claim_name(pod, volume).ok_or("no claim is named")?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let key = format!("{namespace}/{name}");
        if by == By::Device {
            return Err(format!("volume {} is specified in volumeDevices, isopod has no block volumes", volume.name));
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let missing =
            |e: kube::Error| claims::ClaimError::NoClaim { claim: key.clone(), reason: words(&e) }.to_string();
        let claim = api.get(&name).await.map_err(missing)?;
        let bound = claims::volume_of(&claim, pod, ephemeral, &volume.name).map_err(|e| e.to_string())?;
        let missing = |e: kube::Error| {
            claims::ClaimError::NoVolume { claim: key.clone(), volume: bound.clone(), reason: words(&e) }.to_string()
        };
        let persistent = Api::<PersistentVolume>::all(self.client.clone()).get(&bound).await.map_err(missing)?;
        let picky = persistent.spec.as_ref().is_some_and(|s| s.node_affinity.is_some());
        let node: Option<Node> = if picky { Some(self.node().await?) } else { None };
        let read_only = volume.persistent_volume_claim.as_ref().is_some_and(|c| c.read_only == Some(true));
        match claims::place(&persistent, &claim, node.as_ref()).map_err(|e| e.to_string())? {
            Place::HostPath(path, kind) => Ok(Ready { read_only, ..host(path, kind).await? }),
            Place::Local(path) => {
                let security = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
                let policy = security.and_then(|s| s.fs_group_change_policy.as_deref());
                let change = if policy == Some("OnRootMismatch") { Change::OnRootMismatch } else { Change::Always };
                let owner = fs_group(pod).filter(|_| !read_only).map(|group| (Ownership { group, read_only }, change));
                let ours = layout::persistent_root(&self.data_dir);
                on_disk(move || local(PathBuf::from(path), &ours, read_only, owner.as_ref())).await?
            }
        }
    }
}

/// None if it is nothing, or no number.
fn bytes(quantity: &Quantity) -> Option<u64> {
    u64::try_from(quantity::parse(quantity).ok()?.value()).ok().filter(|bytes| *bytes > 0)
}

/// The memory that all containers of the pod may use together; `None`: one of them has no limit (`GetPodMemoryLimit`).
fn memory_limit(pod: &Pod) -> Option<u64> {
    let spec = pod.spec.as_ref()?;
    let of = |limits: Option<&BTreeMap<String, Quantity>>| bytes(limits?.get("memory")?);
    let whole = of(spec.resources.as_ref().and_then(|r| r.limits.as_ref()));
    let each = spec.containers.iter().map(|c| of(c.resources.as_ref().and_then(|r| r.limits.as_ref())));
    whole.or_else(|| each.sum())
}

async fn write(
    pod: &Arc<Pod>,
    path: PathBuf,
    memory: bool,
    payload: Payload,
    known: Option<&Ready>,
) -> Result<Ready, String> {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    let ready = Ready { path: path.clone(), read_only: true, digest: Some(hasher.finish()) };
    if known == Some(&ready) {
        return Ok(ready);
    }
    let owner = fs_group(pod).map(|group| Ownership { group, read_only: true });
    let work = move || -> Result<(), atomic::WriteError> {
        make(&path, 0o777)?;
        if memory && !mount_table::is_other_file_system(&path)? {
            mount_table::tmpfs(&path, None)?;
        }
        atomic::write(&path, &payload, owner.as_ref()).map(drop)
    };
    on_disk(work).await?.map_err(|e| e.to_string())?;
    Ok(ready)
}

/// Creates the directory if it is not there, with this mode whatever our umask is.
fn make(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn empty_dir(path: &Path, medium: Medium, owner: Option<&Ownership>) -> io::Result<()> {
    make(path, 0o777)?;
    if let Medium::Memory(size) = medium
        && !mount_table::is_other_file_system(path)?
    {
        mount_table::tmpfs(path, size)?;
    }
    match owner {
        Some(owner) => ownership::apply(path, owner, Change::Always),
        None => Ok(()),
    }
}

async fn host(path: String, kind: String) -> Result<Ready, String> {
    let at = PathBuf::from(&path);
    on_disk(move || host_path::check(&path, &kind)).await?.map_err(|e| e.to_string())?;
    Ok(Ready { path: at, read_only: false, digest: None })
}

fn local(path: PathBuf, ours: &Path, read_only: bool, owner: Option<&(Ownership, Change)>) -> Result<Ready, String> {
    if !path.exists() {
        let word = if path.starts_with(ours) { "the volume's data is gone: " } else { "" };
        return Err(format!("{word}path {:?} does not exist", path.display().to_string()));
    }
    if let Some((owner, change)) = owner {
        ownership::apply(&path, owner, *change).map_err(|e| e.to_string())?;
    }
    Ok(Ready { path, read_only, digest: None })
}

fn read_note(path: &Path) -> Option<Note> {
    let note: Note = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    // Memory is gone after the machine was restarted: then the volume is set up anew.
    let there = if note.memory { mount_table::is_other_file_system(&note.path).ok()? } else { note.path.exists() };
    there.then_some(note)
}

fn write_note(path: &Path, note: &Note) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    fs::create_dir_all(parent)?;
    let fresh = parent.join(format!(".{}", rand::random::<u32>()));
    fs::write(&fresh, serde_json::to_vec(note)?)?;
    fs::rename(&fresh, path)
}

fn kind(volume: &Volume) -> &'static str {
    let table = [
        (volume.image.is_some(), "image volumes"),
        (volume.csi.is_some(), "csi volumes"),
        (volume.nfs.is_some(), "nfs volumes"),
        (volume.iscsi.is_some(), "iscsi volumes"),
        (volume.fc.is_some(), "fc volumes"),
        (volume.rbd.is_some(), "rbd volumes"),
        (volume.cephfs.is_some(), "cephfs volumes"),
        (volume.git_repo.is_some(), "gitRepo volumes"),
        (volume.flex_volume.is_some(), "flexVolume volumes"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk volumes"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore volumes"),
        (volume.azure_disk.is_some(), "azureDisk volumes"),
        (volume.azure_file.is_some(), "azureFile volumes"),
    ];
    table.iter().find(|(is, _)| *is).map_or("this kind of volume", |(_, name)| name)
}

//! Which pods this node has and in which sandboxes they are: what the streaming server looks up.
use crate::seams::RunningContainer;
use isopod_api::k8s::api::core::v1::Pod;
use isopod_reflect::Key;
use isopod_runtime::{ContainerState, ContainerStatus, NetworkNamespace, Runtime, SandboxId, SandboxState};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone)]
struct Entry {
    pod: Arc<Pod>,
    /// Newest last.
    sandboxes: Vec<SandboxId>,
}

/// Written by the pods' workers, read by everybody.
#[derive(Default)]
pub(super) struct Table {
    entries: RwLock<BTreeMap<Key, Entry>>,
}

impl Table {
    /// The pod as its worker sees it now.
    pub fn put(&self, key: &Key, pod: Arc<Pod>, sandboxes: Vec<SandboxId>) {
        self.entries.write().insert(key.clone(), Entry { pod, sandboxes });
    }

    /// It is gone; another pod of its name stays.
    pub fn take(&self, key: &Key, uid: &str) {
        let mut entries = self.entries.write();
        if entries.get(key).is_some_and(|e| e.pod.metadata.uid.as_deref() == Some(uid)) {
            entries.remove(key);
        }
    }

    /// Whether the pod's worker knows the sandbox. `None`: the pod is not here, or another has its name by now.
    pub fn has(&self, uid: &str, sandbox: &SandboxId) -> Option<bool> {
        let entries = self.entries.read();
        let entry = entries.values().find(|e| e.pod.metadata.uid.as_deref() == Some(uid))?;
        Some(entry.sandboxes.contains(sandbox))
    }

    pub fn pods(&self) -> Vec<Pod> {
        self.entries.read().values().map(|e| Pod::clone(&e.pod)).collect()
    }

    /// The pod's sandboxes, newest last.
    pub fn sandboxes(&self, namespace: &str, name: &str) -> Vec<SandboxId> {
        self.entry(namespace, name).map(|e| e.sandboxes).unwrap_or_default()
    }

    fn entry(&self, namespace: &str, name: &str) -> Option<Entry> {
        self.entries.read().get(&Key::new(namespace, name)).cloned()
    }

    /// The container's newest instance that was started, or the one before.
    pub async fn container(
        &self,
        runtime: &dyn Runtime,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Option<RunningContainer> {
        let entry = self.entry(namespace, pod)?;
        let mut instances: Vec<(ContainerStatus, PathBuf)> = Vec::new();
        for sandbox in &entry.sandboxes {
            let Ok(status) = runtime.sandbox(sandbox).await else { continue };
            let all = runtime.containers(Some(sandbox)).await.unwrap_or_default();
            let ours = all.into_iter().filter(|c| c.config.name == container && c.state != ContainerState::Created);
            instances.extend(ours.map(|c| (c, status.config.log_directory.clone())));
        }
        instances.sort_by_key(|(c, _)| std::cmp::Reverse((c.created_at, c.config.attempt)));
        let (status, logs) = instances.into_iter().nth(usize::from(previous))?;
        // `join` leaves an absolute path as it is.
        let log = status.config.log_path.as_ref().map_or_else(|| logs.clone(), |path| logs.join(path));
        Some(RunningContainer {
            id: status.id,
            log,
            running: status.state == ContainerState::Running,
            tty: status.config.tty,
            stdin: status.config.stdin,
        })
    }

    pub async fn netns(&self, runtime: &dyn Runtime, namespace: &str, pod: &str) -> Option<Option<PathBuf>> {
        let entry = self.entry(namespace, pod)?;
        let status = runtime.sandbox(entry.sandboxes.last()?).await.ok()?;
        if status.state != SandboxState::Ready {
            return None;
        }
        match status.config.network {
            NetworkNamespace::Host => Some(None),
            NetworkNamespace::Private | NetworkNamespace::Path(_) => status.netns_path.map(Some),
        }
    }
}

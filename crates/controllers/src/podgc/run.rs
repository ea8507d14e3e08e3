//! Carries it out: woken by nodes that vanish and by pods; the API server is asked before a pod is called an orphan.
use super::plan::{self, Fate};
use crate::nodelifecycle::{delete_pod, disrupt};
use crate::pod::{self, is_terminal};
use crate::replicaset::plan::until;
use crate::{Error, Spawner};
use isopod_reflect::{Backoff, Key, Queue, Reflector, Verdict, index};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "pod-garbage-collector";
const WORKERS: usize = 4;
/// Ended pods are counted at most this often.
const GATHER: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    Pod(Key),
    Ended,
}

struct Collector {
    client: kube::Client,
    nodes: Reflector<Node>,
    pods: Reflector<Pod>,
    /// Since when nodes that pods name are missing.
    missing: Mutex<HashMap<String, Timestamp>>,
}

/// Runs the pod garbage collector.
pub fn pod_gc(spawner: &Spawner) {
    let queue: Arc<Queue<Task>> = Queue::new(Backoff::RETRY);
    let collector = Arc::new(Collector {
        client: spawner.client(NAME),
        nodes: spawner.reflectors.of(),
        pods: spawner.reflectors.of(),
        missing: Mutex::default(),
    });
    collector.pods.add_index(index::NODE, index::pod_node);
    spawner.follow(&collector.pods, {
        let (queue, nodes) = (Arc::clone(&queue), collector.nodes.clone());
        move |change| {
            let Some(new) = &change.new else { return };
            let node = pod::node(new);
            if (node.is_empty() && new.metadata.deletion_timestamp.is_some())
                || (!node.is_empty() && nodes.get("", node).is_none())
            {
                queue.add(Task::Pod(change.key.clone()));
            }
            if is_terminal(new) && change.old.as_ref().is_none_or(|o| !is_terminal(o)) {
                queue.add_after(Task::Ended, GATHER);
            }
        }
    });
    spawner.follow(&collector.nodes, {
        let (queue, pods) = (Arc::clone(&queue), collector.pods.clone());
        let collector = Arc::clone(&collector);
        move |change| {
            if change.new.is_some() {
                collector.missing.lock().remove(&*change.key.name);
                return;
            }
            pods.by_index(index::NODE, &change.key.name)
                .iter()
                .for_each(|p| queue.add(Task::Pod(Key::of(&p.metadata))));
        }
    });
    spawner.work(queue, WORKERS, (collector.nodes.clone(), collector.pods.clone()), move |task| {
        let collector = Arc::clone(&collector);
        async move {
            let result = match &task {
                Task::Pod(key) => collector.pod(key).await,
                Task::Ended => collector.ended().await,
            };
            result.unwrap_or_else(|error| {
                tracing::debug!(?task, %error, "pods not collected");
                Verdict::Retry
            })
        }
    });
}

impl Collector {
    async fn pod(&self, key: &Key) -> Result<Verdict, Error> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else { return Ok(Verdict::Done) };
        let now = Timestamp::now();
        let node = pod::node(&pod).to_owned();
        let missing = self.missing_since(&node, now);
        match plan::fate(&pod, missing, now) {
            Fate::Stays => Ok(Verdict::Done),
            Fate::AskAt(at) => Ok(Verdict::After(until(at, now))),
            Fate::Goes => {
                if !node.is_empty() {
                    let api: Api<Node> = Api::all(self.client.clone());
                    if api.get_metadata_opt(&node).await?.is_some() {
                        return Ok(Verdict::Done);
                    }
                    if !is_terminal(&pod) {
                        let why = ("DeletionByPodGC", "PodGC: node no longer exists");
                        disrupt(&self.client, &pod, why, now, Some("Failed")).await?;
                    }
                }
                delete_pod(&self.client, &pod, Some(0)).await?;
                Ok(Verdict::Done)
            }
        }
    }

    fn missing_since(&self, node: &str, now: Timestamp) -> Option<Timestamp> {
        if node.is_empty() {
            return None;
        }
        let mut missing = self.missing.lock();
        if self.nodes.get("", node).is_some() {
            missing.remove(node);
            return None;
        }
        Some(*missing.entry(node.to_owned()).or_insert(now))
    }

    async fn ended(&self) -> Result<Verdict, Error> {
        for pod in plan::excess(&self.pods.list(), plan::KEPT) {
            delete_pod(&self.client, &pod, Some(0)).await?;
        }
        Ok(Verdict::Done)
    }
}

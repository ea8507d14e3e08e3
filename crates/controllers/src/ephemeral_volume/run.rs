//! Carries it out: woken by pods, and by claims of theirs that disappear.
use super::plan;
use crate::pod::controller_of;
use crate::{Spawner, write};
use isopod_reflect::{Backoff, EventType, Key, Queue, Recorder, Reflector, Verdict, reference};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, PostParams};
use std::sync::Arc;

const WORKERS: usize = 4;

/// Runs the controller of generic ephemeral volumes.
pub fn ephemeral_volumes(spawner: &Spawner) {
    let client = spawner.client("ephemeral-volume-controller");
    let recorder = Recorder::new(client.clone(), "ephemeral_volume", None);
    let pods: Reflector<Pod> = spawner.reflectors.of();
    let claims: Reflector<PersistentVolumeClaim> = spawner.reflectors.of();
    let queue = Queue::new(Backoff::RETRY);
    spawner.follow(&pods, {
        let queue = Arc::clone(&queue);
        move |change| {
            let spec = change.new.as_ref().and_then(|p| p.spec.as_ref());
            if spec.is_some_and(|s| s.volumes.iter().flatten().any(|v| v.ephemeral.is_some())) {
                queue.add(change.key.clone());
            }
        }
    });
    spawner.follow(&claims, {
        let queue = Arc::clone(&queue);
        move |change| {
            let owner = controller_of(&change.latest.metadata).filter(|o| o.kind == "Pod" && change.new.is_none());
            if let Some(pod) = owner {
                queue.add(Key::new(&change.key.namespace, &pod.name));
            }
        }
    });
    spawner.work(queue, WORKERS, (pods.clone(), claims.clone()), move |key: Key| {
        let (client, recorder, pods, claims) = (client.clone(), recorder.clone(), pods.clone(), claims.clone());
        async move {
            let Some(pod) = pods.get(&key.namespace, &key.name) else { return Verdict::Done };
            let plan = plan::plan(&pod, |name| claims.get(&key.namespace, name));
            for conflict in &plan.conflicts {
                recorder.record(reference(&*pod), EventType::Warning, "FailedBinding", conflict.clone());
            }
            let api: Api<PersistentVolumeClaim> = Api::namespaced(client, &key.namespace);
            for claim in &plan.create {
                match api.create(&PostParams::default(), claim).await {
                    Ok(_) => {}
                    // Made a moment ago and not yet in the mirror; or another's: then the mirror will show it.
                    Err(e) if write::already_exists(&e) || write::namespace_terminating(&e) => {}
                    Err(error) => {
                        let message = format!("ephemeral volume: create PVC: {}", write::words(&error));
                        recorder.record(reference(&*pod), EventType::Warning, "FailedBinding", message);
                        return Verdict::Retry;
                    }
                }
            }
            if plan.conflicts.is_empty() { Verdict::Done } else { Verdict::Retry }
        }
    });
}

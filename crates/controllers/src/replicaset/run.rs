//! Carries the plan out: watches ReplicaSets (or ReplicationControllers) and pods, makes and deletes pods.
use super::plan::{self, Plan, View, until};
use super::subject::{Status, Subject};
use crate::owner::{adopt_patch, release_patch};
use crate::pod::{controller_of, is_active};
use crate::{Error, Spawner, write};
use futures::stream::{FuturesUnordered, StreamExt};
use isopod_reflect::{Backoff, EventType, Expectations, Key, Queue, Recorder, Reflector, Verdict, index, reference};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use std::sync::Arc;
use std::time::Duration;

/// Sets reconciled at once.
const WORKERS: usize = 8;
/// Requests under way at once for one set. In one process a request costs tens of microseconds; more only makes queues longer.
const PARALLEL: usize = 64;
/// Pod events of a set are taken together for this long: a thousand pods becoming ready are a few dozen passes, not a thousand.
const GATHER: Duration = Duration::from_millis(8);

/// Runs the ReplicaSet controller.
pub fn replica_sets(spawner: &Spawner) {
    start::<ReplicaSet>(spawner);
}

/// Runs the ReplicationController controller.
pub fn replication_controllers(spawner: &Spawner) {
    start::<ReplicationController>(spawner);
}

struct Controller<S: Subject> {
    client: kube::Client,
    recorder: Recorder,
    subjects: Reflector<S>,
    pods: Reflector<Pod>,
    /// Of pods, by the set's key.
    expected_pods: Expectations<Key>,
    /// Of the sets themselves (status).
    expected_self: Expectations<Key>,
    queue: Arc<Queue<Key>>,
}

fn start<S: Subject>(spawner: &Spawner) {
    let client = spawner.client(S::COMPONENT);
    let subjects = spawner.reflectors.of::<S>();
    let pods = spawner.reflectors.of::<Pod>();
    subjects.add_index(index::CONTROLLER, index::controller);
    pods.add_index(index::CONTROLLER, index::controller);
    let queue = Queue::new(Backoff::RETRY);
    let controller = Arc::new(Controller {
        recorder: Recorder::new(client.clone(), S::COMPONENT, None),
        client,
        subjects,
        pods,
        expected_pods: Expectations::default(),
        expected_self: Expectations::default(),
        queue: Arc::clone(&queue),
    });
    spawner.follow(&controller.subjects, {
        let queue = Arc::clone(&queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.follow(&controller.pods, {
        let controller = Arc::clone(&controller);
        move |change| {
            for pod in change.old.iter().chain(&change.new).chain([&change.latest]) {
                controller.wake_for(&pod.metadata);
            }
        }
    });
    spawner.work(queue, WORKERS, (controller.subjects.clone(), controller.pods.clone()), move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

impl<S: Subject> Controller<S> {
    /// Wakes the set that manages the pod, or sets that might adopt it.
    fn wake_for(&self, pod: &ObjectMeta) {
        let namespace = pod.namespace.as_deref().unwrap_or("");
        if let Some(owner) = controller_of(pod) {
            if owner.kind == S::KIND && owner.api_version == S::API_VERSION {
                self.queue.add_after(Key::new(namespace, &owner.name), GATHER);
            }
            return;
        }
        let Some(labels) = &pod.labels else { return };
        for subject in self.subjects.list_in(namespace) {
            if subject.selector().is_ok_and(|s| s.matches(labels)) {
                self.queue.add(Key::of(subject.metadata()));
            }
        }
    }

    async fn reconcile(&self, key: &Key) -> Verdict {
        let Some(subject) = self.subjects.get(&key.namespace, &key.name) else {
            self.expected_pods.forget(key);
            self.expected_self.forget(key);
            return Verdict::Done;
        };
        // The event that brings what we did wakes us again.
        if self.expected_pods.outstanding(key, &self.pods) || self.expected_self.outstanding(key, &self.subjects) {
            return Verdict::After(Expectations::<Key>::TIMEOUT);
        }
        let now = Timestamp::now();
        let mut pods = self.pods.by_index(index::CONTROLLER, subject.uid());
        let orphans = self.pods.by_index(index::CONTROLLER, "");
        pods.extend(orphans.into_iter().filter(|p| p.metadata.namespace.as_deref() == Some(&*key.namespace)));
        let related = self.related(&*subject, &pods);
        let plan = plan::plan(&View { subject: &*subject, pods: &pods, related: &related, now });
        match self.carry_out(key, &subject, &plan).await {
            Ok(()) => plan.look_again.map_or(Verdict::Done, |at| Verdict::After(until(at, now))),
            Err(error) => {
                tracing::debug!(kind = S::KIND, %key, %error, "pass failed");
                Verdict::Retry
            }
        }
    }

    /// Active pods of all sets with the same owner; only looked up when pods are to be ranked.
    fn related(&self, subject: &S, own: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let uid = subject.uid();
        let of_subject = |p: &&Arc<Pod>| controller_of(&p.metadata).is_some_and(|o| o.uid == uid) && is_active(p);
        let active = own.iter().filter(of_subject);
        if i32::try_from(active.clone().count()).unwrap_or(i32::MAX) <= subject.replicas() {
            return Vec::new();
        }
        let Some(owner) = controller_of(subject.metadata()) else { return active.cloned().collect() };
        let siblings = self.subjects.by_index(index::CONTROLLER, &owner.uid);
        siblings.iter().flat_map(|s| self.pods.by_index(index::CONTROLLER, s.uid())).collect()
    }

    async fn carry_out(&self, key: &Key, subject: &Arc<S>, plan: &Plan) -> Result<(), Error> {
        self.claim(key, subject, plan).await?;
        let outcome = if plan.create > 0 {
            self.create(key, subject, plan.create).await
        } else {
            self.delete(key, subject, &plan.delete).await
        };
        let status = match &outcome {
            Ok(()) => plan::succeeded(&plan.status),
            Err(error) => plan::failed(&plan.status, plan.surplus, &error.to_string(), Timestamp::now()),
        };
        // After acting, the pods' events bring a pass that counts what came of it: one write instead of two.
        if outcome.is_err() || !plan.acts() {
            self.write_status(key, subject, &status).await?;
        }
        outcome
    }

    async fn claim(&self, key: &Key, subject: &Arc<S>, plan: &Plan) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        if !plan.adopt.is_empty() {
            // The mirror may not know yet that the owner is leaving: ask (`RecheckDeletionTimestamp`).
            let live: S = Api::namespaced(self.client.clone(), &key.namespace).get(&key.name).await?;
            if Subject::uid(&live) != subject.uid() || Subject::metadata(&live).deletion_timestamp.is_some() {
                return Err(Error::Leaving(key.clone()));
            }
        }
        let owner = subject.as_owner();
        let adopt = plan.adopt.iter().map(|p| (p, adopt_patch(&p.metadata, &owner)));
        let release = plan.release.iter().map(|p| (p, release_patch(&p.metadata, &owner.uid)));
        for (pod, patch) in adopt.chain(release) {
            if let Some(written) = write::merge(&api, &pod.metadata, patch).await? {
                self.expected_pods.wrote(key, &written.metadata);
            }
        }
        Ok(())
    }

    async fn create(&self, key: &Key, subject: &Arc<S>, count: usize) -> Result<(), Error> {
        let Some(template) = subject.template() else { return Ok(()) };
        let meta = template.metadata.clone().unwrap_or_default();
        let pod = Pod {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", key.name)),
                namespace: Some(key.namespace.to_string()),
                labels: meta.labels,
                annotations: meta.annotations,
                finalizers: meta.finalizers,
                owner_references: Some(vec![subject.as_owner()]),
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        for batch in plan::slow_start(count) {
            let mut error = None;
            let made = futures::stream::iter(0..batch).map(|_| {
                let (api, pod) = (&api, &pod);
                async move { api.create(&PostParams::default(), pod).await }
            });
            let mut made = made.buffer_unordered(PARALLEL);
            while let Some(made) = made.next().await {
                match made {
                    Ok(made) => {
                        self.expected_pods.wrote(key, &made.metadata);
                        let name = made.metadata.name.unwrap_or_default();
                        self.tell(subject, EventType::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                    }
                    // Nothing can be made in a namespace that is going away, and everybody knows.
                    Err(e) if write::namespace_terminating(&e) => {}
                    Err(e) => {
                        self.tell(
                            subject,
                            EventType::Warning,
                            "FailedCreate",
                            format!("Error creating: {}", write::words(&e)),
                        );
                        error = Some(e);
                    }
                }
            }
            if let Some(error) = error {
                return Err(error.into());
            }
        }
        Ok(())
    }

    async fn delete(&self, key: &Key, subject: &Arc<S>, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let (api, mut result) = (&api, Ok(()));
        for some in pods.chunks(PARALLEL) {
            let mut deletions: FuturesUnordered<_> = some
                .iter()
                .map(|pod| async move {
                    let name = pod.metadata.name.as_deref().unwrap_or("");
                    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
                    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
                    (pod, name, api.delete(name, &params).await)
                })
                .collect();
            while let Some((pod, name, deleted)) = deletions.next().await {
                match deleted {
                    Ok(_) => {
                        self.expected_pods.deleted(key, Key::of(&pod.metadata), pod.metadata.uid.clone());
                        self.tell(subject, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                    }
                    Err(e) if write::is_gone(&e) => {}
                    Err(e) => {
                        self.tell(
                            subject,
                            EventType::Warning,
                            "FailedDelete",
                            format!("Error deleting: {}", write::words(&e)),
                        );
                        result = Err(e.into());
                    }
                }
            }
        }
        result
    }

    async fn write_status(&self, key: &Key, subject: &Arc<S>, status: &Status) -> Result<(), Error> {
        if subject.status() == *status {
            return Ok(());
        }
        let api: Api<S> = Api::namespaced(self.client.clone(), &key.namespace);
        let written = api.replace_status(&key.name, &PostParams::default(), &subject.with_status(status)).await;
        match written {
            Ok(written) => self.expected_self.wrote(key, Subject::metadata(&written)),
            Err(e) if write::is_gone(&e) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    fn tell(&self, subject: &Arc<S>, kind: EventType, reason: &str, message: String) {
        self.recorder.record(reference(&**subject), kind, reason, message);
    }
}

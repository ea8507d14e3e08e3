//! Carries the plan out: watches Deployments, ReplicaSets and (for Recreate) pods; writes ReplicaSets and status.
use super::annotations::REVISION;
use super::failure::{self, Failing};
use super::plan::{self, Action, Event, Plan, Taken, View};
use super::strategy;
use crate::owner::{adopt_patch, controller_ref, release_patch};
use crate::pod::{controller_of, is_terminal};
use crate::replicaset::plan::until;
use crate::{Error, Spawner, write};
use isopod_api::selector::Selector;
use isopod_reflect::{Backoff, Expectations, Key, Queue, Recorder, Reflector, Verdict, index, reference};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "deployment-controller";
const WORKERS: usize = 8;
/// Name of the index of pods that cannot start, by the uid of their ReplicaSet.
const IN_TROUBLE: &str = "in-trouble";
/// The deadline is judged a second late, as Kubernetes does: times in the API have whole seconds.
const SKEW: Duration = Duration::from_secs(1);

struct Controller {
    client: kube::Client,
    recorder: Recorder,
    deployments: Reflector<Deployment>,
    sets: Reflector<ReplicaSet>,
    pods: Reflector<Pod>,
    expected_sets: Expectations<Key>,
    expected_self: Expectations<Key>,
    queue: Arc<Queue<Key>>,
}

/// Runs the Deployment controller.
pub fn deployments(spawner: &Spawner) {
    let client = spawner.client(NAME);
    let queue = Queue::new(Backoff::RETRY);
    let controller = Arc::new(Controller {
        recorder: Recorder::new(client.clone(), NAME, None),
        client,
        deployments: spawner.reflectors.of(),
        sets: spawner.reflectors.of(),
        pods: spawner.reflectors.of(),
        expected_sets: Expectations::default(),
        expected_self: Expectations::default(),
        queue: Arc::clone(&queue),
    });
    controller.sets.add_index(index::CONTROLLER, index::controller);
    controller.pods.add_index(index::CONTROLLER, index::controller);
    controller.pods.add_index(IN_TROUBLE, failure::index_by_owner);
    spawner.follow(&controller.deployments, {
        let queue = Arc::clone(&queue);
        move |change| queue.add(change.key.clone())
    });
    spawner.follow(&controller.sets, {
        let controller = Arc::clone(&controller);
        move |change| {
            for rs in change.old.iter().chain([&change.latest]) {
                controller.wake_for_set(&rs.metadata);
            }
        }
    });
    spawner.follow(&controller.pods, {
        let controller = Arc::clone(&controller);
        move |change| {
            let ended = change.new.is_none() || change.new.as_ref().is_some_and(|p| is_terminal(p));
            let troubled = change.new.as_ref().is_some_and(|p| !failure::index_by_owner(p).is_empty());
            if ended || troubled {
                controller.wake_for_pod(&change.latest.metadata, troubled);
            }
        }
    });
    let mirrors = (controller.deployments.clone(), controller.sets.clone(), controller.pods.clone());
    spawner.work(queue, WORKERS, mirrors, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

impl Controller {
    fn wake_for_set(&self, rs: &ObjectMeta) {
        let namespace = rs.namespace.as_deref().unwrap_or("");
        if let Some(owner) = controller_of(rs) {
            if owner.kind == "Deployment" {
                self.queue.add(Key::new(namespace, &owner.name));
            }
            return;
        }
        let Some(labels) = &rs.labels else { return };
        for d in self.deployments.list_in(namespace) {
            if Selector::from_label_selector(Some(&d.spec.selector)).is_ok_and(|s| s.matches(labels)) {
                self.queue.add(Key::of(&d.metadata));
            }
        }
    }

    /// Recreate goes on when the last old pod is gone, and a rollout fails when pods cannot start: no ReplicaSet tells that.
    fn wake_for_pod(&self, pod: &ObjectMeta, troubled: bool) {
        let namespace = pod.namespace.as_deref().unwrap_or("");
        let Some(set) = controller_of(pod).filter(|o| o.kind == "ReplicaSet") else { return };
        let Some(rs) = self.sets.get(namespace, &set.name) else { return };
        let Some(owner) = controller_of(&rs.metadata).filter(|o| o.kind == "Deployment") else { return };
        if troubled || self.deployments.get(namespace, &owner.name).is_some_and(|d| !strategy::is_rolling(&d)) {
            self.queue.add(Key::new(namespace, &owner.name));
        }
    }

    async fn reconcile(&self, key: &Key) -> Verdict {
        let Some(d) = self.deployments.get(&key.namespace, &key.name) else {
            self.expected_sets.forget(key);
            self.expected_self.forget(key);
            return Verdict::Done;
        };
        if self.expected_sets.outstanding(key, &self.sets) || self.expected_self.outstanding(key, &self.deployments) {
            return Verdict::After(Expectations::<Key>::TIMEOUT);
        }
        let now = Timestamp::now();
        let mut replica_sets = self.sets.by_index(index::CONTROLLER, d.metadata.uid.as_deref().unwrap_or(""));
        let orphans = self.sets.by_index(index::CONTROLLER, "");
        replica_sets.extend(orphans.into_iter().filter(|rs| rs.metadata.namespace.as_deref() == Some(&*key.namespace)));
        let running = if strategy::is_rolling(&d) { BTreeMap::new() } else { self.running(&replica_sets) };
        let failing = self.failing(&replica_sets, now);
        let view = View { deployment: &d, replica_sets: &replica_sets, running: &running, failing: &failing, now };
        let plan = plan::plan(&view);
        match self.carry_out(key, &d, &plan).await {
            Ok(()) => plan.look_again.map_or(Verdict::Done, |at| Verdict::After(until(at, now) + SKEW)),
            Err(error) => {
                tracing::debug!(%key, %error, "pass failed");
                Verdict::Retry
            }
        }
    }

    fn failing(&self, sets: &[Arc<ReplicaSet>], now: Timestamp) -> BTreeMap<String, Failing> {
        let uids = sets.iter().filter_map(|rs| rs.metadata.uid.clone());
        uids.filter_map(|uid| {
            let pods = self.pods.by_index(IN_TROUBLE, &uid);
            Some((uid, failure::of_pods(pods.iter().map(|p| &**p), now)?))
        })
        .collect()
    }

    fn running(&self, sets: &[Arc<ReplicaSet>]) -> BTreeMap<String, usize> {
        let uids = sets.iter().filter_map(|rs| rs.metadata.uid.clone());
        uids.map(|uid| {
            let pods = self.pods.by_index(index::CONTROLLER, &uid);
            let count = pods.iter().filter(|p| !is_terminal(p)).count();
            (uid, count)
        })
        .collect()
    }

    async fn carry_out(&self, key: &Key, d: &Arc<Deployment>, plan: &Plan) -> Result<(), Error> {
        for event in &plan.events {
            self.tell(d, event);
        }
        for action in &plan.actions {
            self.act(key, d, plan, action).await?;
        }
        self.write_status(key, d, &plan.status, plan.revision.as_deref()).await
    }

    async fn act(&self, key: &Key, d: &Arc<Deployment>, plan: &Plan, action: &Action) -> Result<(), Error> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &key.namespace);
        match action {
            Action::Adopt(rs) => {
                let live: Deployment = Api::namespaced(self.client.clone(), &key.namespace).get(&key.name).await?;
                if live.metadata.uid != d.metadata.uid || live.metadata.deletion_timestamp.is_some() {
                    return Err(Error::Leaving(key.clone()));
                }
                let patch = adopt_patch(&rs.metadata, &controller_ref("apps/v1", "Deployment", &d.metadata));
                self.wrote(key, write::merge(&api, &rs.metadata, patch).await?.as_ref());
            }
            Action::Release(rs) => {
                let patch = release_patch(&rs.metadata, d.metadata.uid.as_deref().unwrap_or(""));
                self.wrote(key, write::merge(&api, &rs.metadata, patch).await?.as_ref());
            }
            Action::Create(rs, event) => self.create(key, d, plan, rs, event.as_ref()).await?,
            Action::Update(rs, event) => {
                let name = rs.metadata.name.as_deref().unwrap_or("");
                let written = api.replace(name, &PostParams::default(), rs).await?;
                self.wrote(key, Some(&written));
                event.iter().for_each(|e| self.tell(d, e));
            }
            Action::Delete(rs) => self.delete(key, rs).await?,
            Action::UpdateDeployment(new, event) => {
                let api: Api<Deployment> = Api::namespaced(self.client.clone(), &key.namespace);
                let written = api.replace(&key.name, &PostParams::default(), new).await?;
                self.expected_self.wrote(key, &written.metadata);
                self.tell(d, event);
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        key: &Key,
        d: &Arc<Deployment>,
        plan: &Plan,
        rs: &ReplicaSet,
        event: Option<&Event>,
    ) -> Result<(), Error> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &key.namespace);
        let name = rs.metadata.name.as_deref().unwrap_or("");
        match api.create(&PostParams::default(), rs).await {
            Ok(made) => {
                self.wrote(key, Some(&made));
                event.into_iter().for_each(|e| self.tell(d, e));
                Ok(())
            }
            Err(e) if write::already_exists(&e) => {
                let existing = api.get(name).await?;
                if plan::name_taken(d, &existing) == Taken::ByItself {
                    self.wrote(key, Some(&existing));
                    return Ok(());
                }
                let mut status = d.status.clone().unwrap_or_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
                self.write_status(key, d, &status, None).await?;
                Err(e.into())
            }
            Err(e) if write::namespace_terminating(&e) => Err(e.into()),
            Err(e) => {
                let (status, event) = plan::create_failed(d, &plan.status, name, &write::words(&e), Timestamp::now());
                self.write_status(key, d, &status, None).await?;
                self.tell(d, &event);
                Err(e.into())
            }
        }
    }

    async fn delete(&self, key: &Key, rs: &ReplicaSet) -> Result<(), Error> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &key.namespace);
        // The version, too: a set that was scaled up meanwhile is in use again.
        let preconditions =
            Preconditions { uid: rs.metadata.uid.clone(), resource_version: rs.metadata.resource_version.clone() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match api.delete(rs.metadata.name.as_deref().unwrap_or(""), &params).await {
            Ok(_) => self.expected_sets.deleted(key, Key::of(&rs.metadata), rs.metadata.uid.clone()),
            Err(e) if write::is_gone(&e) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Status and revision go together in one write: the status subresource keeps annotations.
    async fn write_status(
        &self,
        key: &Key,
        d: &Arc<Deployment>,
        status: &DeploymentStatus,
        revision: Option<&str>,
    ) -> Result<(), Error> {
        let annotated = d.metadata.annotations.as_ref().and_then(|a| a.get(REVISION)).map(String::as_str);
        let same_revision = revision.is_none() || revision == annotated;
        if same_revision && d.status.clone().unwrap_or_default() == *status {
            return Ok(());
        }
        let mut new = (**d).clone();
        new.status = Some(status.clone());
        if let Some(revision) = revision {
            new.metadata.annotations.get_or_insert_default().insert(REVISION.to_owned(), revision.to_owned());
        }
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.replace_status(&key.name, &PostParams::default(), &new).await {
            Ok(written) => self.expected_self.wrote(key, &written.metadata),
            Err(e) if write::is_gone(&e) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    fn wrote(&self, key: &Key, rs: Option<&ReplicaSet>) {
        if let Some(rs) = rs {
            self.expected_sets.wrote(key, &rs.metadata);
        }
    }

    fn tell(&self, d: &Deployment, event: &Event) {
        self.recorder.record(reference(d), event.kind, event.reason, event.message.clone());
    }
}

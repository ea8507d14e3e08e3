//! A simulated cluster: objects with versions, one mirror a kind that lags behind, controllers that may crash between two writes,
//! and nodes that start and stop pods. Bounds are judged here by arithmetic of its own, at every write.
use crate::deployment::failure::{self, Failing};
use crate::deployment::plan::{self as deploy, Action};
use crate::deployment::{annotations, automatic};
use crate::owner::controller_ref;
use crate::pod::{self, controller_of, is_active, is_terminal};
use crate::replicaset::plan as sets;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod fault;
use fault::{Fault, image_of};

pub const START: i64 = 1_700_000_000;

/// A kind's objects, its history, and a mirror that has come as far as `seen`.
#[derive(Clone)]
pub struct Store<T> {
    pub live: BTreeMap<String, Arc<T>>,
    history: Vec<(String, Option<Arc<T>>)>,
    pub mirror: BTreeMap<String, Arc<T>>,
    seen: usize,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { live: BTreeMap::new(), history: Vec::new(), mirror: BTreeMap::new(), seen: 0 }
    }
}

impl<T> Store<T> {
    fn put(&mut self, name: &str, object: T) {
        let object = Arc::new(object);
        self.live.insert(name.to_owned(), Arc::clone(&object));
        self.history.push((name.to_owned(), Some(object)));
    }
    fn remove(&mut self, name: &str) {
        if self.live.remove(name).is_some() {
            self.history.push((name.to_owned(), None));
        }
    }
    /// The next change reaches the mirror; whether there was one.
    pub fn deliver(&mut self) -> bool {
        let Some((name, object)) = self.history.get(self.seen).cloned() else { return false };
        self.seen += 1;
        match object {
            Some(o) => self.mirror.insert(name, o),
            None => self.mirror.remove(&name),
        };
        true
    }
    pub fn deliver_all(&mut self) -> bool {
        let mut any = false;
        while self.deliver() {
            any = true;
        }
        any
    }
    fn at(&self) -> usize {
        self.history.len()
    }
}

/// A bound that did not hold, or a rollout that does not end.
pub type Violation = String;

#[derive(Clone)]
pub struct World {
    pub d: Store<Deployment>,
    pub sets: Store<ReplicaSet>,
    pub pods: Store<Pod>,
    version: u64,
    pub clock: i64,
    names: u64,
    /// How far the mirrors must have come before a controller acts again.
    expect_sets: usize,
    expect_self: usize,
    expect_pods: BTreeMap<String, usize>,
    expect_set_self: BTreeMap<String, usize>,
    pub writes: u64,
    /// The process dies right after this many writes.
    pub crash_at: Option<u64>,
    crashed: bool,
    /// Bounds in force: the widest since the last rest, because a decision may be older than the last change of the spec.
    most: i64,
    fewest: i64,
    /// A pod failed since the last rest: then fewer may be available, through nobody's action.
    pub failed: bool,
    pub violation: Option<Violation>,
    /// Images rolled out so far.
    pub images: BTreeSet<String>,
    /// When the last pass of the Deployment controller asked to be called again.
    look_again: Option<Timestamp>,
    /// Rollbacks it made by itself, and how many it may have made: one for each change to a template that cannot work, but for
    /// the one that was refused last.
    pub rollbacks: u32,
    pub allowed: u32,
    refused: Option<String>,
    /// An image that worked and whose new pods do not any more.
    pub spoilt: Option<String>,
}

struct Stop;
type Written = Result<(), Stop>;

impl World {
    pub fn new(d: Deployment) -> Self {
        let mut w = Self {
            d: Store::default(),
            sets: Store::default(),
            pods: Store::default(),
            version: 10,
            clock: START,
            names: 0,
            expect_sets: 0,
            expect_self: 0,
            expect_pods: BTreeMap::new(),
            expect_set_self: BTreeMap::new(),
            writes: 0,
            crash_at: None,
            crashed: false,
            most: 0,
            fewest: i64::MAX,
            failed: false,
            violation: None,
            images: BTreeSet::new(),
            look_again: None,
            rollbacks: 0,
            allowed: 0,
            refused: None,
            spoilt: None,
        };
        w.d.put("web", d);
        w.d.deliver_all();
        w.widen();
        w
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.clock).unwrap()
    }

    pub fn spec(&self) -> Arc<Deployment> {
        Arc::clone(&self.d.live["web"])
    }

    /// Bounds by arithmetic of our own: surge rounded up, unavailable down, not both nothing.
    fn bounds(d: &Deployment) -> (i64, i64) {
        let replicas = i64::from(d.spec.replicas.unwrap());
        let rolling = d.spec.strategy.as_ref().unwrap();
        if rolling.type_.as_deref() == Some("Recreate") {
            return (replicas, 0);
        }
        let value = |v: &k8s_openapi::apimachinery::pkg::util::intstr::IntOrString, up: bool| match v {
            k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(n) => i64::from(*n),
            k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(s) => {
                let p: i64 = s.trim_end_matches('%').parse().unwrap();
                (p * replicas + if up { 99 } else { 0 }) / 100
            }
        };
        let r = rolling.rolling_update.as_ref().unwrap();
        let (surge, mut unavailable) =
            (value(r.max_surge.as_ref().unwrap(), true), value(r.max_unavailable.as_ref().unwrap(), false));
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        (replicas + surge, (replicas - unavailable).max(0))
    }

    fn widen(&mut self) {
        let (most, fewest) = Self::bounds(&self.spec());
        self.most = self.most.max(most);
        self.fewest = self.fewest.min(fewest);
    }

    /// All is done: from here only the present spec counts.
    pub fn rest(&mut self) {
        (self.most, self.fewest) = Self::bounds(&self.spec());
        self.failed = false;
    }

    pub fn change(&mut self, f: impl FnOnce(&mut Deployment)) {
        let mut d = (*self.spec()).clone();
        f(&mut d);
        d.metadata.generation = d.metadata.generation.map(|g| g + 1);
        self.version += 1;
        d.metadata.resource_version = Some(self.version.to_string());
        self.d.put("web", d);
        self.widen();
    }

    pub fn set_image(&mut self, image: &str) {
        if Fault::of(image).is_some() && self.refused.as_deref() != Some(image) {
            self.allowed += 1;
        }
        self.change(|d| d.spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned()));
    }

    // --- what the API server does -------------------------------------------------------------------------------------

    /// Every write goes through here: the process may die right after it.
    fn written(&mut self) -> Written {
        self.writes += 1;
        if self.crash_at == Some(self.writes) {
            self.crashed = true;
            return Err(Stop);
        }
        Ok(())
    }

    fn stamp(&mut self) -> Option<String> {
        self.version += 1;
        Some(self.version.to_string())
    }

    /// A conflict ends the pass.
    fn put_set(&mut self, mut rs: ReplicaSet, spec: bool) -> Written {
        let name = rs.metadata.name.clone().unwrap();
        let Some(live) = self.sets.live.get(&name).cloned() else { return Err(Stop) };
        if live.metadata.resource_version != rs.metadata.resource_version {
            return Err(Stop);
        }
        if spec {
            if rs.spec != live.spec {
                rs.metadata.generation = live.metadata.generation.map(|g| g + 1);
            }
            rs.status.clone_from(&live.status);
        }
        rs.metadata.resource_version = self.stamp();
        self.sets.put(&name, rs);
        self.written()
    }

    fn available(&self) -> i64 {
        let min_ready = self.spec().spec.min_ready_seconds.unwrap_or(0);
        let now = self.now();
        i64::try_from(self.pods.live.values().filter(|p| is_active(p) && pod::is_available(p, min_ready, now)).count())
            .unwrap()
    }

    fn active(&self) -> i64 {
        i64::try_from(self.pods.live.values().filter(|p| is_active(p)).count()).unwrap()
    }

    fn blame(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.violation.is_none() {
            self.violation = Some(what(self));
        }
    }

    fn create_pod(&mut self, rs: &ReplicaSet) -> Written {
        self.names += 1;
        let name = format!("p{}", self.names);
        let template = rs.spec.template.clone().unwrap();
        let mut metadata = template.metadata.unwrap();
        metadata.name = Some(name.clone());
        metadata.namespace = Some("ns".into());
        metadata.uid = Some(name.clone());
        metadata.resource_version = self.stamp();
        metadata.creation_timestamp = Some(self.now().into());
        metadata.owner_references = Some(vec![controller_ref("apps/v1", "ReplicaSet", &rs.metadata)]);
        let mut spec = template.spec.unwrap();
        spec.node_name = Some("n".into());
        let status = serde_json::from_value(json!({"phase": "Pending"})).unwrap();
        self.pods.put(&name, Pod { metadata, spec: Some(spec), status: Some(status) });
        if self.active() > self.most {
            self.blame(|w| {
                format!("pod {name} of {:?} makes {} pods, at most {} allowed", rs.metadata.name, w.active(), w.most)
            });
        }
        let recreate = self.spec().spec.strategy.as_ref().unwrap().type_.as_deref() == Some("Recreate");
        let uid = rs.metadata.uid.clone().unwrap();
        let others = self
            .pods
            .live
            .values()
            .filter(|p| !is_terminal(p) && controller_of(&p.metadata).is_some_and(|o| o.uid != uid))
            .count();
        if recreate && others > 0 {
            self.blame(|_| format!("recreate: pod {name} is made while {others} old ones run"));
        }
        self.written()
    }

    fn delete_pod(&mut self, name: &str) -> Written {
        let Some(live) = self.pods.live.get(name).cloned() else { return Ok(()) };
        if live.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let min_ready = self.spec().spec.min_ready_seconds.unwrap_or(0);
        let counted = pod::is_available(&live, min_ready, self.now());
        let mut new = (*live).clone();
        new.metadata.deletion_timestamp = Some(self.now().into());
        new.metadata.resource_version = self.stamp();
        self.pods.put(name, new);
        if counted && !self.failed && self.available() < self.fewest {
            self.blame(|w| {
                format!("deleting {name} leaves {} available, at least {} must be", w.available(), w.fewest)
            });
        }
        self.written()
    }

    // --- what controllers do --------------------------------------------------------------------------------------------

    /// One pass of the Deployment controller; whether it wrote.
    pub fn sync_deployment(&mut self) -> bool {
        if self.expect_sets > self.sets.seen || self.expect_self > self.d.seen {
            return false;
        }
        let Some(d) = self.d.mirror.get("web").cloned() else { return false };
        let sets: Vec<Arc<ReplicaSet>> = self.sets.mirror.values().cloned().collect();
        let mut running: BTreeMap<String, usize> = BTreeMap::new();
        for rs in &sets {
            let uid = rs.metadata.uid.clone().unwrap();
            let of_set = |p: &&Arc<Pod>| !is_terminal(p) && controller_of(&p.metadata).is_some_and(|o| o.uid == uid);
            let count = self.pods.mirror.values().filter(of_set).count();
            running.insert(uid, count);
        }
        let failing = self.failing();
        let plan = deploy::plan(&deploy::View {
            deployment: &d,
            replica_sets: &sets,
            running: &running,
            failing: &failing,
            now: self.now(),
        });
        self.look_again = plan.look_again;
        let before = self.writes;
        let _stopped = self.carry_out(&d, &plan);
        self.after_crash();
        self.writes > before
    }

    fn failing(&self) -> BTreeMap<String, Failing> {
        let now = self.now();
        let of = |uid: &String| {
            let ours = |p: &&Arc<Pod>| failure::index_by_owner(p).contains(uid);
            failure::of_pods(self.pods.mirror.values().filter(ours).map(|p| &**p), now)
        };
        let uids = self.sets.mirror.values().filter_map(|rs| rs.metadata.uid.clone());
        uids.filter_map(|uid| of(&uid).map(|f| (uid, f))).collect()
    }

    fn carry_out(&mut self, d: &Deployment, plan: &deploy::Plan) -> Written {
        for action in &plan.actions {
            let result = match action {
                Action::Create(rs, _) => self.create_set((**rs).clone()),
                Action::Update(rs, _) => self.put_set((**rs).clone(), true),
                Action::Delete(rs) => {
                    let name = rs.metadata.name.clone().unwrap();
                    let same = self
                        .sets
                        .live
                        .get(&name)
                        .is_some_and(|l| l.metadata.resource_version == rs.metadata.resource_version);
                    if same {
                        self.sets.remove(&name);
                    }
                    if same { self.written() } else { Err(Stop) }
                }
                Action::UpdateDeployment(new, _) => self.roll_back(new),
                other => panic!("the simulation has no {other:?}"),
            };
            self.expect_sets = self.sets.at();
            result?;
        }
        let annotated = d.metadata.annotations.as_ref().and_then(|a| a.get(annotations::REVISION)).cloned();
        if d.status.clone().unwrap_or_default() == plan.status
            && (plan.revision.is_none() || plan.revision == annotated)
        {
            return Ok(());
        }
        let live = self.spec();
        if live.metadata.resource_version != d.metadata.resource_version {
            return Err(Stop);
        }
        let mut new = (*live).clone();
        new.status = Some(plan.status.clone());
        if let Some(revision) = &plan.revision {
            new.metadata.annotations.get_or_insert_default().insert(annotations::REVISION.into(), revision.clone());
        }
        new.metadata.resource_version = self.stamp();
        self.d.put("web", new);
        self.expect_self = self.d.at();
        self.written()
    }

    fn create_set(&mut self, mut rs: ReplicaSet) -> Written {
        let name = rs.metadata.name.clone().unwrap();
        if self.sets.live.contains_key(&name) {
            return Err(Stop);
        }
        rs.metadata.uid = Some(name.clone());
        rs.metadata.generation = Some(1);
        rs.metadata.creation_timestamp = Some(self.now().into());
        rs.metadata.resource_version = self.stamp();
        self.images
            .insert(rs.spec.template.as_ref().unwrap().spec.as_ref().unwrap().containers[0].image.clone().unwrap());
        self.sets.put(&name, rs);
        self.written()
    }

    /// One pass of the ReplicaSet controller over one set; whether it wrote.
    pub fn sync_set(&mut self, name: &str) -> bool {
        let awaited = |m: &BTreeMap<String, usize>| m.get(name).copied().unwrap_or(0);
        if awaited(&self.expect_pods) > self.pods.seen || awaited(&self.expect_set_self) > self.sets.seen {
            return false;
        }
        let Some(rs) = self.sets.mirror.get(name).cloned() else { return false };
        let pods: Vec<Arc<Pod>> = self.pods.mirror.values().cloned().collect();
        let plan = sets::plan(&sets::View { subject: &*rs, pods: &pods, related: &pods, now: self.now() });
        let before = self.writes;
        let _stopped = self.carry_out_set(name, &rs, &plan);
        self.after_crash();
        self.writes > before
    }

    fn carry_out_set(&mut self, name: &str, rs: &Arc<ReplicaSet>, plan: &sets::Plan) -> Written {
        use crate::replicaset::Subject;
        for _ in 0..plan.create {
            let result = self.create_pod(rs);
            self.expect_pods.insert(name.to_owned(), self.pods.at());
            result?;
        }
        for p in &plan.delete {
            let result = self.delete_pod(p.metadata.name.as_deref().unwrap());
            self.expect_pods.insert(name.to_owned(), self.pods.at());
            result?;
        }
        if plan.acts() || rs.status() == plan.status {
            return Ok(());
        }
        let new = rs.with_status(&plan.status);
        let Some(live) = self.sets.live.get(name) else { return Err(Stop) };
        if live.metadata.resource_version != new.metadata.resource_version {
            return Err(Stop);
        }
        self.put_set(new, false)?;
        self.expect_set_self.insert(name.to_owned(), self.sets.at());
        Ok(())
    }

    /// After a crash nothing is remembered, and nobody acts before the mirrors are true.
    fn after_crash(&mut self) {
        if !std::mem::take(&mut self.crashed) {
            return;
        }
        self.d.deliver_all();
        self.sets.deliver_all();
        self.pods.deliver_all();
        (self.expect_sets, self.expect_self) = (0, 0);
        self.expect_pods.clear();
        self.expect_set_self.clear();
    }

    // --- what nodes do ----------------------------------------------------------------------------------------------------

    fn pod_status(&mut self, name: &str, ready: bool) {
        let Some(live) = self.pods.live.get(name).cloned() else { return };
        let mut new = (*live).clone();
        let state = if ready { "True" } else { "False" };
        new.status = Some(
            serde_json::from_value(json!({"phase": "Running",
                "conditions": [{"type": "Ready", "status": state, "lastTransitionTime": self.now().to_string()}]}))
            .unwrap(),
        );
        new.metadata.resource_version = self.stamp();
        self.pods.put(name, new);
    }

    /// The n-th pod that can: becomes ready, says why not, or is gone at last; whether there was one.
    pub fn node_step(&mut self, n: usize, broken: &dyn Fn(&Pod) -> bool) -> bool {
        let can: Vec<String> = self
            .pods
            .live
            .iter()
            .filter(|(_, p)| {
                let faulty = self.fault(p).is_some() && !pod::is_ready(p);
                let speaks = if faulty { self.fails_with(p).is_some() } else { !pod::is_ready(p) && !broken(p) };
                p.metadata.deletion_timestamp.is_some() || speaks
            })
            .map(|(name, _)| name.clone())
            .collect();
        if can.is_empty() {
            return false;
        }
        let name = &can[n % can.len()];
        if self.pods.live[name].metadata.deletion_timestamp.is_some() {
            self.pods.remove(name);
        } else if let Some(mut new) = self.fails_with(&self.pods.live[name]) {
            new.metadata.resource_version = self.stamp();
            self.pods.put(name, new);
        } else {
            self.pod_status(name, true);
        }
        true
    }

    pub fn fail_pod(&mut self, n: usize) {
        let ready: Vec<String> = self
            .pods
            .live
            .iter()
            .filter(|(_, p)| is_active(p) && pod::is_ready(p))
            .map(|(name, _)| name.clone())
            .collect();
        if !ready.is_empty() {
            self.failed = true;
            self.pod_status(&ready[n % ready.len()].clone(), false);
        }
    }

    // --- to the end -------------------------------------------------------------------------------------------------------

    /// Everybody does what he can until nobody can; then the rollout must be done. `broken`: pods that never become ready.
    pub fn settle(&mut self, broken: &dyn Fn(&Pod) -> bool) -> Result<(), Violation> {
        for _ in 0..3000 {
            self.d.deliver_all();
            self.sets.deliver_all();
            self.pods.deliver_all();
            let mut moved = self.sync_deployment();
            self.sets.deliver_all();
            let names: Vec<String> = self.sets.mirror.keys().cloned().collect();
            for name in names {
                moved |= self.sync_set(&name);
                self.pods.deliver_all();
            }
            moved |= self.node_step(0, broken);
            if let Some(v) = &self.violation {
                return Err(v.clone());
            }
            if !moved {
                if self.waits_for_time() {
                    self.clock += 1;
                    continue;
                }
                if let Some(at) = self.look_again.take() {
                    // As late as the controller itself looks.
                    self.clock = self.clock.max(at.as_second()) + 1;
                    continue;
                }
                return self.check_rest();
            }
        }
        Err(format!("it does not come to rest: {:?}", self.summary()))
    }

    fn waits_for_time(&self) -> bool {
        let min_ready = self.spec().spec.min_ready_seconds.unwrap_or(0);
        let now = self.now();
        self.pods.live.values().any(|p| matches!(pod::availability(p, min_ready, now), pod::Availability::From(_)))
    }

    fn summary(&self) -> Vec<String> {
        self.sets
            .live
            .values()
            .map(|rs| format!("{} {:?} {:?}", rs.metadata.name.as_deref().unwrap(), rs.spec.replicas, rs.status))
            .collect()
    }

    /// Done: all pods new and available, as many as asked for; the status says so; revisions are in order; history is as long as it may be.
    fn check_rest(&self) -> Result<(), Violation> {
        let d = self.spec();
        if d.spec.paused == Some(true) {
            return Ok(());
        }
        let wanted = i64::from(d.spec.replicas.unwrap());
        let asked = image_of(&d);
        if Fault::of(&asked).is_some() && automatic::is_on(&d) && wanted > 0 {
            return self.check_refused(&d, wanted);
        }
        let image = Some(asked);
        let current = |p: &Pod| p.spec.as_ref().unwrap().containers[0].image == image;
        let right = self.pods.live.values().filter(|p| is_active(p) && current(p)).count();
        let state = (i64::try_from(self.pods.live.len()).unwrap(), i64::try_from(right).unwrap(), self.available());
        if state != (wanted, wanted, wanted) {
            return Err(format!(
                "at rest with {state:?} (pods, right ones, available), {wanted} wanted: {:?}",
                self.summary()
            ));
        }
        let s = d.status.clone().unwrap_or_default();
        let n = |n: Option<i32>| i64::from(n.unwrap_or(0));
        let told = (
            n(s.replicas),
            n(s.updated_replicas),
            n(s.available_replicas),
            n(s.unavailable_replicas),
            s.observed_generation,
        );
        if told != (wanted, wanted, wanted, 0, d.metadata.generation) {
            return Err(format!("at rest, but the status tells {told:?}"));
        }
        let revision = |rs: &ReplicaSet| annotations::revision(rs);
        let newest = self.sets.live.values().max_by_key(|rs| revision(rs));
        let newest_image =
            newest.and_then(|rs| rs.spec.template.as_ref()?.spec.as_ref()?.containers.first()?.image.clone());
        if newest_image != image {
            return Err(format!("the highest revision is {newest_image:?}, not {image:?}"));
        }
        let limit = usize::try_from(d.spec.revision_history_limit.unwrap()).unwrap();
        let kept = self.sets.live.len() - 1;
        // No pod has shown yet that the new template works: what can be gone back to is kept beyond the limit.
        let spare = usize::from(wanted == 0 && automatic::is_on(&d));
        if kept > limit + spare || (self.images.len() - 1 <= limit && kept != self.images.len() - 1) {
            return Err(format!("{kept} old revisions kept of {}, limit {limit}", self.images.len() - 1));
        }
        Ok(())
    }
}

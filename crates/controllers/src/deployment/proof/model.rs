//! Exhaustive model checking (stateright): every order of deliveries, passes, pods becoming ready and template changes, for stated
//! sizes. The decisions are the real plans'; the model only keeps the cluster small enough to be seen whole.
use super::{annotate, deployment, set};
use crate::deployment::annotations;
use crate::deployment::plan::{Action as Write, View, plan};
use crate::replicaset::plan as sets;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde_json::json;
use stateright::{Checker, Model, Property};
use std::collections::HashMap;
use std::sync::Arc;

/// Active pods of one set. Pods on their way out are not counted, so deletion removes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Pods {
    pending: u8,
    ready: u8,
}

/// What a set is asked for and what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Told {
    size: u8,
    generation: u8,
    observed: u8,
    replicas: u8,
    available: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Set {
    live: Told,
    /// As the shared mirror has it; `None`: not there yet.
    seen: Option<Told>,
    pods: Pods,
    pods_seen: Pods,
    /// The ReplicaSet controller has not observed pods it made or deleted.
    owed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// The template wanted, by number; a set's number is its template's.
    target: u8,
    changes_left: u8,
    sets: Vec<Option<Set>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Change(u8),
    SeeSet(u8),
    SeePods(u8),
    Deployment,
    ReplicaSet(u8),
    Ready(u8),
}

/// The template wanted and what is seen of each set: all that the Deployment's plan depends on.
type Seen = (u8, Vec<Option<Told>>);
/// Sizes to write, by template number; creations included.
type Sizes = Vec<(u8, u8)>;

struct Rollout {
    replicas: u8,
    surge: u8,
    unavailable: u8,
    templates: u8,
    changes: u8,
    rolled: Mutex<HashMap<Seen, Sizes>>,
    replicated: Mutex<HashMap<(u8, Pods), (u8, Pods)>>,
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

impl Rollout {
    fn new(replicas: u8, surge: u8, unavailable: u8, templates: u8, changes: u8) -> Self {
        Self {
            replicas,
            surge,
            unavailable,
            templates,
            changes,
            rolled: Mutex::default(),
            replicated: Mutex::default(),
        }
    }

    fn replica_set(&self, template: u8, told: Told) -> Arc<ReplicaSet> {
        let name = format!("v{template}");
        let mut rs = set(&name, &name, 100 - i64::from(template), told.size.into(), told.available.into());
        rs.metadata.generation = Some(told.generation.into());
        let status = rs.status.as_mut().unwrap();
        status.replicas = told.replicas.into();
        status.observed_generation = Some(told.observed.into());
        annotate(
            rs,
            &[
                (annotations::REVISION, template.to_string()),
                (annotations::DESIRED, self.replicas.to_string()),
                (annotations::MAX, (self.replicas + self.surge).to_string()),
            ],
        )
    }

    /// The Deployment's plan for what is seen.
    fn roll(&self, target: u8, seen: Vec<Option<Told>>) -> Sizes {
        if let Some(known) = self.rolled.lock().get(&(target, seen.clone())) {
            return known.clone();
        }
        let mut d = deployment(self.replicas.into(), &json!(self.surge), &json!(self.unavailable));
        d.spec.template.spec.as_mut().unwrap().containers[0].image = Some(format!("v{target}"));
        d.spec.revision_history_limit = Some(i32::MAX);
        let found: Vec<Arc<ReplicaSet>> = seen
            .iter()
            .enumerate()
            .filter_map(|(i, told)| told.map(|t| self.replica_set(u8::try_from(i).unwrap(), t)))
            .collect();
        let (running, failing) = Default::default();
        let plan =
            plan(&View { deployment: &d, replica_sets: &found, running: &running, failing: &failing, now: now() });
        let size = |rs: &ReplicaSet| u8::try_from(rs.spec.replicas.unwrap()).unwrap();
        let sizes: Sizes = plan
            .actions
            .iter()
            .map(|write| match write {
                Write::Create(rs, _) => (target, size(rs)),
                Write::Update(rs, _) => (rs.metadata.name.as_ref().unwrap()[1..].parse().unwrap(), size(rs)),
                other => panic!("not expected here: {other:?}"),
            })
            .collect();
        self.rolled.lock().insert((target, seen), sizes.clone());
        sizes
    }

    /// The ReplicaSet's plan: how many pods to make, how many of each kind to delete.
    fn replicate(&self, size: u8, pods: Pods) -> (u8, Pods) {
        if let Some(known) = self.replicated.lock().get(&(size, pods)) {
            return *known;
        }
        let rs = set("s", "s", 1, size.into(), 0);
        let pod = |n: u8, ready: bool| -> Arc<Pod> {
            let conditions = if ready { json!([{"type": "Ready", "status": "True"}]) } else { json!([]) };
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": format!("{ready}{n}"), "namespace": "ns", "labels": {"app": "web"},
                    "uid": format!("{ready}{n}"), "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "uid": "s",
                    "controller": true}]}, "spec": {"nodeName": "n", "containers": []}, "status": {"phase": "Running", "conditions": conditions}}))
                .unwrap(),
            )
        };
        let all: Vec<_> =
            (0..pods.pending).map(|n| pod(n, false)).chain((0..pods.ready).map(|n| pod(n, true))).collect();
        let plan = sets::plan(&sets::View { subject: &rs, pods: &all, related: &all, now: now() });
        let gone = |ready: bool| {
            u8::try_from(plan.delete.iter().filter(|p| crate::pod::is_ready(p) == ready).count()).unwrap()
        };
        let result = (u8::try_from(plan.create).unwrap(), Pods { pending: gone(false), ready: gone(true) });
        self.replicated.lock().insert((size, pods), result);
        result
    }

    fn sync_deployment(&self, state: &mut State) {
        // Its own writes must have been seen.
        if state.sets.iter().flatten().any(|s| s.seen.is_none_or(|seen| seen.generation != s.live.generation)) {
            return;
        }
        let seen = state.sets.iter().map(|s| s.and_then(|s| s.seen)).collect();
        for (template, size) in self.roll(state.target, seen) {
            let slot = &mut state.sets[usize::from(template)];
            match slot {
                Some(set) => {
                    // What else was written since it was seen (status) is a conflict: the pass ends.
                    if set.seen != Some(set.live) {
                        return;
                    }
                    if set.live.size != size {
                        set.live.size = size;
                        set.live.generation += 1;
                    }
                }
                None => {
                    let live = Told { size, generation: 1, ..Told::default() };
                    *slot =
                        Some(Set { live, seen: None, pods: Pods::default(), pods_seen: Pods::default(), owed: false });
                }
            }
        }
    }

    fn sync_set(&self, set: &mut Set) {
        let Some(seen) = set.seen else { return };
        // Its own status write must have been seen, and its own pods.
        let own = |t: Told| (t.observed, t.replicas, t.available);
        if set.owed || own(seen) != own(set.live) {
            return;
        }
        let (create, delete) = self.replicate(seen.size, set.pods_seen);
        if create > 0 {
            set.pods.pending += create;
            set.owed = true;
        } else if delete != Pods::default() {
            // A pod seen pending may be ready by now: it is the same pod that goes.
            let turned = set.pods.ready.saturating_sub(set.pods_seen.ready);
            let pending = delete.pending.min(set.pods.pending);
            let late = delete.pending - pending;
            assert!(late <= turned);
            set.pods.pending -= pending;
            set.pods.ready -= delete.ready + late;
            set.owed = true;
        } else if set.seen == Some(set.live) {
            set.live.observed = seen.generation;
            set.live.replicas = set.pods_seen.pending + set.pods_seen.ready;
            set.live.available = set.pods_seen.ready;
        }
    }
}

impl Model for Rollout {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let told =
            Told { size: self.replicas, generation: 1, observed: 1, replicas: self.replicas, available: self.replicas };
        let pods = Pods { pending: 0, ready: self.replicas };
        let mut sets = vec![None; usize::from(self.templates)];
        sets[0] = Some(Set { live: told, seen: Some(told), pods, pods_seen: pods, owed: false });
        vec![State { target: 0, changes_left: self.changes, sets }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if state.changes_left > 0 {
            actions.extend((0..self.templates).filter(|t| *t != state.target).map(Step::Change));
        }
        actions.push(Step::Deployment);
        for (i, set) in state.sets.iter().enumerate() {
            let (Some(set), Ok(i)) = (set, u8::try_from(i)) else { continue };
            if set.seen != Some(set.live) {
                actions.push(Step::SeeSet(i));
            }
            if set.pods_seen != set.pods || set.owed {
                actions.push(Step::SeePods(i));
            }
            if set.pods.pending > 0 {
                actions.push(Step::Ready(i));
            }
            actions.push(Step::ReplicaSet(i));
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Change(target) => {
                state.target = target;
                state.changes_left -= 1;
            }
            Step::Deployment => self.sync_deployment(&mut state),
            Step::SeeSet(i) => {
                let set = state.sets[usize::from(i)].as_mut()?;
                set.seen = Some(set.live);
            }
            Step::SeePods(i) => {
                let set = state.sets[usize::from(i)].as_mut()?;
                set.pods_seen = set.pods;
                set.owed = false;
            }
            Step::Ready(i) => {
                let set = state.sets[usize::from(i)].as_mut()?;
                set.pods.pending -= 1;
                set.pods.ready += 1;
            }
            Step::ReplicaSet(i) => self.sync_set(state.sets[usize::from(i)].as_mut()?),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never more than replicas + maxSurge", |m: &Rollout, s: &State| {
                let pods: u8 = s.sets.iter().flatten().map(|s| s.pods.pending + s.pods.ready).sum();
                pods <= m.replicas + m.surge
            }),
            Property::always("never fewer available than replicas − maxUnavailable", |m: &Rollout, s: &State| {
                let ready: u8 = s.sets.iter().flatten().map(|s| s.pods.ready).sum();
                ready >= m.replicas - m.unavailable
            }),
            Property::always("there is a next step until it is done", |m: &Rollout, s: &State| {
                let mut steps = Vec::new();
                m.actions(s, &mut steps);
                let own = steps.into_iter().filter(|step| !matches!(step, Step::Change(_)));
                if own.into_iter().any(|step| m.next_state(s, step).is_some()) {
                    return true;
                }
                let done = Pods { pending: 0, ready: m.replicas };
                s.sets.iter().enumerate().all(|(i, set)| {
                    let pods = set.map(|s| s.pods).unwrap_or_default();
                    pods == if i == usize::from(s.target) { done } else { Pods::default() }
                })
            }),
            Property::sometimes("a rollout ends", |m: &Rollout, s: &State| {
                s.target != 0 && s.sets[usize::from(s.target)].is_some_and(|set| set.pods.ready == m.replicas)
            }),
        ]
    }
}

fn check(replicas: u8, surge: u8, unavailable: u8, templates: u8, changes: u8) -> usize {
    let checker =
        Rollout::new(replicas, surge, unavailable, templates, changes).checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.is_done());
    println!(
        "replicas {replicas}, surge {surge}, unavailable {unavailable}, templates {templates}, changes {changes}: {} states",
        checker.unique_state_count()
    );
    checker.unique_state_count()
}

#[test]
fn all_orders_of_small_rollouts() {
    for (replicas, surge, unavailable, templates, changes) in [
        (1, 1, 0, 2, 1),
        (2, 1, 0, 2, 1),
        (2, 0, 1, 2, 1),
        (3, 1, 1, 2, 1),
        (4, 2, 1, 2, 1),
        (2, 1, 0, 2, 2),
        (5, 2, 2, 2, 2),
        (2, 1, 1, 3, 2),
        (3, 1, 0, 3, 3),
    ] {
        assert!(check(replicas, surge, unavailable, templates, changes) > 20);
    }
}

/// The model is no tautology: with a faulty plan it finds the way to the broken bound.
#[test]
fn the_model_finds_a_fault() {
    use crate::mutant::{Mutant, with};
    // Faults are switched on per thread: check in this one.
    let broken = with(Mutant::UnacknowledgedPodsForgotten, || {
        let model = Rollout::new(2, 1, 0, 2, 1);
        explore(&model)
    });
    assert!(broken.is_some_and(|name| name.starts_with("never more")));
    assert_eq!(explore(&Rollout::new(2, 1, 0, 2, 1)), None);
}

/// A plain search in one thread: the first property that is broken.
fn explore(model: &Rollout) -> Option<&'static str> {
    let properties = model.properties();
    let mut seen = std::collections::HashSet::new();
    let mut queue: std::collections::VecDeque<State> = model.init_states().into();
    while let Some(state) = queue.pop_front() {
        for p in properties.iter().filter(|p| p.expectation == stateright::Expectation::Always) {
            if !(p.condition)(model, &state) {
                return Some(p.name);
            }
        }
        let mut steps = Vec::new();
        model.actions(&state, &mut steps);
        for next in steps.into_iter().filter_map(|step| model.next_state(&state, step)) {
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    None
}

//! A Deployment's ReplicaSets while a pass works on them: what they were, what they are to be.
use super::annotations;
use super::strategy;
use super::template;
use crate::mutant::{self, Mutant};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::sync::Arc;

/// Replicas asked of a set.
pub fn size(rs: &ReplicaSet) -> i64 {
    i64::from(rs.spec.replicas.unwrap_or(1))
}

fn reported(rs: &ReplicaSet, f: impl FnOnce(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> Option<i32>) -> i64 {
    i64::from(rs.status.as_ref().and_then(f).unwrap_or(0))
}

/// Pods a set said it has.
pub fn actual(rs: &ReplicaSet) -> i64 {
    reported(rs, |s| Some(s.replicas))
}

pub fn ready(rs: &ReplicaSet) -> i64 {
    reported(rs, |s| s.ready_replicas)
}

pub fn reported_available(rs: &ReplicaSet) -> i64 {
    reported(rs, |s| s.available_replicas)
}

/// Available pods that the set will keep: it may have been told to lose some and not have said so yet. Worked example: of 4 + 1
/// pods the old set (status: 4 available) was told to be 3 and has not reported; counting 4 would take two pods for one.
pub fn available(rs: &ReplicaSet) -> i64 {
    if mutant::on(Mutant::StaleStatusTrusted) {
        return reported_available(rs);
    }
    reported_available(rs).min(size(rs))
}

/// Whether the set has seen what was last asked of it.
fn acknowledged(rs: &ReplicaSet) -> bool {
    rs.status.as_ref().and_then(|s| s.observed_generation).unwrap_or(0) >= rs.metadata.generation.unwrap_or(0)
}

/// One set, as it was found (`None`: to be made) and as it is to be.
#[derive(Clone, Debug)]
pub struct Set {
    pub found: Option<Arc<ReplicaSet>>,
    pub now: Arc<ReplicaSet>,
}

impl Set {
    pub fn name(&self) -> &str {
        self.now.metadata.name.as_deref().unwrap_or("")
    }
    pub fn uid(&self) -> &str {
        self.now.metadata.uid.as_deref().unwrap_or("")
    }
    pub fn size(&self) -> i64 {
        size(&self.now)
    }
    pub fn is_active(&self) -> bool {
        self.size() > 0
    }
    pub fn found_size(&self) -> i64 {
        self.found.as_deref().map_or(0, size)
    }
    pub fn changed(&self) -> bool {
        self.found.as_ref().is_none_or(|f| !Arc::ptr_eq(f, &self.now))
    }
    pub fn edit(&mut self) -> &mut ReplicaSet {
        Arc::make_mut(&mut self.now)
    }
    fn age_order(&self) -> (Option<&jiff::Timestamp>, &str) {
        (self.now.metadata.creation_timestamp.as_ref().map(|t| &t.0), self.name())
    }

    /// The most pods the set can have now: what it was asked for, and what it has not let go of yet.
    fn at_most(&self) -> i64 {
        let Some(found) = &self.found else { return 0 };
        if mutant::on(Mutant::UnacknowledgedPodsForgotten) {
            return size(found);
        }
        size(found).max(actual(found))
    }

    /// It may have more pods than anybody can know: it was asked for something and has not answered.
    fn unanswered(&self) -> bool {
        // A set made but not seen by its controller yet has no pods beyond what it was made with.
        self.found.as_ref().is_some_and(|f| !acknowledged(f) && f.metadata.generation.unwrap_or(0) > 1)
    }
}

/// All sets of a Deployment, oldest first, and which of them is of its template.
#[derive(Clone, Debug)]
pub struct Sets {
    pub all: Vec<Set>,
    /// Index of the set of the current template.
    pub new: Option<usize>,
}

impl Sets {
    /// Of several sets of the same template the oldest is the new one (`FindNewReplicaSet`).
    pub fn of(d: &Deployment, found: &[Arc<ReplicaSet>]) -> Self {
        let mut all: Vec<Set> =
            found.iter().map(|rs| Set { found: Some(Arc::clone(rs)), now: Arc::clone(rs) }).collect();
        all.sort_by(|a, b| a.age_order().cmp(&b.age_order()));
        let is_new = |s: &Set| s.now.spec.template.as_ref().is_some_and(|t| template::same(t, &d.spec.template));
        let new = all.iter().position(is_new);
        Self { all, new }
    }

    pub fn new_set(&self) -> Option<&Set> {
        self.new.and_then(|i| self.all.get(i))
    }

    /// Old sets, oldest first.
    pub fn old(&self) -> impl DoubleEndedIterator<Item = &Set> {
        self.old_indexes().into_iter().filter_map(|i| self.all.get(i))
    }

    pub fn old_indexes(&self) -> Vec<usize> {
        (0..self.all.len()).filter(|i| Some(*i) != self.new).collect()
    }

    pub fn active_indexes(&self) -> Vec<usize> {
        (0..self.all.len()).filter(|i| self.all.get(*i).is_some_and(Set::is_active)).collect()
    }

    pub fn total(&self) -> i64 {
        self.all.iter().map(Set::size).sum()
    }

    pub fn max_old_revision(&self) -> i64 {
        self.old().map(|s| annotations::revision(&s.now)).max().unwrap_or(0)
    }

    /// How many pods may be made in set `index` without there ever being more than `replicas + maxSurge`: all pods that may still
    /// be there are counted. `None`: a set has not answered yet, so nobody can know.
    pub fn room(&self, d: &Deployment, index: usize) -> Option<i64> {
        let mut others = 0i64;
        for (i, set) in self.all.iter().enumerate() {
            if set.unanswered() && !mutant::on(Mutant::UnacknowledgedPodsForgotten) {
                return None;
            }
            // The set itself: pods it has beyond its size are pods too.
            others +=
                if i == index { (set.at_most() - set.found_size()).max(0) } else { set.at_most().max(set.size()) };
        }
        Some(strategy::max_total(d).saturating_sub(others))
    }

    /// Sets a size (`scaleReplicaSet`); whether it changed. Growth is held back to the room there is.
    pub fn scale(&mut self, d: &Deployment, index: usize, wanted: i64) -> Scaled {
        let room = self.room(d, index);
        let Some(set) = self.all.get_mut(index) else { return Scaled::default() };
        let before = set.size();
        let mut to = wanted.clamp(0, i64::from(i32::MAX));
        let mut held_back = 0;
        if to > before {
            let most = room.unwrap_or(before).max(before);
            held_back = (to - most).max(0);
            to = to.min(most);
        }
        if held_back > 0 && to == before {
            // Nothing can grow yet: what this pass wanted stays to be done, so its mark is not set either.
            return Scaled { changed: false, held_back };
        }
        if to != before || annotations::sizes_differ(&set.now, d) {
            let rs = set.edit();
            rs.spec.replicas = Some(i32::try_from(to).unwrap_or(i32::MAX));
            annotations::set_sizes(rs, d);
        }
        Scaled { changed: to != before, held_back }
    }
}

/// What came of scaling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scaled {
    pub changed: bool,
    /// Pods that have to wait until others are gone.
    pub held_back: i64,
}

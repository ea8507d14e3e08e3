//! A change of `spec.replicas` in mid-roll: sets grow or shrink in proportion (`sync.go`: `scale`).
use super::annotations;
use super::plan::Pass;
use super::sets::{Set, available, size};
use super::strategy::{is_rolling, max_total, replicas};
use crate::mutant::{self, Mutant};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::cmp::Reverse;

/// Whether an active set was last scaled for another number of replicas (`isScalingEvent`).
pub fn is_due(pass: &Pass<'_>) -> bool {
    let wanted = replicas(pass.deployment);
    pass.sets.all.iter().filter(|s| s.is_active()).any(|s| annotations::desired(&s.now).is_some_and(|d| d != wanted))
}

pub fn scale(pass: &mut Pass<'_>) {
    let wanted = i64::from(replicas(pass.deployment));
    if let Some(only) = active_or_latest(pass) {
        // Also when the size is right already: the set must be marked as scaled for the new number, or the change would stay due
        // and the rollout never go on (Kubernetes returns here).
        pass.scale(only, wanted);
        return;
    }
    if saturated(pass) {
        for index in pass.sets.old_indexes() {
            if pass.sets.all.get(index).is_some_and(Set::is_active) {
                pass.scale(index, 0);
            }
        }
        return;
    }
    if is_rolling(pass.deployment) {
        proportionally(pass);
    }
}

/// The only active set; without any, the one of the template, else the youngest (`FindActiveOrLatest`).
fn active_or_latest(pass: &Pass<'_>) -> Option<usize> {
    match pass.sets.active_indexes().as_slice() {
        [] => pass.sets.new.or_else(|| pass.sets.old_indexes().last().copied()),
        [only] => Some(*only),
        _ => None,
    }
}

/// The new set has all pods, all available (`IsSaturated`).
fn saturated(pass: &Pass<'_>) -> bool {
    let wanted = replicas(pass.deployment);
    pass.sets.new_set().is_some_and(|s| {
        s.size() == i64::from(wanted)
            && annotations::desired(&s.now) == Some(wanted)
            && available(&s.now) == i64::from(wanted)
    })
}

fn proportionally(pass: &mut Pass<'_>) {
    let d = pass.deployment;
    let mut order = pass.sets.active_indexes();
    let allowed = if replicas(d) > 0 { max_total(d) } else { 0 };
    let to_add = allowed - pass.sets.total();
    // From the largest to the smallest. Of equal ones the younger grows first, the older shrinks first; sets are oldest first.
    let size_of = |pass: &Pass<'_>, i: usize| pass.sets.all.get(i).map_or(0, Set::size);
    if to_add > 0 {
        order.sort_by_key(|i| (Reverse(size_of(pass, *i)), Reverse(*i)));
    } else {
        order.sort_by_key(|i| (Reverse(size_of(pass, *i)), *i));
    }
    let mut added = 0;
    let mut sizes: Vec<(usize, i64)> = Vec::with_capacity(order.len());
    for index in order {
        let Some(set) = pass.sets.all.get(index) else { continue };
        let share = share(&set.now, d, to_add, added);
        added += share;
        sizes.push((index, set.size() + share));
    }
    // What rounding left over goes to the largest.
    if let Some((_, first)) = sizes.first_mut()
        && !mutant::on(Mutant::LeftoverDropped)
    {
        *first = (*first + to_add - added).max(0);
    }
    // Shrink before growing: room is counted as it is when growing.
    sizes.sort_by_key(|(index, to)| *to > size_of(pass, *index));
    for (index, to) in sizes {
        pass.scale(index, to);
    }
}

/// How many of `to_add` (negative: to remove) a set takes (`GetReplicaSetProportion`).
pub fn share(rs: &ReplicaSet, d: &Deployment, to_add: i64, added: i64) -> i64 {
    if size(rs) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(rs, d);
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

/// A set's change in size if it keeps its part of the whole, rounded half away from zero (`getReplicaSetFraction`).
fn fraction(rs: &ReplicaSet, d: &Deployment) -> i64 {
    let size = size(rs);
    if replicas(d) == 0 {
        return -size;
    }
    let before = annotations::max(rs).map(i64::from).filter(|m| *m != 0).unwrap_or_else(|| {
        // Somebody took the annotation away: the Deployment's present size is the best estimate.
        i64::from(d.status.as_ref().and_then(|s| s.replicas).unwrap_or(0))
    });
    if before == 0 {
        return 0;
    }
    let product = i128::from(size) * i128::from(max_total(d));
    let (before, sign) = (i128::from(before), if before < 0 { -1 } else { 1 });
    let rounded = (2 * product * sign + before.abs()).div_euclid(2 * before.abs());
    i64::try_from(rounded).unwrap_or(i64::MAX).saturating_sub(size)
}

//! One step of a rolling update (`rolling.go`).
use super::plan::{Pass, WaitingOn};
use super::sets::{available, reported_available};
use super::strategy::{max_total, min_available, replicas};
use crate::mutant::{self, Mutant};

/// Up if there is room, else down if there is slack; a step at a time.
pub fn roll(pass: &mut Pass<'_>) {
    pass.ensure_new_set();
    if grow_new(pass) || shrink_old(pass) {
        return;
    }
    pass.clean_up_when_complete();
}

/// `reconcileNewReplicaSet`: towards `replicas`, within `replicas + maxSurge` over all sets.
pub fn grow_new(pass: &mut Pass<'_>) -> bool {
    let Some(index) = pass.sets.new else { return false };
    let Some(size) = pass.sets.new_set().map(super::sets::Set::size) else { return false };
    let wanted = i64::from(replicas(pass.deployment));
    if size == wanted {
        return false;
    }
    if size > wanted {
        return pass.scale(index, wanted);
    }
    let room = max_total(pass.deployment) - pass.sets.total();
    if room <= 0 {
        return false;
    }
    pass.scale(index, size + room.min(wanted - size))
}

/// `reconcileOldReplicaSets`: pods that are not available first, then as many as the new ones make up for.
///
/// Worked example, 10 replicas, at most 2 unavailable, surge 3. The new set stands at 5 and its pods crash: 13 pods, 8 must be
/// available, 5 of the new are not, so 13 − 8 − 5 = 0 old ones may go, even if a node with old pods fails. After `rollout undo` the
/// crashing set is the old one: 13 − 8 − 1 = 4 of it go at once.
pub fn shrink_old(pass: &mut Pass<'_>) -> bool {
    let old: i64 = pass.sets.old().map(super::sets::Set::size).sum();
    if old == 0 {
        return false;
    }
    let new_unavailable = pass.sets.new_set().map_or(0, |s| s.size() - reported_available(&s.now).min(s.size()));
    let new_unavailable = if mutant::on(Mutant::NewUnavailableIgnored) { 0 } else { new_unavailable };
    let slack = pass.sets.total() - min_available(pass.deployment) - new_unavailable;
    if slack <= 0 {
        if new_unavailable > 0 {
            pass.waiting_on.push(WaitingOn::NewPods { unavailable: new_unavailable });
        }
        return false;
    }
    let unhealthy = drop_unhealthy(pass, slack);
    let healthy = drop_healthy(pass);
    unhealthy + healthy > 0
}

/// `cleanupUnhealthyReplicas`: they serve nobody, and would only hold the rollout up.
fn drop_unhealthy(pass: &mut Pass<'_>, most: i64) -> i64 {
    if mutant::on(Mutant::UnhealthyKept) {
        return 0;
    }
    let mut dropped = 0;
    for index in pass.sets.old_indexes() {
        if dropped >= most {
            break;
        }
        let Some(set) = pass.sets.all.get(index) else { continue };
        let unhealthy = set.size() - available(&set.now);
        if set.size() == 0 || unhealthy == 0 {
            continue;
        }
        let count = unhealthy.min(most - dropped);
        let to = set.size() - count;
        pass.scale(index, to);
        dropped += count;
    }
    dropped
}

/// `scaleDownOldReplicaSetsForRollingUpdate`: oldest sets first.
fn drop_healthy(pass: &mut Pass<'_>) -> i64 {
    let available: i64 = pass.sets.all.iter().map(|s| available(&s.now)).sum();
    let most = available - min_available(pass.deployment);
    if most <= 0 {
        return 0;
    }
    let mut dropped = 0;
    for index in pass.sets.old_indexes() {
        if dropped >= most {
            break;
        }
        let Some(size) = pass.sets.all.get(index).map(super::sets::Set::size) else { continue };
        if size == 0 {
            continue;
        }
        let count = size.min(most - dropped);
        pass.scale(index, size - count);
        dropped += count;
    }
    dropped
}

//! All old pods go, then new ones come (`recreate.go`).
use super::plan::{Pass, WaitingOn};
use super::strategy::replicas;
use crate::mutant::{self, Mutant};

pub fn recreate(pass: &mut Pass<'_>) {
    let mut scaled = false;
    for index in pass.sets.old_indexes() {
        if pass.sets.all.get(index).is_some_and(super::sets::Set::is_active) {
            scaled |= pass.scale(index, 0);
        }
    }
    if scaled {
        return;
    }
    let left = old_pods(pass);
    if left > 0 && !mutant::on(Mutant::RecreateDoesNotWait) {
        pass.waiting_on.push(WaitingOn::OldPods { pods: left });
        return;
    }
    pass.ensure_new_set();
    if let Some(index) = pass.sets.new {
        pass.scale(index, i64::from(replicas(pass.deployment)));
    }
    pass.clean_up_when_complete();
}

/// Old pods that may still run, those on their way out included (`oldPodsRunning`).
fn old_pods(pass: &Pass<'_>) -> i64 {
    let reported: i64 = pass.sets.old().map(|s| super::sets::actual(&s.now)).sum();
    if reported > 0 {
        return reported;
    }
    let new = pass.sets.new_set().map(super::sets::Set::uid);
    pass.running
        .iter()
        .filter(|(uid, _)| Some(uid.as_str()) != new)
        .map(|(_, n)| i64::try_from(*n).unwrap_or(i64::MAX))
        .sum()
}

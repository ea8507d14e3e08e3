//! Forgets old revisions beyond `revisionHistoryLimit` (`sync.go`: `cleanupDeployment`).
use super::plan::{Action, Pass};
use super::sets::{Set, actual};
use super::strategy;
use super::{annotations, automatic};
use crate::mutant::{self, Mutant};
use std::sync::Arc;

pub fn clean_up(pass: &mut Pass<'_>) {
    let Some(limit) = strategy::history_limit(pass.deployment) else { return };
    let limit = usize::try_from(limit).unwrap_or(0);
    let limit = if mutant::on(Mutant::HistoryOffByOne) { limit.saturating_sub(1) } else { limit };
    let mut old: Vec<&Set> = pass.sets.old().filter(|s| s.now.metadata.deletion_timestamp.is_none()).collect();
    let excess = old.len().saturating_sub(limit);
    // Lowest revision first; the order of age decides between equal ones.
    old.sort_by_key(|s| annotations::revision(&s.now));
    let keep = automatic::to_keep(pass).and_then(|i| pass.sets.all.get(i)).map(Set::uid);
    let mut gone = Vec::new();
    for set in old.into_iter().take(excess) {
        let Some(found) = &set.found else { continue };
        let status = found.status.as_ref();
        let unseen = found.metadata.generation.unwrap_or(0) > status.and_then(|s| s.observed_generation).unwrap_or(0);
        // Pods, or a size its controller has not seen: not yet.
        if actual(found) != 0 || set.size() != 0 || unseen || set.changed() || keep == Some(set.uid()) {
            continue;
        }
        gone.push(Arc::clone(found));
    }
    pass.actions.extend(gone.into_iter().map(Action::Delete));
}

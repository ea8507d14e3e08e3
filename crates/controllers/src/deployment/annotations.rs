//! What a Deployment writes on its ReplicaSets, and on itself, to remember (`util/deployment_util.go`).
use super::automatic::RETRY;
use super::strategy;
use crate::mutant::{self, Mutant};
use isopod_api::change::{AUTOMATIC_CAUSE, CHANGE_CAUSE, CHANGED_BY, ROLLED_BACK, ROLLED_OUT, cause_of_person};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::collections::BTreeMap;

pub use isopod_api::change::REVISION;
pub const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";
pub const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The most characters of `revision-history`: older revisions fall off.
const HISTORY_LENGTH: usize = 2000;

/// Annotations that each object keeps to itself.
pub fn is_own(key: &str) -> bool {
    let kubernetes = matches!(key, LAST_APPLIED | REVISION | HISTORY | DESIRED | MAX | ROLLBACK_TO);
    kubernetes || matches!(key, CHANGED_BY | AUTOMATIC_CAUSE | ROLLED_OUT | ROLLED_BACK | RETRY)
}

fn get<'a>(annotations: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    annotations?.get(key).map(String::as_str)
}

/// The revision of a ReplicaSet; 0 if it has none or an unreadable one.
pub fn revision(rs: &ReplicaSet) -> i64 {
    get(rs.metadata.annotations.as_ref(), REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

fn number(rs: &ReplicaSet, key: &str) -> Option<i32> {
    get(rs.metadata.annotations.as_ref(), key)?.parse().ok()
}

pub fn desired(rs: &ReplicaSet) -> Option<i32> {
    number(rs, DESIRED)
}

pub fn max(rs: &ReplicaSet) -> Option<i32> {
    number(rs, MAX)
}

/// Sets an annotation; whether that changed anything.
fn set(rs: &mut ReplicaSet, key: &str, value: &str) -> bool {
    let annotations = rs.metadata.annotations.get_or_insert_default();
    if annotations.get(key).is_some_and(|v| v == value) {
        return false;
    }
    annotations.insert(key.to_owned(), value.to_owned());
    true
}

/// The sizes asked for when `rs` was last scaled (`SetReplicasAnnotations`).
pub fn set_sizes(rs: &mut ReplicaSet, d: &Deployment) -> bool {
    let desired = set(rs, DESIRED, &strategy::replicas(d).to_string());
    let max = set(rs, MAX, &sizes_max(d));
    desired || max
}

fn sizes_max(d: &Deployment) -> String {
    i64::from(strategy::replicas(d)).saturating_add(strategy::max_surge(d)).to_string()
}

/// `ReplicasAnnotationsNeedUpdate`
pub fn sizes_differ(rs: &ReplicaSet, d: &Deployment) -> bool {
    let annotations = rs.metadata.annotations.as_ref();
    get(annotations, DESIRED) != Some(strategy::replicas(d).to_string().as_str())
        || get(annotations, MAX) != Some(sizes_max(d).as_str())
}

/// Copies the Deployment's annotations to its newest ReplicaSet and gives it `revision` if its own is lower; a ReplicaSet that is
/// rolled back to remembers the revisions it had (`SetNewReplicaSetAnnotations`).
pub fn sync(d: &Deployment, rs: &mut ReplicaSet, revision: i64) -> Synced {
    let mut changed = false;
    let theirs = cause_of_person(d.metadata.annotations.as_ref()).is_some();
    for (key, value) in d.metadata.annotations.iter().flatten().filter(|(key, _)| !is_own(key)) {
        if key != CHANGE_CAUSE || theirs {
            changed |= set(rs, key, value);
        }
    }
    if theirs {
        // A person has spoken.
        changed |= rs.metadata.annotations.as_mut().and_then(|a| a.remove(AUTOMATIC_CAUSE)).is_some();
    }
    let had = get(rs.metadata.annotations.as_ref(), REVISION).map(ToOwned::to_owned);
    let old = match had.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(n) => n,
            // Somebody wrote something else there: hands off.
            Err(_) => return Synced::default(),
        },
    };
    if old >= revision || mutant::on(Mutant::RevisionNotBumped) && had.is_some() {
        return Synced { changed, new_revision: false };
    }
    set(rs, REVISION, &revision.to_string());
    if let Some(had) = had {
        remember(rs, &had);
    }
    Synced { changed: true, new_revision: true }
}

/// What became of a ReplicaSet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    pub changed: bool,
    /// It has become the newest revision just now.
    pub new_revision: bool,
}

fn remember(rs: &mut ReplicaSet, revision: &str) {
    let history = get(rs.metadata.annotations.as_ref(), HISTORY).unwrap_or("");
    if history.is_empty() {
        let revision = revision.to_owned();
        set(rs, HISTORY, &revision);
        return;
    }
    let mut revisions: Vec<&str> = history.split(',').collect();
    revisions.push(revision);
    let length = |r: &[&str]| r.iter().map(|s| s.len() + 1).sum::<usize>().saturating_sub(1);
    let mut start = 0;
    while start + 1 < revisions.len() && revisions.get(start..).is_some_and(|r| length(r) > HISTORY_LENGTH) {
        start += 1;
    }
    let history = revisions.get(start..).unwrap_or_default().join(",");
    set(rs, HISTORY, &history);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rs(annotations: &[(&str, &str)]) -> ReplicaSet {
        let mut rs = ReplicaSet::default();
        rs.metadata.annotations = Some(annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        rs
    }

    #[test]
    fn a_set_rolled_back_to_remembers_its_revisions() {
        let mut d = Deployment::default();
        d.metadata.annotations = Some(
            [("kubernetes.io/change-cause", "why"), (REVISION, "7"), (LAST_APPLIED, "{}")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
        );
        let mut set = rs(&[(REVISION, "1")]);
        let bumped = |set: &mut ReplicaSet, to: i64| {
            let synced = sync(&d, set, to);
            (synced.changed, synced.new_revision)
        };
        assert_eq!(bumped(&mut set, 3), (true, true));
        assert_eq!(bumped(&mut set, 3), (false, false), "once is enough");
        assert_eq!(bumped(&mut set, 5), (true, true));
        assert_eq!(bumped(&mut set, 4), (false, false), "never back");
        let a = set.metadata.annotations.unwrap();
        assert_eq!((a[REVISION].as_str(), a[HISTORY].as_str()), ("5", "1,3"));
        assert_eq!(a["kubernetes.io/change-cause"], "why");
        assert!(!a.contains_key(LAST_APPLIED));
    }

    #[test]
    fn history_is_bounded() {
        let long = (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let mut set = rs(&[(REVISION, "500"), (HISTORY, &long[..1999])]);
        assert!(sync(&Deployment::default(), &mut set, 501).new_revision);
        let a = set.metadata.annotations.unwrap();
        assert!(a[HISTORY].len() <= HISTORY_LENGTH && a[HISTORY].ends_with(",500") && !a[HISTORY].starts_with("0,"));
    }

    #[test]
    fn an_unreadable_revision_is_left_alone() {
        let mut set = rs(&[(REVISION, "seven")]);
        assert_eq!(sync(&Deployment::default(), &mut set, 3), Synced::default());
        assert_eq!(revision(&set), 0);
    }

    /// What the Deployment says is copied, unless nobody said it; and then it is the person's.
    #[test]
    fn only_a_persons_cause_is_copied() {
        let cause = |pairs: &[(&str, &str)]| {
            let mut d = Deployment::default();
            d.metadata.annotations = rs(pairs).metadata.annotations;
            let mut set = rs(&[(REVISION, "1"), (CHANGE_CAUSE, "auto"), (AUTOMATIC_CAUSE, "auto"), (ROLLED_OUT, "1")]);
            let changed = sync(&d, &mut set, 1).changed;
            let a = set.metadata.annotations.unwrap();
            assert_eq!(a[ROLLED_OUT], "1");
            (changed, a[CHANGE_CAUSE].clone(), a.contains_key(AUTOMATIC_CAUSE))
        };
        let automatic = (false, "auto".to_owned(), true);
        assert_eq!(cause(&[]), automatic);
        assert_eq!(cause(&[(CHANGE_CAUSE, "")]), automatic);
        assert_eq!(cause(&[(CHANGE_CAUSE, "old"), (AUTOMATIC_CAUSE, "old")]), automatic, "copied by an undo");
        assert_eq!(cause(&[(ROLLED_OUT, "7"), (ROLLED_BACK, "{}"), (RETRY, "x"), (CHANGED_BY, "{}")]), automatic);
        assert_eq!(cause(&[(CHANGE_CAUSE, "mine")]), (true, "mine".to_owned(), false));
        assert_eq!(cause(&[(CHANGE_CAUSE, "mine"), (AUTOMATIC_CAUSE, "old")]), (true, "mine".to_owned(), false));
    }
}

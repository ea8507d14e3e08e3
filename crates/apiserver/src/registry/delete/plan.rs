//! What a DELETE does to an object: pure (`rest.BeforeDelete` and `updateForGracefulDeletionAndFinalizers`).
use isopod_api::catalogue::{Deletion, Dependents, KindOps, Object};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Time};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing: it is on its way already, and not asked to hurry.
    Pending,
    /// Take it out of the store. With the period that its deletion was shortened to, it is last seen like this.
    Remove(Option<Box<dyn Object>>),
    /// Store it marked; finalizers, the node or the namespace controller complete it.
    Mark(Box<dyn Object>),
}

pub(crate) fn plan(ops: &dyn KindOps, object: &dyn Object, options: &DeleteOptions, now: Time) -> Step {
    let mut marked = object.boxed_clone();
    if ops.holds_deletion(object) {
        if object.meta().deletion_timestamp.is_some() {
            return Step::Pending;
        }
        set_finalizers(marked.meta_mut(), ops.dependents(), options);
        marked.meta_mut().deletion_timestamp = Some(now);
        ops.mark_deleting(&mut *marked);
        return Step::Mark(marked);
    }
    match grace(ops, object, options) {
        Grace::Pending => Step::Pending,
        Grace::None => {
            set_finalizers(marked.meta_mut(), ops.dependents(), options);
            if has_finalizers(marked.meta()) {
                mark_without_grace(marked.meta_mut(), now);
                ops.mark_deleting(&mut *marked);
                return Step::Mark(marked);
            }
            Step::Remove(None)
        }
        Grace::Seconds { seconds, since } => {
            set_finalizers(marked.meta_mut(), ops.dependents(), options);
            let meta = marked.meta_mut();
            if since.is_none() {
                raise_generation(meta);
            }
            meta.deletion_timestamp = Some(after(since.as_ref().unwrap_or(&now), seconds));
            meta.deletion_grace_period_seconds = Some(seconds);
            ops.mark_deleting(&mut *marked);
            if seconds > 0 || has_finalizers(marked.meta()) { Step::Mark(marked) } else { Step::Remove(Some(marked)) }
        }
    }
}

enum Grace {
    /// Already going, and the request does not shorten that.
    Pending,
    /// The kind knows no grace, or it has run out.
    None,
    /// Wait so long; counted from `since` if the deletion has begun before.
    Seconds { seconds: i64, since: Option<Time> },
}

fn grace(ops: &dyn KindOps, object: &dyn Object, options: &DeleteOptions) -> Grace {
    let meta = object.meta();
    // A negative period is one second on the way of deletion.
    let requested = options.grace_period_seconds.map(|s| if s < 0 { 1 } else { s });
    if let Some(deadline) = &meta.deletion_timestamp {
        let current = meta.deletion_grace_period_seconds.unwrap_or(0);
        let current = if current < 0 { 1 } else { current };
        if current == 0 {
            return Grace::None;
        }
        return match requested {
            Some(seconds) if seconds < current => {
                Grace::Seconds { seconds, since: Some(after(deadline, current.saturating_neg())) }
            }
            _ => Grace::Pending,
        };
    }
    match ops.deletion(object, requested) {
        Deletion::Immediate => Grace::None,
        Deletion::Graceful(seconds) => Grace::Seconds { seconds, since: None },
    }
}

fn after(time: &Time, seconds: i64) -> Time {
    let moved = jiff::SignedDuration::from_secs(seconds);
    Time(time.0.checked_add(moved).unwrap_or(time.0))
}

fn has_finalizers(meta: &ObjectMeta) -> bool {
    meta.finalizers.as_ref().is_some_and(|f| !f.is_empty())
}

fn raise_generation(meta: &mut ObjectMeta) {
    if let Some(generation) = meta.generation.filter(|g| *g > 0) {
        meta.generation = Some(generation.saturating_add(1));
    }
}

/// `markAsDeleting`
fn mark_without_grace(meta: &mut ObjectMeta, now: Time) {
    if meta.deletion_timestamp.is_none() {
        raise_generation(meta);
    }
    if meta.deletion_timestamp.as_ref().is_none_or(|t| t.0 > now.0) {
        meta.deletion_timestamp = Some(now);
    }
    meta.deletion_grace_period_seconds = Some(0);
}

/// `deletionFinalizersForGarbageCollection`: the collector's own finalizers follow the propagation policy.
fn set_finalizers(meta: &mut ObjectMeta, default: Dependents, options: &DeleteOptions) {
    if default == Dependents::Unsupported {
        return;
    }
    let have = meta.finalizers.clone().unwrap_or_default();
    let has = |f: &str| have.iter().any(|h| h == f);
    let policy = options.propagation_policy.as_deref();
    let orphan = match (options.orphan_dependents, policy) {
        (Some(orphan), _) => orphan,
        (None, Some(policy)) => policy == "Orphan",
        (None, None) if has(ORPHAN) => true,
        (None, None) if has(FOREGROUND) => false,
        (None, None) => default == Dependents::Orphan,
    };
    let foreground = match (options.orphan_dependents, policy) {
        (Some(_), _) => false,
        (None, Some(policy)) => policy == "Foreground",
        (None, None) => has(FOREGROUND) && !has(ORPHAN),
    };
    let mut want: Vec<String> = have.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        want.push(ORPHAN.to_owned());
    }
    if foreground {
        want.push(FOREGROUND.to_owned());
    }
    if want != have {
        meta.finalizers = (!want.is_empty()).then_some(want);
    }
}

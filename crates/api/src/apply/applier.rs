//! Server-side apply: merging a configuration, pruning what its manager gave up, finding conflicts
//! (structured-merge-diff `merge/update.go` Apply; apimachinery's version check, skip and last-applied managers).
use super::compare::{Comparison, compare};
use super::conflict::Conflicts;
use super::element::equal;
use super::items::TypedError;
use super::managed::{Entry, Managed, ManagedFieldsError, Operation, Trust, time_text};
use super::merge::merge;
use super::reconcile::reconcile;
use super::remove::remove;
use super::set::FieldSet;
use super::to_set::{to_field_set, with_named_fields};
use super::update::{Change, put, stored_entries, take};
use super::validate::validate;
use super::{Request, last_applied, strip};
use serde_json::{Map, Value};

/// Whether an apply may take fields away from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    No,
    Yes,
}

/// Why an apply was refused.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// 409 Conflict; every conflict is a cause with reason FieldManagerConflict.
    #[error(transparent)]
    Conflict(Conflicts),
    /// 400 BadRequest.
    #[error("invalid object type: {0}")]
    WrongType(String),
    /// 400 BadRequest.
    #[error("metadata.managedFields must be nil")]
    ManagedFieldsSent,
    /// 500 without reason, as upstream.
    #[error("failed to decode managed fields: {0}")]
    Decode(#[from] ManagedFieldsError),
    /// 500 without reason, as upstream.
    #[error("failed to create typed patch object ({object}): {errors}")]
    PatchObject { object: String, errors: String },
    /// 500 without reason, as upstream.
    #[error("{step}: {source}")]
    Typed {
        step: &'static str,
        #[source]
        source: TypedError,
    },
}

/// What an apply made.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The object with its `metadata.managedFields`, to be decoded, defaulted, validated and stored.
    pub object: Value,
    /// Whether anything but ownership differs from the live object.
    pub changed: bool,
}

/// Applies `config` to `live` (`None`: the object is created).
pub fn apply(request: &Request<'_>, live: Option<&Value>, config: &Value, force: Force) -> Result<Applied, ApplyError> {
    let managed = Managed::decode(live.and_then(stored_entries).cloned(), Trust::Stored)?;
    check(request, config)?;
    let mut current = live.cloned().unwrap_or_else(|| request.empty_object());
    take(&mut current);
    let mut managed = before_first(request, &current, managed)?;
    for entry in &mut managed.entries {
        if let Some(reconciled) = reconcile(entry.set(), request.view()) {
            entry.replace(reconciled);
        }
    }
    let first = attempt(request, &current, config, managed.clone(), force);
    let (mut object, managed, changed) = match first {
        Err(ApplyError::Conflict(conflicts)) if request.manager == last_applied::KUBECTL => {
            // What client-side apply set and nobody changed since, kubectl may take over.
            let allowed = last_applied::allowed(request, &current);
            let left = last_applied::not_allowed(conflicts, allowed.as_ref());
            if !left.0.is_empty() {
                return Err(ApplyError::Conflict(left));
            }
            attempt(request, &current, config, managed, Force::Yes)?
        }
        other => other?,
    };
    if request.manager == last_applied::KUBECTL {
        last_applied::refresh(&mut object, config);
    }
    put(&mut object, managed.encode());
    Ok(Applied { object, changed })
}

/// The configuration must be of the requested kind and version, say nothing of managers, and fit its type.
fn check(request: &Request<'_>, config: &Value) -> Result<(), ApplyError> {
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version != request.api_version || kind != request.kind {
        return Err(ApplyError::WrongType(group_version_kind(version, kind)));
    }
    if config.get("metadata").and_then(|m| m.get("managedFields")).is_some_and(|list| !list.is_null()) {
        return Err(ApplyError::ManagedFieldsSent);
    }
    let errors = validate(config, request.view());
    let errors = match errors.as_slice() {
        [] => return Ok(()),
        [one] => one.to_string(),
        many => many.iter().fold("errors:".to_owned(), |text, e| format!("{text}\n  {e}")),
    };
    let meta =
        |name: &str| config.get("metadata").and_then(|m| m.get(name)).and_then(Value::as_str).unwrap_or_default();
    let object = format!("{}/{}; {}", meta("namespace"), meta("name"), group_version_kind(version, kind));
    Err(ApplyError::PatchObject { object, errors })
}

/// As Go prints a GroupVersionKind: `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`.
fn group_version_kind(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// An object without entries that is applied for the first time: all it has belongs to `before-first-apply`.
fn before_first(request: &Request<'_>, live: &Value, managed: Managed) -> Result<Managed, ApplyError> {
    if !managed.entries.is_empty() {
        return Ok(managed);
    }
    let before = Request { manager: "before-first-apply", ..*request };
    let change = Change::between(&before, None, live)
        .map_err(|source| ApplyError::Typed { step: "failed to create manager for existing fields", source })?;
    Ok(change.record(&before, managed))
}

fn attempt(
    request: &Request<'_>,
    live: &Value,
    config: &Value,
    mut managed: Managed,
    force: Force,
) -> Result<(Value, Managed, bool), ApplyError> {
    let merged = merge(live, config, request.view())
        .map_err(|source| ApplyError::Typed { step: "failed to merge config", source })?;
    let id = request.id(Operation::Apply);
    let set = to_field_set(config, request.view()).recursive_difference(request.reset);
    let (last, time) = match managed.position(&id) {
        Some(place) => {
            let mut entry = managed.entries.remove(place);
            (Some(entry.set().clone()), entry.time)
        }
        None => (None, None),
    };
    let pruned = match last.filter(|last| !last.is_empty()) {
        Some(last) => prune(request, merged, &last, &set, &mut managed),
        None => merged,
    };
    let comparison = compare(live, &pruned, request.view())
        .map_err(|source| ApplyError::Typed { step: "failed to compare objects", source })?
        .exclude(request.reset);
    take_over(&mut managed, &comparison, force)?;
    let changed = !equal(live, &pruned);
    let own = strip(&set);
    if !own.is_empty() {
        let mut entry = Entry::new(id, request.api_version, own);
        entry.time = if changed { Some(time_text(request.now)) } else { time };
        managed.entries.push(entry);
    }
    Ok((if changed { pruned } else { live.clone() }, managed, changed))
}

/// Fields the configuration changes that others own are conflicts, or taken from them by force; what vanished is nobody's.
fn take_over(managed: &mut Managed, comparison: &Comparison, force: Force) -> Result<(), ApplyError> {
    let changed = comparison.modified.union(&comparison.added);
    let mut conflicts = Conflicts::default();
    for entry in &mut managed.entries {
        let contested = entry.set().intersection(&changed);
        if force == Force::No && !contested.is_empty() {
            conflicts.add(&entry.id, &contested);
        }
        let left = entry.set().difference(&contested).difference(&comparison.removed);
        entry.replace(left);
    }
    if !conflicts.0.is_empty() {
        return Err(ApplyError::Conflict(conflicts));
    }
    managed.drop_empty();
    Ok(())
}

/// Removes what the manager applied last time, does not apply now, and nobody else owns.
fn prune(request: &Request<'_>, merged: Value, last: &FieldSet, now: &FieldSet, others: &mut Managed) -> Value {
    let view = request.view();
    let named = |set: &FieldSet| with_named_fields(set, view);
    let pruned = remove(&merged, &named(last), view);
    // Add back what others, or this very configuration, own.
    let mut owned = now.clone();
    for entry in &mut others.entries {
        owned = owned.union(entry.set());
    }
    let all = named(&to_field_set(&merged, view));
    let keep = named(&to_field_set(&pruned, view)).union(&named(&owned));
    let pruned = remove(&merged, &all.difference(&keep), view);
    // Add back what was never this manager's: it only hung below something that was.
    let kept = named(&to_field_set(&pruned, view));
    let gone = all.difference(&kept).intersection(&named(last));
    if gone.is_empty() {
        return merged;
    }
    match remove(&merged, &gone, view) {
        Value::Null => Value::Object(Map::new()),
        object => object,
    }
}

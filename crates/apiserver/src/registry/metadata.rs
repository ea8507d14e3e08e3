//! What the server itself does to metadata: identity, times, generated names, and when a deletion is complete.
use crate::resources::Resource;
use crate::respond::Warnings;
use isopod_api::catalogue::Object;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::value::RawValue;

/// How Kubernetes' storage words a precondition that does not hold (`NewInvalidObjError`).
pub(crate) fn precondition_failed(key: &str, what: &str, asked: &str, is: &str) -> String {
    format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         {what} in precondition: {asked}, {what} in object meta: {is}"
    )
}

/// Kubernetes keeps times to the second.
pub(super) fn truncated(now: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// `FillObjectMetaSystemFields`, and what a client may not bring (`BeforeCreate`).
pub(super) fn fill_system_fields(meta: &mut ObjectMeta, now: Time) {
    meta.creation_timestamp = Some(now);
    meta.uid = Some(uuid::Uuid::new_v4().to_string());
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.self_link = None;
    meta.resource_version = None;
}

/// What an update may leave out and never changes (`BeforeUpdate`).
pub(super) fn keep_system_fields(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.generation = old.generation;
    new.self_link = None;
    if new.uid.as_deref().unwrap_or_default().is_empty() {
        new.uid.clone_from(&old.uid);
    }
    if new.creation_timestamp.is_none() {
        new.creation_timestamp.clone_from(&old.creation_timestamp);
    }
    if new.deletion_timestamp.is_none() {
        new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    }
    if new.deletion_grace_period_seconds.is_none() {
        new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    }
}

/// The last finalizer has been taken from an object that waits to be deleted (`ShouldDeleteDuringUpdate`).
pub(super) fn completes_deletion(resource: &Resource, new: &dyn Object, old: &dyn Object) -> bool {
    let no_finalizers = new.meta().finalizers.as_ref().is_none_or(Vec::is_empty);
    let waiting = old.meta().deletion_timestamp.is_some();
    let holds = resource.ops.holds_deletion(new);
    // A namespace is marked without a grace period.
    let no_grace = old.meta().deletion_grace_period_seconds.is_none_or(|s| s == 0);
    waiting && no_finalizers && !holds && no_grace
}

/// The text of the top-level `spec`. One serializer wrote both: equal texts are equal specs.
pub(super) fn spec_of(json: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Top<'a> {
        #[serde(borrow, default)]
        spec: Option<&'a RawValue>,
    }
    serde_json::from_slice::<Top<'_>>(json).ok()?.spec.map(|s| s.get().to_owned())
}

/// Kubernetes' alphabet for generated names: no vowels, no look-alikes (`util/rand`).
const ALPHABET: [u8; 27] = *b"bcdfghjklmnpqrstvwxz2456789";
const RANDOM_LENGTH: usize = 5;
/// A label's 63 characters less the random part (`maxNameLength`).
const PREFIX_LENGTH: usize = 63 - RANDOM_LENGTH;

/// `SimpleNameGenerator.GenerateName`.
pub(crate) fn generate_name(prefix: &str) -> String {
    let mut name: String = prefix.chars().take(PREFIX_LENGTH).collect();
    for _ in 0..RANDOM_LENGTH {
        let i = rand::random_range(0..ALPHABET.len());
        name.push(ALPHABET.get(i).map_or('x', |b| char::from(*b)));
    }
    name
}

/// `dedupOwnerReferencesAndAddWarning` (endpoints/handlers/create.go).
pub(super) fn dedup_owners(meta: &mut ObjectMeta, warnings: &Warnings) {
    let Some(owners) = &mut meta.owner_references else { return };
    let mut repeated: Vec<String> = Vec::new();
    let mut kept = Vec::with_capacity(owners.len());
    for owner in owners.drain(..) {
        if kept.contains(&owner) {
            if !repeated.contains(&owner.uid) {
                repeated.push(owner.uid.clone());
            }
        } else {
            kept.push(owner);
        }
    }
    *owners = kept;
    if !repeated.is_empty() {
        warnings.add(format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            repeated.join(", ")
        ));
    }
}

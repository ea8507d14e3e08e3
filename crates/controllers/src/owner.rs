//! Who manages what: adoption and release by controller references (`pkg/controller/controller_ref_manager.go`).
use crate::pod::controller_of;
use isopod_api::selector::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is to become of an object that an owner may manage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ours and matches.
    Keep,
    /// It is nobody's and matches: take it.
    Adopt,
    /// It is ours and no longer matches: let it go.
    Release,
    /// Not ours.
    Ignore,
}

/// Decides for one object (`BaseControllerRefManager.ClaimObject`). `leaving`: the owner is being deleted; it adopts and releases
/// nothing any more.
pub fn claim(owner_uid: &str, owner_namespace: &str, leaving: bool, selector: &Selector, object: &ObjectMeta) -> Claim {
    let empty = BTreeMap::new();
    let matches = || selector.matches(object.labels.as_ref().unwrap_or(&empty));
    if let Some(controller) = controller_of(object) {
        if controller.uid != owner_uid {
            return Claim::Ignore;
        }
        return match (matches(), leaving) {
            (true, _) => Claim::Keep,
            (false, true) => Claim::Ignore,
            (false, false) => Claim::Release,
        };
    }
    let ours_to_take = !leaving
        && object.deletion_timestamp.is_none()
        && object.namespace.as_deref().unwrap_or("") == owner_namespace
        && matches();
    if ours_to_take { Claim::Adopt } else { Claim::Ignore }
}

/// The reference by which `owner` manages what it makes.
pub fn controller_ref(api_version: &str, kind: &str, owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A merge patch that adds `owner` to the object's owners. The uid and version in it make it fail on any other object or state.
pub fn adopt_patch(object: &ObjectMeta, owner: &OwnerReference) -> Value {
    let mut owners: Vec<OwnerReference> = object.owner_references.clone().unwrap_or_default();
    owners.retain(|o| o.uid != owner.uid);
    owners.push(owner.clone());
    owners_patch(object, &owners)
}

/// A merge patch that takes the owner with `uid` from the object's owners.
pub fn release_patch(object: &ObjectMeta, uid: &str) -> Value {
    let mut owners: Vec<OwnerReference> = object.owner_references.clone().unwrap_or_default();
    owners.retain(|o| o.uid != uid);
    owners_patch(object, &owners)
}

pub(crate) fn owners_patch(object: &ObjectMeta, owners: &[OwnerReference]) -> Value {
    json!({"metadata": {"uid": object.uid, "resourceVersion": object.resource_version, "ownerReferences": owners}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(owner: Option<&str>, label: &str, leaving: bool) -> ObjectMeta {
        let reference = |uid: &str| OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() };
        ObjectMeta {
            namespace: Some("ns".into()),
            labels: Some([("app".to_owned(), label.to_owned())].into()),
            owner_references: owner.map(|uid| vec![reference(uid)]),
            deletion_timestamp: leaving.then(|| jiff::Timestamp::UNIX_EPOCH.into()),
            ..Default::default()
        }
    }

    #[test]
    fn claims_as_kubernetes_does() {
        let selector = Selector::parse("app=a").unwrap();
        // (owner, label, object leaves, owner leaves) → claim
        let table = [
            ((Some("me"), "a", false, false), Claim::Keep),
            ((Some("me"), "a", true, false), Claim::Keep),
            ((Some("me"), "b", false, false), Claim::Release),
            ((Some("me"), "b", false, true), Claim::Ignore),
            ((Some("other"), "a", false, false), Claim::Ignore),
            ((None, "a", false, false), Claim::Adopt),
            ((None, "a", true, false), Claim::Ignore),
            ((None, "a", false, true), Claim::Ignore),
            ((None, "b", false, false), Claim::Ignore),
        ];
        for ((owner, label, object_leaves, owner_leaves), want) in table {
            let o = object(owner, label, object_leaves);
            assert_eq!(
                claim("me", "ns", owner_leaves, &selector, &o),
                want,
                "{owner:?} {label} {object_leaves} {owner_leaves}"
            );
            assert_ne!(claim("me", "elsewhere", owner_leaves, &selector, &o), Claim::Adopt);
        }
    }
}

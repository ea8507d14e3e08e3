//! Field ownership: server-side apply (KEP-555) and `metadata.managedFields` of every other write.
//!
//! A manager owns a set of fields ([`FieldSet`]). A write takes the fields it changes from whoever had them and gives them to its manager
//! ([`update()`]). An apply ([`apply()`]) says all that its manager wants: what it no longer says and nobody else owns is removed, and what it
//! changes of others' is a conflict. What the values mean (which lists are sets, which have keys, what is atomic) comes from the
//! [`crate::schema`] through a view of its types.
//!
//! Everything follows structured-merge-diff v6 and `k8s.io/apimachinery/pkg/util/managedfields`. Simpler than there: an object is not
//! converted between API versions to compare it for an entry of another version; all served versions of our kinds have the same fields.
//!
//! ```text
//! element   one step of a path, and the order of values      managed   entries of managedFields, read lazily
//! set       trees of elements                                update    create, update, patch
//! codec     FieldsV1                                         applier   apply
//! view      types as structured-merge-diff sees them        conflict  the 409
//! items     telling list items apart                         scale     entries of the scale subresource
//! compare, merge, remove, to_set, validate, reconcile        reset     fields a request cannot set
//! ```
mod applier;
mod codec;
mod compare;
mod conflict;
mod element;
mod items;
mod last_applied;
mod managed;
mod merge;
mod reconcile;
mod remove;
mod reset;
mod scale;
mod set;
#[cfg(test)]
mod tests;
mod to_set;
mod update;
mod validate;
mod view;

pub use applier::{Applied, ApplyError, Force, apply};
pub use codec::{CodecError, decode as decode_fields, encode as encode_fields};
pub use compare::Comparison;
pub use conflict::{Conflict, Conflicts};
pub use element::{Element, ElementError, compare as compare_values};
pub use items::TypedError;
pub use managed::{Entry, Managed, ManagedFieldsError, ManagerId, Operation, Trust};
pub use reset::reset_fields;
pub use scale::{SCALE_VERSION, to_parent, to_scale};
pub use set::{FieldSet, path_text};
pub use update::{keep_times_if_unchanged, update};
pub(crate) use view::View;

use crate::schema::TypeRef;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Who writes what, as what, and when.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub ty: TypeRef<'a>,
    /// `fieldManager`, or what the User-Agent says before its first slash; `unknown` stands for an empty name.
    pub manager: &'a str,
    /// Of the request: `apps/v1`; `autoscaling/v1` for scale.
    pub api_version: &'a str,
    pub kind: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Fields this request cannot set, and so nobody owns by it: [`reset_fields`].
    pub reset: &'a FieldSet,
    pub now: jiff::Timestamp,
}

impl<'a> Request<'a> {
    fn view(&self) -> View<'a> {
        self.ty.into()
    }

    fn id(&self, operation: Operation) -> ManagerId {
        ManagerId {
            manager: if self.manager.is_empty() { "unknown" } else { self.manager }.to_owned(),
            operation,
            api_version: if operation == Operation::Apply { String::new() } else { self.api_version.to_owned() },
            subresource: self.subresource.to_owned(),
        }
    }

    fn empty_object(&self) -> Value {
        json!({"apiVersion": self.api_version, "kind": self.kind})
    }
}

/// What is never owned: identity, and what the server fills in (apimachinery `stripmeta.go`).
static STRIPPED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::from_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

fn strip(set: &FieldSet) -> FieldSet {
    set.difference(&STRIPPED)
}

/// What differs between two objects of a type.
pub fn compare(old: &Value, new: &Value, ty: TypeRef<'_>) -> Result<Comparison, TypedError> {
    compare::compare(old, new, ty.into())
}

/// The fields that a value of a type sets.
pub fn to_field_set(value: &Value, ty: TypeRef<'_>) -> FieldSet {
    to_set::to_field_set(value, ty.into())
}

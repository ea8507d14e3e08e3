//! Strategic merge patch: a merge patch that knows which lists merge, and by which key
//! (`k8s.io/apimachinery/pkg/util/strategicpatch`, KEP "preserve order in strategic merge patch").
//!
//! [`merge`] applies a patch, [`two_way`] and [`three_way`] make one: the API server needs the first, `apply` and `edit` the others.
mod diff;
mod error;
mod lists;
mod map;
mod order;
#[cfg(test)]
mod tests;

pub use diff::{three_way, two_way};
pub use error::StrategicError;
pub(crate) use map::FieldPatch;

use crate::schema::TypeRef;
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const DELETE: &str = "delete";
const REPLACE: &str = "replace";
const MERGE: &str = "merge";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// What a patch is merged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Into {
    /// An object: directives are carried out, nulls delete.
    Object,
    /// Another patch: directives and nulls are kept for the server.
    Patch,
}

/// `original` with `patch` applied. Both must be objects.
pub fn merge(original: Value, patch: Value, ty: TypeRef<'_>) -> Result<Value, StrategicError> {
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => {
            Ok(Value::Object(map::merge_map(original, patch, ty.into(), Into::Object)?))
        }
        _ => Err(StrategicError::BadDocument),
    }
}

fn has_directive(item: &Value) -> bool {
    item.as_object().is_some_and(|map| map.contains_key(DIRECTIVE))
}

fn is_delete(item: &Map<String, Value>) -> bool {
    item.get(DIRECTIVE).is_some_and(|directive| directive == DELETE)
}

//! What can be wrong with a strategic merge patch, in upstream's words (`util/mergepatch/errors.go`).
use crate::gofmt;
use serde_json::{Map, Value};

/// Why a patch could not be applied or made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StrategicError {
    #[error("invalid JSON document")]
    BadDocument,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("invalid patch format of primitive list")]
    PrimitiveListFormat,
    #[error("invalid patch format of retainKeys")]
    RetainKeysFormat,
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrderFormat,
    #[error("map: {map} does not contain declared merge key: {key}")]
    NoMergeKey { map: String, key: String },
    #[error("unknown patch type: {directive} in map: {map}")]
    UnknownDirective { directive: String, map: String },
    #[error("expected a {expected}, but received a {actual}")]
    WrongType { expected: &'static str, actual: &'static str },
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirectiveInList,
    #[error("cannot merge lists without merge key for {0}")]
    ListWithoutMergeKey(String),
    #[error("list element types are not identical: {0}")]
    MixedList(String),
    #[error("no elements in any of the given slices")]
    NoElements,
    #[error("value for key {0} is not a map.")]
    ItemNotAMap(usize),
    #[error("unable to find api field in struct {kind} for the json field {}", gofmt::quote(field))]
    UnknownField { kind: String, field: String },
    #[error("merging an object in json but data type is not struct, instead is: {0}")]
    NotAStruct(&'static str),
    #[error("the order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")]
    OrderMismatch { patch: String, order: String },
    #[error("{0} and {1} are not deep equal: this may happen when calculating the 3-way diff patch")]
    RetainKeysDiffer(String, String),
}

impl StrategicError {
    /// The HTTP code the API server answers with (`interpretStrategicMergePatchError`): 400 with reason BadRequest, 422 without details,
    /// or 500 without a reason.
    pub fn code(&self) -> u16 {
        match self {
            Self::BadDocument | Self::PrimitiveListFormat | Self::RetainKeysFormat | Self::SetElementOrderFormat => 400,
            Self::ListOfLists => 422,
            _ => 500,
        }
    }

    pub(super) fn no_merge_key(map: &Map<String, Value>, key: &str) -> Self {
        Self::NoMergeKey { map: print_map(map), key: key.to_owned() }
    }

    pub(super) fn directive(directive: &Value, map: &Map<String, Value>) -> Self {
        Self::UnknownDirective { directive: gofmt::print(directive), map: print_map(map) }
    }

    pub(super) fn not_a_map(actual: &Value) -> Self {
        Self::WrongType { expected: "map[string]interface {}", actual: gofmt::type_name(actual) }
    }

    pub(super) fn not_a_list(actual: &Value) -> Self {
        Self::WrongType { expected: "[]interface {}", actual: gofmt::type_name(actual) }
    }
}

fn print_map(map: &Map<String, Value>) -> String {
    gofmt::print(&Value::Object(map.clone()))
}

pub(super) fn print_list(items: &[Value]) -> String {
    gofmt::print(&Value::Array(items.to_vec()))
}

//! The verbs, for every kind alike (`k8s.io/apiserver/pkg/registry/generic/registry/store.go` and the handlers above it).
//!
//! ```text
//! create:  decode → default → managedFields → admission → name, uid → prepare → validate → admission → store
//! update:  read → produce (body or patch) → default → managedFields → admission → prepare → validate → admission → store
//!            ↑────────────────────── somebody else wrote first ──────────────────────────────────────────────┘
//! ```
mod continue_token;
mod create;
pub(crate) mod decode;
mod delete;
mod hooks;
mod list;
mod managed;
mod metadata;
mod namespace;
mod object;
mod patch;
mod unstructured;
mod update;
mod view;
mod watch;
mod write;

pub(crate) use create::{create, match_namespace};
#[allow(unused_imports, reason = "for subresources that delete: eviction")]
pub(crate) use delete::delete_object;
pub(crate) use delete::{delete, delete_collection};
pub use hooks::{Extra, Hooks};
pub(crate) use list::{get, list};
pub(crate) use metadata::{generate_name, precondition_failed};
pub use object::Live;
pub(crate) use patch::{PatchType, patch, patch_by, scale_patch};
pub(crate) use update::{check_name, update, update_by};
pub(crate) use watch::watch;
pub use write::{OwnRules, Produced, Rules, WriteContext, Written};

use isopod_api::status::ApiError;
use isopod_store::Error;

/// What the store's errors are to a client.
pub(crate) fn store_error(error: Error) -> ApiError {
    match error {
        Error::Compacted { .. } => ApiError::expired("The resourceVersion for the provided list is too old."),
        Error::Future { requested, current } => ApiError::too_large_resource_version(requested, current),
        Error::Closed => ApiError::service_unavailable("the server is shutting down"),
        error @ (Error::TooSlow | Error::Disk { .. } | Error::Damaged(_) | Error::Sealed { .. } | Error::Etcd(_)) => {
            tracing::error!(%error, "the store failed");
            ApiError::internal(error)
        }
        #[allow(unreachable_patterns)]
        error => ApiError::internal(error),
    }
}

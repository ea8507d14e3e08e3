//! What can go wrong between the node agent and a container runtime.
use serde::{Deserialize, Serialize};

/// The result of every [`Runtime`](crate::Runtime) call.
pub type Result<T> = std::result::Result<T, RuntimeError>;

/// An error of a runtime. It is plain data because it crosses the socket between node agent and shim; a cause that
/// exists only in one of the two processes is part of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum RuntimeError {
    /// There is no such sandbox or container. Stopping and removing never give this: they are idempotent.
    #[error("{what} {id:?} not found")]
    NotFound { what: String, id: String },
    /// The name is taken: same pod uid and attempt, or same container name and attempt in one sandbox.
    #[error("{what} {id:?} already exists")]
    AlreadyExists { what: String, id: String },
    /// The call needs another state, as exec does in a container that has exited.
    #[error("{id:?} is {state}, but must be {wanted}")]
    WrongState { id: String, state: String, wanted: String },
    /// A field of a configuration cannot be honoured.
    #[error("{field}: {message}")]
    Invalid { field: String, message: String },
    /// The process could not be started: no such file, no permission, no such user. The message is shown to people.
    #[error("{message}")]
    Start { message: String },
    /// The command did not finish in the time it was given; it has been killed.
    #[error("command timed out after {millis} ms")]
    Timeout { millis: u64 },
    /// This runtime, or this machine's kernel, cannot do it.
    #[error("{message}")]
    Unsupported { message: String },
    /// The supervisor of the pod does not answer, or disk or kernel refused; trying again later may help.
    #[error("{message}")]
    Unavailable { message: String },
}

impl RuntimeError {
    /// [`RuntimeError::Invalid`] for a field path such as `mounts[2].target`.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }
}

//! Saying where an error came from.
use crate::{ImageError, Result};
use std::fmt::Display;
use std::io;

/// Turns an I/O error into an [`ImageError`] that says what was being done.
pub(crate) trait Context<T> {
    fn context<C: Display>(self, context: impl FnOnce() -> C) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context<C: Display>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|error| ImageError::Io { context: context().to_string(), source: error.into() })
    }
}

pub(crate) fn corrupt(what: impl Display, message: impl Display) -> ImageError {
    ImageError::Corrupt { what: what.to_string(), message: message.to_string() }
}

/// What a reader of foreign bytes stumbled over: damage in them, unless the machine itself failed.
pub(crate) fn foreign(what: impl Display, error: io::Error) -> ImageError {
    match error.raw_os_error() {
        Some(_) => ImageError::Io { context: what.to_string(), source: error },
        None => corrupt(what, error),
    }
}

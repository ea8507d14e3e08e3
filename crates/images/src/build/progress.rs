//! Telling what a build does: [`Progress`].
use std::time::Duration;

/// Which of a program's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Who wants to know. Calls come in order, from one thread.
pub trait Progress: Send + Sync {
    /// A step begins: `[stage 2/5] RUN make`.
    fn begin(&self, label: &str);
    /// What the step's program prints.
    fn output(&self, stream: Stream, bytes: &[u8]);
    /// The step is done, or was found in the cache.
    fn end(&self, cached: bool, took: Duration);
    /// Something a person should know.
    fn warn(&self, message: &str);
}

/// Says nothing.
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: &str) {}
    fn output(&self, _: Stream, _: &[u8]) {}
    fn end(&self, _: bool, _: Duration) {}
    fn warn(&self, _: &str) {}
}

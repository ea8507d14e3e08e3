//! The volumes of pods on this machine: real directories and mounts, objects from a real API server in this process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test may stop at what it did not expect"
)]
mod claims;
mod files;
mod support;

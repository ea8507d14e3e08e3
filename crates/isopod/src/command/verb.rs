//! kubectl's verbs: one thread is enough, and starts faster than many.
use anyhow::{Context, Result};
use isopod_cli::{Global, Verb};
use std::process::ExitCode;

pub fn run(verb: &Verb, global: &Global) -> Result<ExitCode> {
    in_thread(isopod_cli::run(verb, global))
}

/// All of a link named `kubectl`.
pub fn kubectl(args: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    in_thread(isopod_cli::kubectl::run(args)).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs a command to its end on this thread.
pub fn in_thread(work: impl Future<Output = ExitCode>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let code = runtime.block_on(work);
    // A read of standard input may still be waiting in a thread of its own: nobody waits for that.
    runtime.shutdown_background();
    Ok(code)
}

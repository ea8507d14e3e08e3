//! kubectl's verbs: one thread is enough, and starts faster than many.
use anyhow::{Context, Result};
use isopod_cli::{Global, Verb};
use std::process::ExitCode;

pub fn run(verb: &Verb, global: &Global) -> Result<ExitCode> {
    in_thread(isopod_cli::run(verb, global))
}

/// Runs a command to its end on this thread.
pub fn in_thread(work: impl Future<Output = ExitCode>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    Ok(runtime.block_on(work))
}

//! kubectl's verbs: one thread is enough, and starts faster than many.
use anyhow::{Context, Result};
use isopod_cli::{Global, Verb};
use std::process::ExitCode;

pub fn run(verb: &Verb, global: &Global) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    Ok(runtime.block_on(isopod_cli::run(verb, global)))
}

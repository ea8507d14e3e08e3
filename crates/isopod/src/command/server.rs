//! `isopod server`: the cluster in the foreground, until SIGTERM or Ctrl-C.
use crate::datadir::Location;
use crate::serve;
use anyhow::{Context, Result};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub location: Location,
    /// Keys that encrypt Secrets on disk [default: a key in the data directory].
    #[arg(long, value_name = "FILE")]
    pub encryption_key_file: Option<PathBuf>,
    /// A KubeletConfiguration: when images are removed, how many pods a node takes.
    #[arg(long, value_name = "FILE")]
    pub kubelet_config: Option<PathBuf>,
    /// Where `up` waits for the word "ready".
    #[arg(long, hide = true)]
    pub ready_fd: Option<i32>,
}

/// What happens goes to stderr.
pub fn log(verbose: u8) {
    let level = match verbose {
        0 => "warn,isopod=info",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("ISOPOD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

pub fn run(args: &Args, verbose: u8) -> Result<ExitCode> {
    log(verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let served = runtime.block_on(serve::run(args));
    // Tasks still blocked (a slow disk) must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    served.map(|()| ExitCode::SUCCESS)
}

//! `cargo xtask test`: everything CI checks, in the order in which it fails fastest.
use crate::{e2e, sh, tidy};
use anyhow::Result;

#[derive(clap::Args)]
pub struct Args {
    /// Without the end-to-end scripts.
    #[arg(long)]
    quick: bool,
}

/// Debian packages the tests use (containers and networks in the tests are made from these).
const PACKAGES: &[&str] = &[
    "bind9-dnsutils",
    "busybox-static",
    "iproute2",
    "nftables",
    "curl",
    "ca-certificates",
    "docker-registry",
    "libfaketime",
];

pub fn run(args: &Args) -> Result<()> {
    sh::run(sh::cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    sh::apt(PACKAGES)?;
    sh::run(sh::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    sh::run(sh::cargo(&["test", "--workspace"]))?;
    if args.quick { Ok(()) } else { e2e::run(&e2e::Args::default()) }
}

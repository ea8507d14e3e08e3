//! `cargo xtask bench`: runs the benches of the crates and prints their tables, each with its conditions.
use crate::sh;
use anyhow::Result;

#[derive(clap::Args)]
pub struct Args {
    /// Only benches of these packages (`isopod-store`, …).
    packages: Vec<String>,
}

/// Crates that have benches.
const PACKAGES: &[&str] = &["isopod", "isopod-store", "isopod-apiserver", "isopod-scheduler", "isopod-network"];

pub fn run(args: &Args) -> Result<()> {
    let wanted: Vec<&str> =
        if args.packages.is_empty() { PACKAGES.to_vec() } else { args.packages.iter().map(String::as_str).collect() };
    for package in wanted {
        sh::run(sh::cargo(&["bench", "--package", package]))?;
    }
    Ok(())
}

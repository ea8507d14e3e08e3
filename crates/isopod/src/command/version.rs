//! `isopod version`
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// The Kubernetes version whose API is served.
pub const KUBERNETES: &str = "v1.37.0";

#[derive(clap::Args)]
pub struct Args {
    /// Output: json.
    #[arg(short, long, value_parser = ["json"])]
    output: Option<String>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    if args.output.is_some() {
        println!("{}", json!({"isopod": version, "kubernetes": KUBERNETES}));
    } else {
        println!("isopod {version} (Kubernetes {KUBERNETES})");
    }
    Ok(ExitCode::SUCCESS)
}

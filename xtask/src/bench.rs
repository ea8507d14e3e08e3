//! `cargo xtask bench`: runs the benches of the crates and prints their tables, each with its conditions.
use crate::{e2e, sh};
use anyhow::Result;

#[derive(clap::Args)]
pub struct Args {
    /// Only these (`cluster`, `traffic`, …); all when none is named.
    benches: Vec<String>,
}

/// All there are, in the order they are run in: of one crate alone, then of the whole binary.
const BENCHES: &[&str] =
    &["store", "api", "place", "network", "proxy", "cluster", "rollout", "bind", "pods", "traffic"];

pub fn run(args: &Args) -> Result<()> {
    sh::apt(&["busybox-static", "haproxy", "wrk"])?;
    let kubectl = kubectl()?;
    let named: Vec<&str> = args.benches.iter().map(String::as_str).collect();
    for name in if named.is_empty() { BENCHES } else { &named } {
        // Of the workspace: by package, each would be built with features of its own, and everything below it anew.
        let mut bench = sh::cargo(&["bench", "--workspace", "--bench", name]);
        bench.env("KUBECTL", &kubectl);
        sh::run(bench)?;
    }
    Ok(())
}

/// The real one, which ours is compared with: fetched once, by the acceptance scripts' own way.
fn kubectl() -> Result<String> {
    let lib = e2e::acceptance()?.join("lib.sh");
    let script = format!(r#". "{}"; get_kubectl; rm -rf "$WORK"; echo "$KUBECTL""#, lib.display());
    Ok(sh::output(sh::command("bash", &["-c", &script]))?.trim().to_owned())
}

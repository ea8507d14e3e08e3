//! `cargo xtask soak`: the long repetitions, told to the tests by `ISOPOD_SOAK` (a factor that multiplies their rounds), and the
//! coverage-guided fuzz targets of `fuzz/` (`--fuzz SECONDS` each).
use crate::sh;
use anyhow::Result;

#[derive(clap::Args)]
pub struct Args {
    /// How many rounds of each loop.
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Run each fuzz target for this many seconds, and nothing else.
    #[arg(long, value_name = "SECONDS")]
    fuzz: Option<u32>,
    /// Only tests whose names hold this text.
    filter: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    if let Some(seconds) = args.fuzz {
        return fuzz(seconds, args.filter.as_deref().unwrap_or_default());
    }
    // Images are compared with what it builds.
    sh::apt(&["buildah"])?;
    let mut words = vec!["test", "--release", "--workspace", "--"];
    words.push(args.filter.as_deref().unwrap_or("soak"));
    let mut command = sh::cargo(&words);
    command.env("ISOPOD_SOAK", args.rounds.to_string());
    sh::run(command)
}

/// Needs cargo-fuzz (installed if missing); the stable compiler does with RUSTC_BOOTSTRAP. What a target finds is in
/// `fuzz/artifacts/`, to be made a test before it is fixed.
fn fuzz(seconds: u32, filter: &str) -> Result<()> {
    if !sh::cargo(&["fuzz", "--version"]).output().is_ok_and(|out| out.status.success()) {
        sh::run(sh::cargo(&["install", "--locked", "cargo-fuzz"]))?;
    }
    let time = format!("-max_total_time={seconds}");
    for target in ["bodies", "patches", "selectors", "requests"].iter().filter(|target| target.contains(filter)) {
        let mut command = sh::cargo(&["fuzz", "run", "--sanitizer", "none", target, "--", &time, "-max_len=4096"]);
        command.env("RUSTC_BOOTSTRAP", "1");
        sh::run(command)?;
    }
    Ok(())
}

//! `cargo xtask soak`: the long repetitions, told to the tests by `ISOPOD_SOAK` (a factor that multiplies their rounds), and the
//! coverage-guided fuzz targets of `fuzz/` (`--fuzz SECONDS` each).
use crate::sh;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

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

/// The targets, each with what it is.
const TARGETS: [&str; 4] = ["bodies", "patches", "selectors", "requests"];

/// Needs cargo-fuzz (installed if missing); the stable compiler does with RUSTC_BOOTSTRAP. They begin with the recorded requests. What a
/// target finds is in `fuzz/artifacts/`, to be made a test before it is fixed.
fn fuzz(seconds: u32, filter: &str) -> Result<()> {
    if !sh::cargo(&["fuzz", "--version"]).output().is_ok_and(|out| out.status.success()) {
        sh::run(sh::cargo(&["install", "--locked", "cargo-fuzz"]))?;
    }
    write_seeds(Path::new("fuzz/corpus"))?;
    let time = format!("-max_total_time={seconds}");
    for target in TARGETS.iter().filter(|target| target.contains(filter)) {
        let own = ["-max_len=8192", "-dict=fuzz/dictionary.txt", "-timeout=20", "-rss_limit_mb=4096"];
        let mut command = sh::cargo(&["fuzz", "run", "--sanitizer", "none", target, "--", &time]);
        command.args(own).env("RUSTC_BOOTSTRAP", "1");
        sh::run(command)?;
    }
    Ok(())
}

/// The recorded requests in the forms of the targets.
fn write_seeds(corpus: &Path) -> Result<()> {
    for target in TARGETS {
        std::fs::create_dir_all(corpus.join(target))?;
    }
    let fixtures = std::fs::read_to_string("crates/apiserver/tests/fixtures/errors.jsonl")?;
    for (i, line) in fixtures.lines().enumerate() {
        let request: Value = serde_json::from_str(line).with_context(|| format!("errors.jsonl line {}", i + 1))?;
        let text = |key: &str| request[key].as_str().unwrap_or_default();
        let body = match &request["body"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let seed = |target: &str, content: String| std::fs::write(corpus.join(target).join(format!("{i:03}")), content);
        seed("requests", format!("{} {}\n{}\n{body}", text("method"), text("path"), text("contentType")))?;
        let choice = match text("contentType").split(['/', '+']).nth(1) {
            Some("json-patch") => Some('\u{0}'),
            Some("merge-patch") => Some('\u{1}'),
            Some("strategic-merge-patch") => Some('\u{2}'),
            Some("apply-patch") => Some('\u{4}'),
            _ => None,
        };
        if let Some(choice) = choice {
            seed("patches", format!("{choice}{body}"))?;
        } else if let Some(kind) = request["body"]["kind"].as_str() {
            seed("bodies", format!("{kind}\n{body}"))?;
        }
        if let Some((_, query)) = text("path").split_once('?') {
            seed("selectors", query.to_owned())?;
        }
    }
    let fixtures = std::fs::read_to_string("crates/apiserver/tests/fixtures/defaults.jsonl")?;
    for (i, line) in fixtures.lines().enumerate() {
        let sent = serde_json::from_str::<Value>(line)?["sent"].take();
        let kind = sent["kind"].as_str().unwrap_or_default();
        std::fs::write(corpus.join("bodies").join(format!("d{i:03}")), format!("{kind}\n{sent}"))?;
    }
    Ok(())
}

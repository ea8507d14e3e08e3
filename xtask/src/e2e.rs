//! `cargo xtask e2e`: the acceptance scripts, which drive the release binary with clients we did not write.
//!
//! The scripts stand in `../shared/acceptance` beside the checkout and are copied nowhere: they are the judges, not ours to change.
//! What we add to them is in `e2e/` here and uses their helpers. A name that ends with `@isopod` runs the script with a link named
//! kubectl that leads to isopod, instead of with the real one. After the scripts come the pages that our readers follow ([`pages`]).
use crate::{pages, sh};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

#[derive(clap::Args, Default)]
pub struct Args {
    /// Only these scripts (without `.sh`); all that this version passes when none is named.
    scripts: Vec<String>,
}

/// What passes whole with this version, and so must go on passing.
const PASSING: &[&str] = &[
    "rollout",
    "clients",
    "zero-downtime",
    "keep-alive",
    "nodes",
    "services",
    "verbs",
    "tutorial",
    "rollout@isopod",
    "zero-downtime@isopod",
    "tutorial@isopod",
];
/// What takes too long for every change.
const SOAK: &[&str] = &["million"];
/// Marks a script that isopod's own commands drive.
const OWN: &str = "@isopod";

pub fn acceptance() -> Result<PathBuf> {
    let dir = sh::root().join("../shared/acceptance");
    if !dir.is_dir() {
        bail!("no acceptance scripts at {}: they stand beside the checkout, in shared/acceptance", dir.display());
    }
    Ok(dir)
}

/// The file of a script that is run here, by name.
pub fn script(name: &str) -> Option<PathBuf> {
    let run = PASSING.iter().chain(SOAK).any(|known| *known == name);
    let own = sh::root().join("e2e").join(format!("{name}.sh"));
    let theirs = || sh::root().join("../shared/acceptance").join(format!("{name}.sh"));
    run.then(|| if own.is_file() { own } else { theirs() })
}

/// A link named kubectl to the release binary.
fn link() -> Result<PathBuf> {
    let dir = sh::root().join("target/own");
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let link = dir.join("kubectl");
    if link.symlink_metadata().is_ok() {
        std::fs::remove_file(&link).with_context(|| link.display().to_string())?;
    }
    std::os::unix::fs::symlink("../release/isopod", &link).with_context(|| link.display().to_string())?;
    Ok(link)
}

pub fn run(args: &Args) -> Result<()> {
    let dir = acceptance()?;
    sh::run(sh::cargo(&["build", "--release", "--package", "isopod"]))?;
    let wanted: Vec<&str> =
        if args.scripts.is_empty() { PASSING.to_vec() } else { args.scripts.iter().map(String::as_str).collect() };
    for name in wanted {
        let (script, own) = name.strip_suffix(OWN).map_or((name, false), |script| (script, true));
        let file = format!("{script}.sh");
        let theirs = dir.join(&file);
        let path = if theirs.is_file() { theirs } else { sh::root().join("e2e").join(&file) };
        let mut command = sh::command("bash", &[&path.to_string_lossy()]);
        command.env("ACCEPTANCE", &dir);
        if own {
            command.env("KUBECTL", link()?);
        }
        sh::run(command)?;
    }
    if args.scripts.is_empty() { pages::run(&pages::Args::default()) } else { Ok(()) }
}

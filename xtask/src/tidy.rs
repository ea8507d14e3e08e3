//! `cargo xtask tidy`: rules of this repository that no compiler checks.
//!
//! - a `//!` opens every source file, and no file is longer than [`LONGEST`] lines (tests: [`LONGEST_TEST`]);
//! - crates import only crates below them (DESIGN.md, "Floors of the house");
//! - every phrase of the tables of promises has a test that exists ([`phrases`]);
//! - no `todo!`, no ignored tests without a reason, one crypto provider.
use crate::{phrases, sh};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

const LONGEST: usize = 700;
/// Tests are mostly tables of cases, which read no worse for being long.
const LONGEST_TEST: usize = 1000;

/// Each crate with those it may import.
const FLOORS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("store", &[]),
    ("runtime", &[]),
    ("images", &["runtime"]),
    ("network", &[]),
    ("reflect", &[]),
    ("controllers", &["api", "reflect"]),
    ("scheduler", &["api", "reflect"]),
    ("node", &["api", "reflect", "runtime", "images", "network"]),
    ("apiserver", &["api", "store"]),
    ("cli", &["api"]),
];

pub fn run() -> Result<()> {
    let mut complaints = Vec::new();
    for file in sources()? {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        check_source(&file, &text, &mut complaints);
    }
    check_floors(&mut complaints)?;
    check_crypto(&mut complaints)?;
    phrases::check(&mut complaints)?;
    if !complaints.is_empty() {
        bail!("tidy:\n  {}", complaints.join("\n  "));
    }
    eprintln!("tidy: ok");
    Ok(())
}

/// Tracked and new Rust files.
fn sources() -> Result<Vec<PathBuf>> {
    let list = sh::output(sh::command("git", &["ls-files", "-co", "--exclude-standard", "*.rs"]))?;
    Ok(list.lines().map(|l| sh::root().join(l)).filter(|p| p.is_file()).collect())
}

fn check_source(file: &Path, text: &str, complaints: &mut Vec<String>) {
    let name = file.strip_prefix(sh::root()).unwrap_or(file).display().to_string();
    let first = text.lines().find(|l| !l.is_empty() && !l.starts_with("#!"));
    if !first.is_some_and(|l| l.starts_with("//!")) {
        complaints.push(format!("{name}: no //! line opens the file"));
    }
    let lines = text.lines().count();
    let most = if name.contains("/tests/") { LONGEST_TEST } else { LONGEST };
    if lines > most {
        complaints.push(format!("{name}: {lines} lines (at most {most})"));
    }
    for (number, line) in text.lines().enumerate() {
        // Spelled apart so that this file does not find itself.
        for word in [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[ign", "ore]")] {
            if line.contains(word) {
                complaints.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
}

fn check_floors(complaints: &mut Vec<String>) -> Result<()> {
    for (krate, below) in FLOORS {
        let manifest = sh::root().join("crates").join(krate).join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
        // Tests may look upwards (a controller against the real API server); the crate itself may not.
        let own = text.split("[dev-dependencies]").next().unwrap_or_default();
        for dependency in own.lines().filter_map(|l| l.strip_prefix("isopod-")) {
            let name = dependency.split(['.', ' ', '=']).next().unwrap_or_default();
            if !below.contains(&name) {
                complaints.push(format!("crates/{krate} imports {name}, which is not below it"));
            }
        }
    }
    Ok(())
}

fn check_crypto(complaints: &mut Vec<String>) -> Result<()> {
    let tree = sh::output(sh::cargo(&["tree", "--workspace", "--edges", "normal", "--prefix", "none"]))?;
    for banned in ["ring v", "openssl v", "native-tls v"] {
        if tree.lines().any(|l| l.starts_with(banned)) {
            complaints.push(format!(
                "{}is in the dependency tree: aws-lc-rs is the one crypto provider",
                banned.trim_end_matches('v')
            ));
        }
    }
    Ok(())
}

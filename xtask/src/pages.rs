//! `cargo xtask pages`: does what README.md and docs/tutorial.md tell their readers to do, and sees whether what they say is seen.
//!
//! The `sh` blocks of a page are one script, carried out in order by one shell in a network namespace of its own that has nothing but
//! loopback, with a data directory and a kubeconfig of its own, in a copy of `examples/`. Everything must succeed. A `text` block says what
//! is seen of the `sh` block before it: each of its lines, in this order, among others; `…` stands for anything, and any white space for any
//! other. Base images that a reader would get from a registry are made of Debian's packages (`e2e/pages/`).
use crate::sh;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub struct Args {
    /// The binary to try them with [default: target/release/isopod, which is built].
    #[arg(long, value_name = "FILE")]
    isopod: Option<PathBuf>,
    /// The pages.
    #[arg(default_values = PAGES)]
    pages: Vec<PathBuf>,
}

impl Default for Args {
    fn default() -> Self {
        Self { isopod: None, pages: PAGES.map(PathBuf::from).to_vec() }
    }
}

const PAGES: [&str; 2] = ["README.md", "docs/tutorial.md"];

/// An image that is made here.
struct Base {
    /// Its directory in `e2e/pages`.
    dir: &'static str,
    /// As the pages call it.
    name: &'static str,
    /// Of the root file system below it, in the cache.
    tar: &'static str,
    packages: &'static str,
}

const BASES: [Base; 2] = [
    Base {
        dir: "python",
        name: "python:3-slim",
        tar: "python-slim.tar",
        packages: "python3,python3-pip,python3-flask,python3-pymysql,gunicorn",
    },
    // The same as that of the acceptance script tutorial.sh, which keeps it under this name.
    Base { dir: "mariadb", name: "mariadb:11", tar: "mariadb.tar", packages: "mariadb-server" },
];

/// Seconds for one page. A page takes one minute on an idle machine.
const PATIENCE: &str = "900";

/// A line of the script's output that says which block begins.
const MARK: &str = "@@ block at line ";

pub fn run(args: &Args) -> Result<()> {
    let binary = match &args.isopod {
        Some(binary) => std::path::absolute(binary)?,
        None => {
            sh::run(sh::cargo(&["build", "--release", "--package", "isopod"]))?;
            sh::root().join("target/release/isopod")
        }
    };
    sh::apt(&["mmdebstrap", "iproute2", "curl"])?;
    let cache = bases()?;
    for page in &args.pages {
        let text = std::fs::read_to_string(sh::root().join(page)).with_context(|| page.display().to_string())?;
        let blocks = blocks(&text);
        let wanted: Vec<&Base> = BASES.iter().filter(|base| text.contains(base.name)).collect();
        let lines = carry_out(&blocks, &wanted, &binary, &cache).with_context(|| page.display().to_string())?;
        let missing = missing(&blocks, &lines);
        if !missing.is_empty() {
            bail!("{}: not seen:\n  {}", page.display(), missing.join("\n  "));
        }
        eprintln!("{}: {} blocks, all as the page says", page.display(), blocks.len());
    }
    Ok(())
}

/// What to type, and what is seen.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    script: String,
    seen: Vec<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut fence: Option<(&str, usize, String)> = None;
    for (n, line) in page.lines().enumerate() {
        match (&mut fence, line.strip_prefix("```")) {
            (None, Some(info)) => fence = Some((info, n + 1, String::new())),
            (Some((_, _, text)), None) => text.extend([line, "\n"]),
            (Some(_), Some(_)) => match fence.take() {
                Some(("sh", line, script)) => blocks.push(Block { line, script, seen: Vec::new() }),
                Some(("text", _, text)) => {
                    let seen = text.lines().map(str::to_owned);
                    blocks.last_mut().into_iter().for_each(|block| block.seen = seen.clone().collect());
                }
                _ => {}
            },
            (None, None) => {}
        }
    }
    blocks
}

/// Runs the blocks; every line of output with the line of its block.
fn carry_out(blocks: &[Block], bases: &[&Base], binary: &Path, cache: &Path) -> Result<Vec<(usize, String)>> {
    let home = tempdir()?;
    let root = sh::root();
    let script = home.0.join("script");
    std::fs::write(&script, whole_script(blocks, bases, &root, cache))?;
    sh::run(sh::command("cp", &["-r", "examples", &home.0.to_string_lossy()]))?;
    std::fs::create_dir(home.0.join("bin"))?;
    std::os::unix::fs::symlink(binary, home.0.join("bin/isopod"))?;
    let path = std::env::var("PATH").unwrap_or_default();
    // unshare, not ip netns exec: that hides the cgroup mounts under /sys.
    let mut command = Command::new("unshare");
    command.args(["--net", "timeout", "--foreground", PATIENCE, "bash", "-e", "-o", "pipefail"]).arg(&script);
    command.current_dir(&home.0).env("HOME", &home.0).env("PATH", format!("{}:{path}", home.0.join("bin").display()));
    command.env("ISOPOD_DATA_DIR", home.0.join("data")).env_remove("KUBECONFIG").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run unshare (package util-linux)")?;
    let mut lines = Vec::new();
    let mut at = 0;
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        eprintln!("{line}");
        match line.strip_prefix(MARK) {
            Some(number) => at = number.parse()?,
            None => lines.push((at, line)),
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the block at line {at} failed ({status})");
    }
    Ok(lines)
}

fn whole_script(blocks: &[Block], bases: &[&Base], root: &Path, cache: &Path) -> String {
    let mut script = "exec 2>&1\n\
        trap 'kill $(jobs -p) 2>/dev/null || true; isopod delete >/dev/null' EXIT\n\
        ip link set lo up\n"
        .to_owned();
    for Base { dir, name, tar, .. } in bases {
        let (tar, context) = (cache.join(tar), root.join("e2e/pages").join(dir));
        script.push_str(&format!(
            "isopod image import {} debian-{dir} >/dev/null\nisopod build -q -t {name} {} >/dev/null\n",
            tar.display(),
            context.display()
        ));
    }
    for block in blocks {
        script.push_str(&format!("echo '{MARK}{}'\n{}", block.line, block.script));
    }
    script
}

/// Lines that a page states and that were not seen.
fn missing(blocks: &[Block], lines: &[(usize, String)]) -> Vec<String> {
    let mut missing = Vec::new();
    for block in blocks {
        let mut output = lines.iter().filter(|(at, _)| *at == block.line);
        for stated in &block.seen {
            if !output.any(|(_, line)| matches(stated, line)) {
                missing.push(format!("line {}: {stated}", block.line));
                break;
            }
        }
    }
    missing
}

/// Whether a line is the stated one.
fn matches(stated: &str, line: &str) -> bool {
    let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = spaced(line);
    let pieces: Vec<String> = stated.split('…').map(spaced).collect();
    let [first, .., last] = pieces.as_slice() else { return pieces.first().is_some_and(|only| *only == line) };
    let Some(mut rest) = line.strip_prefix(first.as_str()) else { return false };
    for piece in pieces.iter().skip(1) {
        match rest.find(piece.as_str()) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    line.len() >= first.len() + last.len() && line.ends_with(last.as_str())
}

/// Makes the root file systems that are not there yet, and says where they are.
fn bases() -> Result<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).context("HOME is not set")?;
    // Beside what the acceptance scripts keep.
    let cache = home.join("isopod-acceptance");
    std::fs::create_dir_all(&cache)?;
    for Base { tar, packages, .. } in BASES {
        let tar = cache.join(tar);
        if tar.exists() {
            continue;
        }
        let new = tar.with_extension(format!("new.{}", std::process::id()));
        let include = format!("--include={packages}");
        let mut words = vec!["-q", "--format=tar", "--variant=minbase", &include];
        words.extend([
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "bookworm",
        ]);
        let target = new.to_string_lossy();
        words.push(&target);
        sh::run(sh::command("mmdebstrap", &words))?;
        std::fs::rename(&new, &tar)?;
    }
    Ok(cache)
}

/// A directory that goes with this value.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("warning: {} stays: {error}", self.0.display());
        }
    }
}

fn tempdir() -> Result<Temporary> {
    let path = std::env::temp_dir().join(format!("isopod-pages-{}", std::process::id()));
    std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
    Ok(Temporary(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_what_is_seen() {
        let page = "# x\n```sh\necho a\n```\nwords\n```text\na\n```\n```toml\nx\n```\n```sh\necho b\n```\n";
        let block = |line, script: &str, seen: &[&str]| Block {
            line,
            script: script.into(),
            seen: seen.iter().map(|s| (*s).to_owned()).collect(),
        };
        let found = blocks(page);
        assert_eq!(found, [block(2, "echo a\n", &["a"]), block(12, "echo b\n", &[])]);
        let seen = |text: &str| vec![(2, text.to_owned()), (12, "a".to_owned())];
        assert_eq!(missing(&found, &seen("a")), Vec::<String>::new());
        assert_eq!(missing(&found, &seen("b")), ["line 2: a"]);
    }

    #[test]
    fn lines_match_but_for_what_differs() {
        for (stated, line, expected) in [
            ("a b", "a   b", true),
            ("a b", "a b c", false),
            ("a … c", "a b c", true),
            ("a … c", "a b d", false),
            ("… c", "c", true),
            ("a…c", "ac", true),
            ("ab…bc", "abc", false),
            ("…", "", true),
            ("web-… 1/1 … 0 …", "web-123   1/1   Running   0   5s", true),
            ("0", "10", false),
        ] {
            assert_eq!(matches(stated, line), expected, "{stated:?} {line:?}");
        }
    }
}

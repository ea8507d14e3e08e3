//! `cargo xtask vm`: tests on real containers once more, in a virtual machine with cgroup v2: those of the runtime, and a whole
//! cluster of the built binary.
//!
//! The machines that CI runs on have cgroup v1. QEMU boots Debian's cloud kernel with an initramfs made of busybox, the test programs and
//! what they need ([`root`]). It emulates the processor, so no KVM is needed, and nothing of it touches this machine; each suite has a
//! machine of its own and takes some minutes.
mod root;

use crate::sh;
use anyhow::{Context, Result, bail};
use root::{KERNEL, Kernel, Root};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub struct Args {
    /// Only tests whose names hold this text.
    filter: Option<String>,
    /// Only this suite.
    #[arg(long)]
    only: Option<Suite>,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 1200)]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// The tests of crate runtime.
    Runtime,
    /// A cluster of the built binary, seen through kubectl.
    Cluster,
}

impl Suite {
    /// What the sources of a suite's programs end with: the tests, and a program that they run by its path.
    fn sources(self) -> (&'static str, &'static str) {
        match self {
            Self::Runtime => ("runtime/tests/containers/main.rs", "runtime/src/bin/isopod-test-shim.rs"),
            Self::Cluster => ("isopod/tests/pods/main.rs", "isopod/src/main.rs"),
        }
    }

    /// The tests that are about cgroups, unless a person names others.
    fn filter(self) -> &'static str {
        match self {
            Self::Runtime => "",
            Self::Cluster => "cgroups_of_a_cluster",
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    sh::apt(&["qemu-system-x86", "busybox-static", "binutils"])?;
    let directory = sh::root().join("target/vm");
    fs::create_dir_all(&directory)?;
    let kernel = Kernel::unpack(&directory)?;
    let built = built()?;
    let suites = args.only.map_or(vec![Suite::Runtime, Suite::Cluster], |only| vec![only]);
    let mut all = 0;
    for suite in suites {
        let ran = boot_with(suite, args, &directory, &kernel, &built)?;
        println!("{suite:?}: {ran} tests passed on cgroup v2");
        all += ran;
    }
    if all == 0 {
        bail!("no test has {:?} in its name", args.filter.as_deref().unwrap_or_default());
    }
    Ok(())
}

/// Returns how many tests have passed.
fn boot_with(suite: Suite, args: &Args, directory: &Path, kernel: &Kernel, built: &str) -> Result<usize> {
    let (test, program) = suite.sources();
    let (test, program) = (executable(built, test)?, executable(built, program)?);
    let kubectl = if suite == Suite::Cluster { Some(kubectl()?) } else { None };
    let root = Root { kernel, test: &test, program: &program, kubectl: kubectl.as_deref() };
    let filter = args.filter.as_deref().unwrap_or_else(|| suite.filter());
    let initrd = root.pack(directory, filter)?;
    let log = boot(directory, &kernel.image, &initrd, Duration::from_secs(args.timeout))?;
    if !log.lines().any(|line| line.trim() == root::PASSED) {
        bail!("tests failed in the virtual machine:\n{log}");
    }
    Ok(passed(&log))
}

/// `test result: ok. 31 passed; …`: what the kernel says may stand in any other line.
fn passed(log: &str) -> usize {
    let counts = log
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. ")?.split_once(" passed")?.0.parse::<usize>().ok());
    counts.sum()
}

/// What cargo says of the programs it has built. As part of the workspace: what the other tests have built is used.
fn built() -> Result<String> {
    let words =
        ["test", "--workspace", "--test", "containers", "--test", "pods", "--no-run", "--message-format", "json"];
    sh::output(sh::cargo(&words))
}

/// The program whose source ends with a path: a test, or a binary as the tests run it.
fn executable(built: &str, source: &str) -> Result<PathBuf> {
    let is_test = source.contains("/tests/");
    let artifacts = built.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let ours = |artifact: &serde_json::Value| {
        artifact["profile"]["test"] == is_test
            && artifact["target"]["src_path"].as_str().is_some_and(|path| path.ends_with(source))
    };
    let mut executables = artifacts.filter(ours);
    let found = executables.find_map(|artifact| artifact["executable"].as_str().map(PathBuf::from));
    found.with_context(|| format!("cargo has not built {source}"))
}

fn kubectl() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found =
        std::env::split_paths(&path).map(|directory| directory.join("kubectl")).filter(|file| file.is_file());
    found.next().context("kubectl is not in the PATH")
}

/// Runs the machine until it switches itself off, and gives what it printed.
fn boot(directory: &Path, kernel: &Path, initrd: &Path, timeout: Duration) -> Result<String> {
    let console = directory.join("console.log");
    let mut machine = Command::new("qemu-system-x86_64");
    machine.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "3000", "-smp", "2"]);
    machine.args(["-nographic", "-no-reboot", "-nic", "none"]);
    machine.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    machine.args(["-append", KERNEL]);
    machine.stdin(Stdio::null()).stdout(fs::File::create(&console)?);
    let mut child = machine.spawn().context("qemu-system-x86_64")?;
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > timeout {
            child.kill()?;
            child.wait()?;
            bail!("the virtual machine is not done after {timeout:?}:\n{}", text_of(&console)?);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    text_of(&console)
}

fn text_of(console: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(console)?).into_owned())
}

//! Where the demo happens: a directory, a network namespace and a cluster of its own, all gone at the end, however it comes.
//!
//! The namespace has no name and is mounted nowhere: it ends with the last process in it. So all there is to remove is the cluster, which
//! `isopod delete` does, and the directories.
use super::leftovers;
use crate::datadir::{DataDir, Location};
use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount, umount};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The demo's own part of the machine.
pub struct Ground {
    /// The cluster's data directory, with its kubeconfig.
    pub data: PathBuf,
    /// What images are built from.
    work: tempfile::TempDir,
    me: PathBuf,
    kept: bool,
}

/// The files of `examples/hello`, so that the demo needs no checkout.
const FILES: [(&str, &str); 2] = [
    ("Dockerfile", include_str!("../../../../../examples/hello/Dockerfile")),
    ("hello.yaml", include_str!("../../../../../examples/hello/hello.yaml")),
];

impl Ground {
    /// Takes this thread into a network namespace of its own, unless nodes are simulated, and makes the directories.
    pub fn prepare(hollow: bool) -> Result<Self> {
        let me = std::env::current_exe().context("cannot find my own binary")?;
        for dir in leftovers::find(&std::env::temp_dir()) {
            match remove(&me, &dir) {
                Ok(()) => eprintln!("removed {}, which a demo that was killed had left", dir.display()),
                Err(why) => eprintln!("warning: {} stays: {why}", dir.display()),
            }
        }
        let temporary = |what: &str| {
            let (mode, prefix) = (fs::Permissions::from_mode(0o700), format!("{}{what}", leftovers::PREFIX));
            let dir = tempfile::Builder::new().prefix(&prefix).permissions(mode).tempdir();
            let dir = dir.with_context(|| format!("cannot make a directory in {}", std::env::temp_dir().display()))?;
            leftovers::mark(dir.path())?;
            anyhow::Ok(dir)
        };
        let (data, work) = (temporary("")?, temporary("files-")?);
        if !hollow {
            if let Some(why) = crate::serve::node::missing() {
                bail!("{why}. {HOLLOW}");
            }
            if let Err(error) = overlayfs(work.path()) {
                let place = std::env::temp_dir();
                bail!(
                    "overlayfs, on which containers stand, cannot be used in {}: {error}. Set TMPDIR to a directory on a disk (ext4, xfs, btrfs). {HOLLOW}",
                    place.display()
                );
            }
            let fresh = isopod_network::netns::fresh();
            fresh.map_err(|error| anyhow::anyhow!("no network namespace can be made here: {error}. {HOLLOW}"))?;
        }
        let context = work.path().join("hello");
        fs::create_dir(&context).context("cannot make a directory")?;
        for (name, text) in FILES {
            fs::write(context.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(Self { data: data.keep(), work, me, kept: false })
    }

    /// From now on the cluster stays, whatever becomes of this process.
    pub fn keep(&mut self) -> Result<()> {
        leftovers::release(&self.data)?;
        self.kept = true;
        Ok(())
    }

    pub fn is_kept(&self) -> bool {
        self.kept
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    pub fn data_dir(&self) -> Result<DataDir> {
        Location { data_dir: Some(self.data.clone()) }.resolve()
    }

    pub fn binary(&self) -> &Path {
        &self.me
    }

    /// This binary with arguments, on this cluster.
    pub fn isopod(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.me);
        command.args(words).current_dir(self.work.path());
        command.env("ISOPOD_DATA_DIR", &self.data).env("KUBECONFIG", self.kubeconfig()).stdin(Stdio::null());
        command
    }
}

/// What to do where containers cannot be had.
const HOLLOW: &str = "isopod demo --hollow simulates the machine instead and needs nothing";

impl Drop for Ground {
    fn drop(&mut self) {
        if !self.kept
            && let Err(why) = remove(&self.me, &self.data)
        {
            let (me, data) = (self.me.display(), self.data.display());
            // The terminal may be gone, too.
            drop(writeln!(
                std::io::stderr(),
                "error: the demo could not be removed ({why}). Try: {me} delete --data-dir {data}"
            ));
        }
    }
}

/// Removes a demo's directory, and the cluster if there is one in it.
fn remove(me: &Path, dir: &Path) -> Result<(), String> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(me);
    command.args(["delete", "--data-dir"]).arg(dir).env_remove("KUBECONFIG");
    // In a group of its own: a second Ctrl-C must not stop the tidying up.
    let deleted = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let deleted = deleted.map_err(|e| e.to_string())?;
    if !deleted.success() {
        return Err(format!("isopod delete: {deleted}"));
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Tries it, because kernels, containers and file systems differ in what they allow.
fn overlayfs(work: &Path) -> std::io::Result<()> {
    let dir = tempfile::tempdir_in(work)?;
    let of = |name: &str| dir.path().join(name);
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(of(name))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        of("lower").display(),
        of("upper").display(),
        of("work").display()
    );
    mount(Some("overlay"), &of("merged"), Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(umount(&of("merged"))?)
}

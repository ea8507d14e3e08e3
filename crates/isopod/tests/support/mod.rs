//! A cluster of the built binary in a directory of its own, removed with everything it started when it is dropped; and what /proc says
//! of its server.
#![allow(dead_code, reason = "each test and bench uses its part")]
pub mod figures;
pub mod machine;

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub struct Cluster {
    pub dir: tempfile::TempDir,
    flags: Vec<String>,
    env: Vec<(String, String)>,
}

impl Cluster {
    /// Not started yet. `flags` go to every `isopod up`.
    pub fn new(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir, flags: flags.iter().map(|f| (*f).to_owned()).collect(), env: Vec::new() }
    }
    /// On another file system.
    pub fn new_in(directory: &std::path::Path) -> Self {
        Self {
            dir: tempfile::tempdir_in(directory).expect("a temporary directory"),
            flags: Vec::new(),
            env: Vec::new(),
        }
    }
    /// One more flag of `isopod up`.
    pub fn flag(&mut self, name: &str, value: &str) {
        self.flags.extend([name.to_owned(), value.to_owned()]);
    }
    /// One more variable in the environment of `isopod up`, and so of the server.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }
    pub fn up(&self) -> Duration {
        let file = self.kubeconfig();
        let file = file.to_string_lossy();
        let mut words = vec!["up", "--kubeconfig", &file];
        words.extend(self.flags.iter().map(String::as_str));
        let begun = Instant::now();
        let out = self.command(&words).envs(self.env.iter().cloned()).output().expect("cannot run isopod");
        assert!(out.status.success(), "isopod {words:?}: {}", String::from_utf8_lossy(&out.stderr));
        begun.elapsed()
    }
    /// Runs a command on this cluster and expects success.
    pub fn isopod(&self, words: &[&str]) -> String {
        let out = self.try_isopod(words);
        assert!(out.status.success(), "isopod {words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
    pub fn try_isopod(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("cannot run isopod")
    }
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isopod"));
        command.args(words).arg("--data-dir").arg(self.data());
        command
    }
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }
    pub fn status(&self) -> Value {
        let out = self.try_isopod(&["status", "-o", "json"]);
        serde_json::from_slice(&out.stdout).expect("status is JSON")
    }
    pub fn pid(&self) -> u64 {
        self.status()["pid"].as_u64().expect("a pid")
    }
    pub async fn client(&self) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.kubeconfig()).expect("a kubeconfig");
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a config");
        kube::Client::try_from(config).expect("a client")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let out = self.try_isopod(&["delete"]);
        if !out.status.success() && !std::thread::panicking() {
            panic!("isopod delete: {}", String::from_utf8_lossy(&out.stderr));
        }
    }
}

/// A figure of `/proc/PID/status` in MB: `VmRSS:` is the memory now, `VmHWM:` the most there was.
pub fn memory_mb(pid: u64, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|l| l.strip_prefix(name)).expect("a line of /proc/PID/status");
    line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).expect("a number") / 1024.0
}

/// CPU time so far, in seconds.
pub fn cpu_seconds(pid: u64) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server runs");
    let after = stat.rsplit_once(')').expect("a command name").1;
    let fields: Vec<f64> = after.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    fields.iter().sum::<f64>() / 100.0
}

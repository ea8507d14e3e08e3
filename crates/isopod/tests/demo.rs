//! `isopod demo`: no request fails, and the machine is afterwards what it was before: also when it is interrupted, and when it fails.
//! Needs root; each test is in a network of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::Digest as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use support::machine::own_network;

/// A demo with a directory for temporary files of its own.
struct Demo {
    tmp: tempfile::TempDir,
    child: Child,
    out: BufReader<Box<dyn Read>>,
    said: String,
    /// What names it on the machine: its directory, its cgroups, its network namespace.
    marks: Vec<String>,
}

impl Demo {
    fn start(flags: &[&str]) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_isopod"));
        command.arg("demo").args(flags).env("TMPDIR", tmp.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(Box::new(child.stdout.take().unwrap()) as Box<dyn Read>);
        Self { tmp, child, out, said: String::new(), marks: Vec::new() }
    }

    /// On a terminal of its own, of which the other end is `out`.
    fn on_terminal() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let size = nix::pty::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(&size, None).unwrap();
        // What inherits the other end keeps the terminal open for ever.
        let closed_on_exec = || nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        for fd in [&pty.master, &pty.slave] {
            nix::fcntl::fcntl(fd, closed_on_exec()).unwrap();
        }
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_isopod"), "demo"]).env("TMPDIR", tmp.path()).env("TERM", "xterm");
        let child = command.stdin(end()).stdout(end()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(Box::new(Screen(std::fs::File::from(pty.master))) as Box<dyn Read>);
        Self { tmp, child, out, said: String::new(), marks: Vec::new() }
    }

    /// Reads on until a line with these words.
    fn until(&mut self, words: &str) {
        loop {
            let mut line = String::new();
            let n = self.out.read_line(&mut line).unwrap();
            self.said.push_str(&line);
            if line.contains(words) {
                return;
            }
            if n == 0 {
                let mut errors = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
                panic!("ended before {words:?}:\n{}{errors}", self.said);
            }
        }
    }

    /// The cluster's data directory.
    fn data(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.tmp.path()).unwrap().flatten();
        let mut dirs = entries.map(|e| e.path()).filter(|p| p.join("cluster.json").exists());
        dirs.next().expect("the cluster runs")
    }

    /// Remembers what it has on the machine, while it has it.
    fn look(&mut self) {
        let data = self.data();
        // As serve::node::mark and NetworkConfig::bridge name them.
        let short = |bytes: &[u8]| hex::encode(&sha2::Sha256::digest(bytes)[..3]);
        let cluster = format!("isopod-{}", short(data.as_os_str().as_encoded_bytes()));
        let network = std::fs::read_link(format!("/proc/{}/ns/net", self.child.id())).unwrap();
        self.marks = vec![
            self.tmp.path().display().to_string(),
            format!("iso{}", short(cluster.as_bytes())),
            network.display().to_string(),
        ];
        let found = on_machine(&self.marks);
        for kind in ["process", "mount", "cgroup", "namespace"] {
            assert!(found.iter().any(|f| f.starts_with(kind)), "no {kind} found, so none would be missed: {found:#?}");
        }
    }

    fn end(&mut self) -> (ExitStatus, String, String, Vec<String>) {
        let mut errors = String::new();
        self.out.read_to_string(&mut self.said).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        let status = self.child.wait().unwrap();
        // What was killed may take a moment to be gone.
        let end = Instant::now() + Duration::from_secs(10);
        let mut left = on_machine(&self.marks);
        while !left.is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
            left = on_machine(&self.marks);
        }
        left.extend(std::fs::read_dir(self.tmp.path()).unwrap().map(|e| e.unwrap().path().display().to_string()));
        (status, std::mem::take(&mut self.said), errors, left)
    }
}

/// The other end of a terminal: when it is asked where the cursor is, it says so.
struct Screen(std::fs::File);

impl Read for Screen {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(buffer)?;
        let asked = buffer[..n].windows(4).filter(|w| w == b"\x1b[6n").count();
        self.0.write_all(&b"\x1b[1;1R".repeat(asked))?;
        Ok(n)
    }
}

impl Drop for Demo {
    /// Lets it tidy up before its directory goes, when a test fails.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _gone = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
            let _status = self.child.wait();
        }
    }
}

/// Everything on the machine that bears one of these marks, one line a thing.
fn on_machine(marks: &[String]) -> Vec<String> {
    let bears = |text: &str| marks.iter().any(|mark| text.contains(mark.as_str()));
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| std::fs::read(process.path().join(name)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        // Supervisors name no directory, but have the demo's environment.
        if bears(&command) || bears(&String::from_utf8_lossy(&read("environ"))) {
            found.push(format!("process {command}"));
        }
        let network = std::fs::read_link(process.path().join("ns/net")).unwrap_or_default();
        if bears(&network.display().to_string()) {
            found.push(format!("namespace {} of {command}", network.display()));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    found.extend(mounts.lines().filter(|l| bears(l)).map(|l| format!("mount {l}")));
    let mut cgroups = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = cgroups.pop() {
        let below = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        cgroups.extend(below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        if bears(&dir.display().to_string()) {
            found.push(format!("cgroup {}", dir.display()));
        }
    }
    found
}

/// Links, addresses, routes and rules of this network.
fn network() -> String {
    let commands: [&[&str]; 4] = [
        &["ip", "-o", "link"],
        &["ip", "-o", "address"],
        &["ip", "route", "show", "table", "all"],
        &["nft", "list", "ruleset"],
    ];
    let all = commands.map(|words| Command::new(words[0]).args(&words[1..]).output().expect("iproute2 and nftables"));
    all.iter().map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).collect()
}

/// A figure of the receipt.
fn figure<'a>(said: &'a str, name: &str) -> &'a str {
    let line = said.lines().rev().find_map(|l| l.trim_start().strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name:?} in\n{said}")).trim()
}

#[test]
fn no_request_fails_and_nothing_is_left() {
    own_network();
    let before = network();
    let mut demo = Demo::start(&[]);
    demo.until("To v2");
    demo.look();
    let (status, said, errors, left) = demo.end();
    assert!(status.success(), "{said}{errors}");
    assert_eq!(figure(&said, "failed"), "0");
    assert!(figure(&said, "requests sent").parse::<u64>().unwrap() >= 500, "{said}");
    for expected in
        ["hello:v1", "answered by v1", "answered by v2", "v1 to v2", "back to v1", "successfully rolled out"]
    {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(network(), before);
}

#[test]
fn interrupted_it_leaves_nothing() {
    own_network();
    for words in ["build", "without a change"] {
        let mut demo = Demo::start(&[]);
        demo.until(words);
        if words == "build" {
            demo.marks = vec![demo.tmp.path().display().to_string()];
        } else {
            demo.look();
        }
        kill(Pid::from_raw(i32::try_from(demo.child.id()).unwrap()), Signal::SIGINT).unwrap();
        let (status, said, errors, left) = demo.end();
        assert_eq!(status.code(), Some(130), "{said}{errors}");
        assert!(errors.contains("interrupted: the cluster is removed"), "{errors}");
        assert_eq!(left, Vec::<String>::new(), "interrupted at {words:?}");
    }
}

#[test]
fn killed_it_is_removed_by_the_next_one() {
    own_network();
    let mut killed = Demo::start(&[]);
    killed.until("without a change");
    killed.look();
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(on_machine(&killed.marks).iter().any(|f| f.starts_with("process")), "its cluster goes on");
    let next =
        Command::new(env!("CARGO_BIN_EXE_isopod")).args(["demo", "--hollow"]).env("TMPDIR", killed.tmp.path()).output();
    let next = next.unwrap();
    let errors = String::from_utf8_lossy(&next.stderr);
    assert!(next.status.success() && errors.contains("which a demo that was killed had left"), "{errors}");
    let (_, _, _, left) = killed.end();
    assert_eq!(left, Vec::<String>::new());
}

/// The window is closed while the live picture is drawn.
#[test]
fn hung_up_it_leaves_nothing() {
    own_network();
    let mut demo = Demo::on_terminal();
    demo.until("To v2");
    demo.until("rolling out");
    demo.look();
    demo.out = BufReader::new(Box::new(std::io::empty()));
    let (status, said, errors, left) = demo.end();
    // Either the signal comes first, or what is written to nobody.
    assert!(matches!(status.code(), Some(1 | 130)), "{said}{errors}");
    assert_eq!(left, Vec::<String>::new(), "{errors}");
}

#[test]
fn when_it_fails_it_says_why_and_leaves_nothing() {
    own_network();
    let mut demo = Demo::start(&[]);
    demo.until("without a change");
    demo.look();
    let running: serde_json::Value =
        serde_json::from_slice(&std::fs::read(demo.data().join("run/server.json")).unwrap()).unwrap();
    kill(Pid::from_raw(i32::try_from(running["pid"].as_i64().unwrap()).unwrap()), Signal::SIGKILL).unwrap();
    let (status, said, errors, left) = demo.end();
    assert_eq!(status.code(), Some(1), "{said}{errors}");
    assert!(errors.lines().any(|l| l.starts_with("error: isopod ") && l.contains("exit status: 1")), "{errors}");
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn kept_it_can_be_entered_and_removed_from_anywhere() {
    own_network();
    let mut demo = Demo::start(&["--keep"]);
    demo.until("To v2");
    demo.look();
    let data = demo.data();
    demo.until("To remove it, from anywhere:");
    demo.until("delete --data-dir");
    let remove = demo.said.lines().last().unwrap().trim().to_owned();
    let pid = demo.said.lines().find_map(|l| l.split("--target ").nth(1)?.split(' ').next()).expect("how to enter it");
    let curl = demo.said.lines().find_map(|l| l.trim().strip_prefix("curl ")).expect("what to ask for").to_owned();
    let inside = |words: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--target", pid, "--net"]).args(words).env("KUBECONFIG", data.join("kubeconfig"));
        let out = command.output().unwrap();
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    assert_eq!(inside(&["curl", "-sSf", "--max-time", "10", &curl]), "hello from v1\n");
    assert!(inside(&[env!("CARGO_BIN_EXE_isopod"), "get", "pods"]).contains("Running"));
    let removed = Command::new("sh").args(["-c", &remove]).output().unwrap();
    assert!(removed.status.success(), "{remove}: {}", String::from_utf8_lossy(&removed.stderr));
    let (status, said, errors, left) = demo.end();
    assert!(status.success(), "{said}{errors}");
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn hollow_it_needs_no_root() {
    let tmp = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_isopod");
    let run = |flags: &[&str], dir: &Path| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", binary, "demo"]).args(flags);
        command.env("TMPDIR", dir).env("HOME", dir).current_dir("/").output().unwrap()
    };
    // One lock file of all clusters stays, as that of root does in /run.
    let left = || -> Vec<String> {
        let names = std::fs::read_dir(tmp.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "isopod-65534.lock").collect()
    };
    std::os::unix::fs::chown(tmp.path(), Some(65534), Some(65534)).unwrap();
    let refused = run(&[], tmp.path());
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && errors.contains("only root can make containers") && errors.contains("--hollow"),
        "{errors}"
    );
    assert_eq!(left(), Vec::<String>::new());
    let done = run(&["--hollow"], tmp.path());
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(
        done.status.success() && said.contains("Nobody asks them anything") && said.contains("back to v1"),
        "{said}"
    );
    assert!(!said.contains("requests sent"), "{said}");
    assert_eq!(left(), Vec::<String>::new());
}

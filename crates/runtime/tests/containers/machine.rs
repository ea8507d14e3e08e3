//! A runtime with its own directories and cgroup, and images made of Debian's static busybox.
use isopod_runtime::{
    Command, ContainerConfig, ContainerId, ContainerState, ContainerStatus, Output, Runtime, SandboxConfig, SandboxId,
    local::{Local, LocalConfig},
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest wait for something that must come; only a broken run waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Machine {
    pub runtime: Local,
    pub directory: tempfile::TempDir,
    pub cgroup: String,
}

impl Machine {
    pub async fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("isopod-rt-").tempdir().unwrap();
        let name = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
        busybox(&directory.path().join("busybox"));
        let runtime = open(directory.path()).await;
        Self { runtime, directory, cgroup: format!("/isopod-test-{name}") }
    }

    /// As a restarted node agent sees it.
    pub async fn reopened(&self) -> Local {
        open(self.directory.path()).await
    }

    /// The busybox image's only layer.
    pub fn layer(&self) -> PathBuf {
        self.path("busybox")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn sandbox_config(&self, name: &str) -> SandboxConfig {
        SandboxConfig {
            uid: name.into(),
            name: name.into(),
            hostname: name.into(),
            cgroup_parent: format!("{}/{name}", self.cgroup),
            log_directory: self.path("logs").join(name),
            ..Default::default()
        }
    }

    pub async fn sandbox(&self, name: &str) -> SandboxId {
        self.runtime.create_sandbox(self.sandbox_config(name)).await.unwrap()
    }

    /// A container of the busybox image that runs a shell script.
    pub fn script(&self, name: &str, script: &str) -> ContainerConfig {
        ContainerConfig {
            name: name.into(),
            layers: vec![self.path("busybox")],
            args: ["sh", "-c", script].map(str::to_owned).into(),
            log_path: Some(format!("{name}.log").into()),
            ..Default::default()
        }
    }

    pub async fn start(&self, sandbox: &SandboxId, config: ContainerConfig) -> ContainerId {
        let id = self.runtime.create_container(sandbox, config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    /// Waits for its end.
    pub async fn ended(&self, id: &ContainerId) -> ContainerStatus {
        let what = format!("container {id} to end");
        wait_for(&what, async || {
            let status = self.runtime.container(id).await.unwrap();
            (status.state == ContainerState::Exited).then_some(status)
        })
        .await
    }

    /// Runs a container to its end and gives its exit code and what it logged, without times.
    pub async fn run(&self, sandbox: &SandboxId, config: ContainerConfig) -> (i32, String) {
        let name = config.name.clone();
        let id = self.start(sandbox, config).await;
        let code = self.ended(&id).await.exit.unwrap().status.code();
        let log = self.log(sandbox, &name).await;
        self.runtime.remove_container(&id).await.unwrap();
        (code, log)
    }

    /// A container's log as text.
    pub async fn log(&self, sandbox: &SandboxId, name: &str) -> String {
        let directory = self.runtime.sandbox(sandbox).await.unwrap().config.log_directory;
        let text = fs::read_to_string(directory.join(format!("{name}.log"))).unwrap_or_default();
        text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(|line| format!("{line}\n")).collect()
    }

    pub async fn exec(&self, id: &ContainerId, script: &str) -> Output {
        let args = ["sh", "-c", script].map(str::to_owned).into();
        self.runtime.exec_sync(id, Command { args, timeout: Some(PATIENCE) }).await.unwrap()
    }

    /// Removes everything, and looks whether it is gone.
    pub async fn finish(self) {
        for sandbox in self.runtime.sandboxes().await.unwrap() {
            self.runtime.remove_sandbox(&sandbox.id).await.unwrap();
        }
        assert_eq!(fs::read_dir(self.path("state/sandboxes")).unwrap().count(), 0, "directories are left");
        let path = self.directory.path().to_str().unwrap().to_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(&path)).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
        assert_eq!(self.cgroup_directories(), [""; 0].map(PathBuf::from), "cgroups are left");
        wait_for("supervisors to be gone", async || shims(&path).is_empty().then_some(())).await;
    }

    /// Of all hierarchies.
    pub fn cgroup_directories(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let mounts = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path()).chain([root.to_owned()]);
        mounts.map(|mount| mount.join(&self.cgroup[1..])).filter(|path| path.is_dir()).collect()
    }
}

/// Processes that work in a directory.
pub fn shims(directory: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|pid: &u32| {
        let log = fs::read_link(format!("/proc/{pid}/fd/2")).unwrap_or_default();
        log.starts_with(directory) && log.ends_with("shim.log")
    })
    .collect()
}

async fn open(directory: &Path) -> Local {
    let config = LocalConfig { shim_binary: shim_binary(), ..LocalConfig::new(directory.join("state")).unwrap() };
    Local::open(config).await.unwrap()
}

fn busybox(root: &Path) {
    for directory in ["bin", "etc", "tmp", "root"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("Debian's busybox-static is installed");
    let applets = "sh cat echo id sleep ls mount mkdir touch hostname env pwd kill ps head tail dd tty stty true false wc \
                   grep sed mknod df su ip rm ln yes nproc ipcs readlink seq test";
    for applet in applets.split_whitespace() {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nweb:x:34:\nstaff:x:50:web\n").unwrap();
}

/// The binary that is the shim of these tests.
pub fn shim_binary() -> PathBuf {
    env!("CARGO_BIN_EXE_isopod-test-shim").into()
}

/// Looks again and again until there is an answer.
pub async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! What the containers of a pod share: namespaces, which are the supervisor's own, `/dev/shm`, the files of `/etc`.
use super::fork;
use crate::{
    IpcNamespace, NetworkNamespace, PidNamespace, Result, RuntimeError, SandboxConfig, SandboxId, cgroup_fs::Cgroups,
    etc,
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, sethostname},
};
use std::{
    fs::{self, File},
    io,
    net::IpAddr,
    os::fd::AsRawFd,
    path::{Component, Path, PathBuf},
};

/// The cgroup of a sandbox, above its containers' and its supervisor's.
pub fn cgroup(id: &SandboxId, config: &SandboxConfig) -> String {
    match config.cgroup_parent.trim_matches('/') {
        "" => format!("/isopod/{id}"),
        parent => format!("/{parent}"),
    }
}

/// A sandbox's part of the machine, held by this process.
#[derive(Debug)]
pub struct Sandbox {
    directory: PathBuf,
    pub config: SandboxConfig,
    pub cgroup: String,
    pub cgroups: Cgroups,
    /// First process of the shared PID namespace.
    pub pause: Option<Pid>,
}

impl Sandbox {
    /// Makes it. This process is in its namespaces afterwards.
    pub fn establish(directory: &Path, id: &SandboxId, config: &SandboxConfig) -> Result<Self> {
        // Whoever took the directory away wants nothing made.
        std::env::set_current_dir(directory).map_err(|error| failed("enter the sandbox's directory", error))?;
        let cgroups = Cgroups::of_this_machine()?;
        let cgroup = cgroup(id, config);
        cgroups.create(&cgroup)?;
        cgroups.limit_group(&cgroup, &config.resources)?;
        let own = format!("{cgroup}/shim");
        cgroups.create(&own)?;
        cgroups.join(&own, std::process::id())?;
        // Lowering it is best effort, and without it we are as likely a victim as anybody.
        let _best_effort = fs::write("/proc/self/oom_score_adj", "-998");
        let mut sandbox = Self { directory: directory.into(), config: config.clone(), cgroup, cgroups, pause: None };
        sandbox.write_etc(&[])?;
        sandbox.enter_namespaces()?;
        sandbox.set_sysctls()?;
        if config.ipc == IpcNamespace::Sandbox {
            sandbox.mount_shm()?;
        }
        if config.pid == PidNamespace::Sandbox {
            sandbox.pause = Some(start_pause()?);
        }
        Ok(sandbox)
    }

    fn enter_namespaces(&self) -> Result<()> {
        let config = &self.config;
        let mut flags = CloneFlags::empty();
        match &config.network {
            NetworkNamespace::Host => {}
            NetworkNamespace::Private => flags |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS,
            NetworkNamespace::Path(path) => {
                flags |= CloneFlags::CLONE_NEWUTS;
                let file = File::open(path).map_err(|error| {
                    RuntimeError::invalid("network", format!("cannot open {}: {error}", path.display()))
                })?;
                setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| {
                    RuntimeError::invalid("network", format!("cannot enter {}: {}", path.display(), error.desc()))
                })?;
            }
        }
        if config.ipc == IpcNamespace::Sandbox {
            flags |= CloneFlags::CLONE_NEWIPC;
        }
        unshare(flags).map_err(|error| failed("make namespaces", error.desc()))?;
        if config.network != NetworkNamespace::Host && !config.hostname.is_empty() {
            etc::hostname(config)?;
            sethostname(&config.hostname).map_err(|error| failed("set the host name", error.desc()))?;
        }
        if config.network == NetworkNamespace::Private {
            loopback_up().map_err(|error| failed("bring loopback up", error))?;
        }
        Ok(())
    }

    /// `net.` and `kernel.` parameters are those of our namespaces; `net/ipv4/conf/eth0.1/…` is written with slashes.
    fn set_sysctls(&self) -> Result<()> {
        for (name, value) in &self.config.sysctls {
            let field = || format!("sysctls[{name}]");
            let relative = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
            if !Path::new(&relative).components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(RuntimeError::invalid(field(), "is not the name of a kernel parameter"));
            }
            let path = Path::new("/proc/sys").join(relative);
            fs::write(&path, value).map_err(|error| {
                RuntimeError::invalid(field(), format!("cannot write {value:?} to {}: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    fn shm(&self) -> PathBuf {
        self.directory.join("shm")
    }

    fn mount_shm(&self) -> Result<()> {
        let shm = self.shm();
        fs::create_dir_all(&shm).map_err(|error| failed("make /dev/shm", error))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("shm"), &shm, Some("tmpfs"), flags, Some("mode=1777,size=67108864"))
            .map_err(|error| failed("mount /dev/shm", error.desc()))
    }

    /// Writes `hosts`, `resolv.conf` and `hostname`; in place, because containers have the files mounted.
    pub fn write_etc(&self, addresses: &[IpAddr]) -> Result<()> {
        let etc = self.directory.join("etc");
        match fs::create_dir(&etc) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("make etc", error)),
            _ => {}
        }
        let host = self.config.network == NetworkNamespace::Host;
        let mut hosts = if host { fs::read_to_string("/etc/hosts").unwrap_or_default() } else { String::new() };
        hosts.push_str(&etc::hosts(&self.config, addresses)?);
        let mut files = vec![("hosts", hosts)];
        let dns = &self.config.dns;
        let says_nothing = dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty();
        files.push((
            "resolv.conf",
            if host && says_nothing {
                fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
            } else {
                etc::resolv_conf(dns)?
            },
        ));
        files.push(("hostname", if host { format!("{}\n", self.hostname()) } else { etc::hostname(&self.config)? }));
        for (name, text) in files {
            fs::write(etc.join(name), text).map_err(|error| failed(&format!("write {name}"), error))?;
        }
        Ok(())
    }

    /// As `uname` in a container says it.
    pub fn hostname(&self) -> String {
        if self.config.network != NetworkNamespace::Host && !self.config.hostname.is_empty() {
            return self.config.hostname.clone();
        }
        nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// What every container has mounted unless it says otherwise.
    pub fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let etc = |name| self.directory.join("etc").join(name);
        let shm = if self.config.ipc == IpcNamespace::Sandbox { self.shm() } else { "/dev/shm".into() };
        vec![
            ("/dev/shm", shm),
            ("/etc/hosts", etc("hosts")),
            ("/etc/resolv.conf", etc("resolv.conf")),
            ("/etc/hostname", etc("hostname")),
        ]
    }

    /// The namespaces that containers enter.
    pub fn shared(&self) -> Vec<(&'static str, PathBuf)> {
        let of = |pid: u32, name| PathBuf::from(format!("/proc/{pid}/ns/{name}"));
        let us = std::process::id();
        let mut shared = Vec::new();
        if self.config.network != NetworkNamespace::Host {
            shared.push(("network", of(us, "net")));
            shared.push(("uts", of(us, "uts")));
        }
        if self.config.ipc == IpcNamespace::Sandbox {
            shared.push(("ipc", of(us, "ipc")));
        }
        if let Some(pause) = self.pause.and_then(|pid| u32::try_from(pid.as_raw()).ok()) {
            shared.push(("pid", of(pause, "pid")));
        }
        shared
    }

    /// A file by which the network namespace can be entered for as long as this process lives.
    pub fn netns_path(&self) -> Option<PathBuf> {
        match &self.config.network {
            NetworkNamespace::Host => None,
            NetworkNamespace::Private => Some(format!("/proc/{}/ns/net", std::process::id()).into()),
            NetworkNamespace::Path(path) => Some(path.clone()),
        }
    }

    /// Takes down what would outlive this process.
    pub fn release(&mut self) {
        if let Some(pause) = self.pause.take() {
            let _gone = nix::sys::signal::kill(pause, Signal::SIGKILL);
        }
        release_mounts(&self.directory);
    }
}

/// Unmounts what a sandbox has mounted below its directory. Idempotent.
pub fn release_mounts(directory: &Path) {
    while umount2(&directory.join("shm"), MntFlags::MNT_DETACH).is_ok() {}
}

/// The first process of a new PID namespace, which reaps what is left to it (Kubernetes' `pause`).
fn start_pause() -> Result<Pid> {
    let own = File::open("/proc/self/ns/pid").map_err(|error| failed("open the PID namespace", error))?;
    unshare(CloneFlags::CLONE_NEWPID).map_err(|error| failed("make a PID namespace", error.desc()))?;
    let pause = fork::child(|| {
        let _best_effort = prctl::set_name(c"pause");
        if prctl::set_pdeathsig(Signal::SIGKILL).is_err() {
            return 1;
        }
        // SAFETY: no memory is passed; this child uses none of the descriptors it inherited.
        unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
        let mut child = SigSet::empty();
        child.add(Signal::SIGCHLD);
        loop {
            // All signals are blocked: one that comes between the two calls stays pending and ends the second.
            while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                if status == WaitStatus::StillAlive {
                    break;
                }
            }
            if child.wait().is_err() {
                return 1;
            }
        }
    });
    // Our other children belong to our own namespace again.
    setns(own, CloneFlags::CLONE_NEWPID).map_err(|error| failed("return to the PID namespace", error.desc()))?;
    pause.map_err(|error| failed("fork", error.desc()))
}

pub fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: `ifreq` is plain data, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = libc::c_char::try_from(*from).unwrap_or(0);
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(libc::c_short::MAX);
    // SAFETY: the kernel reads one `ifreq`, which lives until the call returns.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn failed(what: &str, error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("cannot {what}: {error}") }
}

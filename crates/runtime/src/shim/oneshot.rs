//! The helper behind [`oneshot`](crate::oneshot): one program in a root file system, and nothing left of it afterwards.
use super::{
    containers::{available, inheritance, launch, write_json},
    maker::{self, Home, Stdio},
    note, root, sandbox,
    spec::{self, Surroundings},
    supervisor::{Launching, unavailable},
};
use crate::{
    ContainerConfig, ExitStatus, Mount, MountSource, Propagation, Result, RuntimeError, Security, Signal,
    cgroup_fs::Cgroups,
    oneshot::{Network, OUTCOME, OneShot, Root},
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{
        signal::{self, SigSet, SigmaskHow, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, sethostname},
};
use std::{
    fs,
    io::{BufRead, Read},
    os::fd::AsFd,
    path::PathBuf,
    time::Duration,
};

/// What the cgroups of build steps begin with; the helper's process follows.
pub const CGROUP_PREFIX: &str = "isopod-build-";

/// Reads an [`OneShot`] from the first line of stdin, runs it with our stdout and stderr, and writes what became of it to the
/// scratch directory. End of file on stdin means that nobody wants it any more.
pub fn main() -> i32 {
    let mut line = Vec::new();
    let read = std::io::stdin().lock().read_until(b'\n', &mut line);
    let Ok(step) = read.map_err(|_| ()).and_then(|_| serde_json::from_slice::<OneShot>(&line).map_err(|_| ())) else {
        return 2;
    };
    let outcome = Helper::begin(&step).and_then(|mut helper| {
        let ended = helper.run(&step);
        helper.clean(&step);
        ended
    });
    let written = serde_json::to_vec(&outcome).map(|text| fs::write(step.scratch.join(OUTCOME), text));
    i32::from(!matches!(written, Ok(Ok(()))))
}

struct Helper {
    home: Home,
    cgroup: String,
    cgroups: Cgroups,
    children: SignalFd,
    stubs: Vec<PathBuf>,
}

impl Helper {
    /// Makes namespaces and root.
    fn begin(step: &OneShot) -> Result<Self> {
        nix::sys::prctl::set_child_subreaper(true).map_err(|error| unavailable("become a subreaper", &error))?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)
            .map_err(|error| unavailable("block signals", &error))?;
        let mut mask = SigSet::empty();
        mask.add(signal::Signal::SIGCHLD);
        let children = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|error| unavailable("watch children", &error))?;
        let cgroups = Cgroups::of_this_machine()?;
        let cgroup = format!("/{CGROUP_PREFIX}{}-{:08x}", std::process::id(), rand::random::<u32>());
        cgroups.create(&cgroup)?;
        let home = Home(step.scratch.clone());
        let mut helper = Self { home, cgroup, cgroups, children, stubs: Vec::new() };
        match helper.make_root(step) {
            Ok(()) => Ok(helper),
            Err(error) => {
                helper.clean(step);
                Err(error)
            }
        }
    }

    fn make_root(&mut self, step: &OneShot) -> Result<()> {
        let mut flags = CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
        flags.set(CloneFlags::CLONE_NEWNET, step.network == Network::None);
        unshare(flags).map_err(|error| unavailable("make namespaces", &error))?;
        if step.network == Network::None {
            sandbox::loopback_up().map_err(|error| unavailable("bring loopback up", &error))?;
        }
        if !step.hostname.is_empty() {
            sethostname(&step.hostname).map_err(|error| unavailable("set the host name", &error))?;
        }
        let target = self.home.rootfs();
        root::enter_private_mounts(&config(step), &target)?;
        fs::create_dir_all(&target).map_err(|error| unavailable("make the root", &error))?;
        match &step.root {
            Root::Directory(directory) => root::mount_directory(directory, &target)?,
            Root::Overlay { lowers, upper, work } => {
                let links = self.home.links();
                root::mount_overlay(&root::Stack { layers: lowers, links: &links, upper, work }, &target)?;
            }
        }
        let ours = ["/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hosts"].map(PathBuf::from);
        let targets: Vec<_> = ours.into_iter().chain(step.mounts.iter().map(|mount| mount.target.clone())).collect();
        self.stubs = root::missing(&target, &targets)?;
        root::make_cwd(&target, &spec::cwd(&config(step))?)?;
        self.write_etc(step)
    }

    /// Copies: a step must not be able to change the machine's own.
    fn write_etc(&self, step: &OneShot) -> Result<()> {
        let (hosts, resolv) = match step.network {
            Network::Host => (
                fs::read_to_string("/etc/hosts").unwrap_or_default(),
                fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
            ),
            Network::None => {
                ("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".into(), String::new())
            }
        };
        for (name, text) in [("hosts", hosts), ("resolv.conf", resolv)] {
            fs::write(self.home.0.join(name), text).map_err(|error| unavailable("write etc", &error))?;
        }
        Ok(())
    }

    fn run(&mut self, step: &OneShot) -> Result<ExitStatus> {
        let starting = |error: RuntimeError| RuntimeError::Start { message: error.to_string() };
        let config = config(step);
        let identity = root::identify(&self.home.rootfs(), &step.user, &[])?;
        let layout = self.cgroups.layout();
        let around = Surroundings {
            rootfs: self.home.rootfs(),
            identity,
            hostname: step.hostname.clone(),
            shared: Vec::new(),
            own_pid: true,
            files: vec![
                ("/etc/hosts", self.home.0.join("hosts")),
                ("/etc/resolv.conf", self.home.0.join("resolv.conf")),
            ],
            cgroup: self.cgroup.clone(),
            cgroup_version: layout.version(),
            cgroup_directories: layout.directories(&self.cgroup)?,
            available: available(),
            devices: Vec::new(),
        };
        let bundle = spec::container(&config, &around)?;
        write_json(&self.home.0.join("config.json"), &bundle)?;
        let (ours, theirs) = note::channel().map_err(|error| unavailable("make a channel", &error))?;
        let launch = launch(&config, &around, &step.args, note::raw(&theirs), false)?;
        let mut stdio = Stdio::null().map_err(|error| unavailable("open /dev/null", &error))?;
        let clone = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
        stdio.stdout = clone(std::io::stdout().as_fd()).map_err(|error| unavailable("share stdout", &error))?;
        stdio.stderr = clone(std::io::stderr().as_fd()).map_err(|error| unavailable("share stderr", &error))?;
        let mounts =
            fs::File::open("/proc/self/ns/mnt").map_err(|error| unavailable("open mount namespace", &error))?;
        let maker = maker::start(&self.home, &mounts.into(), launch, stdio, &inheritance(&config))
            .map_err(|error| starting(unavailable("fork", &error)))?;
        drop(theirs);
        self.wait(Launching::new(ours, maker))
    }

    /// Until the program has ended, or nobody wants it any more.
    fn wait(&self, mut launching: Launching) -> Result<ExitStatus> {
        let (mut launched, mut wanted) = (false, true);
        let mut ended = std::collections::BTreeMap::new();
        loop {
            let stdin = std::io::stdin();
            let mut fds = vec![PollFd::new(self.children.as_fd(), PollFlags::POLLIN)];
            if !launched {
                fds.push(PollFd::new(launching.channel.as_fd(), PollFlags::POLLIN));
            }
            if wanted {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            let _interrupted = poll(&mut fds, PollTimeout::NONE);
            let stdin_ready = wanted && fds.last().is_some_and(|fd| fd.any().unwrap_or(false));
            while let Ok(Some(_)) = self.children.read_signal() {}
            launched = launched || launching.listen();
            if stdin_ready && !matches!(std::io::stdin().read(&mut [0; 64]), Ok(1..)) {
                wanted = false;
                self.cgroups.kill(&self.cgroup);
            }
            ended.extend(reap());
            if !launched {
                continue;
            }
            match (&launching.error, launching.pid) {
                (None, Some(pid)) => {
                    if let Some(status) = ended.get(&pid) {
                        return Ok(*status);
                    }
                }
                (why, _) => {
                    let why = why.clone().unwrap_or_else(|| "the process that starts it died".into());
                    let message = format!("unable to start container process: error during container init: {why}");
                    return Err(RuntimeError::Start { message });
                }
            }
        }
    }

    /// Takes away what the step has left in the root, in the cgroups and in the scratch directory.
    fn clean(&self, _: &OneShot) {
        self.cgroups.kill(&self.cgroup);
        let _reaped = reap();
        if let Err(error) = root::remove_stubs(&self.home.rootfs(), &self.stubs) {
            eprintln!("{error}");
        }
        for _ in 0..100 {
            if self.cgroups.remove(&self.cgroup).unwrap_or(true) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            let _reaped = reap();
        }
        for directory in [self.home.state(), self.home.links()] {
            let _not_there = fs::remove_dir_all(directory);
        }
        for file in ["config.json", "hosts", "resolv.conf"] {
            let _not_there = fs::remove_file(self.home.0.join(file));
        }
    }
}

fn reap() -> Vec<(i32, ExitStatus)> {
    let mut all = Vec::new();
    while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::Exited(pid, code) => {
                all.push((pid.as_raw(), ExitStatus::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX))));
            }
            WaitStatus::Signaled(pid, signal, _) => {
                let number = u8::try_from(signal as i32).ok().and_then(|number| Signal::try_from(number).ok());
                all.push((pid.as_raw(), ExitStatus::Signal(number.unwrap_or(Signal::KILL))));
            }
            WaitStatus::StillAlive => break,
            _ => {}
        }
    }
    all
}

/// The step as a container.
fn config(step: &OneShot) -> ContainerConfig {
    let mut mounts = vec![Mount {
        source: MountSource::Tmpfs { size_bytes: Some(64 << 20) },
        target: "/dev/shm".into(),
        read_only: false,
        recursive_read_only: false,
        propagation: Propagation::Private,
    }];
    mounts.extend(step.mounts.iter().cloned());
    ContainerConfig {
        name: "step".into(),
        args: step.args.clone(),
        env: step.env.clone(),
        cwd: step.cwd.clone(),
        mounts,
        security: Security { user: step.user.clone(), ..Default::default() },
        ..Default::default()
    }
}

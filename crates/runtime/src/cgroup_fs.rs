//! A pod's cgroups on the machine: made, limited, read, emptied and removed. What to write is decided in
//! [`cgroups`](crate::cgroups).
use crate::{Resources, Result, RuntimeError, cgroups::Layout};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// What a cgroup has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub cpu_nanos: u64,
    pub memory_usage_bytes: u64,
    pub memory_inactive_file_bytes: u64,
    pub pids: u64,
}

/// The machine's cgroups.
#[derive(Debug, Clone)]
pub struct Cgroups {
    layout: Layout,
}

/// Most rounds of killing what a cgroup holds: every round kills all there is, so only what forks faster than we list
/// survives one.
const KILL_ROUNDS: u32 = 50;
/// How often a cgroup is made again when what is above it has just gone.
const CREATE_TRIES: u32 = 10;

impl Cgroups {
    /// As this machine mounts them.
    pub fn of_this_machine() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo").map_err(|error| unavailable("read mountinfo", &error))?;
        let layout = Layout::from_mountinfo(&text)
            .ok_or_else(|| RuntimeError::Unsupported { message: "no cgroups are mounted on this machine".into() })?;
        Ok(Self { layout })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Makes the cgroup and those above it. Idempotent.
    pub fn create(&self, path: &str) -> Result<()> {
        for directory in self.layout.directories(path)? {
            let mut tries = 0;
            loop {
                match self.create_one(&directory) {
                    // Somebody has pruned what was above it between two steps.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && tries < CREATE_TRIES => tries += 1,
                    Err(error) => return Err(unavailable(&format!("make cgroup {}", directory.display()), &error)),
                    Ok(()) => break,
                }
            }
        }
        Ok(())
    }

    fn create_one(&self, directory: &Path) -> io::Result<()> {
        match &self.layout {
            Layout::V2(mount) => create_v2(mount, directory),
            Layout::V1(controllers) => match controllers.get("cpuset") {
                Some(mount) if directory.starts_with(mount) => create_cpuset(mount, directory),
                _ => fs::create_dir_all(directory),
            },
        }
    }

    /// Removes the cgroups above one that has been removed, as far as they are empty.
    pub fn prune(&self, path: &str) {
        let mut above = Path::new(path).parent();
        while let Some(path) = above.and_then(Path::to_str).filter(|path| path.len() > 1) {
            let directories = self.layout.directories(path).unwrap_or_default();
            if directories.iter().filter(|directory| fs::remove_dir(directory).is_ok()).count() == 0 {
                return;
            }
            above = Path::new(path).parent();
        }
    }

    /// Names of the topmost cgroups, of whatever hierarchy.
    pub fn topmost(&self) -> BTreeSet<String> {
        let mounts: Vec<&PathBuf> = match &self.layout {
            Layout::V1(controllers) => controllers.values().collect(),
            Layout::V2(mount) => vec![mount],
        };
        let directories = mounts.into_iter().flat_map(|mount| children(mount));
        directories.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
    }

    /// Sets the limits of a container.
    pub fn limit(&self, path: &str, resources: &Resources) -> Result<()> {
        self.limit_group(path, resources)?;
        if self.is_v2() {
            // As the kubelet: one process killed for memory takes its container with it.
            self.write(path, "memory.oom.group", "1");
            // And no swap (`NoSwap`, its default): a container beyond its limit is killed, and does not slow down everybody.
            self.write(path, "memory.swap.max", "0");
        }
        Ok(())
    }

    /// Sets limits of a cgroup above others. What this kernel does not have is passed over, and so is a cgroup that is not there; what
    /// the kernel refuses is told.
    pub fn limit_group(&self, path: &str, resources: &Resources) -> Result<()> {
        for (file, value) in self.layout.limits(path, resources)? {
            match fs::write(&file, &value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unavailable(&format!("write {value:?} to {}", file.display()), &error)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn write(&self, path: &str, file: &str, value: &str) {
        for directory in self.layout.directories(path).unwrap_or_default() {
            let _not_there = fs::write(directory.join(file), value);
        }
    }

    /// Moves a process in.
    pub fn join(&self, path: &str, pid: u32) -> Result<()> {
        for directory in self.layout.directories(path)? {
            fs::write(directory.join("cgroup.procs"), pid.to_string())
                .map_err(|error| unavailable(&format!("join cgroup {}", directory.display()), &error))?;
        }
        Ok(())
    }

    /// All processes in it and in those below it, of whatever hierarchy.
    pub fn processes(&self, path: &str) -> BTreeSet<i32> {
        let mut all = BTreeSet::new();
        for directory in self.layout.directories(path).unwrap_or_default() {
            collect(&directory, &mut all);
        }
        all
    }

    /// Kills everything in it, and waits a moment for that. Blocks.
    pub fn kill(&self, path: &str) {
        for _ in 0..KILL_ROUNDS {
            if !self.kill_once(path) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends SIGKILL to everything in it now; whether there was anything.
    pub fn kill_once(&self, path: &str) -> bool {
        let processes = self.processes(path);
        for pid in &processes {
            let _gone = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        !processes.is_empty()
    }

    /// How often the kernel has killed in it for memory.
    pub fn oom_kills(&self, path: &str) -> u64 {
        self.read(path, "memory", if self.is_v2() { "memory.events" } else { "memory.oom_control" })
            .and_then(|text| keyed(&text, "oom_kill"))
            .unwrap_or(0)
    }

    pub fn usage(&self, path: &str) -> Option<Usage> {
        let number = |controller, file| self.read(path, controller, file)?.trim().parse::<u64>().ok();
        let stat = self.read(path, "memory", "memory.stat")?;
        Some(if self.is_v2() {
            Usage {
                cpu_nanos: self
                    .read(path, "", "cpu.stat")
                    .and_then(|text| keyed(&text, "usage_usec"))?
                    .saturating_mul(1000),
                memory_usage_bytes: number("", "memory.current")?,
                memory_inactive_file_bytes: keyed(&stat, "inactive_file").unwrap_or(0),
                pids: number("", "pids.current").unwrap_or(0),
            }
        } else {
            Usage {
                cpu_nanos: number("cpuacct", "cpuacct.usage")?,
                memory_usage_bytes: number("memory", "memory.usage_in_bytes")?,
                memory_inactive_file_bytes: keyed(&stat, "total_inactive_file").unwrap_or(0),
                pids: number("pids", "pids.current").unwrap_or(0),
            }
        })
    }

    fn is_v2(&self) -> bool {
        matches!(self.layout, Layout::V2(_))
    }

    fn read(&self, path: &str, controller: &str, file: &str) -> Option<String> {
        let directories = self.layout.directories(path).ok()?;
        let mount = match &self.layout {
            Layout::V2(mount) => mount,
            Layout::V1(controllers) => controllers.get(controller)?,
        };
        let directory = directories.iter().find(|directory| directory.starts_with(mount))?;
        fs::read_to_string(directory.join(file)).ok()
    }

    /// Removes it with all below it, once. False: processes are still dying in it; try again a little later.
    pub fn remove(&self, path: &str) -> Result<bool> {
        let mut gone = true;
        for directory in self.layout.directories(path)?.into_iter().rev() {
            gone &= remove_tree(&directory)
                .map_err(|error| unavailable(&format!("remove cgroup {}", directory.display()), &error))?;
        }
        Ok(gone)
    }
}

/// On v2 a controller works in a child only if its parent hands it on.
fn create_v2(mount: &Path, directory: &Path) -> io::Result<()> {
    let relative = directory.strip_prefix(mount).unwrap_or(Path::new(""));
    let mut current = mount.to_owned();
    for component in relative.components() {
        // One by one: a controller that the kernel lacks refuses the whole line.
        for controller in ["cpu", "memory", "pids", "cpuset", "io", "hugetlb"] {
            let _lacking = fs::write(current.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        current.push(component);
        match fs::create_dir(&current) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A new v1 cpuset has no CPUs and takes no process until it is given some.
fn create_cpuset(mount: &Path, directory: &Path) -> io::Result<()> {
    let relative = directory.strip_prefix(mount).unwrap_or(Path::new(""));
    let mut current = mount.to_owned();
    for component in relative.components() {
        let parent = current.clone();
        current.push(component);
        match fs::create_dir(&current) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(current.join(file))?.trim().is_empty() {
                fs::write(current.join(file), fs::read_to_string(parent.join(file))?.trim())?;
            }
        }
    }
    Ok(())
}

fn collect(directory: &Path, all: &mut BTreeSet<i32>) {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 1));
    for child in children(directory) {
        collect(&child, all);
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

fn remove_tree(directory: &Path) -> io::Result<bool> {
    let mut gone = true;
    for child in children(directory) {
        gone &= remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Ok(()) => Ok(gone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(gone),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(false),
        Err(error) => Err(error),
    }
}

/// The number behind `key` in a file of `key number` lines.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn unavailable(what: &str, error: &io::Error) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("cannot {what}: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_key() {
        let text = "oom 0\noom_kill 3\noom_kill_disable 1\ninactive_file 7\n";
        assert_eq!((keyed(text, "oom_kill"), keyed(text, "oom"), keyed(text, "kill")), (Some(3), Some(0), None));
    }

    #[test]
    fn a_v2_tree_is_made_and_removed() {
        let mount = tempfile::tempdir().unwrap();
        let cgroups = Cgroups { layout: Layout::V2(mount.path().into()) };
        cgroups.create("/pods/one/main").unwrap();
        cgroups.create("/pods/one/main").unwrap();
        assert!(mount.path().join("pods/one/main").is_dir());
        for directory in ["", "pods", "pods/one"] {
            // On a real mount the kernel makes and removes this file.
            let file = mount.path().join(directory).join("cgroup.subtree_control");
            assert_eq!(fs::read_to_string(&file).unwrap(), "+hugetlb");
            fs::remove_file(file).unwrap();
        }
        assert_eq!(cgroups.topmost(), ["pods".to_owned()].into());
        fs::create_dir(mount.path().join("pods/two")).unwrap();
        assert_eq!(cgroups.remove("/pods/one"), Ok(true));
        cgroups.prune("/pods/one");
        assert!(mount.path().join("pods/two").is_dir(), "not empty");
        fs::remove_dir(mount.path().join("pods/two")).unwrap();
        cgroups.prune("/pods/two");
        assert!(!mount.path().join("pods").exists());
        assert_eq!(cgroups.remove("/pods"), Ok(true), "idempotent");
    }

    #[test]
    fn v2_files_are_read() {
        let mount = tempfile::tempdir().unwrap();
        let cgroups = Cgroups { layout: Layout::V2(mount.path().into()) };
        cgroups.create("/a/b").unwrap();
        for (file, text) in [
            ("a/memory.events", "low 0\noom 2\noom_kill 2\n"),
            ("a/cpu.stat", "usage_usec 15\nuser_usec 10\n"),
            ("a/memory.current", "4096\n"),
            ("a/memory.stat", "anon 1\ninactive_file 96\n"),
            ("a/pids.current", "3\n"),
            ("a/cgroup.procs", "7\n8\n"),
            ("a/b/cgroup.procs", "9\n1\n"),
        ] {
            fs::write(mount.path().join(file), text).unwrap();
        }
        assert_eq!(cgroups.oom_kills("/a"), 2);
        let usage = Usage { cpu_nanos: 15_000, memory_usage_bytes: 4096, memory_inactive_file_bytes: 96, pids: 3 };
        assert_eq!(cgroups.usage("/a"), Some(usage));
        assert_eq!(cgroups.usage("/none"), None);
        assert_eq!(cgroups.processes("/a"), [7, 8, 9].into(), "pid 1 is never ours");
    }
}

//! What this machine has: read from `/proc`, `/sys` and `/etc` once, at start. A file that cannot be read counts as empty.
use std::fs;
use std::path::Path;

/// The facts a Node object tells of its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub cpus: u64,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub architecture: String,
    pub kernel: String,
    pub os_image: String,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub swap_bytes: u64,
}

/// What is free now: for the node's pressure conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pub memory_available_bytes: u64,
    pub disk_bytes: u64,
    pub disk_available_bytes: u64,
    pub inodes: u64,
    pub inodes_free: u64,
    pub pids_max: u64,
    pub pids: u64,
}

impl Machine {
    /// `data_dir` is on the file system that counts as the node's.
    pub fn look(data_dir: &Path) -> Self {
        let uname = nix::sys::utsname::uname().ok();
        let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        let meminfo = read("/proc/meminfo");
        let kib = |name| field_kib(&meminfo, name).saturating_mul(1024);
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |n| u64::try_from(n.get()).unwrap_or(u64::MAX)),
            memory_bytes: kib("MemTotal"),
            swap_bytes: kib("SwapTotal"),
            disk_bytes: disk(data_dir).map_or(0, |d| d.size),
            architecture: go_architecture(std::env::consts::ARCH).to_owned(),
            kernel: text(uname.as_ref().map(|u| u.release())),
            os_image: os_image(&read("/etc/os-release")),
            machine_id: read("/etc/machine-id").trim().to_owned(),
            system_uuid: read("/sys/class/dmi/id/product_uuid").trim().to_owned(),
            boot_id: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
        }
    }
}

impl Room {
    pub fn look(data_dir: &Path) -> Self {
        let disk = disk(data_dir).unwrap_or_default();
        Self {
            memory_available_bytes: field_kib(&read("/proc/meminfo"), "MemAvailable").saturating_mul(1024),
            disk_bytes: disk.size,
            disk_available_bytes: disk.available,
            inodes: disk.inodes,
            inodes_free: disk.inodes_free,
            pids_max: read("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0),
            pids: running_threads(&read("/proc/loadavg")),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Disk {
    size: u64,
    available: u64,
    inodes: u64,
    inodes_free: u64,
}

#[allow(clippy::useless_conversion, reason = "the counters' types differ between architectures")]
fn disk(path: &Path) -> Option<Disk> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let unit = u64::from(stat.fragment_size());
    Some(Disk {
        size: u64::from(stat.blocks()).saturating_mul(unit),
        available: u64::from(stat.blocks_available()).saturating_mul(unit),
        inodes: u64::from(stat.files()),
        inodes_free: u64::from(stat.files_available()),
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `MemTotal:       16384 kB`
fn field_kib(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The fourth field of `/proc/loadavg` is `running/total` (`proc_loadavg(5)`).
fn running_threads(loadavg: &str) -> u64 {
    loadavg.split_whitespace().nth(3).and_then(|f| f.split_once('/')?.1.parse().ok()).unwrap_or(0)
}

fn os_image(release: &str) -> String {
    let value = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    value.map_or_else(|| "Linux".to_owned(), |v| v.trim_matches('"').to_owned())
}

/// Go's name for an architecture, as `kubernetes.io/arch` has it.
fn go_architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let meminfo = "MemTotal:       16384256 kB\nMemFree:         1 kB\nMemAvailable:    2048 kB\n";
        assert_eq!((field_kib(meminfo, "MemTotal"), field_kib(meminfo, "MemAvailable")), (16_384_256, 2048));
        assert_eq!(field_kib("", "MemTotal"), 0);
        assert_eq!(running_threads("0.20 0.18 0.12 1/80 11206\n"), 80);
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n"), "Debian GNU/Linux 13 (trixie)");
        assert_eq!(go_architecture("aarch64"), "arm64");
    }

    #[test]
    fn this_machine_has_something() {
        let machine = Machine::look(Path::new("/"));
        assert!(machine.cpus > 0 && machine.memory_bytes > 0 && machine.disk_bytes > 0 && !machine.kernel.is_empty());
        let room = Room::look(Path::new("/"));
        assert!(room.memory_available_bytes > 0 && room.disk_bytes >= room.disk_available_bytes && room.pids > 0);
    }
}

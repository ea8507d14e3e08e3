//! Where a pod's cgroups are and what limits are written there, on cgroup v1 (with or without the hybrid's unified
//! mount) and on v2. Pure: reads a `mountinfo` text, answers with paths and file contents.
use crate::{CgroupVersion, Resources, RuntimeError};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

/// The machine's cgroup mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Mount point by controller (`cpu`, `memory`, `name=systemd`). Controllers mounted together share one.
    V1(BTreeMap<String, PathBuf>),
    /// The one mount point.
    V2(PathBuf),
}

/// Options of a v1 cgroup mount that are not controllers.
const OPTIONS: [&str; 6] = ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"];

impl Layout {
    /// Reads `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`). A machine with any v1 controller is v1, whatever is
    /// mounted besides: on a hybrid the unified mount has few controllers or none. None: no cgroups at all.
    pub fn from_mountinfo(text: &str) -> Option<Self> {
        let (mut controllers, mut unified) = (BTreeMap::new(), None);
        for line in text.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let Some(point) = before.split(' ').nth(4).map(unescape) else { continue };
            let mut after = after.split(' ');
            match (after.next(), after.nth(1)) {
                (Some("cgroup"), Some(options)) => {
                    let names = options.split(',').filter(|option| !OPTIONS.contains(option));
                    let names = names.filter(|option| !option.starts_with("release_agent="));
                    // The first mount of a controller is the machine's own; bind mounts into containers come later.
                    for name in names {
                        controllers.entry(name.to_owned()).or_insert_with(|| point.clone());
                    }
                }
                (Some("cgroup2"), _) => unified = unified.or(Some(point)),
                _ => {}
            }
        }
        if controllers.is_empty() { unified.map(Self::V2) } else { Some(Self::V1(controllers)) }
    }

    pub fn version(&self) -> CgroupVersion {
        match self {
            Self::V1(_) => CgroupVersion::V1,
            Self::V2(_) => CgroupVersion::V2,
        }
    }

    /// All directories that make up the cgroup `path`, such as `/isopod-abc/pod1234`: one a mount. To be made in this
    /// order and removed in the other.
    pub fn directories(&self, path: &str) -> Result<Vec<PathBuf>, RuntimeError> {
        let relative = relative(path)?;
        let mut mounts: Vec<&PathBuf> = match self {
            Self::V1(controllers) => controllers.values().collect(),
            Self::V2(mount) => vec![mount],
        };
        mounts.sort_unstable();
        mounts.dedup();
        Ok(mounts.into_iter().map(|mount| mount.join(&relative)).collect())
    }

    /// What to write, in order, so that the cgroup `path` has these limits. On v1 a limit whose controller is not
    /// mounted is left out: such a machine cannot keep it.
    pub fn limits(&self, path: &str, resources: &Resources) -> Result<Vec<(PathBuf, String)>, RuntimeError> {
        let relative = relative(path)?;
        Ok(match self {
            Self::V1(controllers) => limits_v1(resources)
                .into_iter()
                .filter_map(|(controller, file, value)| {
                    Some((controllers.get(controller)?.join(&relative).join(file), value))
                })
                .collect(),
            Self::V2(mount) => {
                let directory = mount.join(&relative);
                limits_v2(resources).into_iter().map(|(file, value)| (directory.join(file), value)).collect()
            }
        })
    }
}

/// `mountinfo` writes space, tab, line feed and backslash as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), field.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// A cgroup's path below its mount point: it must not lead out of there, nor be the mount point itself.
fn relative(path: &str) -> Result<PathBuf, RuntimeError> {
    let mut relative = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => relative.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(RuntimeError::invalid("cgroupParent", format!("{path:?} must not contain \"..\"")));
            }
        }
    }
    if relative.as_os_str().is_empty() {
        return Err(RuntimeError::invalid("cgroupParent", "must name a cgroup"));
    }
    Ok(relative)
}

/// The kernel's own period (`cpu.cfs_period_us`), for a quota that comes without one.
const PERIOD: u64 = 100_000;

fn limits_v1(resources: &Resources) -> Vec<(&'static str, String, String)> {
    let mut files = Vec::new();
    let mut add = |controller, file: &str, value: String| files.push((controller, file.to_owned(), value));
    if let Some(shares) = resources.cpu_shares {
        add("cpu", "cpu.shares", shares.to_string());
    }
    // The period first: the kernel checks a quota against the period that is set.
    if let Some(period) = resources.cpu_period {
        add("cpu", "cpu.cfs_period_us", period.to_string());
    }
    if let Some(quota) = resources.cpu_quota {
        add("cpu", "cpu.cfs_quota_us", if quota > 0 { quota.to_string() } else { "-1".into() });
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        add("cpuset", "cpuset.cpus", cpus.clone());
    }
    if let Some(bytes) = resources.memory_limit_bytes {
        add("memory", "memory.limit_in_bytes", bytes.to_string());
    }
    if let Some(pids) = resources.pids_limit {
        add("pids", "pids.max", pids.to_string());
    }
    for (size, bytes) in &resources.hugepages {
        add("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), bytes.to_string());
    }
    files
}

fn limits_v2(resources: &Resources) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut add = |file: &str, value: String| files.push((file.to_owned(), value));
    if let Some(weight) = resources.cpu_shares.and_then(weight) {
        add("cpu.weight", weight.to_string());
    }
    match (resources.cpu_quota, resources.cpu_period) {
        (None, None) => {}
        (Some(quota), period) if quota > 0 => add("cpu.max", format!("{quota} {}", period.unwrap_or(PERIOD))),
        (_, period) => add("cpu.max", format!("max {}", period.unwrap_or(PERIOD))),
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        add("cpuset.cpus", cpus.clone());
    }
    if let Some(bytes) = resources.memory_limit_bytes {
        add("memory.max", bytes.to_string());
    }
    if let Some(pids) = resources.pids_limit {
        add("pids.max", pids.to_string());
    }
    for (size, bytes) in &resources.hugepages {
        add(&format!("hugetlb.{size}.max"), bytes.to_string());
    }
    files
}

/// v2's weight (1 to 10000, 100 by default) for v1's shares (2 to 262144, 1024 by default). None when shares are unset.
///
/// The curve through these three points that `opencontainers/cgroups` uses (`ConvertCPUSharesToCgroupV2Value`), so that the
/// default stays the default; the older straight line made 39 of 1024.
fn weight(shares: u64) -> Option<u64> {
    match shares {
        0 => None,
        1..=2 => Some(1),
        262_144.. => Some(10_000),
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "3 to 262143 go through f64 unchanged and come out as 1 to 10000"
        )]
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            Some(10f64.powf(exponent).ceil() as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:22 / /sys/fs/cgroup rw,nosuid shared:5 - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
26 24 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:7 - cgroup cgroup rw,cpu,cpuacct
27 24 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
28 24 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd
29 24 0:25 /c /var/lib/x/memory rw - cgroup cgroup rw,memory
";
    const UNIFIED: &str = "30 1 0:27 / /sys/fs/cg\\040roup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn mounts_tell_the_version() {
        let hybrid = Layout::from_mountinfo(HYBRID).unwrap();
        let mounts =
            [("cpu", "cpu,cpuacct"), ("cpuacct", "cpu,cpuacct"), ("memory", "memory"), ("name=systemd", "systemd")];
        let expected = mounts.map(|(name, point)| (name.to_owned(), Path::new("/sys/fs/cgroup").join(point)));
        assert_eq!(hybrid, Layout::V1(expected.into()));
        let unified = Layout::from_mountinfo(UNIFIED).unwrap();
        assert_eq!(unified, Layout::V2("/sys/fs/cg roup".into()));
        assert_eq!((hybrid.version(), unified.version()), (CgroupVersion::V1, CgroupVersion::V2));
        assert_eq!(Layout::from_mountinfo("24 1 0:22 / / rw - ext4 /dev/vda rw\n\nnonsense - cgroup\n"), None);
    }

    #[test]
    fn this_machine_is_understood() {
        if let Ok(text) = std::fs::read_to_string("/proc/self/mountinfo")
            && let Some(layout) = Layout::from_mountinfo(&text)
        {
            for directory in layout.directories("/x").unwrap() {
                assert!(directory.parent().is_some_and(Path::is_dir), "{}", directory.display());
            }
        }
    }

    #[test]
    fn a_cgroup_is_one_directory_a_mount() {
        let hybrid = Layout::from_mountinfo(HYBRID).unwrap();
        let directories = hybrid.directories("/isopod/pod1").unwrap();
        let expected = ["cpu,cpuacct", "memory", "systemd"].map(|name| format!("/sys/fs/cgroup/{name}/isopod/pod1"));
        assert_eq!(directories, expected.map(PathBuf::from));
        for bad in ["", "/", "/..", "a/../../b", "."] {
            assert!(matches!(hybrid.directories(bad), Err(RuntimeError::Invalid { .. })), "{bad:?}");
        }
    }

    fn written(layout: &str, resources: &Resources) -> Vec<String> {
        let limits = Layout::from_mountinfo(layout).unwrap().limits("p", resources).unwrap();
        limits.into_iter().map(|(path, value)| format!("{} {value}", path.display())).collect()
    }

    #[test]
    fn limits_in_both_versions_words() {
        let resources = Resources {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory_limit_bytes: Some(67_108_864),
            pids_limit: Some(64),
            hugepages: [("2MB".to_owned(), 0)].into(),
            ..Default::default()
        };
        let v1 = "/sys/fs/cgroup/cpu,cpuacct/p/cpu.shares 1024
/sys/fs/cgroup/cpu,cpuacct/p/cpu.cfs_period_us 100000
/sys/fs/cgroup/cpu,cpuacct/p/cpu.cfs_quota_us 50000
/sys/fs/cgroup/memory/p/memory.limit_in_bytes 67108864";
        assert_eq!(written(HYBRID, &resources).join("\n"), v1, "no pids and hugetlb are mounted here");
        let v2 = "/sys/fs/cg roup/p/cpu.weight 100
/sys/fs/cg roup/p/cpu.max 50000 100000
/sys/fs/cg roup/p/memory.max 67108864
/sys/fs/cg roup/p/pids.max 64
/sys/fs/cg roup/p/hugetlb.2MB.max 0";
        assert_eq!(written(UNIFIED, &resources).join("\n"), v2);
        assert_eq!(written(UNIFIED, &Resources::default()), [""; 0]);
    }

    #[test]
    fn no_quota_lifts_the_limit() {
        let resources = Resources { cpu_quota: Some(-1), ..Default::default() };
        assert_eq!(written(HYBRID, &resources), ["/sys/fs/cgroup/cpu,cpuacct/p/cpu.cfs_quota_us -1"]);
        assert_eq!(written(UNIFIED, &resources), ["/sys/fs/cg roup/p/cpu.max max 100000"]);
    }

    #[test]
    fn weights_keep_the_ends_and_the_default_and_never_fall() {
        let ends = [0, 1, 2, 1024, 262_144, u64::MAX].map(weight);
        assert_eq!(ends, [None, Some(1), Some(1), Some(100), Some(10_000), Some(10_000)]);
        let all: Vec<_> = (1..=262_144).step_by(101).filter_map(weight).collect();
        assert!(all.is_sorted());
        assert!(all.iter().all(|weight| (1..=10_000).contains(weight)));
    }
}

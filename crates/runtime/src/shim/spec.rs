//! The OCI runtime spec of a container (`runtime-spec/config.md`), as libcontainer reads it. Pure.
//!
//! Limits are not in it: they are written to the cgroup before ([`cgroups`](crate::cgroups)). Neither are terminal, seccomp
//! and resource limits of the process: our executor and maker see to them.
use crate::{
    CgroupVersion, ContainerConfig, EnvVar, MountSource, Propagation, Result, RuntimeError, rights, users::Identity,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// What a container's process finds when nobody says otherwise (containerd's `defaultUnixEnv`).
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the spec needs to know beside the container's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    pub rootfs: PathBuf,
    pub identity: Identity,
    pub hostname: String,
    /// Namespaces that the container shares: type and file. `pid` is absent when it gets its own.
    pub shared: Vec<(&'static str, PathBuf)>,
    /// Whether it gets a PID namespace of its own.
    pub own_pid: bool,
    /// Files and directories put in unless the container mounts something else there: target and source.
    pub files: Vec<(&'static str, PathBuf)>,
    pub cgroup: String,
    pub cgroup_version: CgroupVersion,
    /// v1: the container's directory in each hierarchy.
    pub cgroup_directories: Vec<PathBuf>,
    /// Capabilities that this process has and can give away: a machine may have fewer than all.
    pub available: BTreeSet<String>,
    /// Of the machine, for privileged containers: path, type (`c` or `b`), major, minor.
    pub devices: Vec<(PathBuf, char, i64, i64)>,
}

/// `config.json` of the bundle.
pub fn container(config: &ContainerConfig, around: &Surroundings) -> Result<Value> {
    let security = &config.security;
    let mut namespaces = vec![json!({"type": "mount"})];
    namespaces.extend(around.shared.iter().map(|(kind, path)| json!({"type": kind, "path": path})));
    if around.own_pid {
        namespaces.push(json!({"type": "pid"}));
    }
    if around.cgroup_version == CgroupVersion::V2 && !security.privileged {
        namespaces.push(json!({"type": "cgroup"}));
    }
    let devices: Vec<_> = around
        .devices
        .iter()
        .map(|(path, kind, major, minor)| {
            json!({"path": path, "type": kind.to_string(), "major": major, "minor": minor, "fileMode": 0o666, "uid": 0, "gid": 0})
        })
        .collect();
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": {"path": around.rootfs, "readonly": security.read_only_root},
        "process": process(config, around, &config.args)?,
        "mounts": mounts(config, around)?,
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": around.cgroup,
            "resources": {"devices": [{"allow": security.privileged, "access": "rwm"}]},
            "devices": devices,
            "rootfsPropagation": propagation(config),
            "maskedPaths": rights::masked_paths(security),
            "readonlyPaths": rights::read_only_paths(security),
        },
    }))
}

/// The `process` of a container or of a command run in it.
pub fn process(config: &ContainerConfig, around: &Surroundings, args: &[String]) -> Result<Value> {
    if args.is_empty() {
        return Err(RuntimeError::invalid("args", "must name a program"));
    }
    let mut capabilities = held_at_first(config)?;
    capabilities.retain(|name| around.available.contains(*name));
    let identity = &around.identity;
    Ok(json!({
        "terminal": false,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
        "args": args,
        "env": environment(config, around),
        "cwd": cwd(config)?,
        "noNewPrivileges": config.security.no_new_privileges,
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
    }))
}

/// Whether the process has to keep rights until the system call filter is in place: without "no new privileges" the kernel
/// wants `CAP_SYS_ADMIN` for that (`seccomp(2)`). The executor takes them away then.
pub fn filter_needs_rights(config: &ContainerConfig) -> bool {
    let security = &config.security;
    security.seccomp != crate::Seccomp::Unconfined && !security.privileged && !security.no_new_privileges
}

fn held_at_first(config: &ContainerConfig) -> Result<BTreeSet<&'static str>> {
    let mut capabilities = rights::capabilities(&config.security)?;
    if filter_needs_rights(config) {
        capabilities.extend(["CAP_SYS_ADMIN", "CAP_SETPCAP"]);
    }
    Ok(capabilities)
}

/// The working directory, absolute.
pub fn cwd(config: &ContainerConfig) -> Result<PathBuf> {
    let cwd = if config.cwd.as_os_str().is_empty() { Path::new("/") } else { &config.cwd };
    if !cwd.is_absolute() {
        return Err(RuntimeError::invalid("cwd", format!("{} must be an absolute path", cwd.display())));
    }
    Ok(cwd.to_owned())
}

/// `NAME=value`, one for each name, in the order of first mention.
pub fn environment(config: &ContainerConfig, around: &Surroundings) -> Vec<String> {
    let entry = |name: &str, value: &str| EnvVar { name: name.into(), value: value.into() };
    let mut all = vec![entry("PATH", DEFAULT_PATH), entry("HOSTNAME", &around.hostname)];
    if config.tty {
        all.push(entry("TERM", "xterm"));
    }
    all.extend(config.env.iter().cloned());
    if !config.env.iter().any(|var| var.name == "HOME") {
        all.push(entry("HOME", &around.identity.home));
    }
    let mut unique: Vec<EnvVar> = Vec::new();
    for var in all {
        match unique.iter_mut().find(|known| known.name == var.name) {
            Some(known) => known.value = var.value,
            None => unique.push(var),
        }
    }
    unique.into_iter().map(|EnvVar { name, value }| format!("{name}={value}")).collect()
}

fn propagation(config: &ContainerConfig) -> &'static str {
    let any = |wanted| config.mounts.iter().any(|mount| mount.propagation == wanted);
    if any(Propagation::Bidirectional) {
        "shared"
    } else if any(Propagation::HostToContainer) {
        "slave"
    } else {
        "private"
    }
}

fn mounts(config: &ContainerConfig, around: &Surroundings) -> Result<Vec<Value>> {
    let privileged = config.security.privileged;
    let write = if privileged { "rw" } else { "ro" };
    let own = |target: &str| config.mounts.iter().any(|mount| mount.target == Path::new(target));
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
               "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
               "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", write]}),
    ];
    mounts.extend(cgroup_mounts(around, write));
    for (target, source) in around.files.iter().filter(|(target, _)| !own(target)) {
        mounts.push(json!({"destination": target, "type": "bind", "source": source, "options": ["rbind", "rw"]}));
    }
    for (index, mount) in config.mounts.iter().enumerate() {
        if !mount.target.is_absolute() {
            let message = format!("{} must be an absolute path", mount.target.display());
            return Err(RuntimeError::invalid(format!("mounts[{index}].target"), message));
        }
        let write = match (mount.read_only, mount.recursive_read_only) {
            (true, true) => "rro",
            (true, false) => "ro",
            (false, _) => "rw",
        };
        mounts.push(match &mount.source {
            MountSource::Bind(source) => {
                json!({"destination": mount.target, "type": "bind", "source": source, "options": ["rbind", write]})
            }
            MountSource::Tmpfs { size_bytes } => {
                let mut options =
                    vec!["nosuid".to_owned(), "nodev".to_owned(), "mode=1777".to_owned(), write.to_owned()];
                options.extend(size_bytes.map(|size| format!("size={size}")));
                json!({"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options})
            }
        });
    }
    Ok(mounts)
}

/// The container's own cgroups, to be read: programs size themselves by them.
fn cgroup_mounts(around: &Surroundings, write: &str) -> Vec<Value> {
    let flags = ["nosuid", "noexec", "nodev"];
    if around.cgroup_version == CgroupVersion::V2 {
        let options: Vec<_> = flags.into_iter().chain([write]).collect();
        return vec![
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}),
        ];
    }
    let options: Vec<_> = flags.into_iter().chain(["mode=755"]).collect();
    let mut mounts =
        vec![json!({"destination": "/sys/fs/cgroup", "type": "tmpfs", "source": "tmpfs", "options": options})];
    let depth = Path::new(&around.cgroup).components().filter(|part| matches!(part, std::path::Component::Normal(_)));
    let depth = depth.count();
    for directory in &around.cgroup_directories {
        let Some(name) = directory.ancestors().nth(depth).and_then(Path::file_name) else { continue };
        let options: Vec<_> = ["rbind"].into_iter().chain(flags).chain([write]).collect();
        mounts.push(json!({"destination": Path::new("/sys/fs/cgroup").join(name), "type": "bind",
                           "source": directory, "options": options}));
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mount, Seccomp, Security};

    fn around() -> Surroundings {
        Surroundings {
            rootfs: "/c/rootfs".into(),
            identity: Identity { uid: 5, gid: 6, groups: [7, 8].into(), home: "/home/web".into() },
            hostname: "web-0".into(),
            shared: vec![("network", "/proc/9/ns/net".into())],
            own_pid: true,
            files: vec![("/etc/hosts", "/s/etc/hosts".into()), ("/dev/shm", "/s/shm".into())],
            cgroup: "/pods/one/c".into(),
            cgroup_version: CgroupVersion::V1,
            cgroup_directories: vec!["/sys/fs/cgroup/memory/pods/one/c".into()],
            available: ["CAP_KILL", "CAP_CHOWN", "CAP_MKNOD"].map(str::to_owned).into(),
            devices: Vec::new(),
        }
    }

    fn config() -> ContainerConfig {
        ContainerConfig { args: vec!["/app".into()], ..Default::default() }
    }

    fn destinations(config: &ContainerConfig) -> Vec<String> {
        let spec = container(config, &around()).unwrap();
        let mounts = spec["mounts"].as_array().unwrap();
        mounts.iter().map(|mount| format!("{} {}", mount["destination"].as_str().unwrap(), mount["type"])).collect()
    }

    #[test]
    fn a_plain_container() {
        let spec = container(&config(), &around()).unwrap();
        assert_eq!(spec["process"]["user"], json!({"uid": 5, "gid": 6, "additionalGids": [7, 8]}));
        assert_eq!(spec["process"]["cwd"], "/");
        assert_eq!(
            spec["linux"]["namespaces"],
            json!([{"type": "mount"}, {"type": "network", "path": "/proc/9/ns/net"}, {"type": "pid"}])
        );
        assert_eq!(spec["linux"]["resources"]["devices"], json!([{"allow": false, "access": "rwm"}]));
        assert_eq!(spec["linux"]["rootfsPropagation"], "private");
        assert!(spec["linux"]["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kcore")));
        assert_eq!(
            spec["process"]["capabilities"]["bounding"],
            json!(["CAP_CHOWN", "CAP_KILL"]),
            "no more than there are"
        );
    }

    #[test]
    fn what_the_container_mounts_goes_before_ours() {
        let own = Mount {
            source: MountSource::Tmpfs { size_bytes: Some(64) },
            target: "/dev/shm".into(),
            read_only: false,
            recursive_read_only: false,
            propagation: Propagation::HostToContainer,
        };
        let config = ContainerConfig { mounts: vec![own], ..config() };
        let all = destinations(&config);
        assert_eq!(
            all.iter().filter(|mount| mount.starts_with("/dev/shm")).collect::<Vec<_>>(),
            ["/dev/shm \"tmpfs\""]
        );
        assert!(all.contains(&"/sys/fs/cgroup/memory \"bind\"".into()), "{all:?}");
        assert!(all.contains(&"/etc/hosts \"bind\"".into()));
        assert_eq!(container(&config, &around()).unwrap()["linux"]["rootfsPropagation"], "slave");
    }

    #[test]
    fn the_environment_has_each_name_once_and_the_last_value() {
        let var = |name: &str, value: &str| EnvVar { name: name.into(), value: value.into() };
        let env = vec![var("A", "1"), var("PATH", "/bin"), var("A", "2")];
        let config = ContainerConfig { env, tty: true, ..config() };
        assert_eq!(
            environment(&config, &around()),
            ["PATH=/bin", "HOSTNAME=web-0", "TERM=xterm", "A=2", "HOME=/home/web"]
        );
    }

    #[test]
    fn rights_for_the_filter_are_held_only_when_it_needs_them() {
        let held = |security: Security| held_at_first(&ContainerConfig { security, ..config() }).unwrap();
        let filtered = Security { seccomp: Seccomp::RuntimeDefault, ..Default::default() };
        assert!(held(filtered.clone()).contains("CAP_SYS_ADMIN"));
        assert!(!held(Security { no_new_privileges: true, ..filtered }).contains("CAP_SYS_ADMIN"));
        assert!(!held(Security::default()).contains("CAP_SYS_ADMIN"));
    }

    #[test]
    fn relative_paths_are_refused_with_their_field() {
        let bad = ContainerConfig { cwd: "tmp".into(), ..config() };
        assert_eq!(container(&bad, &around()).unwrap_err().to_string(), "cwd: tmp must be an absolute path");
        let nothing = ContainerConfig { args: Vec::new(), ..config() };
        assert_eq!(container(&nothing, &around()).unwrap_err().to_string(), "args: must name a program");
    }
}

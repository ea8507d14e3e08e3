//! What a container may do: capabilities, and the paths of `/proc` and `/sys` that it must not see or change. Pure.
use crate::{ProcMount, RuntimeError, Security};
use std::collections::BTreeSet;

/// Every capability of Linux (`capabilities(7)`, up to 5.9's `CHECKPOINT_RESTORE`), by number.
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has when nobody says otherwise: containerd's set without `CAP_MKNOD`, because device rules are not
/// enforced on cgroup v2 without a BPF program (GROUND.md).
const DEFAULT: [&str; 13] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// containerd's `defaultMaskedPaths`: they show or steer the machine. A path that is not there is passed over.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// containerd's `defaultReadonlyPaths`.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The names (`CAP_KILL`) of the capabilities that a container has.
///
/// `ALL` is taken first, on both sides, and single names then add to it or take from it (containerd's CRI
/// `WithCapabilities`): drop `ALL` and add `KILL` leaves `KILL` alone; add `ALL` and drop `CHOWN` all but `CHOWN`.
pub fn capabilities(security: &Security) -> Result<BTreeSet<&'static str>, RuntimeError> {
    if security.privileged {
        return Ok(ALL.into());
    }
    let (add_all, add) = read("addCapabilities", &security.add_capabilities)?;
    let (drop_all, drop) = read("dropCapabilities", &security.drop_capabilities)?;
    let mut set: BTreeSet<_> = match (add_all, drop_all) {
        (_, true) => BTreeSet::new(),
        (true, false) => ALL.into(),
        (false, false) => DEFAULT.into(),
    };
    set.extend(add);
    set.retain(|name| !drop.contains(name));
    Ok(set)
}

/// Whether `ALL` is among the names, and the others.
fn read(field: &str, names: &[String]) -> Result<(bool, BTreeSet<&'static str>), RuntimeError> {
    let (mut all, mut set) = (false, BTreeSet::new());
    for (index, name) in names.iter().enumerate() {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" {
            all = true;
            continue;
        }
        let known = ALL.into_iter().find(|known| known.strip_prefix("CAP_") == Some(bare));
        set.insert(known.ok_or_else(|| {
            RuntimeError::invalid(format!("{field}[{index}]"), format!("unknown capability {name:?}"))
        })?);
    }
    Ok((all, set))
}

/// Paths to hide.
pub fn masked_paths(security: &Security) -> &'static [&'static str] {
    if unmasked(security) { &[] } else { &MASKED }
}

/// Paths that cannot be written to.
pub fn read_only_paths(security: &Security) -> &'static [&'static str] {
    if unmasked(security) { &[] } else { &READ_ONLY }
}

fn unmasked(security: &Security) -> bool {
    security.privileged || security.proc_mount == ProcMount::Unmasked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> Result<BTreeSet<&'static str>, String> {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let security = Security { add_capabilities: own(add), drop_capabilities: own(drop), ..Default::default() };
        capabilities(&security).map_err(|error| error.to_string())
    }

    fn with(names: &[&'static str], more: &[&'static str], less: &[&str]) -> BTreeSet<&'static str> {
        names.iter().chain(more).copied().filter(|name| !less.contains(name)).collect()
    }

    #[test]
    fn adding_and_dropping() {
        for (add, drop, expected) in [
            (&[] as &[&str], &[] as &[&str], with(&DEFAULT, &[], &[])),
            (&["NET_ADMIN"], &["CAP_CHOWN"], with(&DEFAULT, &["CAP_NET_ADMIN"], &["CAP_CHOWN"])),
            (&["net_admin", "CAP_KILL"], &[], with(&DEFAULT, &["CAP_NET_ADMIN"], &[])),
            (&["NET_BIND_SERVICE"], &["ALL"], with(&["CAP_NET_BIND_SERVICE"], &[], &[])),
            (&["ALL"], &["CHOWN"], with(&ALL, &[], &["CAP_CHOWN"])),
            (&["ALL", "KILL"], &["all"], with(&["CAP_KILL"], &[], &[])),
            (&["KILL"], &["KILL"], with(&DEFAULT, &[], &["CAP_KILL"])),
        ] {
            assert_eq!(set(add, drop), Ok(expected), "{add:?} {drop:?}");
        }
    }

    #[test]
    fn unknown_names_are_refused_with_their_place() {
        assert_eq!(set(&["KILL", "FLY"], &[]), Err(r#"addCapabilities[1]: unknown capability "FLY""#.into()));
        assert_eq!(set(&[], &["CAP_"]), Err(r#"dropCapabilities[0]: unknown capability "CAP_""#.into()));
        assert_eq!(set(&["CAP_CAP_KILL"], &[]), Err(r#"addCapabilities[0]: unknown capability "CAP_CAP_KILL""#.into()));
    }

    #[test]
    fn no_container_makes_devices_unless_told_to() {
        assert!(!set(&[], &[]).unwrap().contains("CAP_MKNOD"));
        assert!(set(&["MKNOD"], &[]).unwrap().contains("CAP_MKNOD"));
        assert!(DEFAULT.iter().all(|name| ALL.contains(name)));
    }

    #[test]
    fn only_the_trusted_see_all_of_proc() {
        let plain = Security::default();
        assert!(masked_paths(&plain).contains(&"/proc/kcore") && read_only_paths(&plain).contains(&"/proc/sys"));
        let unmasked = Security { proc_mount: ProcMount::Unmasked, ..Default::default() };
        let privileged = Security { privileged: true, ..Default::default() };
        for security in [unmasked, privileged.clone()] {
            assert_eq!((masked_paths(&security).len(), read_only_paths(&security).len()), (0, 0));
        }
        assert_eq!(capabilities(&privileged).map(|set| set.len()), Ok(ALL.len()));
    }
}

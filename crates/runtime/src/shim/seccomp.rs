//! The system call filter of `RuntimeDefault`: what moby's and containerd's default profile refuses (`profiles/seccomp`,
//! `contrib/seccomp`), with the same capabilities lifting the same refusals.
//!
//! The profile is a list of what is allowed. System calls below [`UNKNOWN`] are all known, so we say the same by listing what is not;
//! later ones answer "no such system call", as runc has it, so that C libraries fall back to what they had before. The
//! same holds for `clone3`, whose flags a filter cannot see. 32-bit programs of a 64-bit machine are killed.
use super::profile;
use crate::{Result, RuntimeError, Seccomp};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};
use std::collections::{BTreeMap, BTreeSet};

/// First system call that no kernel had when this was written (Linux 6.18, all architectures).
const UNKNOWN: u32 = 470;

const ADMIN: &[&str] = &["CAP_SYS_ADMIN"];
const NEVER: &[&str] = &[];

/// Refused unless the container has one of the capabilities. Numbers of calls that `libc` does not name yet are those of all
/// architectures.
const REFUSED: &[(i64, &[&str])] = &[
    (libc::SYS_acct, &["CAP_SYS_PACCT"]),
    (libc::SYS_add_key, NEVER),
    (libc::SYS_bpf, &["CAP_SYS_ADMIN", "CAP_BPF"]),
    (libc::SYS_clock_settime, &["CAP_SYS_TIME"]),
    (libc::SYS_delete_module, &["CAP_SYS_MODULE"]),
    (libc::SYS_fanotify_init, ADMIN),
    (libc::SYS_finit_module, &["CAP_SYS_MODULE"]),
    (libc::SYS_fsconfig, ADMIN),
    (libc::SYS_fsmount, ADMIN),
    (libc::SYS_fsopen, ADMIN),
    (libc::SYS_fspick, ADMIN),
    (libc::SYS_get_mempolicy, &["CAP_SYS_NICE"]),
    (libc::SYS_init_module, &["CAP_SYS_MODULE"]),
    (libc::SYS_io_uring_enter, NEVER),
    (libc::SYS_io_uring_register, NEVER),
    (libc::SYS_io_uring_setup, NEVER),
    (libc::SYS_kcmp, &["CAP_SYS_PTRACE"]),
    (libc::SYS_kexec_file_load, NEVER),
    (libc::SYS_kexec_load, NEVER),
    (libc::SYS_keyctl, NEVER),
    (libc::SYS_lookup_dcookie, ADMIN),
    (libc::SYS_mbind, &["CAP_SYS_NICE"]),
    (libc::SYS_migrate_pages, NEVER),
    (libc::SYS_mount, ADMIN),
    (libc::SYS_mount_setattr, ADMIN),
    (libc::SYS_move_mount, ADMIN),
    (libc::SYS_move_pages, NEVER),
    (libc::SYS_nfsservctl, NEVER),
    (libc::SYS_open_by_handle_at, &["CAP_DAC_READ_SEARCH"]),
    (libc::SYS_open_tree, ADMIN),
    (libc::SYS_perf_event_open, &["CAP_SYS_ADMIN", "CAP_PERFMON"]),
    (libc::SYS_pidfd_getfd, &["CAP_SYS_PTRACE"]),
    (libc::SYS_pivot_root, NEVER),
    (libc::SYS_process_madvise, &["CAP_SYS_PTRACE"]),
    (libc::SYS_quotactl, ADMIN),
    (libc::SYS_quotactl_fd, ADMIN),
    (libc::SYS_reboot, &["CAP_SYS_BOOT"]),
    (libc::SYS_request_key, NEVER),
    (libc::SYS_set_mempolicy, &["CAP_SYS_NICE"]),
    (libc::SYS_set_mempolicy_home_node, &["CAP_SYS_NICE"]),
    (libc::SYS_setdomainname, ADMIN),
    (libc::SYS_sethostname, ADMIN),
    (libc::SYS_setns, ADMIN),
    (libc::SYS_settimeofday, &["CAP_SYS_TIME"]),
    (libc::SYS_swapoff, NEVER),
    (libc::SYS_swapon, NEVER),
    (libc::SYS_syslog, &["CAP_SYS_ADMIN", "CAP_SYSLOG"]),
    (libc::SYS_umount2, ADMIN),
    (libc::SYS_unshare, ADMIN),
    (libc::SYS_userfaultfd, NEVER),
    (libc::SYS_vhangup, &["CAP_SYS_TTY_CONFIG"]),
    (libc::SYS_chroot, &["CAP_SYS_CHROOT"]),
    (467, ADMIN), // open_tree_attr
];

/// Calls that only the oldest 64-bit architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[(i64, &[&str])] = &[
    (libc::SYS__sysctl, NEVER),
    (libc::SYS_afs_syscall, NEVER),
    (libc::SYS_getpmsg, NEVER),
    (libc::SYS_ioperm, &["CAP_SYS_RAWIO"]),
    (libc::SYS_iopl, &["CAP_SYS_RAWIO"]),
    (libc::SYS_putpmsg, NEVER),
    (libc::SYS_security, NEVER),
    (libc::SYS_sysfs, NEVER),
    (libc::SYS_tuxcall, NEVER),
    (libc::SYS_uselib, NEVER),
    (libc::SYS_ustat, NEVER),
    (libc::SYS_vserver, NEVER),
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[(i64, &[&str])] = &[];

/// What `clone` may not make without `CAP_SYS_ADMIN`.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWCGROUP,
];
/// Execution domains that are harmless: Linux, and one without randomised addresses, for debuggers (`personality(2)`).
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The filters that a container asks for, in the order to install them in.
pub fn compile(wanted: &Seccomp, capabilities: &BTreeSet<&'static str>) -> Result<Vec<BpfProgram>> {
    match wanted {
        Seccomp::Unconfined => Ok(Vec::new()),
        Seccomp::RuntimeDefault => Ok(vec![refusals(capabilities)?, absences(capabilities.contains("CAP_SYS_ADMIN"))?]),
        Seccomp::Localhost(path) => profile::load(path, capabilities, architecture()?),
    }
}

/// What must not be done: `EPERM`.
fn refusals(capabilities: &BTreeSet<&'static str>) -> Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (number, lifted_by) in REFUSED.iter().chain(REFUSED_HERE) {
        if !lifted_by.iter().any(|capability| capabilities.contains(capability)) {
            rules.insert(*number, Vec::new());
        }
    }
    let condition = |operator, value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value);
    let rule = |conditions: std::result::Result<Vec<_>, _>| {
        conditions.and_then(SeccompRule::new).map_err(|error| broken(&error))
    };
    if !capabilities.contains("CAP_SYS_ADMIN") {
        let bits = NAMESPACES.into_iter().filter_map(|bit| u64::try_from(bit).ok());
        let each = bits.map(|bit| rule(condition(SeccompCmpOp::MaskedEq(bit), bit).map(|one| vec![one])));
        rules.insert(libc::SYS_clone, each.collect::<Result<_>>()?);
    }
    let vsock = u64::try_from(libc::AF_VSOCK).unwrap_or_default();
    rules.insert(libc::SYS_socket, vec![rule(condition(SeccompCmpOp::Eq, vsock).map(|one| vec![one]))?]);
    let strange = PERSONALITIES.into_iter().map(|value| condition(SeccompCmpOp::Ne, value)).collect();
    rules.insert(libc::SYS_personality, vec![rule(strange)?]);
    let (refuse, architecture) = (SeccompAction::Errno(libc::EPERM.unsigned_abs()), architecture()?);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture);
    filter.and_then(BpfProgram::try_from).map_err(|error| broken(&error))
}

fn architecture() -> Result<TargetArch> {
    let name = std::env::consts::ARCH;
    TargetArch::try_from(name)
        .map_err(|_| RuntimeError::Unsupported { message: format!("no seccomp profile for {name}") })
}

/// What must seem not to be there: `ENOSYS`. Five instructions by hand, because a filter of `seccompiler` has one answer and
/// compares system calls only for equality.
fn absences(admin: bool) -> Result<BpfProgram> {
    let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    // With the rights to make namespaces anyway, it may be seen; no call has this number.
    let clone3 = if admin { u32::MAX } else { u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX) };
    let instruction = |code: u32, jt, jf, k| {
        let code = std::os::raw::c_ushort::try_from(code).map_err(|error| broken(&error))?;
        Ok(sock_filter { code, jt, jf, k })
    };
    Ok(vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)?,
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, clone3)?,
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, UNKNOWN)?,
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, absent)?,
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW)?,
    ])
}

fn broken(error: &dyn std::fmt::Display) -> RuntimeError {
    RuntimeError::Unavailable { message: format!("cannot compile the seccomp profile: {error}") }
}

/// Puts a filter on this process and all it will start. Not through `seccompiler::apply_filter`, which sets "no new
/// privileges" and so would take `su` and `ping` from containers that may have them.
pub fn install(filter: &BpfProgram) -> std::io::Result<()> {
    let length = u16::try_from(filter.len()).map_err(|_| std::io::Error::other("the filter is too long"))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: `program` and the instructions it points to live until the call returns; the kernel copies and does not change
    // them. `sock_filter` of seccompiler and of libc are the same C structure.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_lift_refusals() {
        let length = |capabilities: &[&'static str]| refusals(&capabilities.iter().copied().collect()).unwrap().len();
        assert!(length(&["CAP_SYS_ADMIN"]) < length(&["CAP_SYS_TIME"]));
        assert!(length(&["CAP_SYS_TIME"]) < length(&[]));
        assert_eq!(length(&["CAP_KILL"]), length(&[]));
        assert!(compile(&Seccomp::Unconfined, &BTreeSet::new()).unwrap().is_empty());
    }

    /// In a child process, because a filter stays: what it answers to real system calls.
    #[test]
    fn filters_refuse_deny_and_let_pass() {
        let filters = compile(&Seccomp::RuntimeDefault, &BTreeSet::new()).unwrap();
        let mut child = std::process::Command::new("/bin/busybox");
        child.args(["sh", "-c", "unshare -n true 2>&1; hostname x 2>&1; echo fine"]);
        // SAFETY: between fork and exec the child only makes system calls, with memory that was made before.
        unsafe {
            std::os::unix::process::CommandExt::pre_exec(&mut child, move || {
                filters.iter().try_for_each(install)?;
                let errno =
                    |done: libc::c_long| if done < 0 { std::io::Error::last_os_error().raw_os_error() } else { None };
                let calls = [
                    (errno(libc::syscall(libc::SYS_clone3, 0, 0)), Some(libc::ENOSYS)),
                    (errno(libc::syscall(9999)), Some(libc::ENOSYS)),
                    (errno(libc::syscall(libc::SYS_keyctl, 0, 0, 0)), Some(libc::EPERM)),
                    (errno(libc::syscall(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0)), Some(libc::EPERM)),
                    (errno(libc::syscall(libc::SYS_personality, 0xffff_ffffu32)), None),
                    (errno(libc::syscall(libc::SYS_personality, 0x0400_0000)), Some(libc::EPERM)),
                    (errno(libc::syscall(libc::SYS_getpid)), None),
                ];
                let wrong = calls.iter().any(|(got, wanted)| got != wanted);
                if wrong { Err(std::io::ErrorKind::Other.into()) } else { Ok(()) }
            });
        }
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.ends_with("fine\n") && text.contains("Operation not permitted"), "{text}");
    }
}

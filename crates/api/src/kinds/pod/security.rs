//! Security contexts of pods and containers.
use super::containers::Surroundings;
use super::{internal, volumes, windows};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{
    AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext, Sysctl,
};
use crate::names;
use std::collections::BTreeSet;

/// `ValidateSecurityContext`. Privileged containers are allowed, as on every cluster made by kubeadm.
pub fn validate_container(s: &SecurityContext, host_users: bool, path: &Path, out: &mut Errors) {
    validate_id(s.run_as_user, &path.child("runAsUser"), out);
    validate_id(s.run_as_group, &path.child("runAsGroup"), out);
    if let Some(mount) = s.proc_mount.as_deref() {
        let path = path.child("procMount");
        if !matches!(mount, "Default" | "Unmasked") {
            out.push(Error::not_supported(&path, mount, &["Default", "Unmasked"]));
        }
        if host_users && mount == "Unmasked" {
            out.push(Error::invalid(&path, mount, "`hostUsers` must be false to use `Unmasked`"));
        }
    }
    validate_seccomp(s.seccomp_profile.as_ref(), &path.child("seccompProfile"), out);
    if s.allow_privilege_escalation == Some(false) {
        if s.privileged == Some(true) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            out.push(Error::invalid(path, internal::security_context(s), detail));
        }
        let added = s.capabilities.iter().flat_map(|c| c.add.iter().flatten());
        for _ in added.filter(|capability| *capability == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            out.push(Error::invalid(path, internal::security_context(s), detail));
        }
    }
    windows::validate_options(s.windows_options.as_ref(), &path.child("windowsOptions"), out);
    validate_app_armor(s.app_armor_profile.as_ref(), &path.child("appArmorProfile"), out);
}

fn validate_id(id: Option<i64>, path: &Path, out: &mut Errors) {
    if let Some(id) = id {
        out.extend(invalid_each(path, id, names::user_id(id)));
    }
}

/// `validatePodSpecSecurityContext`
pub fn validate_pod(spec: &PodSpec, path: &Path, out: &mut Errors) {
    let Some(s) = &spec.security_context else { return };
    validate_id(s.fs_group, &path.child("fsGroup"), out);
    validate_id(s.run_as_user, &path.child("runAsUser"), out);
    validate_id(s.run_as_group, &path.child("runAsGroup"), out);
    for (i, group) in s.supplemental_groups.iter().flatten().enumerate() {
        validate_id(Some(*group), &path.child("supplementalGroups").index(i), out);
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        out.push(Error::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    validate_sysctls(s.sysctls.as_deref().unwrap_or_default(), spec, &path.child("sysctls"), out);
    let policy = |value: &Option<String>, supported: &[&str], field: &str, out: &mut Errors| {
        if let Some(value) = value.as_deref().filter(|v| !supported.contains(v)) {
            out.push(Error::not_supported(&path.child(field), value, supported));
        }
    };
    policy(&s.fs_group_change_policy, &["Always", "OnRootMismatch"], "fsGroupChangePolicy", out);
    validate_seccomp(s.seccomp_profile.as_ref(), &path.child("seccompProfile"), out);
    windows::validate_options(s.windows_options.as_ref(), &path.child("windowsOptions"), out);
    validate_app_armor(s.app_armor_profile.as_ref(), &path.child("appArmorProfile"), out);
    policy(&s.supplemental_groups_policy, &["Merge", "Strict"], "supplementalGroupsPolicy", out);
    policy(&s.se_linux_change_policy, &["MountOption", "Recursive"], "seLinuxChangePolicy", out);
}

fn validate_sysctls(sysctls: &[Sysctl], spec: &PodSpec, path: &Path, out: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, sysctl) in sysctls.iter().enumerate() {
        let path = path.index(i).child("name");
        let name = sysctl.name.as_str();
        if name.is_empty() {
            out.push(Error::required(&path, ""));
        } else if !is_sysctl_name(name) {
            let detail = "must have at most 253 characters and match regex \
                ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            out.push(Error::invalid(&path, name, detail));
        } else if seen.contains(name) {
            out.push(Error::duplicate(&path, name));
        }
        let shared = match sysctl_namespace(name) {
            Some("net") if spec.host_network == Some(true) => Some("hostNetwork"),
            Some("ipc") if spec.host_ipc == Some(true) => Some("hostIPC"),
            _ => None,
        };
        if let Some(field) = shared {
            out.push(Error::invalid(&path, name, format!("may not be specified when '{field}' is true")));
        }
        seen.insert(name);
    }
}

fn is_sysctl_name(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let segment = |s: &str| {
        s.starts_with(alphanumeric)
            && s.ends_with(alphanumeric)
            && s.chars().all(|c| alphanumeric(c) || matches!(c, '-' | '_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(segment)
}

/// Which kernel namespace keeps the setting, if one does.
fn sysctl_namespace(name: &str) -> Option<&'static str> {
    let dotted = name.replace('/', ".");
    let ipc =
        dotted == "kernel.sem" || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| dotted.starts_with(p));
    if ipc {
        Some("ipc")
    } else if dotted.starts_with("net.") {
        Some("net")
    } else {
        None
    }
}

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

fn validate_seccomp(profile: Option<&SeccompProfile>, path: &Path, out: &mut Errors) {
    let Some(profile) = profile else { return };
    match profile.type_.as_str() {
        "" => out.push(Error::required(&path.child("type"), "type is required when seccompProfile is set")),
        t if PROFILE_TYPES.contains(&t) => {}
        t => out.push(Error::not_supported(&path.child("type"), t, &PROFILE_TYPES)),
    }
    let path = path.child("localhostProfile");
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("Localhost", None) => out.push(Error::required(&path, "must be set when seccomp type is Localhost")),
        ("Localhost", Some(file)) => volumes::validate_descending_path(file, &path, out),
        (_, Some(_)) => {
            let detail = "can only be set when seccomp type is Localhost";
            out.push(Error::invalid(&path, internal::seccomp_profile(profile), detail));
        }
        (_, None) => {}
    }
}

fn validate_app_armor(profile: Option<&AppArmorProfile>, path: &Path, out: &mut Errors) {
    let Some(profile) = profile else { return };
    let local_path = path.child("localhostProfile");
    let local = profile.localhost_profile.as_deref();
    const MISSING: &str = "must be set when AppArmor type is Localhost";
    match (profile.type_.as_str(), local) {
        ("Localhost", None) => out.push(Error::required(&local_path, MISSING)),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                out.push(Error::invalid(&local_path, name, "must not be padded with whitespace"));
            } else if name.is_empty() {
                out.push(Error::required(&local_path, MISSING));
            }
            // PATH_MAX, without its closing zero.
            if name.len() > 4095 {
                out.push(Error::too_long(&local_path, 4095));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            out.push(Error::invalid(&local_path, name, "can only be set when AppArmor type is Localhost"));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => out.push(Error::required(&path.child("type"), "type is required when appArmorProfile is set")),
        (other, _) => out.push(Error::not_supported(&path.child("type"), other, &PROFILE_TYPES)),
    }
}

/// A pod with a user namespace of its own shares no other with the host (KEP-127).
pub fn validate_host_users(spec: &PodSpec, path: &Path, out: &mut Errors) {
    if spec.host_users != Some(false) {
        return;
    }
    let shared = [(spec.host_network, "hostNetwork"), (spec.host_pid, "HostPID"), (spec.host_ipc, "HostIPC")];
    for (_, field) in shared.iter().filter(|(value, _)| *value == Some(true)) {
        out.push(Error::forbidden(&path.child(field), "when `pod.Spec.HostUsers` is false"));
    }
}

/// What the spec says of its operating system, and what that system does not know.
pub fn validate_os(spec: &PodSpec, around: &Surroundings<'_>, path: &Path, out: &mut Errors) {
    let Some(os) = around.os else { return };
    match os {
        "" => out.push(Error::required(&path.child("os").child("name"), "cannot be empty")),
        "linux" => windows::forbid_on_linux(spec, path, out),
        "windows" => forbid_on_windows(spec, path, out),
        other => out.push(Error::not_supported(&path.child("os"), other, &["linux", "windows"])),
    }
}

fn forbid_on_windows(spec: &PodSpec, path: &Path, out: &mut Errors) {
    const DETAIL: &str = "cannot be set for a windows pod";
    let none = PodSecurityContext::default();
    let s = spec.security_context.as_ref().unwrap_or(&none);
    let context = path.child("securityContext");
    let set = [
        (s.app_armor_profile.is_some(), context.child("appArmorProfile")),
        (s.se_linux_options.is_some(), context.child("seLinuxOptions")),
        (spec.host_users.is_some(), path.child("hostUsers")),
        (spec.host_pid == Some(true), path.child("hostPID")),
        (spec.host_ipc == Some(true), path.child("hostIPC")),
        (s.seccomp_profile.is_some(), context.child("seccompProfile")),
        (s.fs_group.is_some(), context.child("fsGroup")),
        (s.fs_group_change_policy.is_some(), context.child("fsGroupChangePolicy")),
        (s.sysctls.is_some(), context.child("sysctls")),
        (spec.share_process_namespace.is_some(), path.child("shareProcessNamespace")),
        (s.run_as_user.is_some(), context.child("runAsUser")),
        (s.run_as_group.is_some(), context.child("runAsGroup")),
        (s.supplemental_groups.is_some(), context.child("supplementalGroups")),
        (s.supplemental_groups_policy.is_some(), context.child("supplementalGroupsPolicy")),
        (s.se_linux_change_policy.is_some(), context.child("seLinuxChangePolicy")),
    ];
    out.extend(set.iter().filter(|(is_set, _)| *is_set).map(|(_, path)| Error::forbidden(path, DETAIL)));
    for (path, container) in super::containers::visit(spec, path) {
        let Some(s) = &container.security_context else { continue };
        let set = [
            (s.app_armor_profile.is_some(), "appArmorProfile"),
            (s.se_linux_options.is_some(), "seLinuxOptions"),
            (s.seccomp_profile.is_some(), "seccompProfile"),
            (s.capabilities.is_some(), "capabilities"),
            (s.read_only_root_filesystem.is_some(), "readOnlyRootFilesystem"),
            (s.privileged.is_some(), "privileged"),
            (s.allow_privilege_escalation.is_some(), "allowPrivilegeEscalation"),
            (s.proc_mount.is_some(), "procMount"),
            (s.run_as_user.is_some(), "runAsUser"),
            (s.run_as_group.is_some(), "runAsGroup"),
        ];
        let path = path.child("securityContext");
        out.extend(set.iter().filter(|(is_set, _)| *is_set).map(|(_, f)| Error::forbidden(&path.child(f), DETAIL)));
    }
}

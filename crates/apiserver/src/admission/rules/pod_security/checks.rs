//! The single checks, in their order: those of the baseline, then those of the restricted level, by name. A restricted check stands in for
//! the baseline's of the same thing. Each has a reason and a detail, and knows since which version of the standards it asks for what
//! (`k8s.io/pod-security-admission/policy/check_*.go`). Annotations that came before the fields (seccomp, AppArmor) are not looked at.
use super::Level;
use isopod_api::field::Path;
use isopod_api::k8s::api::core::v1::{Container, PodSpec, SELinuxOptions, SecurityContext, Volume};
use isopod_api::kinds::pod::containers::visit;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A pod spec with its containers: init, main, ephemeral; and the minor version of the standards.
struct Subject<'a> {
    spec: &'a PodSpec,
    containers: Vec<Cow<'a, Container>>,
    windows: bool,
    version: u32,
}

type Check = fn(&Subject<'_>) -> Option<(String, String)>;

/// A check of the baseline: the version it came with, and the one from which a restricted check stands in for it.
const BASELINE: [(u32, Option<u32>, Check); 12] = [
    (0, None, app_armor),
    (0, Some(22), added_capabilities),
    (0, None, host_namespaces),
    (0, Some(0), host_paths),
    (0, None, host_ports),
    (34, None, probe_hosts),
    (0, None, privileged),
    (0, Some(35), baseline_proc_mount),
    (0, None, selinux),
    (19, Some(19), forbidden_seccomp),
    (0, None, sysctls),
    (0, None, host_process),
];

/// What the restricted level adds, by the version it came with.
const RESTRICTED: [(u32, Check); 7] = [
    (8, privilege_escalation),
    (22, all_capabilities),
    (35, proc_mount),
    (0, volumes),
    (0, non_root),
    (23, root_user),
    (19, seccomp),
];

/// What a level of a version (1.`version`) has against a pod: reasons and details.
pub fn run(spec: &PodSpec, level: Level, version: u32) -> Vec<(String, String)> {
    let containers = visit(spec, &Path::new("spec")).into_iter().map(|(_, container)| container).collect();
    let windows = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    let subject = Subject { spec, containers, windows, version };
    let (baseline, restricted) = (level >= Level::Baseline, level >= Level::Restricted);
    let overridden = |by: Option<u32>| restricted && by.is_some_and(|from| version >= from);
    let base = BASELINE.iter().filter(|(since, by, _)| baseline && version >= *since && !overridden(*by));
    let more = RESTRICTED.iter().filter(|(since, _)| restricted && version >= *since);
    let checks = base.map(|(.., check)| check).chain(more.map(|(_, check)| check));
    checks.filter_map(|check| check(&subject)).collect()
}

fn quoted<S: AsRef<str>>(items: &[S]) -> String {
    items.iter().map(|i| format!("\"{}\"", i.as_ref())).collect::<Vec<_>>().join(", ")
}

fn plural<'w>(one: &'w str, many: &'w str, count: usize) -> &'w str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`
fn named(containers: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", containers.len()), quoted(containers))
}

/// `pod and container "a"`
fn setters(pod: bool, containers: &[&str]) -> String {
    match (pod, containers.is_empty()) {
        (true, true) => "pod".to_owned(),
        (true, false) => format!("pod and {}", named(containers)),
        (false, _) => named(containers),
    }
}

impl Subject<'_> {
    /// Windows has none of what the check is about (known since 1.25).
    fn spared(&self) -> bool {
        self.windows && self.version >= 25
    }
    /// Who is root in the pod is nobody on the node (KEP-127; known since 1.35).
    fn of_own_users(&self) -> bool {
        self.spec.host_users == Some(false) && self.version >= 35
    }
    fn names(&self, wanted: impl Fn(&Container) -> bool) -> Vec<&str> {
        self.containers.iter().filter(|c| wanted(c)).map(|c| c.name.as_str()).collect()
    }
    fn with_context(&self, wanted: impl Fn(&SecurityContext) -> bool) -> Vec<&str> {
        self.names(|c| c.security_context.as_ref().is_some_and(&wanted))
    }
    fn added(&self, allowed: &[&str]) -> (Vec<&str>, Vec<String>) {
        let forbidden = |c: &Container| -> Vec<String> {
            let added = c.security_context.as_ref().and_then(|s| s.capabilities.as_ref()?.add.clone());
            added.unwrap_or_default().into_iter().filter(|cap| !allowed.contains(&cap.as_str())).collect()
        };
        let all: BTreeSet<String> = self.containers.iter().flat_map(|c| forbidden(c)).collect();
        (self.names(|c| !forbidden(c).is_empty()), all.into_iter().collect())
    }
}

fn app_armor(s: &Subject<'_>) -> Option<(String, String)> {
    let bad = |kind: &str| !matches!(kind, "RuntimeDefault" | "Localhost");
    let pod = s.spec.security_context.as_ref().and_then(|c| c.app_armor_profile.as_ref()).filter(|p| bad(&p.type_));
    let of = |c: &SecurityContext| c.app_armor_profile.clone().map(|p| p.type_).filter(|kind| bad(kind));
    let containers = s.with_context(|c| of(c).is_some());
    let contexts = s.containers.iter().filter_map(|c| c.security_context.as_ref());
    let kinds: BTreeSet<String> = contexts.filter_map(of).chain(pod.map(|p| p.type_.clone())).collect();
    if kinds.is_empty() {
        return None;
    }
    let kinds: Vec<String> = kinds.into_iter().collect();
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", kinds.len());
    let detail =
        format!("{} must not set AppArmor profile type to {}", setters(pod.is_some(), &containers), quoted(&kinds));
    Some((reason.to_owned(), detail))
}

/// What container runtimes give by themselves.
const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn must_not_add(containers: &[&str], capabilities: &[String]) -> String {
    format!("{} must not include {} in securityContext.capabilities.add", named(containers), quoted(capabilities))
}

fn added_capabilities(s: &Subject<'_>) -> Option<(String, String)> {
    let (containers, capabilities) = s.added(&DEFAULT_CAPABILITIES);
    let detail = must_not_add(&containers, &capabilities);
    (!containers.is_empty()).then(|| ("non-default capabilities".to_owned(), detail))
}

fn all_capabilities(s: &Subject<'_>) -> Option<(String, String)> {
    if s.spared() {
        return None;
    }
    let drops = |c: &Container| {
        let dropped = c.security_context.as_ref().and_then(|s| s.capabilities.as_ref()?.drop.as_ref());
        dropped.is_some_and(|d| d.iter().any(|cap| cap == "ALL"))
    };
    let mut details = Vec::new();
    let keep = s.names(|c| !drops(c));
    if !keep.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keep)));
    }
    let (containers, capabilities) = s.added(&["NET_BIND_SERVICE"]);
    if !containers.is_empty() {
        details.push(must_not_add(&containers, &capabilities));
    }
    (!details.is_empty()).then(|| ("unrestricted capabilities".to_owned(), details.join("; ")))
}

fn host_namespaces(s: &Subject<'_>) -> Option<(String, String)> {
    let set = [(s.spec.host_network, "hostNetwork"), (s.spec.host_pid, "hostPID"), (s.spec.host_ipc, "hostIPC")];
    let set: Vec<String> =
        set.iter().filter(|(on, _)| *on == Some(true)).map(|(_, name)| format!("{name}=true")).collect();
    (!set.is_empty()).then(|| ("host namespaces".to_owned(), set.join(", ")))
}

fn host_paths(s: &Subject<'_>) -> Option<(String, String)> {
    let volumes = s.spec.volumes.iter().flatten().filter(|v| v.host_path.is_some());
    let names: Vec<&str> = volumes.map(|v| v.name.as_str()).collect();
    let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
    (!names.is_empty()).then(|| ("hostPath volumes".to_owned(), detail))
}

fn host_ports(s: &Subject<'_>) -> Option<(String, String)> {
    let of = |c: &Container| -> Vec<i32> {
        c.ports.iter().flatten().filter_map(|p| p.host_port).filter(|p| *p != 0).collect()
    };
    let containers = s.names(|c| !of(c).is_empty());
    // As texts they are sorted.
    let ports: BTreeSet<String> = s.containers.iter().flat_map(|c| of(c)).map(|p| p.to_string()).collect();
    let ports: Vec<String> = ports.into_iter().collect();
    let detail = format!(
        "{} {} {} {}",
        named(&containers),
        plural("uses", "use", containers.len()),
        plural("hostPort", "hostPorts", ports.len()),
        ports.join(", ")
    );
    (!containers.is_empty()).then(|| ("hostPort".to_owned(), detail))
}

fn privileged(s: &Subject<'_>) -> Option<(String, String)> {
    let containers = s.with_context(|c| c.privileged == Some(true));
    let detail = format!("{} must not set securityContext.privileged=true", named(&containers));
    (!containers.is_empty()).then(|| ("privileged".to_owned(), detail))
}

/// `host` of probes and hooks: the node would call whom it says.
fn probe_hosts(s: &Subject<'_>) -> Option<(String, String)> {
    fn of(c: &Container) -> Vec<&str> {
        let probes = [&c.liveness_probe, &c.readiness_probe, &c.startup_probe].into_iter().flatten();
        let hooks = c.lifecycle.iter().flat_map(|l| [&l.post_start, &l.pre_stop]).flatten();
        let all = probes.map(|p| (&p.http_get, &p.tcp_socket)).chain(hooks.map(|h| (&h.http_get, &h.tcp_socket)));
        let hosts = all.flat_map(|(http, tcp)| {
            [http.as_ref().and_then(|h| h.host.as_deref()), tcp.as_ref().and_then(|t| t.host.as_deref())]
        });
        hosts.flatten().filter(|host| !host.is_empty()).collect()
    }
    let containers: BTreeSet<&str> = s.names(|c| !of(c).is_empty()).into_iter().collect();
    let containers: Vec<&str> = containers.into_iter().collect();
    let hosts: Vec<&str> = s.containers.iter().flat_map(|c| of(c)).collect::<BTreeSet<_>>().into_iter().collect();
    let detail = format!(
        "{} {} {} {}",
        named(&containers),
        plural("uses", "use", containers.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
        quoted(&hosts)
    );
    (!containers.is_empty()).then(|| ("probe or lifecycle host".to_owned(), detail))
}

fn baseline_proc_mount(s: &Subject<'_>) -> Option<(String, String)> {
    if s.of_own_users() { None } else { proc_mount(s) }
}

fn proc_mount(s: &Subject<'_>) -> Option<(String, String)> {
    let of = |c: &SecurityContext| c.proc_mount.clone().filter(|m| m != "Default");
    let containers = s.with_context(|c| of(c).is_some());
    let contexts = s.containers.iter().filter_map(|c| c.security_context.as_ref());
    let values: BTreeSet<String> = contexts.filter_map(of).collect();
    let values: Vec<String> = values.into_iter().collect();
    let detail = format!("{} must not set securityContext.procMount to {}", named(&containers), quoted(&values));
    (!containers.is_empty()).then(|| ("procMount".to_owned(), detail))
}

/// The types that may be asked for, and since when.
const SELINUX_TYPES: [(&str, u32); 5] =
    [("", 0), ("container_t", 0), ("container_init_t", 0), ("container_kvm_t", 0), ("container_engine_t", 31)];

fn selinux(s: &Subject<'_>) -> Option<(String, String)> {
    fn text(value: &Option<String>) -> &str {
        value.as_deref().unwrap_or_default()
    }
    let allowed = |kind: &str| SELINUX_TYPES.iter().any(|(known, since)| *known == kind && s.version >= *since);
    let bad = |o: &SELinuxOptions| !allowed(text(&o.type_)) || !text(&o.user).is_empty() || !text(&o.role).is_empty();
    let pod = s.spec.security_context.as_ref().and_then(|c| c.se_linux_options.as_ref()).filter(|o| bad(o));
    let of = |c: &SecurityContext| c.se_linux_options.clone().filter(&bad);
    let containers = s.with_context(|c| of(c).is_some());
    let contexts = s.containers.iter().filter_map(|c| c.security_context.as_ref());
    let options: Vec<SELinuxOptions> = pod.cloned().into_iter().chain(contexts.filter_map(of)).collect();
    if options.is_empty() {
        return None;
    }
    let types: BTreeSet<&str> = options.iter().map(|o| text(&o.type_)).filter(|t| !allowed(t)).collect();
    let mut details = Vec::new();
    if !types.is_empty() {
        let types: Vec<&str> = types.into_iter().collect();
        details.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    if options.iter().any(|o| !text(&o.user).is_empty()) {
        details.push("user may not be set".to_owned());
    }
    if options.iter().any(|o| !text(&o.role).is_empty()) {
        details.push("role may not be set".to_owned());
    }
    let who = setters(pod.is_some(), &containers);
    Some((
        "seLinuxOptions".to_owned(),
        format!("{who} set forbidden securityContext.seLinuxOptions: {}", details.join("; ")),
    ))
}

fn good_seccomp(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

fn pod_seccomp<'s>(s: &'s Subject<'_>) -> Option<&'s str> {
    Some(s.spec.security_context.as_ref()?.seccomp_profile.as_ref()?.type_.as_str())
}

fn seccomp_of(c: &Container) -> Option<&str> {
    Some(c.security_context.as_ref()?.seccomp_profile.as_ref()?.type_.as_str())
}

fn forbidden_seccomp(s: &Subject<'_>) -> Option<(String, String)> {
    let bad = |c: &Container| seccomp_of(c).is_some_and(|kind| !good_seccomp(kind));
    let pod = pod_seccomp(s).filter(|kind| !good_seccomp(kind));
    let containers = s.names(bad);
    let kinds = s.containers.iter().filter_map(|c| seccomp_of(c)).filter(|kind| !good_seccomp(kind)).chain(pod);
    let kinds: Vec<&str> = kinds.collect::<BTreeSet<_>>().into_iter().collect();
    let who = setters(pod.is_some(), &containers);
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&kinds));
    (!kinds.is_empty()).then(|| ("seccompProfile".to_owned(), detail))
}

fn seccomp(s: &Subject<'_>) -> Option<(String, String)> {
    if s.spared() {
        return None;
    }
    if let Some(found) = forbidden_seccomp(s) {
        return Some(found);
    }
    let unset = if pod_seccomp(s).is_some() { Vec::new() } else { s.names(|c| seccomp_of(c).is_none()) };
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        named(&unset)
    );
    (!unset.is_empty()).then(|| ("seccompProfile".to_owned(), detail))
}

/// What is safe to set, and since when.
const SYSCTLS: [(&str, u32); 14] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];

fn sysctls(s: &Subject<'_>) -> Option<(String, String)> {
    let set = s.spec.security_context.iter().flat_map(|c| c.sysctls.iter().flatten());
    let safe = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && s.version >= *since);
    let forbidden: Vec<&str> = set.map(|sysctl| sysctl.name.as_str()).filter(|name| !safe(name)).collect();
    (!forbidden.is_empty()).then(|| ("forbidden sysctls".to_owned(), forbidden.join(", ")))
}

fn host_process(s: &Subject<'_>) -> Option<(String, String)> {
    let pod = s.spec.security_context.as_ref().and_then(|c| c.windows_options.as_ref());
    let pod = pod.is_some_and(|w| w.host_process == Some(true));
    let containers = s.with_context(|c| c.windows_options.as_ref().is_some_and(|w| w.host_process == Some(true)));
    let detail = format!("{} must not set securityContext.windowsOptions.hostProcess=true", setters(pod, &containers));
    (pod || !containers.is_empty()).then(|| ("hostProcess".to_owned(), detail))
}

fn privilege_escalation(s: &Subject<'_>) -> Option<(String, String)> {
    if s.spared() {
        return None;
    }
    let containers = s.names(|c| c.security_context.as_ref().and_then(|s| s.allow_privilege_escalation) != Some(false));
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&containers));
    (!containers.is_empty()).then(|| ("allowPrivilegeEscalation != false".to_owned(), detail))
}

/// The type of a volume that the restricted level does not allow.
fn restricted_type(volume: &Volume) -> Option<&'static str> {
    let types = isopod_api::kinds::pod::volumes::sources(volume);
    let kind = types.first().map(|(_, path)| *path)?;
    let allowed = "configMap csi downwardAPI emptyDir ephemeral image persistentVolumeClaim projected secret";
    (!allowed.split(' ').any(|a| a == kind)).then_some(match kind {
        "persistentDisk" => "gcePersistentDisk",
        kind => kind,
    })
}

fn volumes(s: &Subject<'_>) -> Option<(String, String)> {
    let bad: Vec<(&str, &str)> =
        s.spec.volumes.iter().flatten().filter_map(|v| Some((v.name.as_str(), restricted_type(v)?))).collect();
    let names: Vec<&str> = bad.iter().map(|(name, _)| *name).collect();
    let types: Vec<&str> = bad.iter().map(|(_, kind)| *kind).collect::<BTreeSet<_>>().into_iter().collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", names.len()),
        quoted(&names),
        plural("uses", "use", names.len()),
        plural("restricted volume type", "restricted volume types", types.len()),
        quoted(&types)
    );
    (!bad.is_empty()).then(|| ("restricted volume types".to_owned(), detail))
}

/// What is said against it comes before what is not said for it.
fn non_root(s: &Subject<'_>) -> Option<(String, String)> {
    if s.of_own_users() {
        return None;
    }
    let pod = s.spec.security_context.as_ref().and_then(|c| c.run_as_non_root);
    let of = |c: &Container| c.security_context.as_ref().and_then(|s| s.run_as_non_root);
    let explicit = s.names(|c| of(c) == Some(false));
    let reason = "runAsNonRoot != true".to_owned();
    if pod == Some(false) || !explicit.is_empty() {
        let who = setters(pod == Some(false), &explicit);
        return Some((reason, format!("{who} must not set securityContext.runAsNonRoot=false")));
    }
    let implicit = if pod == Some(true) { Vec::new() } else { s.names(|c| of(c).is_none()) };
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", named(&implicit));
    (!implicit.is_empty()).then_some((reason, detail))
}

fn root_user(s: &Subject<'_>) -> Option<(String, String)> {
    if s.of_own_users() {
        return None;
    }
    let pod = s.spec.security_context.as_ref().and_then(|c| c.run_as_user) == Some(0);
    let containers = s.with_context(|c| c.run_as_user == Some(0));
    let detail = format!("{} must not set runAsUser=0", setters(pod, &containers));
    (pod || !containers.is_empty()).then(|| ("runAsUser=0".to_owned(), detail))
}

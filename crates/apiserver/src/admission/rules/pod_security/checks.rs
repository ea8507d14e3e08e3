//! The single checks, in their order: those of the baseline, then those of the restricted level, by name. A restricted check stands in for
//! the baseline's of the same thing. Each says `reason (detail)`.
use super::Level;
use isopod_api::field::Path;
use isopod_api::k8s::api::core::v1::{Container, PodSpec, SELinuxOptions, SecurityContext, Volume};
use isopod_api::kinds::pod::containers::visit;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A pod spec with its containers: init, main, ephemeral.
struct Subject<'a> {
    spec: &'a PodSpec,
    containers: Vec<Cow<'a, Container>>,
    windows: bool,
}

type Check = fn(&Subject<'_>) -> Option<(String, String)>;

/// What a level has against a pod.
pub fn run(spec: &PodSpec, level: Level) -> Vec<String> {
    let containers = visit(spec, &Path::new("spec")).into_iter().map(|(_, container)| container).collect();
    let windows = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    let subject = Subject { spec, containers, windows };
    let checks: &[Check] = match level {
        Level::Privileged => &[],
        Level::Baseline => &[
            app_armor,
            added_capabilities,
            host_namespaces,
            host_paths,
            host_ports,
            privileged,
            proc_mount,
            selinux,
            forbidden_seccomp,
            sysctls,
            host_process,
        ],
        Level::Restricted => &[
            app_armor,
            host_namespaces,
            host_ports,
            privileged,
            proc_mount,
            selinux,
            sysctls,
            host_process,
            privilege_escalation,
            all_capabilities,
            volumes,
            non_root,
            root_user,
            seccomp,
        ],
    };
    checks.iter().filter_map(|check| check(&subject)).map(|(reason, detail)| format!("{reason} ({detail})")).collect()
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
    if s.windows {
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

fn proc_mount(s: &Subject<'_>) -> Option<(String, String)> {
    let of = |c: &SecurityContext| c.proc_mount.clone().filter(|m| m != "Default");
    let containers = s.with_context(|c| of(c).is_some());
    let contexts = s.containers.iter().filter_map(|c| c.security_context.as_ref());
    let values: BTreeSet<String> = contexts.filter_map(of).collect();
    let values: Vec<String> = values.into_iter().collect();
    let detail = format!("{} must not set securityContext.procMount to {}", named(&containers), quoted(&values));
    (!containers.is_empty()).then(|| ("procMount".to_owned(), detail))
}

const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

fn selinux(s: &Subject<'_>) -> Option<(String, String)> {
    fn text(value: &Option<String>) -> &str {
        value.as_deref().unwrap_or_default()
    }
    let bad = |o: &SELinuxOptions| {
        !SELINUX_TYPES.contains(&text(&o.type_)) || !text(&o.user).is_empty() || !text(&o.role).is_empty()
    };
    let pod = s.spec.security_context.as_ref().and_then(|c| c.se_linux_options.as_ref()).filter(|o| bad(o));
    let of = |c: &SecurityContext| c.se_linux_options.clone().filter(&bad);
    let containers = s.with_context(|c| of(c).is_some());
    let contexts = s.containers.iter().filter_map(|c| c.security_context.as_ref());
    let options: Vec<SELinuxOptions> = pod.cloned().into_iter().chain(contexts.filter_map(of)).collect();
    if options.is_empty() {
        return None;
    }
    let types: BTreeSet<&str> = options.iter().map(|o| text(&o.type_)).filter(|t| !SELINUX_TYPES.contains(t)).collect();
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
    if s.windows {
        return None;
    }
    let pod = pod_seccomp(s);
    let mut details = Vec::new();
    if let Some(kind) = pod.filter(|kind| !good_seccomp(kind)) {
        details.push(format!("pod must not set securityContext.seccompProfile.type to \"{kind}\""));
    }
    let bad = s.names(|c| seccomp_of(c).is_some_and(|kind| !good_seccomp(kind)));
    if !bad.is_empty() {
        let kinds = s.containers.iter().filter_map(|c| seccomp_of(c)).filter(|kind| !good_seccomp(kind));
        let kinds: Vec<&str> = kinds.collect::<BTreeSet<_>>().into_iter().collect();
        details.push(format!("{} must not set securityContext.seccompProfile.type to {}", named(&bad), quoted(&kinds)));
    }
    let unset = if pod.is_some_and(good_seccomp) { Vec::new() } else { s.names(|c| seccomp_of(c).is_none()) };
    if pod.is_none() && !unset.is_empty() {
        details.push(format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            named(&unset)
        ));
    }
    (!details.is_empty()).then(|| ("seccompProfile".to_owned(), details.join("; ")))
}

const SYSCTLS: [&str; 11] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_rmem",
];

fn sysctls(s: &Subject<'_>) -> Option<(String, String)> {
    let set = s.spec.security_context.iter().flat_map(|c| c.sysctls.iter().flatten());
    let forbidden: Vec<&str> = set
        .map(|sysctl| sysctl.name.as_str())
        .filter(|name| !SYSCTLS.contains(name) && *name != "net.ipv4.tcp_wmem")
        .collect();
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
    if s.windows {
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

fn non_root(s: &Subject<'_>) -> Option<(String, String)> {
    let pod = s.spec.security_context.as_ref().and_then(|c| c.run_as_non_root);
    let of = |c: &Container| c.security_context.as_ref().and_then(|s| s.run_as_non_root);
    let mut details = Vec::new();
    if pod == Some(false) {
        details.push("pod must not set securityContext.runAsNonRoot=false".to_owned());
    }
    let explicit = s.names(|c| of(c) == Some(false));
    if !explicit.is_empty() {
        details.push(format!("{} must not set securityContext.runAsNonRoot=false", named(&explicit)));
    }
    let implicit = if pod == Some(true) { Vec::new() } else { s.names(|c| of(c).is_none()) };
    if !implicit.is_empty() {
        details.push(format!("pod or {} must set securityContext.runAsNonRoot=true", named(&implicit)));
    }
    (!details.is_empty()).then(|| ("runAsNonRoot != true".to_owned(), details.join("; ")))
}

fn root_user(s: &Subject<'_>) -> Option<(String, String)> {
    let pod = s.spec.security_context.as_ref().and_then(|c| c.run_as_user) == Some(0);
    let containers = s.with_context(|c| c.run_as_user == Some(0));
    let detail = format!("{} must not set runAsUser=0", setters(pod, &containers));
    (pod || !containers.is_empty()).then(|| ("runAsUser=0".to_owned(), detail))
}

//! Containers of all three sorts (`validateContainers`, `validateInitContainers`, `validateEphemeralContainers`).
use super::{env, mounts, probes, resources, security};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{
    Container, ContainerPort, ContainerResizePolicy, ContainerRestartRule, EphemeralContainer, PodSpec, Volume,
};
use crate::names;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// What the rules of a container look at beside the container.
pub struct Surroundings<'a> {
    /// The volumes that are right, by name.
    pub volumes: BTreeMap<&'a str, &'a Volume>,
    /// The names in `spec.resourceClaims`.
    pub claims: BTreeSet<&'a str>,
    pub grace_period: Option<i64>,
    pub restart_policy: &'a str,
    /// False: the pod has a user namespace of its own.
    pub host_users: bool,
    pub os: Option<&'a str>,
}

/// Main and init containers, main ones first.
pub fn main_and_init(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

/// The same, to change them.
pub fn main_and_init_mut(spec: &mut PodSpec) -> impl Iterator<Item = &mut Container> {
    spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten())
}

/// An init container that runs beside the main ones (KEP-753).
pub fn is_restartable_init(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Every container with its path: init, main, ephemeral (`VisitContainersWithPath`).
pub fn visit<'a>(spec: &'a PodSpec, path: &Path) -> Vec<(Path, Cow<'a, Container>)> {
    let listed = |name: &str, list: &'a [Container]| {
        let path = path.child(name);
        list.iter().enumerate().map(move |(i, c)| (path.index(i), Cow::Borrowed(c))).collect::<Vec<_>>()
    };
    let mut out = listed("initContainers", spec.init_containers.as_deref().unwrap_or_default());
    out.extend(listed("containers", &spec.containers));
    for (i, ephemeral) in spec.ephemeral_containers.iter().flatten().enumerate() {
        out.push((path.child("ephemeralContainers").index(i), Cow::Owned(common(ephemeral))));
    }
    out
}

/// Runs `f` on an ephemeral container as on any other.
pub fn with_common(ephemeral: &mut EphemeralContainer, f: fn(&mut Container)) {
    let target = ephemeral.target_container_name.take();
    let mut container = common(ephemeral);
    f(&mut container);
    *ephemeral = EphemeralContainer { target_container_name: target, ..from_common(container) };
}

/// What an ephemeral container has in common with the others (`EphemeralContainerCommon`).
pub fn common(e: &EphemeralContainer) -> Container {
    let e = e.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        lifecycle: e.lifecycle,
        liveness_probe: e.liveness_probe,
        name: e.name,
        ports: e.ports,
        readiness_probe: e.readiness_probe,
        resize_policy: e.resize_policy,
        resources: e.resources,
        restart_policy: e.restart_policy,
        restart_policy_rules: e.restart_policy_rules,
        security_context: e.security_context,
        startup_probe: e.startup_probe,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_devices: e.volume_devices,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
    }
}

fn from_common(c: Container) -> EphemeralContainer {
    EphemeralContainer {
        args: c.args,
        command: c.command,
        env: c.env,
        env_from: c.env_from,
        image: c.image,
        image_pull_policy: c.image_pull_policy,
        lifecycle: c.lifecycle,
        liveness_probe: c.liveness_probe,
        name: c.name,
        ports: c.ports,
        readiness_probe: c.readiness_probe,
        resize_policy: c.resize_policy,
        resources: c.resources,
        restart_policy: c.restart_policy,
        restart_policy_rules: c.restart_policy_rules,
        security_context: c.security_context,
        startup_probe: c.startup_probe,
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        target_container_name: None,
        termination_message_path: c.termination_message_path,
        termination_message_policy: c.termination_message_policy,
        tty: c.tty,
        volume_devices: c.volume_devices,
        volume_mounts: c.volume_mounts,
        working_dir: c.working_dir,
    }
}

/// `validateContainers`
pub fn validate_main(spec: &PodSpec, around: &Surroundings<'_>, path: &Path, out: &mut Errors) {
    if spec.containers.is_empty() {
        return out.push(Error::required(path, ""));
    }
    let mut names = BTreeSet::new();
    for (i, container) in spec.containers.iter().enumerate() {
        let path = path.index(i);
        validate_common(container, around, &path, out);
        if !names.insert(container.name.as_str()) {
            out.push(Error::duplicate(&path.child("name"), &container.name));
        }
        probes::validate_all(container, around, &path, out);
        validate_restart_policy(container, &path, out);
    }
    validate_host_ports(&spec.containers, path, out);
}

/// `validateInitContainers`
pub fn validate_init(spec: &PodSpec, around: &Surroundings<'_>, path: &Path, out: &mut Errors) {
    let mut names: BTreeSet<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    for (i, container) in spec.init_containers.iter().flatten().enumerate() {
        let item = path.index(i);
        validate_common(container, around, &item, out);
        validate_restart_policy(container, &item, out);
        if !container.name.is_empty() && !names.insert(container.name.as_str()) {
            out.push(Error::duplicate(&item.child("name"), &container.name));
        }
        // Init containers run one after the other: their ports collide with no other's.
        validate_host_ports(std::slice::from_ref(container), path, out);
        if is_restartable_init(container) {
            probes::validate_all(container, around, &item, out);
            continue;
        }
        let set = [
            (container.lifecycle.is_some(), "lifecycle"),
            (container.liveness_probe.is_some(), "livenessProbe"),
            (container.readiness_probe.is_some(), "readinessProbe"),
            (container.startup_probe.is_some(), "startupProbe"),
        ];
        for (_, field) in set.iter().filter(|(is_set, _)| *is_set) {
            let detail = "may not be set for init containers without restartPolicy=Always";
            out.push(Error::forbidden(&item.child(field), detail));
        }
    }
}

/// `validateEphemeralContainers`
pub fn validate_ephemeral(spec: &PodSpec, around: &Surroundings<'_>, path: &Path, out: &mut Errors) {
    let others: BTreeSet<&str> = main_and_init(spec).map(|c| c.name.as_str()).collect();
    let mut names = others.clone();
    for (i, ephemeral) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let path = path.index(i);
        let container = common(ephemeral);
        validate_common(&container, around, &path, out);
        validate_only_for_pod(&container, &path, out);
        if !names.insert(ephemeral.name.as_str()) {
            out.push(Error::duplicate(&path.child("name"), &ephemeral.name));
        }
        let target = ephemeral.target_container_name.as_deref().unwrap_or_default();
        if !target.is_empty() && !others.contains(target) {
            out.push(Error::not_found(&path.child("targetContainerName"), target));
        }
        validate_ephemeral_fields(&container, &path, out);
    }
}

/// Nobody may rely on an ephemeral container: it has no ports, probes, resources.
fn validate_ephemeral_fields(c: &Container, path: &Path, out: &mut Errors) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    let resources = c.resources.as_ref().is_some_and(|r| *r != Default::default());
    let set = [
        (c.ports.is_some(), "ports"),
        (resources, "resources"),
        (c.resize_policy.is_some(), "resizePolicy"),
        (c.restart_policy.is_some(), "restartPolicy"),
        (c.restart_policy_rules.is_some(), "restartPolicyRules"),
        (c.liveness_probe.is_some(), "livenessProbe"),
        (c.readiness_probe.is_some(), "readinessProbe"),
        (c.startup_probe.is_some(), "startupProbe"),
        (c.lifecycle.is_some(), "lifecycle"),
    ];
    for (_, field) in set.iter().filter(|(is_set, _)| *is_set) {
        out.push(Error::forbidden(&path.child(field), DETAIL));
    }
    for (i, mount) in c.volume_mounts.iter().flatten().enumerate() {
        let path = path.child("volumeMounts").index(i);
        if mount.sub_path.is_some() {
            out.push(Error::forbidden(&path.child("subPath"), DETAIL));
        }
        if mount.sub_path_expr.is_some() {
            out.push(Error::forbidden(&path.child("subPathExpr"), DETAIL));
        }
    }
}

/// `validateContainerCommon`
fn validate_common(c: &Container, around: &Surroundings<'_>, path: &Path, out: &mut Errors) {
    if c.name.is_empty() {
        out.push(Error::required(&path.child("name"), ""));
    } else {
        out.extend(invalid_each(&path.child("name"), &c.name, names::dns1123_label(&c.name, false)));
    }
    if c.image.as_deref().unwrap_or_default().is_empty() {
        out.push(Error::required(&path.child("image"), ""));
    }
    let policy = c.termination_message_policy.as_deref().unwrap_or_default();
    one_of(policy, &["File", "FallbackToLogsOnError"], &path.child("terminationMessagePolicy"), out);
    validate_ports(c.ports.as_deref().unwrap_or_default(), &path.child("ports"), out);
    env::validate(c.env.as_deref().unwrap_or_default(), &path.child("env"), out);
    env::validate_from(c.env_from.as_deref().unwrap_or_default(), &path.child("envFrom"), out);
    mounts::validate(c, &around.volumes, &path.child("volumeMounts"), out);
    mounts::validate_devices(c, &around.volumes, &path.child("volumeDevices"), out);
    let pull_policy = c.image_pull_policy.as_deref().unwrap_or_default();
    one_of(pull_policy, &["Always", "IfNotPresent", "Never"], &path.child("imagePullPolicy"), out);
    if let Some(list) = &c.resources {
        out.extend(resources::validate_container(list, &around.claims, &path.child("resources")));
    }
    let resize = c.resize_policy.as_deref().unwrap_or_default();
    validate_resize_policy(resize, around.restart_policy, &path.child("resizePolicy"), out);
    if let Some(context) = &c.security_context {
        security::validate_container(context, around.host_users, &path.child("securityContext"), out);
    }
}

/// An enumeration: required, and one of `supported` (in the order in which it is printed).
pub fn one_of(value: &str, supported: &[&str], path: &Path, out: &mut Errors) {
    if value.is_empty() {
        out.push(Error::required(path, ""));
    } else if !supported.contains(&value) {
        out.push(Error::not_supported(path, value, supported));
    }
}

/// Pods, not templates, refuse white space around an image.
pub fn validate_only_for_pod(c: &Container, path: &Path, out: &mut Errors) {
    let image = c.image.as_deref().unwrap_or_default();
    if image.trim() != image {
        out.push(Error::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"));
    }
}

fn validate_ports(ports: &[ContainerPort], path: &Path, out: &mut Errors) {
    let mut names = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        if let Some(name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            let wrong = invalid_each(&path.child("name"), name, names::port_name(name));
            if wrong.is_empty() && !names.insert(name) {
                out.push(Error::duplicate(&path.child("name"), name));
            }
            out.extend(wrong);
        }
        let number = port.container_port;
        if number == 0 {
            out.push(Error::required(&path.child("containerPort"), ""));
        } else {
            out.extend(invalid_each(&path.child("containerPort"), number, names::port_number(number.into())));
        }
        if let Some(number) = port.host_port.filter(|p| *p != 0) {
            out.extend(invalid_each(&path.child("hostPort"), number, names::port_number(number.into())));
        }
        one_of(port.protocol.as_deref().unwrap_or_default(), &["SCTP", "TCP", "UDP"], &path.child("protocol"), out);
    }
}

/// One port of the host can be had once.
fn validate_host_ports(containers: &[Container], path: &Path, out: &mut Errors) {
    let mut taken = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let Some(number) = port.host_port.filter(|p| *p != 0) else { continue };
            let (protocol, ip) = (port.protocol.as_deref(), port.host_ip.as_deref());
            let key = format!("{}/{}/{number}", protocol.unwrap_or_default(), ip.unwrap_or_default());
            if taken.contains(&key) {
                out.push(Error::duplicate(&path.index(i).child("ports").index(j).child("hostPort"), &key));
            }
            taken.insert(key);
        }
    }
}

fn validate_resize_policy(policies: &[ContainerResizePolicy], restart: &str, path: &Path, out: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, policy) in policies.iter().enumerate() {
        if !seen.insert(policy.resource_name.as_str()) {
            out.push(Error::duplicate(&path.index(i), &policy.resource_name));
        }
        one_of(&policy.resource_name, &["cpu", "memory"], path, out);
        one_of(&policy.restart_policy, &["NotRequired", "RestartContainer"], path, out);
        if restart == "Never" && policy.restart_policy != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            out.push(Error::invalid(path, &policy.restart_policy, detail));
        }
    }
}

/// A container's own restart policy and its rules by exit code (KEP-5307).
fn validate_restart_policy(c: &Container, path: &Path, out: &mut Errors) {
    let rules = c.restart_policy_rules.as_deref().unwrap_or_default();
    let policy_path = path.child("restartPolicy");
    match c.restart_policy.as_deref() {
        None if rules.is_empty() => return,
        None => out.push(Error::required(&policy_path, "must specify restartPolicy when restart rules are used")),
        Some("Always" | "Never" | "OnFailure") => {}
        Some(other) => out.push(Error::not_supported(&policy_path, other, &["Always", "Never", "OnFailure"])),
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > 20 {
        out.push(Error::too_many(&path, rules.len(), 20));
    }
    for (i, rule) in rules.iter().enumerate() {
        validate_restart_rule(rule, &path.index(i), out);
    }
}

fn validate_restart_rule(rule: &ContainerRestartRule, path: &Path, out: &mut Errors) {
    const ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
    if !ACTIONS.contains(&rule.action.as_str()) {
        out.push(Error::not_supported(&path.child("action"), &rule.action, &ACTIONS));
    }
    let path = path.child("exitCodes");
    let Some(codes) = &rule.exit_codes else {
        return out.push(Error::required(&path, "must be specified"));
    };
    if !matches!(codes.operator.as_str(), "In" | "NotIn") {
        out.push(Error::not_supported(&path.child("operator"), &codes.operator, &["In", "NotIn"]));
    }
    let count = codes.values.as_ref().map_or(0, Vec::len);
    if count > 255 {
        out.push(Error::too_many(&path.child("values"), count, 255));
    }
}

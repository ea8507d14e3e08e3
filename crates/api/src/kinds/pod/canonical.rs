//! A pod spec in the form in which Go writes it: what `omitempty` leaves out is left out, quantities are canonical, the two
//! names of the service account agree.
//!
//! Kubernetes decodes into structs whose zero values are not written again (`hostNetwork: false`, `env: []`); a pointer field
//! keeps what was sent. Doing the same once, at decoding, makes plain `==` Kubernetes' semantic equality.
use crate::k8s::api::core::v1::{
    Container, ContainerPort, EphemeralContainer, HTTPGetAction, Lifecycle, LifecycleHandler, PodSecurityContext,
    PodSpec, Probe, ResourceRequirements, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
};
use crate::k8s::apimachinery::pkg::api::resource::Quantity;
use crate::k8s::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use crate::quantity;
use std::collections::BTreeMap;

/// A Go zero value that `omitempty` leaves out.
pub trait Blank {
    fn blank(&self) -> bool;
}
impl Blank for String {
    fn blank(&self) -> bool {
        self.is_empty()
    }
}
impl<T> Blank for Vec<T> {
    fn blank(&self) -> bool {
        self.is_empty()
    }
}
impl<K, V> Blank for BTreeMap<K, V> {
    fn blank(&self) -> bool {
        self.is_empty()
    }
}
impl Blank for bool {
    fn blank(&self) -> bool {
        !*self
    }
}
impl Blank for i32 {
    fn blank(&self) -> bool {
        *self == 0
    }
}
impl Blank for i64 {
    fn blank(&self) -> bool {
        *self == 0
    }
}

/// Drops a zero value.
pub fn drop_blank<T: Blank>(field: &mut Option<T>) {
    if field.as_ref().is_some_and(Blank::blank) {
        *field = None;
    }
}

/// Drops the zero values among the fields of an object: `prune!(object; field, field, …)`
macro_rules! prune {
    ($object:expr; $($field:ident),+ $(,)?) => {{ $($crate::kinds::pod::canonical::drop_blank(&mut $object.$field);)+ }};
}
pub(crate) use prune;

/// Labels and annotations that are empty are absent.
pub fn metadata(meta: &mut ObjectMeta) {
    prune!(meta; labels, annotations, finalizers, owner_references, generate_name, managed_fields);
}

/// Empty parts of a selector are absent.
pub fn selector(selector: &mut LabelSelector) {
    prune!(selector; match_labels, match_expressions);
    for requirement in selector.match_expressions.iter_mut().flatten() {
        prune!(requirement; values);
    }
}

/// The same for `spec.selector` of a workload, where one that was sent empty must stay apart from none
/// ([`crate::kinds::workload::mark_empty_selector`]).
pub fn selector_keeping_empty(s: &mut LabelSelector) {
    let sent_empty = s.match_labels.as_ref().is_some_and(|l| l.is_empty()) && s.match_expressions.is_none();
    selector(s);
    if sent_empty {
        s.match_labels = Some(BTreeMap::new());
    }
}

/// A resource list as Go reads it: canonical, and rounded up to thousandths (`SetDefaults_ResourceList`).
pub fn resource_list(list: &mut Option<BTreeMap<String, Quantity>>) {
    drop_blank(list);
    if let Some(list) = list {
        quantity::canonicalize_list(list);
    }
}

/// Requests, limits and claims of a container or a pod.
pub fn resources(resources: &mut ResourceRequirements) {
    prune!(resources; claims);
    resource_list(&mut resources.limits);
    resource_list(&mut resources.requests);
    for claim in resources.claims.iter_mut().flatten() {
        prune!(claim; request);
    }
}

/// Every field of a pod spec whose zero value Go leaves out.
pub fn spec(spec: &mut PodSpec) {
    prune!(spec; volumes, init_containers, ephemeral_containers, restart_policy, dns_policy, node_selector,
        service_account_name, service_account, node_name, host_network, host_pid, host_ipc, image_pull_secrets, hostname,
        subdomain, scheduler_name, tolerations, host_aliases, priority_class_name, readiness_gates,
        topology_spread_constraints, scheduling_gates, resource_claims);
    resource_list(&mut spec.overhead);
    // `serviceAccount` is the old name of `serviceAccountName`; both are served, the new one wins.
    if spec.service_account_name.is_none() {
        spec.service_account_name = spec.service_account.take();
    }
    spec.service_account = spec.service_account_name.clone();
    if let Some(list) = &mut spec.resources {
        resources(list);
    }
    spec.volumes.iter_mut().flatten().for_each(volume);
    spec.init_containers.iter_mut().flatten().for_each(container);
    spec.containers.iter_mut().for_each(container);
    spec.ephemeral_containers.iter_mut().flatten().for_each(ephemeral);
    if let Some(context) = &mut spec.security_context {
        pod_security(context);
    }
    if let Some(dns) = &mut spec.dns_config {
        prune!(dns; nameservers, searches, options);
    }
    for toleration in spec.tolerations.iter_mut().flatten() {
        prune!(toleration; key, operator, value, effect);
    }
    for alias in spec.host_aliases.iter_mut().flatten() {
        prune!(alias; hostnames);
    }
    spec.topology_spread_constraints.iter_mut().flatten().for_each(spread);
    affinity(spec);
}

fn spread(constraint: &mut TopologySpreadConstraint) {
    prune!(constraint; match_label_keys);
    if let Some(s) = &mut constraint.label_selector {
        selector(s);
    }
}

fn affinity(spec: &mut PodSpec) {
    let Some(affinity) = &mut spec.affinity else { return };
    if let Some(node) = &mut affinity.node_affinity {
        prune!(node; preferred_during_scheduling_ignored_during_execution);
        let required = node.required_during_scheduling_ignored_during_execution.iter_mut();
        let preferred = node.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        let terms = required.flat_map(|r| r.node_selector_terms.iter_mut()).chain(preferred.map(|p| &mut p.preference));
        for term in terms {
            prune!(term; match_expressions, match_fields);
            let all = term.match_expressions.iter_mut().chain(term.match_fields.iter_mut()).flatten();
            all.for_each(|r| prune!(r; values));
        }
    }
    if let Some(pods) = &mut affinity.pod_affinity {
        prune!(pods; required_during_scheduling_ignored_during_execution,
            preferred_during_scheduling_ignored_during_execution);
    }
    if let Some(pods) = &mut affinity.pod_anti_affinity {
        prune!(pods; required_during_scheduling_ignored_during_execution,
            preferred_during_scheduling_ignored_during_execution);
    }
}

fn container(c: &mut Container) {
    prune!(c; image, command, args, working_dir, ports, env_from, env, resize_policy, volume_mounts, volume_devices,
        termination_message_path, termination_message_policy, image_pull_policy, stdin, stdin_once, tty,
        restart_policy_rules);
    // Not a pointer in Go: written as `{}` when empty.
    resources(c.resources.get_or_insert_default());
    c.ports.iter_mut().flatten().for_each(port);
    for env in c.env.iter_mut().flatten() {
        prune!(env; value);
    }
    for source in c.env_from.iter_mut().flatten() {
        prune!(source; prefix);
    }
    c.volume_mounts.iter_mut().flatten().for_each(mount);
    for p in [&mut c.liveness_probe, &mut c.readiness_probe, &mut c.startup_probe].into_iter().flatten() {
        probe(p);
    }
    if let Some(l) = &mut c.lifecycle {
        lifecycle(l);
    }
    if let Some(s) = &mut c.security_context {
        security(s);
    }
}

fn ephemeral(c: &mut EphemeralContainer) {
    prune!(c; target_container_name);
    super::containers::with_common(c, container);
}

fn port(port: &mut ContainerPort) {
    prune!(port; name, host_port, protocol, host_ip);
}

fn mount(mount: &mut VolumeMount) {
    prune!(mount; read_only, sub_path, sub_path_expr);
}

fn probe(probe: &mut Probe) {
    prune!(probe; initial_delay_seconds, timeout_seconds, period_seconds, success_threshold, failure_threshold);
    if let Some(exec) = &mut probe.exec {
        prune!(exec; command);
    }
    if let Some(tcp) = &mut probe.tcp_socket {
        prune!(tcp; host);
    }
    if let Some(http) = &mut probe.http_get {
        http_get(http);
    }
}

fn http_get(http: &mut HTTPGetAction) {
    prune!(http; path, host, scheme, http_headers);
}

fn lifecycle(lifecycle: &mut Lifecycle) {
    let handler = |handler: &mut LifecycleHandler| {
        if let Some(exec) = &mut handler.exec {
            prune!(exec; command);
        }
        if let Some(tcp) = &mut handler.tcp_socket {
            prune!(tcp; host);
        }
        if let Some(http) = &mut handler.http_get {
            http_get(http);
        }
    };
    lifecycle.post_start.iter_mut().for_each(handler);
    lifecycle.pre_stop.iter_mut().for_each(handler);
}

fn security(context: &mut SecurityContext) {
    if let Some(capabilities) = &mut context.capabilities {
        prune!(capabilities; add, drop);
    }
    if let Some(options) = &mut context.se_linux_options {
        prune!(options; level, role, type_, user);
    }
}

fn pod_security(context: &mut PodSecurityContext) {
    prune!(context; supplemental_groups, sysctls);
    if let Some(options) = &mut context.se_linux_options {
        prune!(options; level, role, type_, user);
    }
}

fn volume(v: &mut Volume) {
    if let Some(s) = &mut v.secret {
        prune!(s; secret_name, items);
    }
    if let Some(s) = &mut v.config_map {
        prune!(s; items);
    }
    if let Some(s) = &mut v.downward_api {
        prune!(s; items);
    }
    if let Some(s) = &mut v.empty_dir {
        prune!(s; medium);
        s.size_limit.iter_mut().for_each(quantity::canonicalize);
    }
    if let Some(s) = &mut v.persistent_volume_claim {
        prune!(s; read_only);
    }
    if let Some(s) = &mut v.nfs {
        prune!(s; read_only);
    }
    if let Some(s) = &mut v.csi {
        prune!(s; volume_attributes);
    }
    if let Some(s) = &mut v.image {
        prune!(s; reference, pull_policy);
    }
    for source in v.projected.iter_mut().flat_map(|p| p.sources.iter_mut().flatten()) {
        if let Some(s) = &mut source.secret {
            prune!(s; items);
        }
        if let Some(s) = &mut source.config_map {
            prune!(s; items);
        }
        if let Some(s) = &mut source.downward_api {
            prune!(s; items);
        }
        if let Some(s) = &mut source.service_account_token {
            prune!(s; audience);
        }
    }
}

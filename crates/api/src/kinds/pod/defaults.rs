//! What Kubernetes fills into a pod spec (`pkg/apis/core/v1/defaults.go` and the declarative defaults in `types.go`).
//!
//! [`spec`] runs on every pod spec, also inside templates; [`pod`] adds what only real pods get.
use super::{canonical, containers, image, resources};
use crate::k8s::api::core::v1::{
    Container, DownwardAPIVolumeFile, HTTPGetAction, Pod, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource,
    Volume,
};
use crate::k8s::apimachinery::pkg::api::resource::Quantity;
use crate::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// `v1.DefaultTerminationGracePeriodSeconds`
pub const GRACE_PERIOD_SECONDS: i64 = 30;
/// The mode of files in volumes, 0644.
const FILE_MODE: i32 = 0o644;

/// The template of a workload. `metadata` and `spec` are no pointers in Go: they are always there.
pub fn template(template: &mut PodTemplateSpec) {
    let meta = template.metadata.get_or_insert_default();
    canonical::metadata(meta);
    drop_init_container_annotations(meta);
    spec(template.spec.get_or_insert_default());
}

/// A pod: what its spec gets, and what templates are spared so that they stay as written.
pub fn pod(pod: &mut Pod) {
    canonical::metadata(&mut pod.metadata);
    drop_init_container_annotations(&mut pod.metadata);
    let pod_spec = pod.spec.get_or_insert_default();
    spec(pod_spec);
    for container in containers::main_and_init_mut(pod_spec) {
        requests_from_limits(container);
    }
    resources::default_pod_level(pod_spec);
    pod_spec.enable_service_links.get_or_insert(true);
    if pod_spec.host_network == Some(true) {
        containers::main_and_init_mut(pod_spec).for_each(host_ports);
    }
    pod.status.get_or_insert_default();
}

/// `SetDefaults_PodSpec` and the defaults of all that is in it.
pub fn spec(spec: &mut PodSpec) {
    canonical::spec(spec);
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".to_owned());
    spec.restart_policy.get_or_insert_with(|| "Always".to_owned());
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(GRACE_PERIOD_SECONDS);
    spec.scheduler_name.get_or_insert_with(|| "default-scheduler".to_owned());
    spec.volumes.iter_mut().flatten().for_each(volume);
    containers::main_and_init_mut(spec).for_each(container);
    for ephemeral in spec.ephemeral_containers.iter_mut().flatten() {
        containers::with_common(ephemeral, container);
    }
}

/// Annotations of alpha init containers (1.3) never come back (`dropInitContainerAnnotations`).
fn drop_init_container_annotations(meta: &mut ObjectMeta) {
    const OLD: [&str; 4] = [
        "pod.beta.kubernetes.io/init-containers",
        "pod.alpha.kubernetes.io/init-containers",
        "pod.beta.kubernetes.io/init-container-statuses",
        "pod.alpha.kubernetes.io/init-container-statuses",
    ];
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|key, _| !OLD.contains(&key.as_str()));
        canonical::drop_blank(&mut meta.annotations);
    }
}

fn container(c: &mut Container) {
    let pull_policy = image::default_pull_policy(c.image.as_deref().unwrap_or_default());
    c.image_pull_policy.get_or_insert_with(|| pull_policy.to_owned());
    c.termination_message_path.get_or_insert_with(|| "/dev/termination-log".to_owned());
    c.termination_message_policy.get_or_insert_with(|| "File".to_owned());
    for port in c.ports.iter_mut().flatten() {
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
    }
    for source in c.env.iter_mut().flatten().filter_map(|e| e.value_from.as_mut()) {
        if let Some(field) = &mut source.field_ref {
            field_api_version(&mut field.api_version);
        }
        if let Some(field) = &mut source.resource_field_ref {
            divisor(&mut field.divisor);
        }
        if let Some(file) = &mut source.file_key_ref {
            file.optional.get_or_insert(false);
        }
    }
    for p in [&mut c.liveness_probe, &mut c.readiness_probe, &mut c.startup_probe].into_iter().flatten() {
        probe(p);
    }
    if let Some(lifecycle) = &mut c.lifecycle {
        let handlers = [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten();
        handlers.filter_map(|h| h.http_get.as_mut()).for_each(http_get);
    }
}

fn probe(probe: &mut Probe) {
    probe.timeout_seconds.get_or_insert(1);
    probe.period_seconds.get_or_insert(10);
    probe.success_threshold.get_or_insert(1);
    probe.failure_threshold.get_or_insert(3);
    if let Some(http) = &mut probe.http_get {
        http_get(http);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn http_get(http: &mut HTTPGetAction) {
    http.path.get_or_insert_with(|| "/".to_owned());
    http.scheme.get_or_insert_with(|| "HTTP".to_owned());
}

fn field_api_version(version: &mut Option<String>) {
    canonical::drop_blank(version);
    version.get_or_insert_with(|| "v1".to_owned());
}

/// Not a pointer in Go: the zero quantity is written.
fn divisor(divisor: &mut Option<Quantity>) {
    crate::quantity::canonicalize(divisor.get_or_insert_with(|| Quantity("0".to_owned())));
}

fn downward_file(file: &mut DownwardAPIVolumeFile) {
    if let Some(field) = &mut file.field_ref {
        field_api_version(&mut field.api_version);
    }
    if let Some(field) = &mut file.resource_field_ref {
        divisor(&mut field.divisor);
    }
}

/// An empty request is taken from the limit, in pods only: a template keeps what was written.
fn requests_from_limits(c: &mut Container) {
    let Some(list) = &mut c.resources else { return };
    let Some(limits) = &list.limits else { return };
    let requests = list.requests.get_or_insert_default();
    for (name, value) in limits {
        requests.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

fn host_ports(c: &mut Container) {
    for port in c.ports.iter_mut().flatten() {
        if port.host_port.is_none() && port.container_port != 0 {
            port.host_port = Some(port.container_port);
        }
    }
}

fn volume(v: &mut Volume) {
    if super::volumes::sources(v).is_empty() {
        v.empty_dir = Some(Default::default());
    }
    if let Some(s) = &mut v.secret {
        s.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(s) = &mut v.config_map {
        s.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(s) = &mut v.downward_api {
        s.default_mode.get_or_insert(FILE_MODE);
        s.items.iter_mut().flatten().for_each(downward_file);
    }
    if let Some(s) = &mut v.projected {
        projected(s);
    }
    if let Some(s) = &mut v.host_path {
        s.type_.get_or_insert_default();
    }
    if let Some(s) = &mut v.image {
        let policy = image::default_pull_policy(s.reference.as_deref().unwrap_or_default());
        s.pull_policy.get_or_insert_with(|| policy.to_owned());
    }
    if let Some(claim) = v.ephemeral.as_mut().and_then(|e| e.volume_claim_template.as_mut()) {
        claim.spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
        let resources = claim.spec.resources.get_or_insert_default();
        canonical::resource_list(&mut resources.limits);
        canonical::resource_list(&mut resources.requests);
    }
    network_disks(v);
}

fn projected(s: &mut ProjectedVolumeSource) {
    s.default_mode.get_or_insert(FILE_MODE);
    for source in s.sources.iter_mut().flatten() {
        if let Some(token) = &mut source.service_account_token {
            token.expiration_seconds.get_or_insert(3600);
        }
        if let Some(downward) = &mut source.downward_api {
            downward.items.iter_mut().flatten().for_each(downward_file);
        }
    }
}

fn network_disks(v: &mut Volume) {
    let text = |field: &mut Option<String>, value: &str| {
        canonical::drop_blank(field);
        field.get_or_insert_with(|| value.to_owned());
    };
    if let Some(s) = &mut v.iscsi {
        text(&mut s.iscsi_interface, "default");
    }
    if let Some(s) = &mut v.rbd {
        text(&mut s.pool, "rbd");
        text(&mut s.user, "admin");
        text(&mut s.keyring, "/etc/ceph/keyring");
    }
    if let Some(s) = &mut v.azure_disk {
        s.caching_mode.get_or_insert_with(|| "ReadWrite".to_owned());
        s.kind.get_or_insert_with(|| "Shared".to_owned());
        s.fs_type.get_or_insert_with(|| "ext4".to_owned());
        s.read_only.get_or_insert(false);
    }
    if let Some(s) = &mut v.scale_io {
        text(&mut s.storage_mode, "ThinProvisioned");
        text(&mut s.fs_type, "xfs");
    }
}

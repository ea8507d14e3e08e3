//! Pod: containers that live and die together on one node (`pkg/registry/core/pod/strategy.go`, `pkg/apis/core/validation`).
//!
//! The rules of a pod *spec* serve the templates of all workloads too; they are split by idea: [`defaults`], [`spec`] and
//! what it calls, [`warnings`]. What only pods have: [`update`], [`status`], and the subresources [`binding`],
//! [`ephemeral`], [`resize`], which the API server calls by name.
pub mod annotations;
pub mod binding;
pub mod canonical;
pub mod containers;
pub mod defaults;
pub mod diff;
pub mod disks;
pub mod env;
pub mod ephemeral;
pub mod image;
pub mod internal;
pub mod mounts;
pub mod network;
pub mod printing;
pub mod probes;
pub mod projected;
pub mod qos;
pub mod resize;
pub mod resources;
pub mod scheduling;
pub mod security;
pub mod spec;
pub mod status;
pub mod strategy;
pub mod template;
pub mod update;
pub mod volumes;
pub mod warnings;
pub mod windows;

use crate::catalogue::{Deletion, Descriptor, Kind, PrintContext, Scope, Subresource};
use crate::field::{Errors, Path};
use crate::k8s::api::core::v1::Pod;
use crate::kinds::rules::text;
use serde_json::Value;

/// The row of pods.
pub struct Pods;

const STREAM: &[&str] = &["create", "get"];
const CHANGE: &[&str] = &["get", "patch", "update"];

const fn subresource(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, group: "", version: "", kind, verbs }
}

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["po"],
    categories: &["all"],
    status: true,
    generation: true,
    subresources: &[
        subresource("attach", "PodAttachOptions", STREAM),
        subresource("binding", "Binding", &["create"]),
        subresource("ephemeralcontainers", "Pod", CHANGE),
        Subresource { name: "eviction", group: "policy", version: "v1", kind: "Eviction", verbs: &["create"] },
        subresource("exec", "PodExecOptions", STREAM),
        subresource("log", "Pod", &["get"]),
        subresource("portforward", "PodPortForwardOptions", STREAM),
        subresource("proxy", "PodProxyOptions", &["create", "delete", "get", "patch", "update"]),
        subresource("resize", "Pod", CHANGE),
    ],
    ..Descriptor::new(("", "v1"), "Pod", "pods", "pod", Scope::Namespaced, printing::COLUMNS)
};

impl Kind for Pods {
    type Object = Pod;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(pod: &mut Pod) {
        defaults::pod(pod);
        status::canonical(pod.status.get_or_insert_default());
    }
    fn prepare_create(pod: &mut Pod) {
        strategy::prepare_create(pod);
    }
    fn validate(pod: &Pod) -> Errors {
        update::validate_create(pod)
    }
    fn prepare_update(new: &mut Pod, old: &Pod) {
        new.status = old.status.clone();
        strategy::bump_generation(new, old);
    }
    fn validate_update(new: &Pod, old: &Pod) -> Errors {
        update::validate_update(new, old)
    }
    fn prepare_status_update(new: &mut Pod, old: &Pod) {
        status::prepare_update(new, old);
    }
    fn validate_status_update(new: &Pod, old: &Pod) -> Errors {
        status::validate_update(new, old)
    }
    fn warnings(new: &Pod, old: Option<&Pod>) -> Vec<String> {
        // People seldom change pods by hand: upstream saves the work on updates.
        if old.is_some() { Vec::new() } else { warnings::pod(new) }
    }
    fn fields(pod: &Pod) -> Vec<(&'static str, String)> {
        let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
        let of_spec = |f: fn(&crate::k8s::api::core::v1::PodSpec) -> &Option<String>| {
            spec.map(|s| text(f(s)).to_owned()).unwrap_or_default()
        };
        let of_status = |f: fn(&crate::k8s::api::core::v1::PodStatus) -> &Option<String>| {
            status.map(|s| text(f(s)).to_owned()).unwrap_or_default()
        };
        let ips = || status.iter().flat_map(|s| s.pod_ips.iter().flatten()).map(|ip| ip.ip.clone());
        vec![
            ("spec.nodeName", of_spec(|s| &s.node_name)),
            ("spec.restartPolicy", of_spec(|s| &s.restart_policy)),
            ("spec.schedulerName", of_spec(|s| &s.scheduler_name)),
            ("spec.serviceAccountName", of_spec(|s| &s.service_account_name)),
            ("spec.hostNetwork", (spec.and_then(|s| s.host_network) == Some(true)).to_string()),
            ("status.phase", of_status(|s| &s.phase)),
            ("status.podIP", ips().next().unwrap_or_default()),
            ("status.podIPs", ips().collect::<Vec<_>>().join(",")),
            ("status.nominatedNodeName", of_status(|s| &s.nominated_node_name)),
        ]
    }
    fn cells(pod: &Pod, cx: &PrintContext) -> Vec<Value> {
        printing::cells(pod, cx)
    }
    fn deletion(pod: &Pod, requested: Option<i64>) -> Deletion {
        strategy::deletion(pod, requested)
    }
    fn returns_deleted() -> bool {
        true
    }
}

/// `metadata`
fn meta_path() -> Path {
    Path::new("metadata")
}

/// `spec`
fn spec_path() -> Path {
    Path::new("spec")
}

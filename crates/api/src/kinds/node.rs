//! Node: a machine of the cluster (`pkg/registry/core/node/strategy.go`).
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope, Subresource};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{ConfigMapNodeConfigSource, Node, NodeConfigSource, NodeSpec, Taint};
use crate::kinds::addresses;
use crate::kinds::internal;
use crate::kinds::resource_names;
use crate::kinds::rules::{self, drop_empty, drop_empty_list, text};
use crate::names;
use crate::names::address::parse_cidr_sloppy;
use crate::print::{AGE, NAME, age_cell, column, none_if_empty, wide};
use crate::quantity::canonicalize_list;
use serde_json::Value;
use std::collections::BTreeSet;

pub struct Nodes;

const COLUMNS: [Column; 10] = [
    NAME,
    column("Status", "Whether the node is ready for pods."),
    column("Roles", "What the node is for, by its labels."),
    AGE,
    column("Version", "The version of the node agent."),
    wide("Internal-IP", "The address of the node within the cluster."),
    wide("External-IP", "The address of the node from outside."),
    wide("OS-Image", "The operating system of the node."),
    wide("Kernel-Version", "The kernel of the node."),
    wide("Container-Runtime", "What runs the containers of the node."),
];

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["no"],
    status: true,
    subresources: &[Subresource {
        name: "proxy",
        group: "",
        version: "",
        kind: "NodeProxyOptions",
        verbs: &["create", "delete", "get", "patch", "update"],
    }],
    ..Descriptor::new(("", "v1"), "Node", "nodes", "node", Scope::Cluster, &COLUMNS)
};

impl Kind for Nodes {
    type Object = Node;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut Node) {
        default_spec(object.spec.get_or_insert_default());
        let status = object.status.get_or_insert_default();
        for list in [&mut status.capacity, &mut status.allocatable].into_iter().flatten() {
            canonicalize_list(list);
        }
        if status.allocatable.is_none() {
            status.allocatable.clone_from(&status.capacity);
        }
        // Structs that Go writes out even when nobody said anything.
        status.daemon_endpoints.get_or_insert_default().kubelet_endpoint.get_or_insert_default();
        status.node_info.get_or_insert_default();
    }
    fn validate(object: &Node) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        let Some(spec) = &object.spec else { return out };
        out.extend(validate_taints(spec.taints.as_deref().unwrap_or_default(), &rules::metadata().child("taints")));
        out.extend(validate_resources(object));
        out.extend(validate_pod_cidrs(spec));
        out
    }
    fn prepare_update(new: &mut Node, old: &Node) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &Node, old: &Node) -> Errors {
        let mut out = Self::validate(new);
        out.extend(Self::validate_status_update(new, old));
        out
    }
    fn prepare_status_update(new: &mut Node, old: &Node) {
        new.spec.clone_from(&old.spec);
    }
    /// `ValidateNodeUpdate`
    fn validate_status_update(new: &Node, old: &Node) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        out.extend(validate_resources(new));
        let addresses = new.status.iter().flat_map(|s| s.addresses.iter().flatten());
        let mut seen = BTreeSet::new();
        for (i, address) in addresses.enumerate() {
            if !seen.insert((address.type_.as_str(), address.address.as_str())) {
                out.push(Error::duplicate(
                    &Path::new("status").child("addresses").index(i),
                    internal::NodeAddress::from(address),
                ));
            }
        }
        let nothing = NodeSpec::default();
        let (spec, before) = (new.spec.as_ref().unwrap_or(&nothing), old.spec.as_ref().unwrap_or(&nothing));
        validate_kept(spec, before, &mut out);
        if let Some(source) = &spec.config_source {
            config_source(source, ConfigPlace::Spec, &Path::new("spec").child("configSource"), &mut out);
        }
        if let Some(config) = new.status.as_ref().and_then(|s| s.config.as_ref()) {
            let path = Path::new("status").child("config");
            let parts = [
                (&config.assigned, "assigned"),
                (&config.active, "active"),
                (&config.last_known_good, "lastKnownGood"),
            ];
            for (source, field) in parts {
                if let Some(source) = source {
                    config_source(source, ConfigPlace::Status, &path.child(field), &mut out);
                }
            }
        }
        out.extend(validate_taints(spec.taints.as_deref().unwrap_or_default(), &rules::metadata().child("taints")));
        if text(&spec.external_id) != text(&before.external_id) {
            out.push(Error::forbidden(&Path::new("spec").child("externalID"), "may not be updated"));
        }
        out
    }
    fn warnings(new: &Node, _old: Option<&Node>) -> Vec<String> {
        let Some(spec) = &new.spec else { return Vec::new() };
        let path = Path::new("spec");
        let mut out = Vec::new();
        if spec.config_source.is_some() {
            out.push(
                "spec.configSource: the feature is no longer supported since Kubernetes v1.24 and the field will be ignored"
                    .into(),
            );
        }
        if !text(&spec.external_id).is_empty() {
            out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        for (i, cidr) in spec.pod_cidrs.iter().flatten().enumerate() {
            out.extend(addresses::cidr_warnings(&path.child("podCIDRs").index(i), cidr));
        }
        out
    }
    fn fields(object: &Node) -> Vec<(&'static str, String)> {
        let unschedulable = object.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or_default();
        vec![("spec.unschedulable", unschedulable.to_string())]
    }
    fn cells(object: &Node, cx: &PrintContext) -> Vec<Value> {
        let info = object.status.as_ref().and_then(|s| s.node_info.as_ref());
        let known = |value: Option<&String>| match value.map(String::as_str) {
            None | Some("") => "<unknown>".to_owned(),
            Some(value) => value.to_owned(),
        };
        vec![
            object.metadata.name.clone().into(),
            status_words(object).into(),
            roles(object).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            info.map(|i| i.kubelet_version.clone()).unwrap_or_default().into(),
            address(object, "InternalIP").into(),
            address(object, "ExternalIP").into(),
            known(info.map(|i| &i.os_image)).into(),
            known(info.map(|i| &i.kernel_version)).into(),
            known(info.map(|i| &i.container_runtime_version)).into(),
        ]
    }
}

fn status_words(node: &Node) -> String {
    let mut conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.rfind(|c| c.type_ == "Ready").map(|c| c.status == "True");
    let mut words = match ready {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
        words.push_str(",SchedulingDisabled");
    }
    words
}

/// The roles a node's labels say: `node-role.kubernetes.io/ROLE` and the older `kubernetes.io/role`.
fn roles(node: &Node) -> String {
    let mut out = BTreeSet::new();
    for (key, value) in node.metadata.labels.iter().flatten() {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role,
            None if key == "kubernetes.io/role" => value,
            None => continue,
        };
        if !role.is_empty() {
            out.insert(role);
        }
    }
    none_if_empty(out.into_iter().collect::<Vec<_>>().join(","))
}

fn address(node: &Node, kind: &str) -> String {
    let mut addresses = node.status.iter().flat_map(|s| s.addresses.iter().flatten());
    none_if_empty(addresses.find(|a| a.type_ == kind).map(|a| a.address.clone()).unwrap_or_default())
}

/// `podCIDR` is the first of `podCIDRs`, whichever of the two was sent (`Convert_v1_NodeSpec_To_core_NodeSpec`).
fn default_spec(spec: &mut NodeSpec) {
    drop_empty(&mut spec.pod_cidr);
    drop_empty(&mut spec.provider_id);
    drop_empty(&mut spec.external_id);
    drop_empty_list(&mut spec.pod_cidrs);
    drop_empty_list(&mut spec.taints);
    if spec.unschedulable == Some(false) {
        spec.unschedulable = None;
    }
    if let Some(cidr) = &spec.pod_cidr {
        let first = spec.pod_cidrs.as_ref().and_then(|c| c.first());
        if first != Some(cidr) {
            spec.pod_cidrs = Some(vec![cidr.clone()]);
        }
    }
    spec.pod_cidr = spec.pod_cidrs.as_ref().and_then(|c| c.first().cloned());
}

fn validate_resources(node: &Node) -> Errors {
    let mut out = Errors::new();
    let Some(status) = &node.status else { return out };
    for (list, field) in [(&status.capacity, "capacity"), (&status.allocatable, "allocatable")] {
        for (name, value) in list.iter().flatten() {
            let path = Path::new("status").child(field).child(name);
            out.extend(resource_names::validate_value(name, value, &path));
        }
    }
    out
}

/// `validateNodeTaints`
pub fn validate_taints(taints: &[Taint], path: &Path) -> Errors {
    let mut out = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let path = path.index(i);
        out.extend(names::validate_label_name(&taint.key, &path.child("key")));
        let faults = names::label_value(text(&taint.value));
        if !faults.is_empty() {
            out.push(Error::invalid(&path.child("value"), text(&taint.value), faults.join(";")));
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if taint.effect.is_empty() {
            out.push(Error::required(&path.child("effect"), ""));
        } else if !effects.contains(&taint.effect.as_str()) {
            out.push(Error::not_supported(&path.child("effect"), &taint.effect, &effects));
        }
        if !seen.insert((taint.effect.as_str(), taint.key.as_str())) {
            let mut error = Error::duplicate(&path, internal::Taint::from(taint));
            error.detail = "taints must be unique by key and effect pair".into();
            out.push(error);
        }
    }
    out
}

fn validate_pod_cidrs(spec: &NodeSpec) -> Errors {
    let mut out = Errors::new();
    let path = Path::new("spec").child("podCIDRs");
    let cidrs = spec.pod_cidrs.as_deref().unwrap_or_default();
    for (i, cidr) in cidrs.iter().enumerate() {
        out.extend(addresses::cidr(cidr, &[], &path.index(i)));
    }
    if cidrs.len() < 2 {
        return out;
    }
    let families: BTreeSet<bool> =
        cidrs.iter().filter_map(|c| parse_cidr_sloppy(c)).map(|(a, _)| a.is_ipv6()).collect();
    if families.len() < 2 || cidrs.len() > 2 {
        out.push(Error::invalid(&path, cidrs, "may specify no more than one CIDR for each IP family"));
    }
    let mut seen = BTreeSet::new();
    for (i, cidr) in cidrs.iter().enumerate() {
        if !seen.insert(cidr) {
            out.push(Error::duplicate(&path.index(i), cidr));
        }
    }
    out
}

/// What a node keeps once it has it.
fn validate_kept(spec: &NodeSpec, before: &NodeSpec, out: &mut Errors) {
    let words = |field: &str| format!("node updates may not change {field} except from \"\" to valid");
    let had = before.pod_cidrs.as_deref().unwrap_or_default();
    let has = spec.pod_cidrs.as_deref().unwrap_or_default();
    let path = Path::new("spec");
    if !had.is_empty() {
        let changes = if had.len() == has.len() { had.iter().zip(has).filter(|(a, b)| a != b).count() } else { 1 };
        for _ in 0..changes {
            out.push(Error::forbidden(&path.child("podCIDRs"), words("podCIDR")));
        }
    }
    let provider = text(&before.provider_id);
    if !provider.is_empty() && provider != text(&spec.provider_id) {
        out.push(Error::forbidden(&path.child("providerID"), words("providerID")));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ConfigPlace {
    Spec,
    Status,
}

/// Dynamic kubelet configuration is gone; its fields are still checked.
fn config_source(source: &NodeConfigSource, place: ConfigPlace, path: &Path, out: &mut Errors) {
    match &source.config_map {
        Some(config) => config_map_source(config, place, &path.child("configMap"), out),
        None => out.push(Error::invalid(path, source, "exactly one reference subfield must be non-nil")),
    }
}

fn config_map_source(source: &ConfigMapNodeConfigSource, place: ConfigPlace, path: &Path, out: &mut Errors) {
    for (value, field) in [(&source.uid, "uid"), (&source.resource_version, "resourceVersion")] {
        let set = !text(value).is_empty();
        match place {
            ConfigPlace::Spec if set => {
                out.push(Error::forbidden(&path.child(field), format!("{field} must not be set in spec")));
            }
            ConfigPlace::Status if !set => {
                out.push(Error::required(&path.child(field), format!("{field} must be set in status")));
            }
            _ => {}
        }
    }
    type Check = fn(&str) -> Vec<String>;
    let parts: [(&str, &str, Check); 3] = [
        (&source.namespace, "namespace", |v| names::dns1123_label(v, false)),
        (&source.name, "name", |v| names::dns1123_subdomain(v, false)),
        (&source.kubelet_config_key, "kubeletConfigKey", names::config_map_key),
    ];
    for (value, field, check) in parts {
        let path = path.child(field);
        if value.is_empty() {
            out.push(Error::required(&path, format!("{field} must be set")));
        } else {
            out.extend(invalid_each(&path, value, check(value)));
        }
    }
}

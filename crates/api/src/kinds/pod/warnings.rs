//! Texts of `Warning` headers for pods and templates (`pkg/api/pod/warnings.go`): right by the rules, wrong by experience.
use super::{annotations, containers};
use crate::field::Path;
use crate::k8s::api::core::v1::{
    Container, ContainerPort, NodeSelectorTerm, Pod, PodAffinityTerm, PodSpec, PodTemplateSpec, Volume,
    WeightedPodAffinityTerm,
};
use crate::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use crate::kinds::resource_names::ResourceList;
use crate::kinds::rules::text;
use crate::names;
use std::collections::{BTreeMap, BTreeSet};

/// `GetWarningsForPod`, and what the pod's name gives cause for.
pub fn pod(pod: &Pod) -> Vec<String> {
    let mut out = Vec::new();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let wrong = names::dns1123_label(name, false);
    if !wrong.is_empty() {
        out.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
    if let Some(spec) = &pod.spec {
        app_armor_annotations(&pod.metadata, spec, &Path::root(), &mut out);
        all(spec, &pod.metadata, &Path::root(), &mut out);
    }
    out
}

/// Of a workload's template at `path`, with what the workload's own name gives cause for.
pub fn workload(meta: &ObjectMeta, template: Option<&PodTemplateSpec>, path: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let wrong = names::dns1123_label(meta.name.as_deref().unwrap_or_default(), false);
    if !wrong.is_empty() {
        out.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
    out.extend(template.map(|t| of_template(t, path)).unwrap_or_default());
    out
}

/// `GetWarningsForPodTemplate`
pub fn of_template(template: &PodTemplateSpec, path: &Path) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(spec) = &template.spec {
        let meta = template.metadata.clone().unwrap_or_default();
        all(spec, &meta, path, &mut out);
        app_armor_annotations(&meta, spec, path, &mut out);
    }
    out
}

fn all(spec: &PodSpec, meta: &ObjectMeta, root: &Path, out: &mut Vec<String>) {
    let path = root.child("spec");
    node_labels(spec, &path, out);
    old_annotations(meta, root, out);
    spec.volumes.iter().flatten().enumerate().for_each(|(i, v)| volume(v, &path.child("volumes").index(i), out));
    token_paths(spec, &path.child("volumes"), out);
    repeated_entries(spec, &path, out);
    fractions(spec.overhead.as_ref(), &path.child("overhead"), out);
    let annotation = |key: &str| meta.annotations.as_ref().is_some_and(|a| a.contains_key(key));
    let annotation_path = root.child("metadata").child("annotations");
    let seccomp = |key: &str, out: &mut Vec<String>| {
        if annotation(key) {
            let path = annotation_path.key(key);
            out.push(format!("{path}: non-functional in v1.27+; use the \"seccompProfile\" field instead"));
        }
    };
    if spec.security_context.as_ref().is_none_or(|s| s.seccomp_profile.is_none()) {
        seccomp(annotations::SECCOMP_POD, out);
    }
    let visited = containers::visit(spec, &path);
    for (path, container) in &visited {
        if container.security_context.as_ref().is_none_or(|s| s.seccomp_profile.is_none()) {
            seccomp(&format!("{}{}", annotations::SECCOMP_CONTAINER_PREFIX, container.name), out);
        }
        if let Some(resources) = &container.resources {
            fractions(resources.limits.as_ref(), &path.child("resources").child("limits"), out);
            fractions(resources.requests.as_ref(), &path.child("resources").child("requests"), out);
        }
        hidden_env(container, &path.child("env"), out);
    }
    ports(visited.iter().map(|(path, c)| (path, c.as_ref())), out);
    if spec.termination_grace_period_seconds.is_some_and(|s| s < 0) {
        let path = path.child("terminationGracePeriodSeconds");
        out.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    null_selectors(spec, &path.child("affinity"), out);
}

/// Labels of nodes that have other names today.
pub fn deprecated_node_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        _ => return None,
    })
}

fn node_labels(spec: &PodSpec, path: &Path, out: &mut Vec<String>) {
    for key in spec.node_selector.iter().flat_map(BTreeMap::keys) {
        if let Some(message) = deprecated_node_label(key) {
            out.push(format!("{}: {message}", path.child("nodeSelector").key(key)));
        }
    }
    if let Some(node) = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref()) {
        let path = path.child("affinity").child("nodeAffinity");
        let required = path.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
        let terms = node.required_during_scheduling_ignored_during_execution.iter();
        for (i, term) in terms.flat_map(|r| &r.node_selector_terms).enumerate() {
            node_term(term, &required.index(i), out);
        }
        let preferred = path.child("preferredDuringSchedulingIgnoredDuringExecution");
        for (i, term) in node.preferred_during_scheduling_ignored_during_execution.iter().flatten().enumerate() {
            node_term(&term.preference, &preferred.index(i).child("preference"), out);
        }
    }
    for (i, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let path = path.child("topologySpreadConstraints").index(i);
        let key = &constraint.topology_key;
        if let Some(message) = deprecated_node_label(key) {
            out.push(format!("{}: {key} is {message}", path.child("topologyKey")));
        }
        if constraint.label_selector.is_none() {
            out.push(format!("{}: {NO_SELECTOR}", path.child("labelSelector")));
        }
    }
}

const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";

fn node_term(term: &NodeSelectorTerm, path: &Path, out: &mut Vec<String>) {
    for (i, expression) in term.match_expressions.iter().flatten().enumerate() {
        if let Some(message) = deprecated_node_label(&expression.key) {
            let path = path.child("matchExpressions").index(i).child("key");
            out.push(format!("{path}: {} is {message}", expression.key));
        }
    }
}

fn old_annotations(meta: &ObjectMeta, root: &Path, out: &mut Vec<String>) {
    const OLD: [(&str, &str); 3] = [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            "non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ),
        ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
        ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ];
    let path = root.child("metadata").child("annotations");
    for (key, message) in OLD {
        if meta.annotations.as_ref().is_some_and(|a| a.contains_key(key)) {
            out.push(format!("{}: {message}", path.key(key)));
        }
    }
}

fn app_armor_annotations(meta: &ObjectMeta, spec: &PodSpec, root: &Path, out: &mut Vec<String>) {
    let path = root.child("metadata").child("annotations");
    let of_pod = spec.security_context.as_ref().is_some_and(|s| s.app_armor_profile.is_some());
    for (_, container) in containers::visit(spec, root) {
        let own = container.security_context.as_ref().is_some_and(|s| s.app_armor_profile.is_some());
        let key = format!("{}{}", annotations::APP_ARMOR_PREFIX, container.name);
        if !of_pod && !own && meta.annotations.as_ref().is_some_and(|a| a.contains_key(&key)) {
            out.push(format!("{}: deprecated since v1.30; use the \"appArmorProfile\" field instead", path.key(&key)));
        }
    }
}

/// Volume plug-ins that are gone or going.
fn volume(v: &Volume, path: &Path, out: &mut Vec<String>) {
    let old = [
        (v.photon_persistent_disk.is_some(), "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        (v.git_repo.is_some(), "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
        (v.scale_io.is_some(), "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        (v.flocker.is_some(), "flocker", "deprecated in v1.22, non-functional in v1.25+"),
        (v.storageos.is_some(), "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        (v.quobyte.is_some(), "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
        (v.glusterfs.is_some(), "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        (v.cephfs.is_some(), "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        (v.rbd.is_some(), "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    for (_, field, message) in old.iter().filter(|(used, ..)| *used) {
        out.push(format!("{}: {message}", path.child(field)));
    }
    if let Some(claim) = v.ephemeral.as_ref().and_then(|e| e.volume_claim_template.as_ref()) {
        let path = path.child("ephemeral").child("volumeClaimTemplate").child("spec").child("resources");
        let storage = |list: &Option<ResourceList>, field: &str, out: &mut Vec<String>| {
            fraction(list.as_ref(), "storage", &path.child(field), out);
        };
        if let Some(resources) = &claim.spec.resources {
            storage(&resources.requests, "requests", out);
            storage(&resources.limits, "limits", out);
        }
    }
}

/// Other files at the place where a token goes.
fn token_paths(spec: &PodSpec, path: &Path, out: &mut Vec<String>) {
    let projected = || spec.volumes.iter().flatten().enumerate().filter_map(|(i, v)| Some((i, v.projected.as_ref()?)));
    let tokens: BTreeSet<&str> = projected()
        .flat_map(|(_, p)| p.sources.iter().flatten())
        .filter_map(|s| Some(s.service_account_token.as_ref()?.path.as_str()))
        .collect();
    let warning = |path: Path, file: &str| format!("{path}: has duplicated path with ServiceAccountToken {file:?}");
    for (i, p) in projected().filter(|_| !tokens.is_empty()) {
        let path = path.index(i).child("projected").child("sources");
        for source in p.sources.iter().flatten() {
            let maps = source.config_map.iter().flat_map(|s| s.items.iter().flatten()).map(|k| k.path.as_str());
            let secrets = source.secret.iter().flat_map(|s| s.items.iter().flatten()).map(|k| k.path.as_str());
            let fields = source.downward_api.iter().flat_map(|s| s.items.iter().flatten()).map(|f| f.path.as_str());
            let mut check = |files: Vec<&str>, field: &str| {
                let taken = files.iter().enumerate().filter(|(_, file)| tokens.contains(**file));
                out.extend(taken.map(|(j, file)| warning(path.child(field).index(j), file)));
            };
            check(maps.collect(), "configMap");
            check(secrets.collect(), "secrets");
            check(fields.collect(), "downwardAPI");
            if let Some(bundle) = source.cluster_trust_bundle.as_ref().filter(|b| tokens.contains(b.path.as_str())) {
                out.push(warning(path.child("ClusterTrustBundle"), &bundle.path));
            }
        }
    }
}

/// Lists that merge by a key should have it once.
fn repeated_entries(spec: &PodSpec, path: &Path, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (i, alias) in spec.host_aliases.iter().flatten().enumerate().filter(|(_, a)| !seen.insert(a.ip.as_str())) {
        out.push(format!("{}: duplicate ip {:?}", path.child("hostAliases").index(i).child("ip"), alias.ip));
    }
    let names = || spec.image_pull_secrets.iter().flatten().map(|s| s.name.as_str()).enumerate();
    let at = |i: usize| path.child("imagePullSecrets").index(i).child("name");
    let mut seen = BTreeSet::new();
    out.extend(names().filter(|(_, n)| !seen.insert(*n)).map(|(i, n)| format!("{}: duplicate name {n:?}", at(i))));
    out.extend(names().filter(|(_, n)| n.is_empty()).map(|(i, n)| format!("{}: invalid empty name {n:?}", at(i))));
}

fn fractions(list: Option<&ResourceList>, path: &Path, out: &mut Vec<String>) {
    fraction(list, "memory", path, out);
    fraction(list, "ephemeral-storage", path, out);
}

fn fraction(list: Option<&ResourceList>, name: &str, path: &Path, out: &mut Vec<String>) {
    let Some(value) = list.and_then(|l| l.get(name)).map(super::resources::amount) else { return };
    if value.milli_value() % 1000 != 0 {
        let path = path.key(name);
        out.push(format!("{path}: fractional byte value \"{value}\" is invalid, must be an integer"));
    }
}

/// A variable given twice: the first value is lost, except where the second is made of it.
fn hidden_env(c: &Container, path: &Path, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (i, var) in c.env.iter().flatten().enumerate() {
        if seen.insert(var.name.as_str()) {
            continue;
        }
        let (value, reference) = (text(&var.value), format!("$({})", var.name));
        if var.value_from.is_some() || value == reference || !value.contains(&reference) {
            out.push(format!(
                "{}: hides previous definition of {:?}, which may be dropped when using apply",
                path.index(i),
                var.name
            ));
        }
    }
}

fn ports<'a>(containers: impl Iterator<Item = (&'a Path, &'a Container)>, out: &mut Vec<String>) {
    let mut known: BTreeMap<(i32, &str), Vec<(Path, &ContainerPort)>> = BTreeMap::new();
    for (path, container) in containers {
        for (i, port) in container.ports.iter().flatten().enumerate() {
            let path = path.child("ports").index(i);
            let (ip, number) = (text(&port.host_ip), port.host_port.unwrap_or_default());
            let protocol = text(&port.protocol);
            if !ip.is_empty() && number == 0 {
                out.push(format!(
                    "{path}: hostIP set without hostPort: {{Name:{} HostPort:{number} ContainerPort:{} Protocol:{protocol} HostIP:{ip}}}",
                    text(&port.name),
                    port.container_port,
                ));
            }
            let others = known.entry((port.container_port, protocol)).or_default();
            out.extend(others.iter().filter_map(|(other_path, other)| {
                Some(format!("{path}: {} port definition with {other_path}", overlap(port, other)?))
            }));
            others.push((path, port));
        }
    }
}

/// How two definitions of one port and protocol get into each other's way.
fn overlap(a: &ContainerPort, b: &ContainerPort) -> Option<&'static str> {
    let (a_ip, b_ip) = (text(&a.host_ip), text(&b.host_ip));
    let (a_port, b_port) = (a.host_port.unwrap_or_default(), b.host_port.unwrap_or_default());
    if a_ip == b_ip && a_port == b_port {
        Some("duplicate")
    } else if a_port == 0 || b_port == 0 {
        Some("overlapping")
    } else if a_port == b_port && a_ip.is_empty() != b_ip.is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

fn null_selectors(spec: &PodSpec, path: &Path, out: &mut Vec<String>) {
    let Some(affinity) = &spec.affinity else { return };
    let mut check =
        |required: Option<&Vec<PodAffinityTerm>>, preferred: Option<&Vec<WeightedPodAffinityTerm>>, field: &str| {
            let required_path = path.child(field).child("requiredDuringSchedulingIgnoredDuringExecution");
            for (i, _) in required.into_iter().flatten().enumerate().filter(|(_, t)| t.label_selector.is_none()) {
                out.push(format!("{}: {NO_SELECTOR}", required_path.index(i).child("labelSelector")));
            }
            let preferred_path = path.child(field).child("preferredDuringSchedulingIgnoredDuringExecution");
            let terms = preferred.into_iter().flatten().enumerate();
            for (i, _) in terms.filter(|(_, t)| t.pod_affinity_term.label_selector.is_none()) {
                let path = preferred_path.index(i).child("podAffinityTerm").child("labelSelector");
                out.push(format!("{path}: {NO_SELECTOR}"));
            }
        };
    if let Some(a) = &affinity.pod_affinity {
        let required = a.required_during_scheduling_ignored_during_execution.as_ref();
        check(required, a.preferred_during_scheduling_ignored_during_execution.as_ref(), "podAffinity");
    }
    if let Some(a) = &affinity.pod_anti_affinity {
        let required = a.required_during_scheduling_ignored_during_execution.as_ref();
        check(required, a.preferred_during_scheduling_ignored_during_execution.as_ref(), "podAntiAffinity");
    }
}

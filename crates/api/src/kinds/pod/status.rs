//! Updates of a pod's status (`podStatusStrategy`, `ValidatePodStatusUpdate`).
use super::canonical::prune;
use super::{containers, meta_path, update};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{ContainerStatus, Pod, PodCondition, PodSpec, PodStatus};
use crate::kinds::{addresses, rules::text};
use crate::names::{self, address::parse_ip_sloppy};
use std::collections::BTreeSet;

/// What Go would not write.
pub fn canonical(status: &mut PodStatus) {
    prune!(status; conditions, container_statuses, init_container_statuses, ephemeral_container_statuses, host_ip, host_ips,
        message, nominated_node_name, observed_generation, phase, pod_ip, pod_ips, qos_class, reason, resize,
        resource_claim_statuses, allocated_resources);
    for condition in status.conditions.iter_mut().flatten() {
        prune!(condition; message, reason, observed_generation);
    }
    let lists =
        [&mut status.container_statuses, &mut status.init_container_statuses, &mut status.ephemeral_container_statuses];
    for container in lists.into_iter().flat_map(|l| l.iter_mut().flatten()) {
        prune!(container; container_id, allocated_resources, volume_mounts);
        // No pointers in Go: written as `{}`.
        container.state.get_or_insert_default();
        container.last_state.get_or_insert_default();
    }
    // `podIP` is the first of `podIPs`; each is filled from the other, the old name wins where they differ.
    match (&status.pod_ip, &mut status.pod_ips) {
        (Some(ip), ips) if ips.iter().flatten().next().is_none_or(|first| first.ip != *ip) => {
            *ips = Some(vec![crate::k8s::api::core::v1::PodIP { ip: ip.clone() }]);
        }
        (None, Some(ips)) => status.pod_ip = ips.first().map(|first| first.ip.clone()),
        _ => {}
    }
}

/// Everything but the status stays.
pub fn prepare_update(new: &mut Pod, old: &Pod) {
    new.spec.clone_from(&old.spec);
    new.metadata.deletion_timestamp.clone_from(&old.metadata.deletion_timestamp);
    new.metadata.owner_references.clone_from(&old.metadata.owner_references);
    let status = new.status.get_or_insert_default();
    let none = PodStatus::default();
    let before = old.status.as_ref().unwrap_or(&none);
    if status.qos_class.is_none() {
        status.qos_class.clone_from(&before.qos_class);
    }
    if status.observed_generation.is_none() {
        status.observed_generation = before.observed_generation;
    }
    keep_condition_generations(
        status.conditions.as_deref_mut().unwrap_or_default(),
        before.conditions.as_deref().unwrap_or_default(),
    );
}

/// Clients that do not know `observedGeneration` do not clear it. Conditions of one type are matched in their order.
fn keep_condition_generations(new: &mut [PodCondition], old: &[PodCondition]) {
    let mut left: Vec<&PodCondition> = old.iter().collect();
    for condition in new {
        let Some(i) = left.iter().position(|c| c.type_ == condition.type_) else { continue };
        let before = left.remove(i);
        if condition.observed_generation.is_none() {
            condition.observed_generation = before.observed_generation;
        }
    }
}

/// `ValidatePodStatusUpdate`
pub fn validate_update(new: &Pod, old: &Pod) -> Errors {
    let mut out = names::validate_object_meta_update(&new.metadata, &old.metadata, &meta_path());
    update::validate_annotation_update(new, old, &mut out);
    let none = (PodSpec::default(), PodStatus::default());
    let (new_spec, old_spec) = (new.spec.as_ref().unwrap_or(&none.0), old.spec.as_ref().unwrap_or(&none.0));
    let (status, before) = (new.status.as_ref().unwrap_or(&none.1), old.status.as_ref().unwrap_or(&none.1));
    // Upstream says `metadata.conditions`.
    validate_conditions(status.conditions.as_deref().unwrap_or_default(), &meta_path().child("conditions"), &mut out);
    let path = Path::new("status");
    if new_spec.node_name != old_spec.node_name {
        out.push(Error::forbidden(&path.child("nodeName"), "may not be changed directly"));
    }
    let nominated = text(&status.nominated_node_name);
    if !nominated.is_empty() && status.nominated_node_name != before.nominated_node_name {
        let wrong = names::dns1123_subdomain(nominated, false);
        out.extend(invalid_each(&path.child("nominatedNodeName"), nominated, wrong));
    }
    if status.qos_class != before.qos_class {
        out.push(Error::invalid(&path.child("qosClass"), text(&status.qos_class), "field is immutable"));
    }
    validate_transitions(status, before, old_spec, &path, &mut out);
    validate_claim_statuses(status, new_spec, &path.child("resourceClaimStatuses"), &mut out);
    validate_addresses(status, before, &path, &mut out);
    out
}

fn validate_conditions(conditions: &[PodCondition], path: &Path, out: &mut Errors) {
    for (i, condition) in conditions.iter().enumerate() {
        if !matches!(condition.type_.as_str(), "PodScheduled" | "Ready" | "Initialized") {
            let wrong = names::qualified_name(&condition.type_);
            out.extend(invalid_each(&path.index(i).child("Type"), &condition.type_, wrong));
        }
    }
}

type Statuses<'a> = &'a Option<Vec<ContainerStatus>>;

/// What has ended for good does not come back.
fn validate_transitions(status: &PodStatus, before: &PodStatus, spec: &PodSpec, path: &Path, out: &mut Errors) {
    let policy = text(&spec.restart_policy);
    let rules = |name: &str| -> bool {
        let mut all = containers::main_and_init(spec);
        all.any(|c| c.name == name && (c.restart_policy.is_some() || c.restart_policy_rules.is_some()))
    };
    let lists: [(Statuses<'_>, Statuses<'_>, &str, &str); 3] = [
        (&status.container_statuses, &before.container_statuses, "containerStatuses", policy),
        (&status.init_container_statuses, &before.init_container_statuses, "initContainerStatuses", policy),
        (
            &status.ephemeral_container_statuses,
            &before.ephemeral_container_statuses,
            "ephemeralContainerStatuses",
            "Never",
        ),
    ];
    for (new, old, field, policy) in lists {
        if policy == "Always" {
            continue;
        }
        for (i, container) in old.iter().flatten().enumerate() {
            let Some(ended) = container.state.as_ref().and_then(|s| s.terminated.as_ref()) else { continue };
            let may_restart = (ended.exit_code != 0 && policy == "OnFailure") || rules(&container.name);
            let mut now = new.iter().flatten().filter(|c| c.name == container.name);
            if !may_restart && now.any(|c| c.state.as_ref().is_none_or(|s| s.terminated.is_none())) {
                let detail = "may not be transitioned to non-terminated state";
                out.push(Error::forbidden(&path.child(field).index(i).child("state"), detail));
            }
        }
    }
}

fn validate_claim_statuses(status: &PodStatus, spec: &PodSpec, path: &Path, out: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, claim) in status.resource_claim_statuses.iter().flatten().enumerate() {
        let path = path.index(i).child("name");
        if !spec.resource_claims.iter().flatten().any(|c| c.name == claim.name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            out.push(Error::invalid(&path, &claim.name, detail));
        }
        if !seen.insert(claim.name.as_str()) {
            out.push(Error::duplicate(&path, &claim.name));
        }
        if let Some(name) = &claim.resource_claim_name {
            out.extend(invalid_each(&path, name, names::dns1123_subdomain(name, false)));
        }
    }
}

/// What is stored stays valid, also where it is read more strictly by now.
fn validate_addresses(status: &PodStatus, before: &PodStatus, path: &Path, out: &mut Errors) {
    let pod_ips = |s: &PodStatus| -> Vec<String> { s.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect() };
    let host_ips = |s: &PodStatus| -> Vec<String> { s.host_ips.iter().flatten().map(|ip| ip.ip.clone()).collect() };
    let (ips, at) = (pod_ips(status), path.child("podIPs"));
    each_is_an_ip(&ips, &pod_ips(before), &at, out);
    one_of_each_family(&ips, &at, out);
    repeated(&ips, &at, out);
    let (ips, at) = (host_ips(status), path.child("hostIPs"));
    if let Some(first) = ips.first().filter(|first| first.as_str() != text(&status.host_ip)) {
        out.push(Error::invalid(&at.index(0).child("ip"), first, "must be equal to `hostIP`"));
    }
    each_is_an_ip(&ips, &host_ips(before), &at, out);
    repeated(&ips, &at, out);
    one_of_each_family(&ips, &at, out);
}

fn each_is_an_ip(ips: &[String], stored: &[String], path: &Path, out: &mut Errors) {
    let stored: Vec<&str> = stored.iter().map(String::as_str).collect();
    for (i, ip) in ips.iter().enumerate() {
        out.extend(addresses::ip(ip, &stored, &path.index(i)));
    }
}

fn one_of_each_family(ips: &[String], path: &Path, out: &mut Errors) {
    if ips.len() < 2 {
        return;
    }
    let wrong = ips.iter().enumerate().find(|(_, ip)| parse_ip_sloppy(ip).is_none());
    if let Some((i, ip)) = wrong {
        out.push(Error::internal(path, format!("failed to check for dual stack with error:invalid IP[{i}]: {ip}")));
    }
    let families: BTreeSet<bool> = ips.iter().filter_map(|ip| parse_ip_sloppy(ip)).map(|ip| ip.is_ipv4()).collect();
    if wrong.is_some() || families.len() != 2 || ips.len() > 2 {
        let list: Vec<_> = ips.iter().map(|ip| serde_json::json!({"IP": ip})).collect();
        out.push(Error::invalid(path, list, "may specify no more than one IP for each IP family"));
    }
}

fn repeated(ips: &[String], path: &Path, out: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, ip) in ips.iter().enumerate().filter(|(_, ip)| !seen.insert(ip.as_str())) {
        out.push(Error::duplicate(&path.index(i), serde_json::json!({"IP": ip})));
    }
}

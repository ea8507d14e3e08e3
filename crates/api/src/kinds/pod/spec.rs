//! A pod spec as a whole (`ValidatePodSpec`): the same rules in pods and in templates, in upstream's order.
use super::containers::{self, Surroundings, one_of};
use super::volumes::{self, Subject};
use super::{internal, network, resources, scheduling, security, windows};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{PodReadinessGate, PodResourceClaim, PodSchedulingGate, PodSpec};
use crate::names;
use std::collections::BTreeSet;

/// `ValidatePodSpec`
pub fn validate(spec: &PodSpec, subject: Subject<'_>, path: &Path, out: &mut Errors) {
    if spec.termination_grace_period_seconds.is_none() {
        out.push(Error::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let list = spec.volumes.as_deref().unwrap_or_default();
    let volumes = volumes::validate(list, subject, &path.child("volumes"), out);
    let claims = spec.resource_claims.as_deref().unwrap_or_default();
    validate_claims(claims, &path.child("resourceClaims"), out);
    let around = Surroundings {
        volumes,
        claims: claims.iter().map(|c| c.name.as_str()).filter(|n| !n.is_empty()).collect(),
        grace_period: spec.termination_grace_period_seconds,
        restart_policy: spec.restart_policy.as_deref().unwrap_or_default(),
        host_users: spec.host_users.unwrap_or(true),
        os: spec.os.as_ref().map(|os| os.name.as_str()),
    };
    containers::validate_main(spec, &around, &path.child("containers"), out);
    containers::validate_init(spec, &around, &path.child("initContainers"), out);
    containers::validate_ephemeral(spec, &around, &path.child("ephemeralContainers"), out);
    out.extend(resources::validate_pod_level(spec, &around.claims, &path.child("resources")));
    validate_host_network(spec, subject, path, out);
    one_of(around.restart_policy, &["Always", "OnFailure", "Never"], &path.child("restartPolicy"), out);
    network::validate_dns_policy(spec, path, out);
    if let Some(labels) = &spec.node_selector {
        out.extend(names::validate_labels(labels, &path.child("nodeSelector")));
    }
    security::validate_pod(spec, &path.child("securityContext"), out);
    validate_placement(spec, path, out);
    windows::validate_host_process(spec, path, out);
    security::validate_host_users(spec, path, out);
    validate_names(spec, path, out);
    validate_priority(spec, path, out);
    security::validate_os(spec, &around, path, out);
}

fn validate_placement(spec: &PodSpec, path: &Path, out: &mut Errors) {
    if let Some(affinity) = &spec.affinity {
        scheduling::validate_affinity(affinity, &path.child("affinity"), out);
    }
    network::validate_dns_config(spec, &path.child("dnsConfig"), out);
    validate_readiness_gates(spec.readiness_gates.as_deref().unwrap_or_default(), &path.child("readinessGates"), out);
    validate_scheduling_gates(
        spec.scheduling_gates.as_deref().unwrap_or_default(),
        &path.child("schedulingGates"),
        out,
    );
    let spread = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    scheduling::validate_spread(spread, &path.child("topologySpreadConstraints"), out);
}

/// In the host's network a port is the host's: pods must say so, templates may leave it to defaulting.
fn validate_host_network(spec: &PodSpec, subject: Subject<'_>, path: &Path, out: &mut Errors) {
    if spec.host_network != Some(true) {
        return;
    }
    for (i, container) in spec.containers.iter().enumerate() {
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let host_port = port.host_port.unwrap_or_default();
            let must = matches!(subject, Subject::Pod(_)) || host_port != 0;
            if must && host_port != port.container_port {
                let at = path.child("containers").index(i).child("ports").index(j).child("hostPort");
                let detail = "must match `containerPort` when `hostNetwork` is true";
                out.push(Error::invalid(&at, host_port, detail));
            }
        }
    }
}

fn validate_claims(claims: &[PodResourceClaim], path: &Path, out: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let path = path.index(i);
        if claim.name.is_empty() {
            out.push(Error::required(&path.child("name"), ""));
        } else if !seen.insert(claim.name.as_str()) {
            out.push(Error::duplicate(&path.child("name"), &claim.name));
        } else {
            out.extend(invalid_each(&path.child("name"), &claim.name, names::dns1123_label(&claim.name, false)));
        }
        let (direct, template) = (&claim.resource_claim_name, &claim.resource_claim_template_name);
        let wrong = match (direct, template) {
            (Some(_), Some(_)) => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            (None, None) => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            _ => "",
        };
        if !wrong.is_empty() {
            out.push(Error::invalid(&path, internal::resource_claim(claim), wrong));
        }
        for (name, field) in [(direct, "resourceClaimName"), (template, "resourceClaimTemplateName")] {
            if let Some(name) = name {
                out.extend(invalid_each(&path.child(field), name, names::dns1123_subdomain(name, false)));
            }
        }
    }
}

fn validate_readiness_gates(gates: &[PodReadinessGate], path: &Path, out: &mut Errors) {
    for (i, gate) in gates.iter().enumerate() {
        let name = &gate.condition_type;
        out.extend(invalid_each(&path.index(i).child("conditionType"), name, names::qualified_name(name)));
    }
}

fn validate_scheduling_gates(gates: &[PodSchedulingGate], path: &Path, out: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, gate) in gates.iter().enumerate() {
        out.extend(invalid_each(&path.index(i), &gate.name, names::qualified_name(&gate.name)));
        if !seen.insert(gate.name.as_str()) {
            out.push(Error::duplicate(&path.index(i), &gate.name));
        }
    }
}

fn validate_names(spec: &PodSpec, path: &Path, out: &mut Errors) {
    for (name, field) in [(&spec.service_account_name, "serviceAccountName"), (&spec.node_name, "nodeName")] {
        if let Some(name) = name.as_deref().filter(|n| !n.is_empty()) {
            out.extend(invalid_each(&path.child(field), name, names::dns1123_subdomain(name, false)));
        }
    }
    if let Some(seconds) = spec.active_deadline_seconds {
        let wrong = names::in_range(seconds, 1, i32::MAX.into());
        out.extend(invalid_each(&path.child("activeDeadlineSeconds"), seconds, wrong));
    }
    network::validate_host_names(spec, path, out);
    network::validate_hostname_override(spec, path, out);
    if let Some(tolerations) = &spec.tolerations {
        scheduling::validate_tolerations(tolerations, &path.child("tolerations"), out);
    }
    if let Some(aliases) = &spec.host_aliases {
        network::validate_host_aliases(aliases, &path.child("hostAliases"), out);
    }
}

fn validate_priority(spec: &PodSpec, path: &Path, out: &mut Errors) {
    for (name, field) in
        [(&spec.priority_class_name, "priorityClassName"), (&spec.runtime_class_name, "runtimeClassName")]
    {
        let skip_empty = field == "priorityClassName";
        if let Some(name) = name.as_deref().filter(|n| !(skip_empty && n.is_empty())) {
            out.extend(invalid_each(&path.child(field), name, names::dns1123_subdomain(name, false)));
        }
    }
    if let Some(policy) = spec.preemption_policy.as_deref() {
        one_of(policy, &["PreemptLowerPriority", "Never"], &path.child("preemptionPolicy"), out);
    }
    if let Some(overhead) = &spec.overhead {
        out.extend(resources::validate_overhead(overhead, &path.child("overhead")));
    }
}

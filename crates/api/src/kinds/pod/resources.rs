//! Resource requirements of containers and pods: names, amounts, and what a pod as a whole asks for.
//!
//! Rules: `validateResourceRequirements` in `pkg/apis/core/validation`, `pkg/apis/core/helper`; sums:
//! `k8s.io/component-helpers/resource`; pod-level resources: KEP-2837.
use super::containers;
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{Container, PodSpec, ResourceClaim, ResourceRequirements};
use crate::k8s::apimachinery::pkg::api::resource::Quantity as Text;
use crate::kinds::resource_names::{self, ResourceList as List, is_overcommit_allowed};
use crate::names;
use crate::quantity::{self, Quantity};
use std::collections::{BTreeMap, BTreeSet};

/// How a resource may be named where it stands.
pub type NameRule = fn(&str, &Path) -> Errors;

/// A quantity of an object that was decoded: what cannot be read was refused there.
pub fn amount(text: &Text) -> Quantity {
    quantity::parse(text).unwrap_or(Quantity::ZERO)
}

/// `ValidateContainerResourceRequirements`
pub fn validate_container(list: &ResourceRequirements, claims: &BTreeSet<&str>, path: &Path) -> Errors {
    let mut out = Errors::new();
    validate(list, resource_names::validate_container_name, claims, path, &mut out);
    out
}

fn validate(list: &ResourceRequirements, name_rule: NameRule, claims: &BTreeSet<&str>, path: &Path, out: &mut Errors) {
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    for (name, value) in list.limits.iter().flatten() {
        let path = limits_path.key(name);
        out.extend(name_rule(name, &path));
        out.extend(resource_names::validate_value(name, value, &path));
        validate_huge_pages(name, value, &path, out);
    }
    for (name, value) in list.requests.iter().flatten() {
        let path = requests_path.key(name);
        out.extend(name_rule(name, &path));
        out.extend(resource_names::validate_value(name, value, &path));
        validate_request_and_limit(name, value, list, &limits_path, &requests_path, out);
        validate_huge_pages(name, value, &path, out);
    }
    let has = |list: &Option<List>, of: fn(&str) -> bool| list.iter().flat_map(List::keys).any(|name| of(name));
    let compute = |name: &str| name == "cpu" || name == "memory";
    if !has(&list.limits, compute)
        && !has(&list.requests, compute)
        && (has(&list.limits, is_huge_pages) || has(&list.requests, is_huge_pages))
    {
        out.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
    validate_claims(list.claims.as_deref().unwrap_or_default(), claims, &path.child("claims"), out);
}

fn validate_request_and_limit(
    name: &str,
    request: &Text,
    list: &ResourceRequirements,
    limits_path: &Path,
    requests_path: &Path,
    out: &mut Errors,
) {
    let Some(limit) = list.limits.as_ref().and_then(|l| l.get(name)) else {
        if !is_overcommit_allowed(name) {
            out.push(Error::required(limits_path, "Limit must be set for non overcommitable resources"));
        }
        return;
    };
    let (asked, most) = (amount(request), amount(limit));
    let rule = match () {
        () if asked != most && !is_overcommit_allowed(name) => "equal to",
        () if asked > most => "less than or equal to",
        () => return,
    };
    out.push(Error::invalid(requests_path, asked.to_string(), format!("must be {rule} {name} limit of {most}")));
}

fn validate_huge_pages(name: &str, value: &Text, path: &Path, out: &mut Errors) {
    let Some(size) = name.strip_prefix(HUGE_PAGES) else { return };
    let value = amount(value);
    let size = amount(&Text(size.to_owned()));
    let divisible = size.sign() > 0 && size.is_whole() && value.value().checked_rem(size.value()) == Some(0);
    if !divisible {
        out.push(Error::invalid(
            path,
            value.to_string(),
            format!("{value} is not positive integer multiple of {name}"),
        ));
    }
}

/// Each claim a container names must be one of the pod's, and no request of it named twice.
fn validate_claims(claims: &[ResourceClaim], known: &BTreeSet<&str>, path: &Path, out: &mut Errors) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let path = path.index(i);
        let (name, request) = (claim.name.as_str(), claim.request.as_deref().unwrap_or_default());
        if name.is_empty() {
            out.push(Error::required(&path, ""));
            continue;
        }
        if seen.contains(name) {
            out.push(Error::duplicate(&path, name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                out.extend(invalid_each(&path.child("request"), request, names::dns1123_label(request, false)));
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                out.push(Error::duplicate(&path, &key));
            } else if request.is_empty() {
                let overlapping = seen.iter().filter(|k| k.split_once('/').is_some_and(|(n, _)| n == name));
                out.extend(overlapping.map(|_| Error::duplicate(&path, name)));
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let list = known.iter().copied().collect::<Vec<_>>().join(", ");
            let tail = if known.is_empty() { " which is empty".to_owned() } else { format!(": {list}") };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{tail}");
            out.push(Error { detail, ..Error::not_found(&path, name) });
        }
    }
}

/// Pod-level resources: only some may be set, and they must cover what the containers ask for.
pub fn validate_pod_level(spec: &PodSpec, claims: &BTreeSet<&str>, path: &Path) -> Errors {
    let mut out = Errors::new();
    let Some(list) = &spec.resources else { return out };
    if list.claims.is_some() {
        out.push(Error::forbidden(&path.child("claims"), "claims cannot be set for Resources at pod-level"));
    }
    validate(list, pod_resource_name, claims, path, &mut out);
    for (name, asked) in aggregate(spec, requests) {
        let whole = list.requests.as_ref().and_then(|r| r.get(&name)).map_or(Quantity::ZERO, amount);
        if supported_at_pod_level(&name) && asked > whole {
            let detail = format!("must be greater than or equal to aggregate container requests of {asked}");
            out.push(Error::invalid(&path.child("requests").key(&name), whole.to_string(), detail));
        }
    }
    for (i, container) in spec.containers.iter().enumerate() {
        for (name, limit) in limits(container).into_iter().flatten() {
            let Some(whole) = list.limits.as_ref().and_then(|l| l.get(name)).map(amount) else { continue };
            let limit = amount(limit);
            if limit > whole {
                let at = path.child("containers").index(i).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {whole}");
                out.push(Error::invalid(&at, limit.to_string(), detail));
            }
        }
    }
    out
}

/// `validateOverhead`: the overhead of a runtime class is a resource list like a container's limits.
pub fn validate_overhead(overhead: &List, path: &Path) -> Errors {
    let list = ResourceRequirements { limits: Some(overhead.clone()), ..ResourceRequirements::default() };
    // Upstream calls the check of containers: its paths gain `limits`.
    validate_container(&list, &BTreeSet::new(), path)
}

const HUGE_PAGES: &str = "hugepages-";

/// `hugepages-2Mi`
pub fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

fn supported_at_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_pages(name)
}

fn pod_resource_name(name: &str, path: &Path) -> Errors {
    let mut out = resource_names::validate_name(name, path);
    if out.is_empty() && !supported_at_pod_level(name) {
        out.push(Error::not_supported(path, name, &["cpu", "hugepages-", "memory"]));
    }
    out
}

type Pick = fn(&Container) -> Option<&List>;

/// What a container asks for.
pub fn requests(container: &Container) -> Option<&List> {
    container.resources.as_ref().and_then(|r| r.requests.as_ref())
}

/// What a container may have at most.
pub fn limits(container: &Container) -> Option<&List> {
    container.resources.as_ref().and_then(|r| r.limits.as_ref())
}

/// What the containers of a pod need together: the sum of those that run side by side (restartable init containers are
/// among them), or the most that an init container needs beside the restartable ones started before it.
pub fn aggregate(spec: &PodSpec, pick: Pick) -> BTreeMap<String, Quantity> {
    let mut running: BTreeMap<String, Quantity> = BTreeMap::new();
    spec.containers.iter().for_each(|c| add(&mut running, pick(c)));
    let mut sidecars: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut at_start: BTreeMap<String, Quantity> = BTreeMap::new();
    for container in spec.init_containers.iter().flatten() {
        let mut now = sidecars.clone();
        add(&mut now, pick(container));
        if containers::is_restartable_init(container) {
            add(&mut running, pick(container));
            sidecars = now.clone();
        }
        raise(&mut at_start, &now);
    }
    raise(&mut running, &at_start);
    running
}

fn add(sum: &mut BTreeMap<String, Quantity>, list: Option<&List>) {
    for (name, value) in list.into_iter().flatten() {
        sum.entry(name.clone()).or_insert(Quantity::ZERO).add(&amount(value));
    }
}

fn raise(most: &mut BTreeMap<String, Quantity>, other: &BTreeMap<String, Quantity>) {
    for (name, value) in other {
        let entry = most.entry(name.clone()).or_insert_with(|| value.clone());
        if *entry < *value {
            *entry = value.clone();
        }
    }
}

/// Fills pod-level requests and limits from the containers where a part of them is given (`defaultPodRequests` and its
/// neighbours). Only pods get this, templates do not.
pub fn default_pod_level(spec: &mut PodSpec) {
    let Some(mut list) = spec.resources.take() else { return };
    let (asked, most) = (aggregate(spec, requests), aggregate(spec, limits));
    huge_page_limits(&mut list, &most);
    pod_requests(&mut list, &asked);
    pod_limits(&mut list, &most, spec);
    spec.resources = Some(list);
}

fn huge_page_limits(list: &mut ResourceRequirements, most: &BTreeMap<String, Quantity>) {
    if list.limits.is_none() && list.requests.is_none() {
        return;
    }
    for (name, value) in most.iter().filter(|(name, _)| is_huge_pages(name)) {
        if list.requests.as_ref().is_none_or(|r| !r.contains_key(name)) {
            list.limits.get_or_insert_default().entry(name.clone()).or_insert_with(|| value.into());
        }
    }
}

fn pod_requests(list: &mut ResourceRequirements, asked: &BTreeMap<String, Quantity>) {
    let Some(limits) = list.limits.clone().filter(|l| !l.is_empty()) else { return };
    let requests = list.requests.get_or_insert_default();
    for (name, value) in asked {
        if supported_at_pod_level(name) && is_overcommit_allowed(name) {
            requests.entry(name.clone()).or_insert_with(|| value.into());
        }
    }
    for (name, value) in limits {
        if supported_at_pod_level(&name) {
            requests.entry(name).or_insert(value);
        }
    }
    super::canonical::drop_blank(&mut list.requests);
}

/// Where every container has a limit, the pod has their sum.
fn pod_limits(list: &mut ResourceRequirements, most: &BTreeMap<String, Quantity>, spec: &PodSpec) {
    let set = |l: &Option<List>| l.iter().flat_map(List::keys).any(|name| supported_at_pod_level(name));
    if set(&list.limits) || !set(&list.requests) {
        return;
    }
    for (name, value) in most {
        let everywhere = containers::main_and_init(spec).all(|c| limits(c).is_some_and(|l| l.contains_key(name)));
        if supported_at_pod_level(name) && is_overcommit_allowed(name) && everywhere {
            list.limits.get_or_insert_default().entry(name.clone()).or_insert_with(|| value.into());
        }
    }
}

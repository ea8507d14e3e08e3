//! The names of resources (`cpu`, `requests.storage`, `example.org/gpu`) and what may be said of each
//! (`pkg/apis/core/helper/helpers.go`, `pkg/apis/core/validation/validation.go`).
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::apimachinery::pkg::api::resource::Quantity;
use crate::kinds::rules;
use crate::names;
use std::collections::BTreeMap;

/// `v1.ResourceList`
pub type ResourceList = BTreeMap<String, Quantity>;

const COMPUTE: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const EPHEMERAL: [&str; 3] = ["ephemeral-storage", "requests.ephemeral-storage", "limits.ephemeral-storage"];
/// Counts of objects: whole numbers.
const COUNTS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_quota_huge_pages(name: &str) -> bool {
    is_huge_pages(name) || name.starts_with("requests.hugepages-")
}

pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// `example.org/gpu`: nodes advertise it, Kubernetes only counts it.
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

fn is_integer(name: &str) -> bool {
    COUNTS.contains(&name) || is_extended(name)
}

/// A request may be less than its limit.
pub fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

fn is_standard(name: &str) -> bool {
    is_standard_for_quota(name) || name == "storage"
}

pub fn is_standard_for_quota(name: &str) -> bool {
    COMPUTE.contains(&name)
        || EPHEMERAL.contains(&name)
        || COUNTS.contains(&name)
        || name == "requests.storage"
        || is_quota_huge_pages(name)
}

fn is_standard_for_container(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_pages(name)
}

/// Whether a quota of this scope can count the resource.
pub fn scope_fits(scope: &str, resource: &str) -> bool {
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            resource == "pods" || COMPUTE.contains(&resource)
        }
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

/// `validateResourceName`
pub fn validate_name(name: &str, path: &Path) -> Errors {
    let out = invalid_each(path, name, names::qualified_name(name));
    if out.is_empty() && !name.contains('/') && !is_standard(name) {
        return vec![Error::invalid(path, name, "must be a standard resource type or fully qualified")];
    }
    out
}

/// `ValidateResourceQuotaResourceName`
pub fn validate_quota_name(name: &str, path: &Path) -> Errors {
    let mut out = validate_name(name, path);
    if !name.contains('/') && !is_standard_for_quota(name) {
        out.push(Error::invalid(path, name, "must be a standard resource for quota"));
    }
    out
}

/// `validateContainerResourceName`
pub fn validate_container_name(name: &str, path: &Path) -> Errors {
    let mut out = validate_name(name, path);
    if !name.contains('/') {
        if !is_standard_for_container(name) {
            out.push(Error::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        out.push(Error::invalid(path, name, "doesn't follow extended resource name standard"));
    }
    out
}

/// `ValidateResourceQuantityValue`
pub fn validate_value(name: &str, value: &Quantity, path: &Path) -> Errors {
    let mut out = rules::non_negative_quantity(value, path);
    if is_integer(name) && rules::number(value).milli_value() % 1000 != 0 {
        out.push(Error::invalid(path, &value.0, "must be an integer"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_names_apart() {
        let p = Path::new("x");
        for good in ["cpu", "storage", "example.org/gpu", "requests.hugepages-2Mi", "kubernetes.io/x"] {
            assert!(validate_name(good, &p).is_empty(), "{good}");
        }
        assert_eq!(
            validate_name("gpu", &p).first().map(ToString::to_string).as_deref(),
            Some("x: Invalid value: \"gpu\": must be a standard resource type or fully qualified")
        );
        assert_eq!(validate_container_name("pods", &p).len(), 1);
        assert!(validate_container_name("example.org/gpu", &p).is_empty());
        assert!(is_extended("example.org/gpu") && !is_extended("requests.example.org/gpu") && !is_extended("cpu"));
        assert!(scope_fits("BestEffort", "pods") && !scope_fits("BestEffort", "cpu"));
        assert_eq!(validate_value("pods", &Quantity("1500m".into()), &p).len(), 1);
    }
}

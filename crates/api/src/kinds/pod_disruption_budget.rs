//! PodDisruptionBudget: how many pods evictions must leave (`pkg/registry/policy/poddisruptionbudget/strategy.go`).
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;
use crate::kinds::{internal, rules};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column, integer};
use serde_json::Value;

pub struct PodDisruptionBudgets;

const COLUMNS: [Column; 5] = [
    NAME,
    column("Min Available", "The minimum number of pods that must be available."),
    column("Max Unavailable", "The maximum number of pods that may be unavailable."),
    integer("Allowed Disruptions", "The number of pods that may be evicted now."),
    AGE,
];

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["pdb"],
    status: true,
    generation: true,
    unconditional_update: false,
    ..Descriptor::new(
        ("policy", "v1"),
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "poddisruptionbudget",
        Scope::Namespaced,
        &COLUMNS,
    )
};

const EVICTION_POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

impl Kind for PodDisruptionBudgets {
    type Object = PodDisruptionBudget;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    /// The strategy checks the spec alone; the server's own rule for names is that of path segments.
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
    fn default(object: &mut PodDisruptionBudget) {
        object.spec.get_or_insert_default();
        let status = object.status.get_or_insert_default();
        status.disruptions_allowed.get_or_insert_default();
        status.current_healthy.get_or_insert_default();
        status.desired_healthy.get_or_insert_default();
        status.expected_pods.get_or_insert_default();
    }
    fn prepare_create(object: &mut PodDisruptionBudget) {
        object.status = None;
        Self::default(object);
        object.metadata.generation = Some(1);
    }
    fn validate(object: &PodDisruptionBudget) -> Errors {
        let out = object.spec.as_ref().map(validate_spec).unwrap_or_default();
        if !out.is_empty() {
            return out;
        }
        names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata())
    }
    fn prepare_update(new: &mut PodDisruptionBudget, old: &PodDisruptionBudget) {
        new.status.clone_from(&old.status);
        let before = old.metadata.generation.unwrap_or_default();
        let changed = new.spec != old.spec;
        new.metadata.generation = Some(if changed { before.saturating_add(1) } else { before });
    }
    fn validate_update(new: &PodDisruptionBudget, old: &PodDisruptionBudget) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        out.extend(new.spec.iter().flat_map(validate_spec));
        out
    }
    fn prepare_status_update(new: &mut PodDisruptionBudget, old: &PodDisruptionBudget) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &PodDisruptionBudget, old: &PodDisruptionBudget) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        if let Some(status) = &new.status {
            let path = Path::new("status");
            out.extend(rules::conditions(status.conditions.as_deref().unwrap_or_default(), &path.child("conditions")));
            let numbers = [
                (status.disruptions_allowed, "disruptionsAllowed"),
                (status.current_healthy, "currentHealthy"),
                (status.desired_healthy, "desiredHealthy"),
                (status.expected_pods, "expectedPods"),
            ];
            for (number, field) in numbers {
                out.extend(rules::non_negative(number.unwrap_or_default(), &path.child(field)));
            }
        }
        out
    }
    fn cells(object: &PodDisruptionBudget, cx: &PrintContext) -> Vec<Value> {
        let words = |value: Option<&IntOrString>| match value {
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(text)) => text.clone(),
            None => "N/A".to_owned(),
        };
        let spec = object.spec.as_ref();
        vec![
            object.metadata.name.clone().into(),
            words(spec.and_then(|s| s.min_available.as_ref())).into(),
            words(spec.and_then(|s| s.max_unavailable.as_ref())).into(),
            object.status.as_ref().and_then(|s| s.disruptions_allowed).unwrap_or_default().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn validate_spec(spec: &PodDisruptionBudgetSpec) -> Errors {
    let path = Path::new("spec");
    let mut out = Errors::new();
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        out.push(Error::invalid(
            &path,
            internal::BudgetSpec::from(spec),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for (value, field) in [(&spec.min_available, "minAvailable"), (&spec.max_unavailable, "maxUnavailable")] {
        if let Some(value) = value {
            out.extend(rules::int_or_percent(value, &path.child(field)));
            out.extend(rules::at_most_100_percent(value, &path.child(field)));
        }
    }
    if let Some(selector) = &spec.selector {
        out.extend(names::validate_label_selector(selector, &path.child("selector")));
    }
    if let Some(policy) = &spec.unhealthy_pod_eviction_policy {
        out.extend(rules::one_of(policy, &EVICTION_POLICIES, &path.child("unhealthyPodEvictionPolicy")));
    }
    out
}

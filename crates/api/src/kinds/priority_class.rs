//! PriorityClass: names for pod priorities (`pkg/registry/scheduling/priorityclass/strategy.go`).
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::scheduling::v1::PriorityClass;
use crate::kinds::rules::{self, text};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column, integer};
use serde_json::Value;

pub struct PriorityClasses;

const COLUMNS: [Column; 5] = [
    NAME,
    integer("Value", "The priority that pods of this class get."),
    Column { kind: "boolean", ..column("Global-Default", "Whether pods without a class get this one.") },
    AGE,
    column("PreemptionPolicy", "Whether pods of this class may push others out."),
];

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["pc"],
    ..Descriptor::new(
        ("scheduling.k8s.io", "v1"),
        "PriorityClass",
        "priorityclasses",
        "priorityclass",
        Scope::Cluster,
        &COLUMNS,
    )
};

/// Priorities above it are the system's (`HighestUserDefinablePriority`).
pub const HIGHEST_USER_PRIORITY: i32 = 1_000_000_000;
/// The classes every cluster has.
pub const SYSTEM_CLASSES: [(&str, i32, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];
const SYSTEM_PREFIX: &str = "system-";
const PREEMPTION_POLICIES: [&str; 2] = ["Never", "PreemptLowerPriority"];

impl Kind for PriorityClasses {
    type Object = PriorityClass;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut PriorityClass) {
        object.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".into());
        object.value.get_or_insert_default();
        rules::drop_empty(&mut object.description);
        if object.global_default == Some(false) {
            object.global_default = None;
        }
    }
    fn prepare_create(object: &mut PriorityClass) {
        object.metadata.generation = Some(1);
    }
    fn prepare_update(new: &mut PriorityClass, old: &PriorityClass) {
        new.metadata.generation = old.metadata.generation;
    }
    fn validate(object: &PriorityClass) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        let name = text(&object.metadata.name);
        if name.starts_with(SYSTEM_PREFIX) {
            if let Some(fault) = system_class_fault(object) {
                let detail = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {fault}"
                );
                out.push(Error::forbidden(&rules::metadata().child("name"), detail));
            }
        } else if object.value.unwrap_or_default() > HIGHEST_USER_PRIORITY {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
            out.push(Error::forbidden(&Path::new("value"), detail));
        }
        if let Some(policy) = &object.preemption_policy {
            out.extend(preemption_policy(policy, &Path::new("preemptionPolicy")));
        }
        out
    }
    fn validate_update(new: &PriorityClass, old: &PriorityClass) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        if new.value.unwrap_or_default() != old.value.unwrap_or_default() {
            out.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        let path = Path::new("preemptionPolicy");
        out.extend(rules::immutable(&new.preemption_policy, &old.preemption_policy, &path));
        out
    }
    fn cells(object: &PriorityClass, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.value.unwrap_or_default().into(),
            object.global_default.unwrap_or_default().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            text(&object.preemption_policy).into(),
        ]
    }
}

/// `ValidatePreemptionPolicy`
pub fn preemption_policy(policy: &str, path: &Path) -> Errors {
    match policy {
        "" => vec![Error::required(path, "")],
        policy => rules::one_of(policy, &PREEMPTION_POLICIES, path),
    }
}

/// `IsKnownSystemPriorityClass`
fn system_class_fault(object: &PriorityClass) -> Option<String> {
    let name = text(&object.metadata.name);
    let Some((_, value, _)) = SYSTEM_CLASSES.iter().find(|(n, ..)| *n == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if object.value.unwrap_or_default() != *value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    (object.global_default == Some(true)).then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

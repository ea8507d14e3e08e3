//! StorageClass: a sort of storage and who makes it (`pkg/registry/storage/storageclass/strategy.go`,
//! `pkg/apis/storage/validation`).
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::TopologySelectorTerm;
use crate::k8s::api::storage::v1::StorageClass;
use crate::kinds::rules::{self, text};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub struct StorageClasses;

const COLUMNS: [Column; 6] = [
    NAME,
    column("Provisioner", "Who makes volumes of this class."),
    column("ReclaimPolicy", "What becomes of a volume whose claim is gone."),
    column("VolumeBindingMode", "When a claim gets its volume."),
    column("AllowVolumeExpansion", "Whether claims of this class may grow."),
    AGE,
];

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["sc"],
    ..Descriptor::new(
        ("storage.k8s.io", "v1"),
        "StorageClass",
        "storageclasses",
        "storageclass",
        Scope::Cluster,
        &COLUMNS,
    )
};

/// Marks the class of claims that name none.
pub const DEFAULT_ANNOTATION: &str = "storageclass.kubernetes.io/is-default-class";
const DEFAULT_BETA_ANNOTATION: &str = "storageclass.beta.kubernetes.io/is-default-class";
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 << 10;
const RECLAIM_POLICIES: [&str; 2] = ["Delete", "Retain"];
const BINDING_MODES: [&str; 2] = ["Immediate", "WaitForFirstConsumer"];

impl Kind for StorageClasses {
    type Object = StorageClass;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut StorageClass) {
        object.reclaim_policy.get_or_insert_with(|| "Delete".into());
        object.volume_binding_mode.get_or_insert_with(|| "Immediate".into());
        rules::drop_empty_list(&mut object.mount_options);
        rules::drop_empty_list(&mut object.allowed_topologies);
        if object.parameters.as_ref().is_some_and(|p| p.is_empty()) {
            object.parameters = None;
        }
    }
    fn validate(object: &StorageClass) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        out.extend(provisioner(&object.provisioner, &Path::new("provisioner")));
        out.extend(parameters(object.parameters.as_ref(), &Path::new("parameters")));
        let policy = text(&object.reclaim_policy);
        if !policy.is_empty() {
            out.extend(rules::one_of(policy, &RECLAIM_POLICIES, &Path::new("reclaimPolicy")));
        }
        match &object.volume_binding_mode {
            Some(mode) => out.extend(rules::one_of(mode, &BINDING_MODES, &Path::new("volumeBindingMode"))),
            None => out.push(Error::required(&Path::new("volumeBindingMode"), "")),
        }
        topologies(object.allowed_topologies.as_deref().unwrap_or_default(), &mut out);
        out
    }
    fn validate_update(new: &StorageClass, old: &StorageClass) -> Errors {
        let mut out = Self::validate(new);
        out.extend(rules::meta_update(&new.metadata, &old.metadata));
        let fixed = [
            (new.parameters == old.parameters, "parameters"),
            (new.provisioner == old.provisioner, "provisioner"),
            (new.reclaim_policy == old.reclaim_policy, "reclaimPolicy"),
        ];
        for (_, field) in fixed.iter().filter(|(same, _)| !same) {
            out.push(Error::forbidden(&Path::new(*field), format!("updates to {field} are forbidden.")));
        }
        let path = Path::new("volumeBindingMode");
        out.extend(rules::immutable(&new.volume_binding_mode, &old.volume_binding_mode, &path));
        out
    }
    fn returns_deleted() -> bool {
        true
    }
    fn cells(object: &StorageClass, cx: &PrintContext) -> Vec<Value> {
        let mut name = text(&object.metadata.name).to_owned();
        if is_default(object) {
            name.push_str(" (default)");
        }
        vec![
            name.into(),
            object.provisioner.clone().into(),
            object.reclaim_policy.as_deref().unwrap_or("Delete").into(),
            object.volume_binding_mode.as_deref().unwrap_or("Immediate").into(),
            object.allow_volume_expansion.unwrap_or_default().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

/// `IsDefaultAnnotation`
pub fn is_default(class: &StorageClass) -> bool {
    let says = |key: &str| class.metadata.annotations.as_ref().and_then(|a| a.get(key)).is_some_and(|v| v == "true");
    says(DEFAULT_ANNOTATION) || says(DEFAULT_BETA_ANNOTATION)
}

/// The class of claims that name none: of several defaults the youngest, then the first by name
/// (`pkg/volume/util/storageclass.go`).
pub fn default_class<'a>(classes: impl IntoIterator<Item = &'a StorageClass>) -> Option<&'a StorageClass> {
    let age = |c: &StorageClass| c.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let defaults = classes.into_iter().filter(|c| is_default(c));
    defaults.min_by(|a, b| age(b).cmp(&age(a)).then_with(|| a.metadata.name.cmp(&b.metadata.name)))
}

/// `validateProvisioner`: of classes and VolumeAttributesClasses.
pub fn provisioner(name: &str, path: &Path) -> Errors {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    rules::qualified_name(&name.to_lowercase(), path)
}

/// `validateParameters`
pub fn parameters(parameters: Option<&BTreeMap<String, String>>, path: &Path) -> Errors {
    let mut out = Errors::new();
    let Some(parameters) = parameters else { return out };
    if parameters.len() > MAX_PARAMETERS {
        return vec![Error::too_long(path, MAX_PARAMETERS)];
    }
    let mut size = 0usize;
    for (key, value) in parameters {
        if key.is_empty() {
            out.push(Error::invalid(path, key, "field can not be empty."));
        }
        size = size.saturating_add(key.len()).saturating_add(value.len());
    }
    if size > MAX_PARAMETER_BYTES {
        out.push(Error::too_long(path, MAX_PARAMETER_BYTES));
    }
    out
}

fn topologies(terms: &[TopologySelectorTerm], out: &mut Errors) {
    let path = Path::new("allowedTopologies");
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (i, term) in terms.iter().enumerate() {
        let path = path.index(i);
        let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (j, requirement) in term.match_label_expressions.iter().flatten().enumerate() {
            let path = path.child("matchLabelExpressions").index(j);
            let mut values = BTreeSet::new();
            if requirement.values.is_empty() {
                out.push(Error::required(&path.child("values"), ""));
            }
            for (k, value) in requirement.values.iter().enumerate() {
                if !values.insert(value.as_str()) {
                    out.push(Error::duplicate(&path.child("values").index(k), value));
                }
            }
            out.extend(names::validate_label_name(&requirement.key, &path.child("key")));
            if keys.insert(&requirement.key, values).is_some() {
                out.push(Error::duplicate(&path.child("key"), &requirement.key));
            }
        }
        if seen.contains(&keys) {
            out.push(Error::duplicate(&path.child("matchLabelExpressions"), ""));
        }
        seen.push(keys);
    }
}

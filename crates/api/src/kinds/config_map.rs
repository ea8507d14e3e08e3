//! ConfigMap: text and bytes for pods (`pkg/registry/core/configmap/strategy.go`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::ConfigMap;
use crate::kinds::rules;
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

/// What one Secret or ConfigMap may hold, in bytes (`core.MaxSecretSize`).
pub const MAX_BYTES: usize = 1 << 20;

pub struct ConfigMaps;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["cm"],
    ..Descriptor::new(
        ("", "v1"),
        "ConfigMap",
        "configmaps",
        "configmap",
        Scope::Namespaced,
        &[NAME, column("Data", "How many entries it holds."), AGE],
    )
};

impl Kind for ConfigMaps {
    type Object = ConfigMap;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut ConfigMap) {
        if object.data.as_ref().is_some_and(|d| d.is_empty()) {
            object.data = None;
        }
        if object.binary_data.as_ref().is_some_and(|d| d.is_empty()) {
            object.binary_data = None;
        }
    }
    fn validate(object: &ConfigMap) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        let mut size = 0usize;
        for (key, value) in object.data.iter().flatten() {
            let path = Path::new("data").key(key);
            out.extend(invalid_each(&path, key, names::config_map_key(key)));
            if object.binary_data.as_ref().is_some_and(|b| b.contains_key(key)) {
                out.push(Error::invalid(&path, key, "duplicate of key present in binaryData"));
            }
            size = size.saturating_add(value.len());
        }
        for (key, value) in object.binary_data.iter().flatten() {
            out.extend(invalid_each(&Path::new("binaryData").key(key), key, names::config_map_key(key)));
            size = size.saturating_add(value.0.len());
        }
        if size > MAX_BYTES {
            // The whole object is meant: Kubernetes names the field "".
            out.push(Error::too_long(&Path::new("[]"), MAX_BYTES));
        }
        out
    }
    fn validate_update(new: &ConfigMap, old: &ConfigMap) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        if old.immutable == Some(true) {
            let mut frozen = |same: bool, field: &str| {
                if !same {
                    out.push(Error::forbidden(&Path::new(field), "field is immutable when `immutable` is set"));
                }
            };
            frozen(new.immutable == Some(true), "immutable");
            frozen(new.data == old.data, "data");
            frozen(new.binary_data == old.binary_data, "binaryData");
        }
        out.extend(Self::validate(new));
        out
    }
    fn cells(object: &ConfigMap, cx: &PrintContext) -> Vec<Value> {
        let count = object.data.as_ref().map_or(0, |d| d.len()) + object.binary_data.as_ref().map_or(0, |d| d.len());
        vec![
            object.metadata.name.clone().into(),
            count.to_string().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

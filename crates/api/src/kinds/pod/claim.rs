//! The claim inside a generic ephemeral volume (`ValidatePersistentVolumeClaimSpec`).
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::PersistentVolumeClaimSpec;
use crate::names;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub fn validate_spec(spec: &PersistentVolumeClaimSpec, path: &Path) -> Errors {
    let mut out = Errors::new();
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let modes_path = path.child("accessModes");
    if modes.is_empty() {
        out.push(Error::required(&modes_path, "at least 1 access mode is required"));
    }
    if let Some(selector) = &spec.selector {
        out.extend(names::validate_label_selector(selector, &path.child("selector")));
    }
    let unknown = modes.iter().filter(|m| !ACCESS_MODES.contains(&m.as_str()));
    out.extend(unknown.map(|mode| Error::not_supported(&modes_path, mode, &ACCESS_MODES)));
    let one_pod = modes.iter().any(|m| m == "ReadWriteOncePod");
    if one_pod && modes.iter().any(|m| m != "ReadWriteOncePod" && ACCESS_MODES.contains(&m.as_str())) {
        out.push(Error::forbidden(&modes_path, "may not use ReadWriteOncePod with other access modes"));
    }
    let storage_path = path.child("resources").key("storage");
    match spec.resources.as_ref().and_then(|r| r.requests.as_ref()).and_then(|r| r.get("storage")) {
        None => out.push(Error::required(&storage_path, "")),
        Some(text) => {
            let amount = super::resources::amount(text);
            if amount.sign() <= 0 {
                out.push(Error::invalid(&storage_path, amount.to_string(), "must be greater than zero"));
            }
        }
    }
    let classes = [
        (&spec.storage_class_name, "storageClassName"),
        (&spec.volume_attributes_class_name, "volumeAttributesClassName"),
    ];
    for (class, field) in classes {
        if let Some(class) = class.as_deref().filter(|c| !c.is_empty()) {
            out.extend(invalid_each(&path.child(field), class, names::dns1123_subdomain(class, false)));
        }
    }
    if let Some(mode) = spec.volume_mode.as_deref().filter(|m| !matches!(*m, "Block" | "Filesystem")) {
        out.push(Error::not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]));
    }
    out
}

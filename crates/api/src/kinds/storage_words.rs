//! What PersistentVolumes and claims share: access modes, volume modes, classes (`pkg/apis/core/validation`,
//! `pkg/apis/core/helper`).
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use crate::kinds::rules;
use crate::names;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
/// Where the class stood before `storageClassName` was a field.
pub const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub fn validate_access_modes(modes: &[String], path: &Path) -> Errors {
    let mut out: Errors = modes.iter().flat_map(|mode| rules::one_of(mode, &ACCESS_MODES, path)).collect();
    let one_pod = |mode: &&String| mode.as_str() == "ReadWriteOncePod";
    let other = |mode: &String| mode != "ReadWriteOncePod" && ACCESS_MODES.contains(&mode.as_str());
    if modes.iter().any(|m| one_pod(&m)) && modes.iter().any(other) {
        out.push(Error::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
    out
}

pub fn validate_volume_mode(mode: &str, path: &Path) -> Errors {
    rules::one_of(mode, &VOLUME_MODES, path)
}

pub fn validate_class(class: &str, path: &Path) -> Errors {
    invalid_each(path, class, names::dns1123_subdomain(class, false))
}

/// `RWO,ROX,RWX,RWOP`
pub fn short_access_modes(modes: Option<&Vec<String>>) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| modes.is_some_and(|list| list.iter().any(|m| m == mode));
    SHORT.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// The class by annotation or by field.
pub fn class_of<'a>(meta: &'a ObjectMeta, field: Option<&'a String>) -> &'a str {
    let annotated = meta.annotations.as_ref().and_then(|a| a.get(CLASS_ANNOTATION));
    annotated.or(field).map_or("", String::as_str)
}

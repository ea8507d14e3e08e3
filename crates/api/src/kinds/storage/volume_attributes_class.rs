//! VolumeAttributesClass: attributes of a volume that may change while it is used (KEP-3751).
use super::GROUP;
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::storage::v1::VolumeAttributesClass;
use crate::kinds::{rules, storage_class};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

pub struct VolumeAttributesClasses;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["vac"],
    ..Descriptor::new(
        (GROUP, "v1"),
        "VolumeAttributesClass",
        "volumeattributesclasses",
        "volumeattributesclass",
        Scope::Cluster,
        &[NAME, column("DriverName", "The driver that knows these attributes."), AGE],
    )
};

impl Kind for VolumeAttributesClasses {
    type Object = VolumeAttributesClass;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn validate(object: &VolumeAttributesClass) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        out.extend(storage_class::provisioner(&object.driver_name, &Path::new("driverName")));
        let path = Path::new("parameters");
        out.extend(storage_class::parameters(object.parameters.as_ref(), &path));
        if object.parameters.as_ref().is_none_or(|p| p.is_empty()) {
            out.push(Error::required(&path, "must contain at least one key/value pair"));
        }
        out
    }
    fn validate_update(new: &VolumeAttributesClass, old: &VolumeAttributesClass) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        if new.driver_name != old.driver_name {
            out.push(Error::forbidden(&Path::new("driverName"), "updates to driverName are forbidden."));
        }
        if new.parameters != old.parameters {
            out.push(Error::forbidden(&Path::new("parameters"), "updates to parameters are forbidden."));
        }
        out.extend(Self::validate(new));
        out
    }
    fn returns_deleted() -> bool {
        true
    }
    fn cells(object: &VolumeAttributesClass, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.driver_name.clone().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

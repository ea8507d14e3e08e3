//! CSIStorageCapacity: how much a driver could make, and where (KEP-1472).
use super::GROUP;
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::storage::v1::CSIStorageCapacity;
use crate::kinds::limit_range::{CREATED_AT, created_at_cells};
use crate::kinds::rules;
use crate::kinds::storage_words::validate_class;
use crate::names;
use crate::print::NAME;
use crate::quantity::canonicalize;
use serde_json::Value;

pub struct CsiStorageCapacities;

static DESCRIPTOR: Descriptor = Descriptor {
    unconditional_update: false,
    ..Descriptor::new(
        (GROUP, "v1"),
        "CSIStorageCapacity",
        "csistoragecapacities",
        "csistoragecapacity",
        Scope::Namespaced,
        &[NAME, CREATED_AT],
    )
};

impl Kind for CsiStorageCapacities {
    type Object = CSIStorageCapacity;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut CSIStorageCapacity) {
        [&mut object.capacity, &mut object.maximum_volume_size].into_iter().flatten().for_each(canonicalize);
    }
    fn validate(object: &CSIStorageCapacity) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        if let Some(topology) = &object.node_topology {
            out.extend(names::validate_label_selector(topology, &Path::new("nodeTopology")));
        }
        out.extend(validate_class(&object.storage_class_name, &Path::new("storageClassName")));
        let amounts = [(&object.capacity, "capacity"), (&object.maximum_volume_size, "maximumVolumeSize")];
        for (amount, field) in amounts {
            if let Some(amount) = amount {
                out.extend(rules::non_negative_quantity(amount, &Path::new(field)));
            }
        }
        out
    }
    fn validate_update(new: &CSIStorageCapacity, old: &CSIStorageCapacity) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        if new.node_topology != old.node_topology {
            out.push(Error::invalid(&Path::new("nodeTopology"), &new.node_topology, "field is immutable"));
        }
        let path = Path::new("storageClassName");
        out.extend(rules::immutable(&new.storage_class_name, &old.storage_class_name, &path));
        out
    }
    fn cells(object: &CSIStorageCapacity, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

//! CSINode: which drivers a node has.
use super::GROUP;
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::storage::v1::{CSINode, CSINodeDriver};
use crate::kinds::pod::volumes::validate_csi_driver_name;
use crate::kinds::rules;
use crate::names;
use crate::print::{AGE, NAME, age_cell, integer};
use serde_json::Value;
use std::collections::BTreeSet;

pub struct CsiNodes;

static DESCRIPTOR: Descriptor = Descriptor {
    unconditional_update: false,
    ..Descriptor::new(
        (GROUP, "v1"),
        "CSINode",
        "csinodes",
        "csinode",
        Scope::Cluster,
        &[NAME, integer("Drivers", "How many drivers the node has."), AGE],
    )
};

const MAX_NODE_ID: usize = 256;

impl Kind for CsiNodes {
    type Object = CSINode;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn validate(object: &CSINode) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        let mut seen = BTreeSet::new();
        for (i, driver) in object.spec.drivers.iter().enumerate() {
            let path = Path::new("spec").child("drivers").index(i);
            validate_driver(driver, &path, &mut out);
            if !seen.insert(driver.name.as_str()) {
                out.push(Error::duplicate(&path.child("name"), &driver.name));
            }
            topology_keys(driver, &path, &mut out);
        }
        out
    }
    fn validate_update(new: &CSINode, old: &CSINode) -> Errors {
        let mut out = Self::validate(new);
        for before in &old.spec.drivers {
            for now in new.spec.drivers.iter().filter(|d| d.name == before.name) {
                // What a node can hold may change while it runs (KEP-4876).
                let (now, before) = (
                    CSINodeDriver { allocatable: None, ..now.clone() },
                    CSINodeDriver { allocatable: None, ..before.clone() },
                );
                out.extend(rules::immutable(&now, &before, &Path::new("spec").child("drivers")));
            }
        }
        out
    }
    fn returns_deleted() -> bool {
        true
    }
    fn cells(object: &CSINode, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.spec.drivers.len().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn validate_driver(driver: &CSINodeDriver, path: &Path, out: &mut Errors) {
    validate_csi_driver_name(&driver.name, &path.child("name"), out);
    let at = path.child("nodeID");
    if driver.node_id.is_empty() {
        out.push(Error::required(&at, ""));
    }
    if driver.node_id.len() > MAX_NODE_ID {
        out.push(Error::invalid(&at, &driver.node_id, format!("must be {MAX_NODE_ID} characters or less")));
    }
    if let Some(count) = driver.allocatable.as_ref().and_then(|a| a.count) {
        out.extend(rules::non_negative(count, &path.child("allocatable").child("count")));
    }
}

fn topology_keys(driver: &CSINodeDriver, path: &Path, out: &mut Errors) {
    let mut seen = BTreeSet::new();
    for key in driver.topology_keys.iter().flatten() {
        out.extend(rules::required(key, path));
        if !seen.insert(key) {
            out.push(Error::duplicate(path, key));
        }
        out.extend(rules::qualified_name(key, path));
    }
}

//! ControllerRevision: what a StatefulSet or DaemonSet looked like once (`pkg/registry/apps/controllerrevision/strategy.go`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::apps::v1::ControllerRevision;
use crate::kinds::pod::canonical;
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::rules;
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

/// The row of controller revisions.
pub struct ControllerRevisions;

static DESCRIPTOR: Descriptor = Descriptor::new(
    ("apps", "v1"),
    "ControllerRevision",
    "controllerrevisions",
    "controllerrevision",
    Scope::Namespaced,
    &[NAME, column("Controller", "Whose revision it is."), column("Revision", "Which one it is."), AGE],
);

impl Kind for ControllerRevisions {
    type Object = ControllerRevision;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut ControllerRevision) {
        canonical::metadata(&mut object.metadata);
        // No `omitempty` in Go: 0 is written.
        object.revision.get_or_insert(0);
    }
    fn validate(object: &ControllerRevision) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        if object.data.0.is_null() {
            out.push(Error::required(&Path::new("data"), "data is mandatory"));
        }
        nonnegative(object.revision.unwrap_or_default(), &Path::new("revision"), &mut out);
        out
    }
    fn validate_update(new: &ControllerRevision, old: &ControllerRevision) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        out.extend(Self::validate(new));
        if new.data != old.data {
            out.push(Error::invalid(&Path::new("data"), &new.data, "field is immutable"));
        }
        out
    }
    fn cells(object: &ControllerRevision, cx: &PrintContext) -> Vec<Value> {
        let owner = object.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
        let controller = owner.map_or_else(
            || "<none>".to_owned(),
            |o| {
                let group = o.api_version.split_once('/').map_or("", |(group, _)| group);
                let kind = o.kind.to_lowercase();
                if group.is_empty() { format!("{kind}/{}", o.name) } else { format!("{kind}.{group}/{}", o.name) }
            },
        );
        vec![
            object.metadata.name.clone().into(),
            controller.into(),
            object.revision.unwrap_or_default().to_string().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

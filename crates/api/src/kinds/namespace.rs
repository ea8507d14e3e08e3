//! Namespace (`pkg/registry/core/namespace/strategy.go`). It goes in two steps: marked `Terminating`, emptied by its
//! controller, and gone once `spec.finalizers` is empty (the `finalize` subresource).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope, Subresource, Verbs};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{Namespace, NamespaceStatus};
use crate::kinds::rules::{self, drop_empty_list, text};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

pub struct Namespaces;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["ns"],
    verbs: Verbs::NoDeleteCollection,
    status: true,
    subresources: &[Subresource { name: "finalize", group: "", version: "", kind: "Namespace", verbs: &["update"] }],
    ..Descriptor::new(
        ("", "v1"),
        "Namespace",
        "namespaces",
        "namespace",
        Scope::Cluster,
        &[NAME, column("Status", "Whether the namespace is in use or going."), AGE],
    )
};

/// The label every namespace carries its name in.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The finalizer of the namespace controller.
const KUBERNETES: &str = "kubernetes";

impl Kind for Namespaces {
    type Object = Namespace;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::dns1123_label(name, prefix)
    }
    fn default(object: &mut Namespace) {
        if let Some(name) = object.metadata.name.as_ref().filter(|n| !n.is_empty()) {
            object.metadata.labels.get_or_insert_default().insert(NAME_LABEL.into(), name.clone());
        }
        drop_empty_list(&mut object.spec.get_or_insert_default().finalizers);
        let phase = &mut object.status.get_or_insert_default().phase;
        if text(phase).is_empty() {
            *phase = Some("Active".into());
        }
    }
    fn prepare_create(object: &mut Namespace) {
        object.status = Some(NamespaceStatus { phase: Some("Active".into()), ..Default::default() });
        let finalizers = object.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|f| f == KUBERNETES) {
            finalizers.push(KUBERNETES.into());
        }
        // A generated name is known only now (`Canonicalize`).
        Self::default(object);
    }
    fn validate(object: &Namespace) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        let path = Path::new("spec").child("finalizers");
        for finalizer in object.spec.iter().flat_map(|s| s.finalizers.iter().flatten()) {
            out.extend(finalizer_name(finalizer, &path));
        }
        out
    }
    fn prepare_update(new: &mut Namespace, old: &Namespace) {
        new.spec.clone_from(&old.spec);
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &Namespace, old: &Namespace) -> Errors {
        let mut out = Self::validate(new);
        out.extend(rules::meta_update(&new.metadata, &old.metadata));
        out
    }
    fn prepare_status_update(new: &mut Namespace, old: &Namespace) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &Namespace, old: &Namespace) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let phase = new.status.as_ref().map_or("", |s| text(&s.phase));
        let path = Path::new("status").child("Phase");
        match (new.metadata.deletion_timestamp.is_some(), phase) {
            (false, "Active") | (true, "Terminating") => {}
            (false, _) => {
                out.push(Error::invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty"));
            }
            (true, _) => {
                out.push(Error::invalid(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"));
            }
        }
        out
    }
    fn fields(object: &Namespace) -> Vec<(&'static str, String)> {
        vec![("status.phase", object.status.as_ref().map_or("", |s| text(&s.phase)).to_owned())]
    }
    fn cells(object: &Namespace, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.status.as_ref().map_or("", |s| text(&s.phase)).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
    fn holds_deletion(object: &Namespace) -> bool {
        object.spec.as_ref().and_then(|s| s.finalizers.as_ref()).is_some_and(|f| !f.is_empty())
    }
    fn mark_deleting(object: &mut Namespace) {
        object.status.get_or_insert_default().phase = Some("Terminating".into());
    }
}

/// What a PUT to `finalize` may change: `metadata` and `spec.finalizers`.
pub fn prepare_finalize(new: &mut Namespace, old: &Namespace) {
    new.status.clone_from(&old.status);
}

/// `ValidateNamespaceFinalizeUpdate`
pub fn validate_finalize(new: &Namespace, old: &Namespace) -> Errors {
    let mut out = rules::meta_update(&new.metadata, &old.metadata);
    let path = Path::new("spec").child("finalizers");
    for (i, finalizer) in new.spec.iter().flat_map(|s| s.finalizers.iter().flatten()).enumerate() {
        out.extend(finalizer_name(finalizer, &path.index(i)));
    }
    out
}

fn finalizer_name(name: &str, path: &Path) -> Errors {
    let mut out = rules::qualified_name(name, path);
    if !name.contains('/') && ![KUBERNETES, "orphan", "foregroundDeletion"].contains(&name) {
        out.push(Error::invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified"));
    }
    out
}

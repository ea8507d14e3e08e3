//! PodTemplate: a template kept for later (`pkg/registry/core/podtemplate/strategy.go`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Errors, Path};
use crate::k8s::api::core::v1::PodTemplate;
use crate::kinds::pod::{canonical, defaults, template, warnings};
use crate::kinds::rules;
use crate::kinds::workload;
use crate::names;
use crate::print::{self, NAME, column};
use serde_json::Value;

/// The row of pod templates.
pub struct PodTemplates;

static DESCRIPTOR: Descriptor = Descriptor {
    generation: true,
    ..Descriptor::new(
        ("", "v1"),
        "PodTemplate",
        "podtemplates",
        "podtemplate",
        Scope::Namespaced,
        &[
            NAME,
            column("Containers", "Names of the containers."),
            column("Images", "Images of the containers."),
            column("Pod Labels", "Labels of pods made of the template."),
        ],
    )
};

impl Kind for PodTemplates {
    type Object = PodTemplate;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut PodTemplate) {
        canonical::metadata(&mut object.metadata);
        defaults::template(object.template.get_or_insert_default());
    }
    fn validate(object: &PodTemplate) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        validate_template(object, &mut out);
        out
    }
    fn prepare_update(new: &mut PodTemplate, old: &PodTemplate) {
        // It has no `spec`: the template is what the generation counts.
        if new.template != old.template {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or_default().saturating_add(1));
        }
    }
    fn validate_update(new: &PodTemplate, old: &PodTemplate) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        validate_template(new, &mut out);
        out
    }
    fn warnings(new: &PodTemplate, old: Option<&PodTemplate>) -> Vec<String> {
        let changed = old.is_none_or(|old| old.metadata.generation != new.metadata.generation);
        let path = Path::new("template");
        new.template.as_ref().filter(|_| changed).map(|t| warnings::of_template(t, &path)).unwrap_or_default()
    }
    fn cells(object: &PodTemplate, _cx: &PrintContext) -> Vec<Value> {
        let [containers, images] = workload::containers_and_images(object.template.as_ref());
        let labels = object.template.as_ref().and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.as_ref());
        vec![object.metadata.name.clone().into(), containers, images, print::labels(labels).into()]
    }
}

fn validate_template(object: &PodTemplate, out: &mut Errors) {
    if let Some(pod_template) = &object.template {
        template::validate(pod_template, &Path::new("template"), out);
    }
}

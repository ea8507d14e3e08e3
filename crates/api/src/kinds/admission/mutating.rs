//! MutatingWebhookConfiguration.
use super::GROUP;
use super::hook::{self, Defaults, Hook};
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Errors, Path};
use crate::k8s::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use crate::kinds::rules;
use crate::names;
use crate::print::{AGE, NAME, age_cell, integer};
use serde_json::Value;

pub struct MutatingWebhooks;

const COLUMNS: [Column; 3] = [NAME, integer("Webhooks", "How many webhooks the configuration has."), AGE];

static DESCRIPTOR: Descriptor = Descriptor {
    categories: &["api-extensions"],
    ..Descriptor::new(
        (GROUP, "v1"),
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "mutatingwebhookconfiguration",
        Scope::Cluster,
        &COLUMNS,
    )
};

impl Kind for MutatingWebhooks {
    type Object = MutatingWebhookConfiguration;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut MutatingWebhookConfiguration) {
        rules::drop_empty_list(&mut object.webhooks);
        for webhook in object.webhooks.iter_mut().flatten() {
            default(webhook);
        }
    }
    fn prepare_create(object: &mut MutatingWebhookConfiguration) {
        object.metadata.generation = Some(1);
    }
    fn validate(object: &MutatingWebhookConfiguration) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        hook::validate_all(object.webhooks.iter().flatten().map(view), &mut out);
        for (i, webhook) in object.webhooks.iter().flatten().enumerate() {
            if let Some(policy) = &webhook.reinvocation_policy {
                let path = Path::new("webhooks").index(i).child("reinvocationPolicy");
                out.extend(rules::one_of(policy, &["IfNeeded", "Never"], &path));
            }
        }
        out
    }
    /// The webhooks count as the spec.
    fn prepare_update(new: &mut MutatingWebhookConfiguration, old: &MutatingWebhookConfiguration) {
        let before = old.metadata.generation.unwrap_or_default();
        let changed = new.webhooks != old.webhooks;
        new.metadata.generation = Some(if changed { before.saturating_add(1) } else { before });
    }
    fn validate_update(new: &MutatingWebhookConfiguration, _old: &MutatingWebhookConfiguration) -> Errors {
        Self::validate(new)
    }
    fn cells(object: &MutatingWebhookConfiguration, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.webhooks.as_ref().map_or(0, Vec::len).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn default(webhook: &mut MutatingWebhook) {
    hook::default(Defaults {
        client_config: &mut webhook.client_config,
        rules: &mut webhook.rules,
        failure_policy: &mut webhook.failure_policy,
        match_policy: &mut webhook.match_policy,
        namespace_selector: &mut webhook.namespace_selector,
        object_selector: &mut webhook.object_selector,
        timeout_seconds: &mut webhook.timeout_seconds,
    });
    webhook.reinvocation_policy.get_or_insert_with(|| "Never".into());
}

fn view(webhook: &MutatingWebhook) -> Hook<'_> {
    Hook {
        name: &webhook.name,
        client_config: &webhook.client_config,
        rules: webhook.rules.as_deref().unwrap_or_default(),
        failure_policy: webhook.failure_policy.as_deref(),
        match_policy: webhook.match_policy.as_deref(),
        namespace_selector: webhook.namespace_selector.as_ref(),
        object_selector: webhook.object_selector.as_ref(),
        side_effects: &webhook.side_effects,
        timeout_seconds: webhook.timeout_seconds,
        admission_review_versions: &webhook.admission_review_versions,
        match_conditions: webhook.match_conditions.as_deref().unwrap_or_default(),
    }
}

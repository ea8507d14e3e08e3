//! ValidatingWebhookConfiguration.
use super::GROUP;
use super::hook::{self, Defaults, Hook};
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::Errors;
use crate::k8s::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use crate::kinds::rules;
use crate::names;
use crate::print::{AGE, NAME, age_cell, integer};
use serde_json::Value;

pub struct ValidatingWebhooks;

const COLUMNS: [Column; 3] = [NAME, integer("Webhooks", "How many webhooks the configuration has."), AGE];

static DESCRIPTOR: Descriptor = Descriptor {
    categories: &["api-extensions"],
    ..Descriptor::new(
        (GROUP, "v1"),
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        "validatingwebhookconfiguration",
        Scope::Cluster,
        &COLUMNS,
    )
};

impl Kind for ValidatingWebhooks {
    type Object = ValidatingWebhookConfiguration;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut ValidatingWebhookConfiguration) {
        rules::drop_empty_list(&mut object.webhooks);
        for webhook in object.webhooks.iter_mut().flatten() {
            default(webhook);
        }
    }
    fn prepare_create(object: &mut ValidatingWebhookConfiguration) {
        object.metadata.generation = Some(1);
    }
    fn validate(object: &ValidatingWebhookConfiguration) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        hook::validate_all(object.webhooks.iter().flatten().map(view), &mut out);
        out
    }
    /// The webhooks count as the spec.
    fn prepare_update(new: &mut ValidatingWebhookConfiguration, old: &ValidatingWebhookConfiguration) {
        let before = old.metadata.generation.unwrap_or_default();
        let changed = new.webhooks != old.webhooks;
        new.metadata.generation = Some(if changed { before.saturating_add(1) } else { before });
    }
    fn validate_update(new: &ValidatingWebhookConfiguration, _old: &ValidatingWebhookConfiguration) -> Errors {
        Self::validate(new)
    }
    fn cells(object: &ValidatingWebhookConfiguration, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.webhooks.as_ref().map_or(0, Vec::len).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn default(webhook: &mut ValidatingWebhook) {
    hook::default(Defaults {
        client_config: &mut webhook.client_config,
        rules: &mut webhook.rules,
        failure_policy: &mut webhook.failure_policy,
        match_policy: &mut webhook.match_policy,
        namespace_selector: &mut webhook.namespace_selector,
        object_selector: &mut webhook.object_selector,
        timeout_seconds: &mut webhook.timeout_seconds,
    });
}

fn view(webhook: &ValidatingWebhook) -> Hook<'_> {
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

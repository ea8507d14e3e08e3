//! ChangeRecord, a plugin of isopod's own: who last changed a Deployment's pod template, noted on it in the same transaction
//! ([`isopod_api::change`]), so that a revision can say why it was made. The record is the server's: what anybody else writes there
//! is put back. The answer to a create does not show it ([`conceal`]), so that it says what was asked for. Nor can
//! the note of an automatic rollback be lost by a client that writes annotations wholesale (PUT, `kubectl rollout undo`).
use super::{Admission, Attributes, Operation};
use async_trait::async_trait;
use isopod_api::catalogue::Object;
use isopod_api::change::{self, CHANGED_BY, Edit, ROLLED_BACK, Record};
use isopod_api::k8s::api::apps::v1::Deployment;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::status::ApiError;

pub struct ChangeRecord;

/// Who alone notes rollbacks.
const CONTROLLER: &str = "system:serviceaccount:kube-system:deployment-controller";

#[async_trait]
impl Admission for ChangeRecord {
    fn name(&self) -> &'static str {
        "ChangeRecord"
    }

    fn handles(&self, a: &Attributes<'_>) -> bool {
        // A status write may change annotations, too (`deploymentStatusStrategy`).
        let written = a.is("apps", "deployments", "") || a.is("apps", "deployments", "status");
        written && matches!(a.operation, Operation::Create | Operation::Update)
    }

    async fn mutate(
        &self,
        object: &mut dyn Object,
        old: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let old = old.and_then(|o| o.downcast::<Deployment>());
        let Some(new) = object.downcast_mut::<Deployment>() else { return Ok(()) };
        let before = old.map(|d| &d.metadata);
        let changed = a.subresource.is_empty() && old.is_none_or(|d| d.spec.template != new.spec.template);
        change::drop_copied(&mut new.metadata.annotations);
        let noted = before.and_then(|m| value(m, CHANGED_BY));
        // A trial run shows what the person's change is, and no more (`kubectl diff`).
        let noted = if changed && !a.dry_run {
            let edit = Edit { by: a.user.name.clone(), with: a.program.to_owned() };
            Some(Record::after(before.and_then(|m| m.annotations.as_ref()), &edit).to_json())
        } else {
            noted
        };
        put(&mut new.metadata, CHANGED_BY, noted);
        if a.user.name != CONTROLLER {
            put(&mut new.metadata, ROLLED_BACK, before.and_then(|m| value(m, ROLLED_BACK)));
        }
        Ok(())
    }
}

/// Takes the note of its author out of a new Deployment that is about to be answered; whether there was one.
pub(crate) fn conceal(object: &mut dyn Object) -> bool {
    let Some(new) = object.downcast_mut::<Deployment>() else { return false };
    let Some(all) = &mut new.metadata.annotations else { return false };
    let noted = all.remove(CHANGED_BY).is_some();
    if all.is_empty() {
        new.metadata.annotations = None;
    }
    noted
}

fn value(meta: &ObjectMeta, key: &str) -> Option<String> {
    meta.annotations.as_ref()?.get(key).cloned()
}

fn put(meta: &mut ObjectMeta, key: &str, value: Option<String>) {
    match value {
        Some(value) => {
            meta.annotations.get_or_insert_default().insert(key.to_owned(), value);
        }
        None => {
            if let Some(all) = &mut meta.annotations {
                all.remove(key);
            }
        }
    }
}

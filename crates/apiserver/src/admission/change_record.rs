//! ChangeRecord, a plugin of isopod's own: who last changed a Deployment's pod template, noted on it in the same transaction
//! ([`isopod_api::change`]), so that a revision can say why it was made. The record is the server's: what anybody else writes there
//! is put back. A new Deployment gets no note, so that it reads back as it was made: who created it is remembered here, until the
//! controller makes the first ReplicaSet a moment later, and told there. (A server killed in this moment forgets it, and the first
//! revision names nobody.) Nor can the note of an automatic rollback be lost by a client that writes annotations wholesale (PUT,
//! `kubectl rollout undo`).
use super::{Admission, Attributes, Operation};
use async_trait::async_trait;
use isopod_api::catalogue::Object;
use isopod_api::change::{self, AUTOMATIC_CAUSE, CHANGE_CAUSE, CHANGED_BY, Edit, REVISION, ROLLED_BACK, Record};
use isopod_api::k8s::api::apps::v1::{Deployment, ReplicaSet};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::status::ApiError;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

#[derive(Default)]
pub struct ChangeRecord {
    created: Mutex<Created>,
}

/// Who created which Deployment.
#[derive(Default)]
struct Created {
    by_uid: HashMap<String, Edit>,
    /// The oldest first.
    order: VecDeque<String>,
}

impl Created {
    fn remember(&mut self, uid: &str, edit: Edit) {
        if self.by_uid.insert(uid.to_owned(), edit).is_none() {
            self.order.push_back(uid.to_owned());
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.by_uid.remove(&oldest);
            }
        }
    }
}

/// Deployments whose creators are remembered: far more than are created before the controller gets to the first of them.
const REMEMBERED: usize = 4_096;
/// Who alone notes rollbacks, and makes ReplicaSets of Deployments.
const CONTROLLER: &str = "system:serviceaccount:kube-system:deployment-controller";

#[async_trait]
impl Admission for ChangeRecord {
    fn name(&self) -> &'static str {
        "ChangeRecord"
    }

    fn handles(&self, a: &Attributes<'_>) -> bool {
        // A status write may change annotations, too (`deploymentStatusStrategy`).
        let written = a.is("apps", "deployments", "") || a.is("apps", "deployments", "status");
        let made = a.is("apps", "replicasets", "") && a.operation == Operation::Create && a.user.name == CONTROLLER;
        made || written && matches!(a.operation, Operation::Create | Operation::Update)
    }

    async fn mutate(
        &self,
        object: &mut dyn Object,
        old: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        if let Some(first) = object.downcast_mut::<ReplicaSet>() {
            self.tell(&mut first.metadata);
            return Ok(());
        }
        let old = old.and_then(|o| o.downcast::<Deployment>());
        let Some(new) = object.downcast_mut::<Deployment>() else { return Ok(()) };
        let before = old.map(|d| &d.metadata);
        let changed = a.subresource.is_empty() && old.is_some_and(|d| d.spec.template != new.spec.template);
        change::drop_copied(&mut new.metadata.annotations);
        // A trial run shows what the person's change is, and no more (`kubectl diff`).
        let noted = match before {
            Some(before) if changed && !a.dry_run => Some(self.record(before, &edit(a)).to_json()),
            _ => before.and_then(|m| value(m, CHANGED_BY)),
        };
        put(&mut new.metadata, CHANGED_BY, noted);
        if a.user.name != CONTROLLER {
            put(&mut new.metadata, ROLLED_BACK, before.and_then(|m| value(m, ROLLED_BACK)));
        }
        Ok(())
    }

    async fn validate(
        &self,
        object: Option<&dyn Object>,
        _old: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let created = object.filter(|_| a.operation == Operation::Create && !a.dry_run);
        let created = created.and_then(|o| o.downcast::<Deployment>()).and_then(|d| d.metadata.uid.as_deref());
        if let Some(uid) = created {
            self.created.lock().remember(uid, edit(a));
        }
        Ok(())
    }
}

impl ChangeRecord {
    /// The record after one more edit. What is created and edited before it is a revision has two authors.
    fn record(&self, before: &ObjectMeta, edit: &Edit) -> Record {
        let uid = before.uid.as_deref().unwrap_or_default();
        let first = value(before, REVISION).is_none() && value(before, CHANGED_BY).is_none();
        let created = self.created.lock().by_uid.remove(uid).filter(|_| first);
        let mut annotations = before.annotations.clone().unwrap_or_default();
        if let Some(created) = created {
            let record = Record::after(Some(&annotations), &created);
            annotations.insert(CHANGED_BY.to_owned(), record.to_json());
        }
        Record::after(Some(&annotations), edit)
    }

    /// Puts the creator of its Deployment into the cause of a first revision that was filled in.
    fn tell(&self, set: &mut ObjectMeta) {
        let owners = set.owner_references.iter().flatten();
        let uid = owners.filter(|o| o.controller == Some(true)).map(|o| o.uid.as_str()).next();
        let created = uid.and_then(|uid| self.created.lock().by_uid.get(uid).cloned());
        let cause = value(set, AUTOMATIC_CAUSE).filter(|cause| value(set, CHANGE_CAUSE).as_ref() == Some(cause));
        if let (Some(created), Some(cause), Some("1")) = (created, cause, value(set, REVISION).as_deref()) {
            let cause = change::attributed(&[created], &cause);
            put(set, CHANGE_CAUSE, Some(cause.clone()));
            put(set, AUTOMATIC_CAUSE, Some(cause));
        }
    }
}

fn edit(a: &Attributes<'_>) -> Edit {
    Edit { by: a.user.name.clone(), with: a.program.to_owned() }
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

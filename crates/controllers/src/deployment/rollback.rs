//! The rollback that `extensions/v1beta1` clients asked for by annotation (`rollback.go`). `kubectl rollout undo` does not need it.
use super::annotations::{self, ROLLBACK_TO, is_own};
use super::plan::{Action, Event, Pass};
use super::template;
use isopod_api::change::{CHANGE_CAUSE, cause_of_person};
use isopod_reflect::EventType;
use k8s_openapi::api::apps::v1::Deployment;

/// The revision asked for; 0 is the last one.
pub fn wanted(d: &Deployment) -> Option<i64> {
    d.metadata.annotations.as_ref()?.get(ROLLBACK_TO)?.parse().ok()
}

pub fn roll_back(pass: &mut Pass<'_>, revision: i64) {
    let mut d = pass.asked.clone();
    if let Some(a) = d.metadata.annotations.as_mut() {
        a.remove(ROLLBACK_TO);
    }
    let revision = if revision == 0 { last_revision(pass) } else { revision };
    let event = if revision == 0 {
        event(EventType::Warning, "DeploymentRollbackRevisionNotFound", "Unable to find last revision.".to_owned())
    } else {
        to_revision(pass, &mut d, revision)
    };
    pass.actions.push(Action::UpdateDeployment(Box::new(d), event));
}

fn event(kind: EventType, reason: &'static str, message: String) -> Event {
    Event { kind, reason, message }
}

/// The second highest revision (`LastRevision`).
fn last_revision(pass: &Pass<'_>) -> i64 {
    let mut revisions: Vec<i64> = pass.sets.all.iter().map(|s| annotations::revision(&s.now)).collect();
    revisions.sort_unstable();
    revisions.iter().rev().nth(1).copied().unwrap_or(0)
}

fn to_revision(pass: &Pass<'_>, d: &mut Deployment, revision: i64) -> Event {
    let Some(set) = pass.sets.all.iter().find(|s| annotations::revision(&s.now) == revision) else {
        let message = "Unable to find the revision to rollback to.".to_owned();
        return event(EventType::Warning, "DeploymentRollbackRevisionNotFound", message);
    };
    let name = d.metadata.name.clone().unwrap_or_default();
    let Some(old) = set.now.spec.template.as_ref().filter(|t| !template::same(t, &d.spec.template)) else {
        let message = format!("The rollback revision contains the same template as current deployment \"{name}\"");
        return event(EventType::Warning, "DeploymentRollbackTemplateUnchanged", message);
    };
    d.spec.template = template::without_hash(old);
    let annotations = d.metadata.annotations.get_or_insert_default();
    annotations.retain(|key, _| is_own(key));
    let theirs = cause_of_person(set.now.metadata.annotations.as_ref()).is_some();
    let own = |key: &str| is_own(key) || (key == CHANGE_CAUSE && !theirs);
    let kept = set.now.metadata.annotations.iter().flatten().filter(|(key, _)| !own(key));
    annotations.extend(kept.map(|(k, v)| (k.clone(), v.clone())));
    event(EventType::Normal, "DeploymentRollback", format!("Rolled back deployment \"{name}\" to revision {revision}"))
}

//! Why a revision was made: `kubernetes.io/change-cause` of its ReplicaSet, filled in when nobody set one
//! (`kubernetes-admin, kubectl set image: image v3 → v4, +env LOG`).
//!
//! It is written when a ReplicaSet becomes the newest revision, in the write that makes it so, and never after. What a person set wins:
//! on the Deployment (copied as ever), or on the ReplicaSet itself, which may be an old one that is gone back to. Only the return that
//! nobody asked for, an automatic rollback, always says so. How the two kinds of cause are told apart: [`isopod_api::change`].
use super::automatic::RolledBack;
use super::{annotations, difference, sets::Sets};
use isopod_api::change::{AUTOMATIC_CAUSE, CHANGE_CAUSE, Edit, Record, attributed, cause_of_person};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The revision before the one that `rs` is about to be.
fn before(sets: &Sets) -> Option<(i64, &PodTemplateSpec)> {
    let newest = sets.old().max_by_key(|s| annotations::revision(&s.now))?;
    Some((annotations::revision(&newest.now), newest.now.spec.template.as_ref()?))
}

/// Gives `rs`, which has just become the newest revision (it was `had` before), its cause.
pub fn fill(d: &Deployment, sets: &Sets, rs: &mut ReplicaSet, had: Option<i64>) {
    let previous = before(sets);
    let rolled_back = RolledBack::of(d).filter(|r| {
        let current = rs.spec.template.as_ref().is_some_and(|t| r.went_to(t));
        current && previous.is_some_and(|(revision, _)| revision == r.revision)
    });
    let theirs = cause_of_person(d.metadata.annotations.as_ref()).is_some()
        || cause_of_person(rs.metadata.annotations.as_ref()).is_some();
    let cause = match rolled_back {
        Some(back) => back.cause(),
        None if theirs => return,
        None => {
            let edits = Record::of(d.metadata.annotations.as_ref()).map(|r| r.edits).unwrap_or_default();
            text(&edits, previous.map(|(_, t)| t), &d.spec.template, had)
        }
    };
    let annotations = rs.metadata.annotations.get_or_insert_default();
    annotations.insert(CHANGE_CAUSE.to_owned(), cause.clone());
    annotations.insert(AUTOMATIC_CAUSE.to_owned(), cause);
}

/// `who, with what: what changed`.
fn text(edits: &[Edit], old: Option<&PodTemplateSpec>, new: &PodTemplateSpec, had: Option<i64>) -> String {
    let difference = match old {
        None => difference::images(new),
        Some(old) => Some(difference::words(old, new)).filter(|w| !w.is_empty()).unwrap_or("template changed".into()),
    };
    let what = match had.filter(|r| *r > 0) {
        Some(revision) => format!("back to revision {revision}, {difference}"),
        None => difference,
    };
    attributed(edits, &what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "image": image}]}})).unwrap()
    }

    #[test]
    fn sentences() {
        let (v1, v2) = (template("web:v1"), template("web:v2"));
        let edit = |by: &str, with: &str| Edit { by: by.into(), with: with.into() };
        let admin = edit("kubernetes-admin", "kubectl set image");
        for (edits, old, had, want) in [
            (vec![admin.clone()], None, None, "kubernetes-admin, kubectl set image: created with image web:v2"),
            (vec![admin.clone()], Some(&v1), None, "kubernetes-admin, kubectl set image: image v1 → v2"),
            (vec![], Some(&v1), None, "image v1 → v2"),
            (vec![edit("ann", "unknown")], Some(&v1), None, "ann: image v1 → v2"),
            (
                vec![edit("system:serviceaccount:ci:deploy", "helm")],
                Some(&v1),
                None,
                "serviceaccount ci/deploy, helm: image v1 → v2",
            ),
            (
                vec![edit("ann", "kubectl set image"), edit("bob", "kubectl edit"), edit("ann", "kubectl set env")],
                Some(&v1),
                None,
                "ann, kubectl set image, kubectl set env; bob, kubectl edit: image v1 → v2",
            ),
            (
                vec![edit("ann", "kubectl rollout undo")],
                Some(&v1),
                Some(3),
                "ann, kubectl rollout undo: back to revision 3, image v1 → v2",
            ),
            (vec![admin], Some(&v2), None, "kubernetes-admin, kubectl set image: template changed"),
        ] {
            assert_eq!(text(&edits, old, &v2, had), want);
        }
    }
}

//! Who changed a pod template, and what may be said of why: annotations that API server and Deployment controller share.
//!
//! `kubectl rollout history` reads `kubernetes.io/change-cause` from ReplicaSets. When nobody set one, the controller fills it in, and it
//! needs to know who asked and how, which only the API server sees. So the API server keeps a [`Record`] on the Deployment, written in
//! the transaction that changes the template: it survives restarts, and a change never stands without its author. (A new Deployment
//! gets none: it reads back as it was made. Who created it is put into the first revision's cause as that is written.) It is the API server's own (nobody else's write changes it; it is no field of anybody's in `managedFields`) and is not copied to ReplicaSets.
//!
//! A filled-in cause stands on the ReplicaSet together with [`AUTOMATIC_CAUSE`], a copy of its text: only while both are equal is it
//! automatic. A person who writes another cause, on the ReplicaSet or the Deployment, thereby makes it hers; and what `kubectl rollout undo`
//! copies to the Deployment ([`drop_copied`]) is never taken for a person's words.
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
/// On a ReplicaSet: the text of a cause that was filled in.
pub const AUTOMATIC_CAUSE: &str = "isopod.dev/automatic-cause";
/// On a Deployment: a [`Record`] as JSON.
pub const CHANGED_BY: &str = "isopod.dev/changed-by";
/// On a ReplicaSet: the revision it was when all its pods were available.
pub const ROLLED_OUT: &str = "isopod.dev/rolled-out";
/// On a Deployment: what the controller rolled back, as JSON.
pub const ROLLED_BACK: &str = "isopod.dev/rolled-back";
/// `deployment.kubernetes.io/revision`
pub const REVISION: &str = "deployment.kubernetes.io/revision";

/// The most characters of a cause that is filled in: `rollout history` shows it in one line.
const CAUSE_LENGTH: usize = 240;
/// The most edits remembered between two revisions; of more the oldest are forgotten.
const EDITS: usize = 8;
/// The most characters kept of a user's name or a program.
const LENGTH: usize = 100;

type Annotations = BTreeMap<String, String>;

/// One author with one program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The user's name.
    pub by: String,
    /// The sub-command (`kubectl set image`), else the field manager (`helm`).
    pub with: String,
}

/// The edits of a template since it last became a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The Deployment's revision when they were made. Once it has another, they are history.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
    pub edits: Vec<Edit>,
}

impl Record {
    /// `None`: there is none, or an unreadable one.
    pub fn of(annotations: Option<&Annotations>) -> Option<Self> {
        serde_json::from_str(annotations?.get(CHANGED_BY)?).ok()
    }

    /// The record after one more edit of a Deployment that has these annotations: several edits between two revisions (a paused
    /// Deployment) are all named, once each.
    pub fn after(annotations: Option<&Annotations>, edit: &Edit) -> Self {
        let revision = annotations.and_then(|a| a.get(REVISION)).cloned().unwrap_or_default();
        let pending = Self::of(annotations).filter(|r| r.revision == revision);
        let mut edits = pending.map(|r| r.edits).unwrap_or_default();
        let edit = Edit { by: shortened(&edit.by), with: shortened(&edit.with) };
        edits.retain(|e| *e != edit);
        edits.push(edit);
        let surplus = edits.len().saturating_sub(EDITS);
        edits.drain(..surplus);
        Self { revision, edits }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// `who, with what: what changed`, in one line.
pub fn attributed(edits: &[Edit], what: &str) -> String {
    let who = authors(edits);
    if who.is_empty() { cut(what) } else { cut(&format!("{who}: {what}")) }
}

/// A cause as one line that is not too long.
pub fn cut(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= CAUSE_LENGTH {
        return line;
    }
    let mut cut: String = line.chars().take(CAUSE_LENGTH - 1).collect();
    cut.push('…');
    cut
}

/// `ann, kubectl set image, kubectl set env; bob, helm`
fn authors(edits: &[Edit]) -> String {
    let mut people: Vec<(String, Vec<&str>)> = Vec::new();
    for edit in edits {
        let by = name(&edit.by);
        let with = Some(edit.with.as_str()).filter(|w| !w.is_empty() && *w != "unknown");
        match people.iter_mut().find(|(who, _)| *who == by) {
            Some((_, all)) => all.extend(with),
            None => people.push((by, with.into_iter().collect())),
        }
    }
    let of = |(who, with): (String, Vec<&str>)| {
        let parts: Vec<&str> = std::iter::once(who.as_str()).chain(with).filter(|p| !p.is_empty()).collect();
        parts.join(", ")
    };
    people.into_iter().map(of).collect::<Vec<_>>().join("; ")
}

/// A service account by its own name.
fn name(user: &str) -> String {
    user.strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .map_or_else(|| user.to_owned(), |(namespace, name)| format!("serviceaccount {namespace}/{name}"))
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LENGTH).collect()
}

/// A cause in these annotations that a person set.
pub fn cause_of_person(annotations: Option<&Annotations>) -> Option<&str> {
    let annotations = annotations?;
    let cause = annotations.get(CHANGE_CAUSE).filter(|c| !c.trim().is_empty())?;
    (annotations.get(AUTOMATIC_CAUSE) != Some(cause)).then_some(cause)
}

/// Takes from a Deployment's annotations what belongs to ReplicaSets alone (`kubectl rollout undo` copies all annotations of the one it
/// goes back to): their marks, and a cause that nobody set.
pub fn drop_copied(annotations: &mut Option<Annotations>) {
    let Some(all) = annotations else { return };
    if let Some(automatic) = all.remove(AUTOMATIC_CAUSE)
        && all.get(CHANGE_CAUSE) == Some(&automatic)
    {
        all.remove(CHANGE_CAUSE);
    }
    all.remove(ROLLED_OUT);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn edit(by: &str, with: &str) -> Edit {
        Edit { by: by.into(), with: with.into() }
    }

    #[test]
    fn edits_gather_until_they_are_a_revision() {
        let mut all = annotations(&[(REVISION, "3")]);
        let mut add = |revision: &str, by: &str, with: &str| {
            all.insert(REVISION.into(), revision.into());
            let record = Record::after(Some(&all), &edit(by, with));
            all.insert(CHANGED_BY.into(), record.to_json());
            record.edits.iter().map(|e| format!("{} {}", e.by, e.with)).collect::<Vec<_>>()
        };
        assert_eq!(add("3", "ann", "set image"), ["ann set image"]);
        assert_eq!(add("3", "bob", "edit"), ["ann set image", "bob edit"]);
        assert_eq!(add("3", "ann", "set image"), ["bob edit", "ann set image"], "once each");
        assert_eq!(add("4", "ann", "apply"), ["ann apply"], "those before have become revision 4");
        let long = "x".repeat(1000);
        assert_eq!(add("4", &long, "a\nb")[1].len(), LENGTH + " ab".len());
        for n in 0..20 {
            assert!(add("4", &n.to_string(), "apply").len() <= EDITS);
        }
    }

    #[test]
    fn a_cause_is_one_line() {
        let long = cut(&"é".repeat(1000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (CAUSE_LENGTH, true));
        assert_eq!(cut("a\nb"), "a b");
        assert_eq!(attributed(&[], "x"), "x");
        assert_eq!(attributed(&[edit("ann", "kubectl apply")], "x"), "ann, kubectl apply: x");
    }

    #[test]
    fn whose_cause_it_is() {
        // (cause, automatic) → a person's, what a copy leaves
        for (cause, automatic, person, left) in [
            (None, None, None, None),
            (Some("mine"), None, Some("mine"), Some("mine")),
            (Some("auto"), Some("auto"), None, None),
            (Some("mine"), Some("auto"), Some("mine"), Some("mine")),
            (Some(" "), None, None, Some(" ")),
            (None, Some("auto"), None, None),
        ] {
            let mut all = Annotations::new();
            all.extend(cause.map(|c| (CHANGE_CAUSE.to_owned(), c.to_owned())));
            all.extend(automatic.map(|c| (AUTOMATIC_CAUSE.to_owned(), c.to_owned())));
            all.insert(ROLLED_OUT.into(), "1".into());
            assert_eq!(cause_of_person(Some(&all)), person, "{cause:?} {automatic:?}");
            let mut copied = Some(all);
            drop_copied(&mut copied);
            let want: Vec<(&str, &str)> = left.map(|c| (CHANGE_CAUSE, c)).into_iter().collect();
            assert_eq!(copied.unwrap(), annotations(&want), "{cause:?} {automatic:?}");
        }
    }
}

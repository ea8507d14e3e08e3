//! What a namespace being deleted says about itself. Pure.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// What came of deleting the content once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Kinds could not be discovered.
    pub discovery_error: Option<String>,
    /// Requests that failed, in the API server's words.
    pub errors: Vec<String>,
    /// Objects left, by kind (`pods.`, `deployments.apps`).
    pub left: BTreeMap<String, usize>,
    /// Objects left that have a finalizer, by finalizer.
    pub finalizers: BTreeMap<String, usize>,
}

impl Outcome {
    /// Nothing is left and nothing went wrong: the namespace may go.
    pub fn is_done(&self) -> bool {
        self.discovery_error.is_none() && self.errors.is_empty() && self.left.is_empty()
    }
}

/// The five conditions, in Kubernetes' order and words (`status_condition_utils.go`).
pub fn conditions(outcome: &Outcome) -> [(&'static str, bool, &'static str, String); 5] {
    let listed = |map: &BTreeMap<String, usize>, what: &str| {
        map.iter().map(|(k, n)| format!("{k} {what} {n} resource instances")).collect::<Vec<_>>().join(", ")
    };
    let discovery = match &outcome.discovery_error {
        Some(e) => (true, "DiscoveryFailed", format!("Discovery failed for some groups, 1 failing: {e}")),
        None => (false, "ResourcesDiscovered", "All resources successfully discovered".to_owned()),
    };
    let content = if outcome.errors.is_empty() {
        (false, "ContentDeleted", "All content successfully deleted, may be waiting on finalization".to_owned())
    } else {
        let count = outcome.errors.len();
        let text = format!("Failed to delete all resource types, {count} remaining: {}", outcome.errors.join(", "));
        (true, "ContentDeletionFailed", text)
    };
    let remaining = if outcome.left.is_empty() {
        (false, "ContentRemoved", "All content successfully removed".to_owned())
    } else {
        (true, "SomeResourcesRemain", format!("Some resources are remaining: {}", listed(&outcome.left, "has")))
    };
    let finalizers = if outcome.finalizers.is_empty() {
        (false, "ContentHasNoFinalizers", "All content-preserving finalizers finished".to_owned())
    } else {
        let text = listed(&outcome.finalizers, "in");
        (true, "SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {text}"))
    };
    [
        ("NamespaceDeletionDiscoveryFailure", discovery.0, discovery.1, discovery.2),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        ("NamespaceDeletionContentFailure", content.0, content.1, content.2),
        ("NamespaceContentRemaining", remaining.0, remaining.1, remaining.2),
        ("NamespaceFinalizersRemaining", finalizers.0, finalizers.1, finalizers.2),
    ]
}

/// The status with these conditions; one whose state stays keeps its transition time.
#[must_use]
pub fn status(old: &NamespaceStatus, outcome: &Outcome, now: Timestamp) -> NamespaceStatus {
    let mut status = old.clone();
    status.phase = Some("Terminating".into());
    let known = status.conditions.get_or_insert_default();
    for (kind, state, reason, message) in conditions(outcome) {
        let state = if state { "True" } else { "False" };
        let old = known.iter_mut().find(|c| c.type_ == kind);
        let since = old.as_ref().filter(|c| c.status == state).and_then(|c| c.last_transition_time.clone());
        let new = NamespaceCondition {
            type_: kind.to_owned(),
            status: state.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: since.or(Some(Time(crate::replicaset::plan::whole_seconds(now)))),
        };
        match old {
            Some(old) => *old = new,
            None => known.push(new),
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_as_kubernetes_does() {
        let outcome = Outcome {
            left: [("pods.".to_owned(), 2)].into(),
            finalizers: [("example.com/hold".to_owned(), 2)].into(),
            ..Outcome::default()
        };
        let t = |s: i64| Timestamp::from_second(s).unwrap();
        let first = status(&NamespaceStatus::default(), &outcome, t(1));
        let again = status(&first, &outcome, t(9));
        assert_eq!(first, again, "nothing new, no new times");
        let lines: Vec<String> = first
            .conditions
            .as_ref()
            .unwrap()
            .iter()
            .map(|c| {
                format!("{} {} {}: {}", c.type_, c.status, c.reason.as_ref().unwrap(), c.message.as_ref().unwrap())
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        NamespaceDeletionDiscoveryFailure False ResourcesDiscovered: All resources successfully discovered
        NamespaceDeletionGroupVersionParsingFailure False ParsedGroupVersions: All legacy kube types successfully parsed
        NamespaceDeletionContentFailure False ContentDeleted: All content successfully deleted, may be waiting on finalization
        NamespaceContentRemaining True SomeResourcesRemain: Some resources are remaining: pods. has 2 resource instances
        NamespaceFinalizersRemaining True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances
        ");
        let done = status(&first, &Outcome::default(), t(9));
        let changed =
            done.conditions.unwrap().iter().filter(|c| c.last_transition_time.as_ref().unwrap().0 == t(9)).count();
        assert_eq!(changed, 2);
        assert!(Outcome::default().is_done() && !outcome.is_done());
    }
}

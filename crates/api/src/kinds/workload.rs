//! What the kinds that make pods share: their selectors, the numbers in their status, the columns about their template.
use crate::catalogue::Column;
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::PodTemplateSpec;
use crate::k8s::apimachinery::pkg::apis::meta::v1::LabelSelector;
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::pod::template;
use crate::names;
use crate::print::{self, wide};
use crate::selector::Selector;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The columns of `-o wide` about the template.
pub const WIDE: [Column; 3] = [
    wide("Containers", "Names of the containers."),
    wide("Images", "Images of the containers."),
    wide("Selector", "Which pods it takes for its own."),
];

/// Names and images of a template's containers.
pub fn containers_and_images(template: Option<&PodTemplateSpec>) -> [Value; 2] {
    let containers = template.and_then(|t| t.spec.as_ref()).map(|s| s.containers.as_slice()).unwrap_or_default();
    let join = |of: fn(&crate::k8s::api::core::v1::Container) -> &str| {
        Value::from(containers.iter().map(of).collect::<Vec<_>>().join(","))
    };
    [join(|c| &c.name), join(|c| c.image.as_deref().unwrap_or_default())]
}

/// The selector as text.
pub fn selector_cell(selector: Option<&LabelSelector>) -> Value {
    print::label_selector(selector).into()
}

/// Keeps an empty `spec.selector` apart from an absent one: the struct has no pointer there, the messages differ.
pub fn mark_empty_selector(value: &mut Value) {
    let selector = value.get_mut("spec").and_then(|s| s.get_mut("selector"));
    if let Some(Value::Object(selector)) = selector
        && selector.is_empty()
    {
        selector.insert("matchLabels".to_owned(), Value::Object(serde_json::Map::new()));
    }
}

/// Absent in the request; see [`mark_empty_selector`].
fn is_absent(selector: &LabelSelector) -> bool {
    selector.match_labels.is_none() && selector.match_expressions.is_none()
}

fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(|l| l.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// A selector as Go writes it: `matchLabels` first.
pub struct GoSelector<'a>(pub &'a LabelSelector);

impl Serialize for GoSelector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(labels) = self.0.match_labels.as_ref().filter(|l| !l.is_empty()) {
            map.serialize_entry("matchLabels", labels)?;
        }
        if let Some(expressions) = self.0.match_expressions.as_ref().filter(|e| !e.is_empty()) {
            map.serialize_entry("matchExpressions", expressions)?;
        }
        map.end()
    }
}

/// An update strategy as upstream shows it in errors: its internal struct.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GoStrategy<'a, R> {
    r#type: &'a str,
    rolling_update: Option<R>,
}

/// `maxUnavailable` and `maxSurge`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GoRolling {
    max_unavailable: IntOrString,
    max_surge: IntOrString,
}

impl<'a> GoStrategy<'a, GoRolling> {
    pub fn new(kind: &'a str, rolling: Option<(Option<&IntOrString>, Option<&IntOrString>)>) -> Self {
        let value = |v: Option<&IntOrString>| v.cloned().unwrap_or_default();
        let rolling = rolling
            .map(|(unavailable, surge)| GoRolling { max_unavailable: value(unavailable), max_surge: value(surge) });
        Self::with(kind, rolling)
    }
}

impl<'a, R> GoStrategy<'a, R> {
    pub fn with(r#type: &'a str, rolling_update: Option<R>) -> Self {
        Self { r#type, rolling_update }
    }
}

/// The words of one kind about its selector.
#[derive(Clone, Copy)]
pub struct SelectorWords {
    pub empty: &'static str,
    pub unreadable: &'static str,
}

/// `spec.selector`. Gives the selector, if it can be read; one that is absent chooses nothing.
pub fn validate_selector(
    selector: &LabelSelector,
    words: SelectorWords,
    path: &Path,
    out: &mut Errors,
) -> Option<Selector> {
    if is_absent(selector) {
        out.push(Error::required(path, ""));
        return Selector::from_label_selector(None).ok();
    }
    out.extend(names::validate_label_selector(selector, path));
    if is_empty(selector) {
        out.push(Error::invalid(path, GoSelector(selector), words.empty));
    }
    let parsed = Selector::from_label_selector(Some(selector)).ok();
    if parsed.is_none() {
        out.push(Error::invalid(path, GoSelector(selector), words.unreadable));
    }
    parsed
}

/// Which pods a workload owns is settled when it is made.
pub fn validate_selector_unchanged(new: &LabelSelector, old: &LabelSelector, out: &mut Errors) {
    if new != old {
        let path = Path::new("spec").child("selector");
        out.push(match is_absent(new) {
            true => Error::invalid(&path, "null", "field is immutable"),
            false => Error::invalid(&path, GoSelector(new), "field is immutable"),
        });
    }
}

/// `ValidatePodTemplateSpecForReplicaSet`: deployments use it too, with ReplicaSet in its message.
pub fn validate_template(
    pod_template: &PodTemplateSpec,
    selector: Option<&Selector>,
    owner: &str,
    path: &Path,
    out: &mut Errors,
) {
    if let Some(selector) = selector {
        template::validate_chosen(selector, pod_template, path, out);
        template::validate(pod_template, path, out);
        template::validate_always_running(pod_template, owner, path, out);
    }
}

/// The numbers in the status of ReplicaSets and ReplicationControllers (`ValidateStatusReplicas`).
#[derive(Default)]
pub struct ReplicaCounts {
    pub replicas: i32,
    pub fully_labeled: i32,
    pub ready: i32,
    pub available: i32,
    pub observed_generation: i64,
}

impl ReplicaCounts {
    pub fn validate(&self, out: &mut Errors) {
        let path = Path::new("status");
        nonnegative(self.replicas.into(), &path.child("replicas"), out);
        nonnegative(self.fully_labeled.into(), &path.child("fullyLabeledReplicas"), out);
        nonnegative(self.ready.into(), &path.child("readyReplicas"), out);
        nonnegative(self.available.into(), &path.child("availableReplicas"), out);
        nonnegative(self.observed_generation, &path.child("observedGeneration"), out);
        let parts = [
            (self.fully_labeled, "fullyLabeledReplicas"),
            (self.ready, "readyReplicas"),
            (self.available, "availableReplicas"),
        ];
        at_most_replicas(&parts, self.replicas, out);
        if self.available > self.ready {
            let path = path.child("availableReplicas");
            out.push(Error::invalid(&path, self.available, "cannot be greater than readyReplicas"));
        }
    }
}

/// No part is more than the whole.
pub fn at_most_replicas(parts: &[(i32, &str)], replicas: i32, out: &mut Errors) {
    let path = Path::new("status");
    for (value, field) in parts.iter().filter(|(value, _)| *value > replicas) {
        out.push(Error::invalid(&path.child(field), value, "cannot be greater than status.replicas"));
    }
}

/// `status.collisionCount` only grows.
pub fn validate_collision_count(new: Option<i32>, old: Option<i32>, out: &mut Errors) {
    if let Some(old) = old
        && new.is_none_or(|new| new < old)
    {
        let path = Path::new("status").child("collisionCount");
        out.push(Error::invalid(&path, new.unwrap_or_default(), "cannot be decremented"));
    }
}

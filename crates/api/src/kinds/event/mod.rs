//! Event: what happened to an object. Served as `v1` and as `events.k8s.io/v1`, stored once, as `v1`
//! (`pkg/registry/core/event/strategy.go`, `pkg/apis/core/validation/events.go`).
pub mod events_v1;
mod validate;

use crate::catalogue::{Column, Dependents, Descriptor, Kind, PrintContext, Scope};
use crate::field::Errors;
use crate::k8s::api::core::v1::{Event, EventSource};
use crate::k8s::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use crate::kinds::rules::{drop_empty, text};
use crate::names;
use crate::print::{NAME, age, column, wide};
use serde_json::Value;

pub struct Events;

const COLUMNS: [Column; 10] = [
    column("Last Seen", "When it happened last."),
    column("Type", "Normal or Warning."),
    column("Reason", "Why, in one word."),
    column("Object", "What it happened to."),
    wide("Subobject", "The part of the object it happened to."),
    wide("Source", "Who says so."),
    column("Message", "What happened, for people."),
    wide("First Seen", "When it happened first."),
    wide("Count", "How often it happened."),
    Column { priority: 1, ..NAME },
];

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["ev"],
    create_on_update: true,
    ..Descriptor::new(("", "v1"), "Event", "events", "event", Scope::Namespaced, &COLUMNS)
};

impl Kind for Events {
    type Object = Event;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    /// Older clients may name events as they like: the server's own rule for names is that of path segments.
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
    fn default(object: &mut Event) {
        drop_empty(&mut object.reason);
        drop_empty(&mut object.message);
        drop_empty(&mut object.type_);
        drop_empty(&mut object.action);
        if object.count == Some(0) {
            object.count = None;
        }
        // Go writes these out even when nobody said anything.
        object.source.get_or_insert_default();
        object.reporting_component.get_or_insert_default();
        object.reporting_instance.get_or_insert_default();
    }
    fn validate(object: &Event) -> Errors {
        validate::legacy(object)
    }
    fn validate_update(new: &Event, _old: &Event) -> Errors {
        validate::legacy(new)
    }
    fn fields(object: &Event) -> Vec<(&'static str, String)> {
        let [kind, namespace, name, uid, api_version, resource_version, field_path] = involved(object);
        vec![
            ("involvedObject.kind", kind),
            ("involvedObject.namespace", namespace),
            ("involvedObject.name", name),
            ("involvedObject.uid", uid),
            ("involvedObject.apiVersion", api_version),
            ("involvedObject.resourceVersion", resource_version),
            ("involvedObject.fieldPath", field_path),
            ("reason", text(&object.reason).to_owned()),
            ("reportingComponent", text(&object.reporting_component).to_owned()),
            ("source", first_of(source(object).0, text(&object.reporting_component)).to_owned()),
            ("type", text(&object.type_).to_owned()),
        ]
    }
    fn cells(object: &Event, cx: &PrintContext) -> Vec<Value> {
        cells(object, cx)
    }
    fn dependents() -> Dependents {
        Dependents::Unsupported
    }
}

/// kind, namespace, name, uid, apiVersion, resourceVersion, fieldPath of what the event is about.
fn involved(event: &Event) -> [String; 7] {
    let o = &event.involved_object;
    let all = [&o.kind, &o.namespace, &o.name, &o.uid, &o.api_version, &o.resource_version, &o.field_path];
    all.map(|value| value.clone().unwrap_or_default())
}

fn source(event: &Event) -> (&str, &str) {
    fn parts(source: &EventSource) -> (&str, &str) {
        (text(&source.component), text(&source.host))
    }
    event.source.as_ref().map_or(("", ""), parts)
}

fn first_of<'a>(one: &'a str, other: &'a str) -> &'a str {
    if one.is_empty() { other } else { one }
}

/// `printEvent`
fn cells(event: &Event, cx: &PrintContext) -> Vec<Value> {
    let micro = |time: Option<&MicroTime>| age(time.map(|t| Time(t.0)).as_ref(), cx.now);
    let first = match &event.first_timestamp {
        Some(time) => age(Some(time), cx.now),
        None => micro(event.event_time.as_ref()),
    };
    let (last, count) = match (&event.series, &event.last_timestamp) {
        (Some(series), _) => (micro(series.last_observed_time.as_ref()), series.count.unwrap_or_default()),
        (None, Some(time)) => (age(Some(time), cx.now), event.count.unwrap_or_default().max(1)),
        (None, None) => (first.clone(), event.count.unwrap_or_default().max(1)),
    };
    let mut target = text(&event.involved_object.kind).to_lowercase();
    if let Some(name) = event.involved_object.name.as_ref().filter(|n| !n.is_empty()) {
        target = format!("{target}/{name}");
    }
    let (component, host) = source(event);
    let who = first_of(component, text(&event.reporting_component));
    let instance = first_of(host, text(&event.reporting_instance));
    let who = if instance.is_empty() { who.to_owned() } else { format!("{who}, {instance}") };
    vec![
        last.into(),
        text(&event.type_).into(),
        text(&event.reason).into(),
        target.into(),
        text(&event.involved_object.field_path).into(),
        who.into(),
        text(&event.message).trim().into(),
        first.into(),
        count.into(),
        event.metadata.name.clone().into(),
    ]
}

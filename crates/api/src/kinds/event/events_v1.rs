//! Event as `events.k8s.io/v1`: the same objects under newer names (KEP-383), with stricter rules.
use super::{COLUMNS, Events};
use crate::catalogue::{Dependents, Descriptor, Kind, PrintContext, Scope};
use crate::field::Errors;
use crate::k8s::api::core::v1 as core;
use crate::k8s::api::events::v1::Event;
use crate::kinds::rules::drop_empty;
use serde_json::{Map, Value};

pub struct EventsV1;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["ev"],
    create_on_update: true,
    storage: "events",
    ..Descriptor::new(("events.k8s.io", "v1"), "Event", "events", "event", Scope::Namespaced, &COLUMNS)
};

/// (`v1`, `events.k8s.io/v1`)
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

impl Kind for EventsV1 {
    type Object = Event;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut Event) {
        drop_empty(&mut object.reason);
        drop_empty(&mut object.note);
        drop_empty(&mut object.type_);
        drop_empty(&mut object.action);
        drop_empty(&mut object.reporting_controller);
        drop_empty(&mut object.reporting_instance);
        if object.deprecated_count == Some(0) {
            object.deprecated_count = None;
        }
        // Structs that Go writes out even when nobody said anything.
        object.regarding.get_or_insert_default();
        object.deprecated_source.get_or_insert_default();
    }
    fn validate(object: &Event) -> Errors {
        super::validate::strict(&as_core(object))
    }
    fn validate_update(new: &Event, old: &Event) -> Errors {
        super::validate::strict_update(&as_core(new), &as_core(old))
    }
    fn fields(object: &Event) -> Vec<(&'static str, String)> {
        let event = as_core(object);
        let [kind, namespace, name, uid, api_version, resource_version, field_path] = super::involved(&event);
        vec![
            ("regarding.kind", kind),
            ("regarding.namespace", namespace),
            ("regarding.name", name),
            ("regarding.uid", uid),
            ("regarding.apiVersion", api_version),
            ("regarding.resourceVersion", resource_version),
            ("regarding.fieldPath", field_path),
            ("reason", event.reason.unwrap_or_default()),
            ("reportingController", event.reporting_component.unwrap_or_default()),
            ("type", event.type_.unwrap_or_default()),
        ]
    }
    fn cells(object: &Event, cx: &PrintContext) -> Vec<Value> {
        Events::cells(&as_core(object), cx)
    }
    fn dependents() -> Dependents {
        Dependents::Unsupported
    }
    fn from_storage(value: Value) -> Value {
        renamed(value, "events.k8s.io/v1", |core, _| core, |_, events| events)
    }
    fn to_storage(value: Value) -> Value {
        renamed(value, "v1", |_, events| events, |core, _| core)
    }
}

type Pick = fn(&'static str, &'static str) -> &'static str;

fn renamed(value: Value, api_version: &str, from: Pick, to: Pick) -> Value {
    let Value::Object(fields) = value else { return value };
    let mut out = Map::new();
    for (name, value) in fields {
        let renamed =
            NAMES.iter().find(|(core, events)| from(core, events) == name).map(|(core, events)| to(core, events));
        out.insert(renamed.map_or(name, str::to_owned), value);
    }
    out.insert("apiVersion".into(), api_version.into());
    Value::Object(out)
}

/// The same event in the form that is stored and validated.
fn as_core(event: &Event) -> core::Event {
    core::Event {
        metadata: event.metadata.clone(),
        action: event.action.clone(),
        count: event.deprecated_count,
        event_time: event.event_time.clone(),
        first_timestamp: event.deprecated_first_timestamp.clone(),
        involved_object: event.regarding.clone().unwrap_or_default(),
        last_timestamp: event.deprecated_last_timestamp.clone(),
        message: event.note.clone(),
        reason: event.reason.clone(),
        related: event.related.clone(),
        reporting_component: event.reporting_controller.clone(),
        reporting_instance: event.reporting_instance.clone(),
        series: event.series.as_ref().map(|s| core::EventSeries {
            count: Some(s.count),
            last_observed_time: Some(s.last_observed_time.clone()).filter(|t| t.0 != jiff::Timestamp::UNIX_EPOCH),
        }),
        source: event.deprecated_source.clone(),
        type_: event.type_.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_versions_say_the_same() {
        let stored = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e", "namespace": "n" },
            "involvedObject": { "kind": "Pod", "name": "p" }, "message": "m", "reason": "r", "count": 2,
            "source": { "component": "kubelet" }, "reportingComponent": "", "firstTimestamp": "2026-01-01T00:00:00Z",
        });
        let served = EventsV1::from_storage(stored.clone());
        assert_eq!(served["apiVersion"], "events.k8s.io/v1");
        assert_eq!(served["regarding"]["name"], "p");
        assert_eq!(served["note"], "m");
        assert_eq!(served["deprecatedSource"]["component"], "kubelet");
        assert_eq!(EventsV1::to_storage(served), stored);
    }
}

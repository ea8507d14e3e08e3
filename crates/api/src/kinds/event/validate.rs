//! `pkg/apis/core/validation/events.go`: what every event must be, and what `events.k8s.io/v1` asks beyond that.
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::Event;
use crate::kinds::internal::{EventSource, ObjectReference};
use crate::kinds::rules::{self, text};
use crate::names;
use serde::Serialize;

/// `reportingInstance`, `action` and `reason`, in bytes.
const MAX_WORD: usize = 128;
const MAX_MESSAGE: usize = 1024;

fn at(field: &str) -> Path {
    Path::new(field)
}

/// `legacyValidateEvent`
pub fn legacy(event: &Event) -> Errors {
    let mut out = Errors::new();
    let namespace = text(&event.metadata.namespace);
    let about = text(&event.involved_object.namespace);
    let mismatch = |out: &mut Errors| {
        let path = at("involvedObject").child("namespace");
        out.push(Error::invalid(&path, about, "does not match event.namespace"));
    };
    if event.event_time.is_none() {
        let fits = match about {
            "" => matches!(namespace, "" | "default"),
            about => about == namespace,
        };
        if !fits {
            mismatch(&mut out);
        }
    } else {
        if about.is_empty() && !matches!(namespace, "default" | "kube-system") {
            mismatch(&mut out);
        }
        modern_words(event, &mut out);
    }
    out.extend(invalid_each(&at("namespace"), namespace, names::dns1123_subdomain(namespace, false)));
    out
}

fn modern_words(event: &Event, out: &mut Errors) {
    let controller = text(&event.reporting_component);
    if controller.is_empty() {
        out.push(Error::required(&at("reportingController"), ""));
    }
    out.extend(rules::qualified_name(controller, &at("reportingController")));
    let words =
        [(&event.reporting_instance, "reportingInstance"), (&event.action, "action"), (&event.reason, "reason")];
    for (value, field) in words {
        let value = text(value);
        if value.is_empty() {
            out.push(Error::required(&at(field), ""));
        }
        at_most(value, MAX_WORD, field, out);
    }
    at_most(text(&event.message), MAX_MESSAGE, "message", out);
}

fn at_most(value: &str, max: usize, field: &str, out: &mut Errors) {
    if value.len() > max {
        out.push(Error::invalid(&at(field), "", format!("can have at most {max} characters")));
    }
}

/// A new event by `events.k8s.io/v1`.
pub fn strict(event: &Event) -> Errors {
    let mut out = legacy(event);
    out.extend(names::validate_object_meta(&event.metadata, true, names::dns1123_subdomain, &rules::metadata()));
    series(event, &mut out);
    if event.event_time.is_none() {
        out.push(Error::required(&at("eventTime"), ""));
    }
    let kind = text(&event.type_);
    if !matches!(kind, "Normal" | "Warning") {
        out.push(Error::invalid(&at("type"), "", format!("has invalid value: {kind}")));
    }
    let source = event.source.as_ref();
    let unwelcome = [
        (event.first_timestamp.is_some(), "firstTimestamp"),
        (event.last_timestamp.is_some(), "lastTimestamp"),
        (event.count.unwrap_or_default() != 0, "count"),
        (source.is_some_and(|s| !text(&s.component).is_empty() || !text(&s.host).is_empty()), "source"),
    ];
    for (_, field) in unwelcome.iter().filter(|(set, _)| *set) {
        out.push(Error::invalid(&at(field), "", "needs to be unset"));
    }
    out
}

/// An update by `events.k8s.io/v1`: only the series moves on.
pub fn strict_update(new: &Event, old: &Event) -> Errors {
    let mut out = legacy(new);
    out.extend(rules::meta_update(&new.metadata, &old.metadata));
    if new.series != old.series {
        series(new, &mut out);
    }
    let reference = |event: &Event| serde_json::to_string(&ObjectReference::from(&event.involved_object)).ok();
    if reference(new) != reference(old) {
        let value = ObjectReference::from(&new.involved_object);
        out.push(Error::invalid(&at("involvedObject"), value, "field is immutable"));
    }
    fixed(&text(&new.reason), &text(&old.reason), "reason", &mut out);
    fixed(&text(&new.message), &text(&old.message), "message", &mut out);
    let (source, before) = (EventSource::of(new.source.as_ref()), EventSource::of(old.source.as_ref()));
    fixed(&source, &before, "source", &mut out);
    fixed(&new.first_timestamp, &old.first_timestamp, "firstTimestamp", &mut out);
    fixed(&new.last_timestamp, &old.last_timestamp, "lastTimestamp", &mut out);
    fixed(&new.count.unwrap_or_default(), &old.count.unwrap_or_default(), "count", &mut out);
    fixed(&text(&new.reason), &text(&old.reason), "reason", &mut out);
    fixed(&text(&new.type_), &text(&old.type_), "type", &mut out);
    fixed(&new.event_time, &old.event_time, "eventTime", &mut out);
    fixed(&text(&new.action), &text(&old.action), "action", &mut out);
    let (related, before) = (new.related.as_ref(), old.related.as_ref());
    fixed(&related.map(ObjectReference::from), &before.map(ObjectReference::from), "related", &mut out);
    fixed(&text(&new.reporting_component), &text(&old.reporting_component), "reportingController", &mut out);
    fixed(&text(&new.reporting_instance), &text(&old.reporting_instance), "reportingInstance", &mut out);
    out
}

fn fixed<T: PartialEq + Serialize>(new: &T, old: &T, field: &str, out: &mut Errors) {
    out.extend(rules::immutable(new, old, &at(field)));
}

fn series(event: &Event, out: &mut Errors) {
    let Some(series) = &event.series else { return };
    if series.count.unwrap_or_default() < 2 {
        out.push(Error::invalid(&at("series.count"), "", "should be at least 2"));
    }
    if series.last_observed_time.is_none() {
        out.push(Error::required(&at("series.lastObservedTime"), ""));
    }
}

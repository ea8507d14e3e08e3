//! Ownership, checked against what a real API server recorded and against facts of structured-merge-diff's own tests.
mod created;
mod properties;
mod scenarios;
mod sets;
mod speed;
mod stories;

use super::{Applied, ApplyError, FieldSet, Force, Request, apply, update};
use crate::schema;
use serde_json::{Value, json};

/// An object on a server that does nothing but track owners: every call is a request one second after the one before.
struct Server {
    api_version: &'static str,
    kind: &'static str,
    live: Option<Value>,
    seconds: i64,
}

impl Server {
    fn new(api_version: &'static str, kind: &'static str) -> Self {
        Self { api_version, kind, live: None, seconds: 0 }
    }

    fn request<'a>(&self, manager: &'a str, subresource: &'a str, reset: &'a FieldSet) -> Request<'a> {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", self.api_version));
        Request {
            ty: schema::builtin().kind(group, version, self.kind).unwrap(),
            manager,
            api_version: self.api_version,
            kind: self.kind,
            subresource,
            reset,
            now: jiff::Timestamp::from_second(self.seconds).unwrap(),
        }
    }

    fn tick(&mut self) {
        self.seconds += 1;
    }

    /// `fields` with apiVersion and kind.
    fn object(&self, mut fields: Value) -> Value {
        fields["apiVersion"] = json!(self.api_version);
        fields["kind"] = json!(self.kind);
        fields
    }

    fn try_apply(&mut self, manager: &str, config: Value, force: Force) -> Result<Applied, ApplyError> {
        self.tick();
        let config = self.object(config);
        let reset = FieldSet::from_fields(&[&["status"]]);
        let applied = apply(&self.request(manager, "", &reset), self.live.as_ref(), &config, force)?;
        let mut stored = applied.object.clone();
        without_nulls(&mut stored);
        stored["metadata"]["uid"] = json!("u");
        self.live = Some(stored);
        Ok(applied)
    }

    #[track_caller]
    fn apply(&mut self, manager: &str, config: Value) {
        self.try_apply(manager, config, Force::No).unwrap();
    }

    #[track_caller]
    fn force(&mut self, manager: &str, config: Value) {
        self.try_apply(manager, config, Force::Yes).unwrap();
    }

    fn conflict(&mut self, manager: &str, config: Value) -> String {
        match self.try_apply(manager, config, Force::No) {
            Err(ApplyError::Conflict(conflicts)) => conflicts.to_string(),
            other => panic!("no conflict: {other:?}"),
        }
    }

    /// A PUT: what is not in `fields` is gone, but for the managers, which the client did not touch.
    fn update(&mut self, manager: &str, fields: Value) {
        self.update_through(manager, "", fields);
    }

    fn update_through(&mut self, manager: &str, subresource: &str, fields: Value) {
        self.tick();
        let mut new = self.object(fields);
        if new.get("metadata").is_none() {
            new["metadata"] = json!({});
        }
        if self.live.is_some() {
            new["metadata"]["uid"] = json!("u");
        }
        if let Some(managed) = self.live.as_ref().and_then(|live| live["metadata"].get("managedFields")) {
            new["metadata"].as_object_mut().unwrap().entry("managedFields").or_insert_with(|| managed.clone());
        }
        let reset = FieldSet::from_fields(&[if subresource == "status" { &["spec"] } else { &["status"] }]);
        update(&self.request(manager, subresource, &reset), self.live.as_ref(), &mut new);
        new["metadata"]["uid"] = json!("u");
        self.live = Some(new);
    }

    /// Without identity and managers.
    fn fields(&self) -> Value {
        let mut live = self.live.clone().unwrap();
        let map = live.as_object_mut().unwrap();
        map.remove("apiVersion");
        map.remove("kind");
        let metadata = map["metadata"].as_object_mut().unwrap();
        metadata.remove("managedFields");
        metadata.remove("uid");
        if metadata.is_empty() {
            map.remove("metadata");
        }
        live
    }

    /// One line an entry: `one Apply 1: {…}`, with its subresource and its second.
    fn managers(&self) -> Vec<String> {
        let entries = self.live.as_ref().and_then(|live| live["metadata"]["managedFields"].as_array().cloned());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let line = |entry: &Value| {
            let second = text(&entry["time"]).parse::<jiff::Timestamp>().map(|t| t.as_second().to_string());
            let through = text(&entry["subresource"]);
            let through = if through.is_empty() { through } else { format!(" {through}") };
            let second = second.unwrap_or_else(|_| "-".to_owned());
            format!(
                "{} {}{through} {second}: {}",
                text(&entry["manager"]),
                text(&entry["operation"]),
                entry["fieldsV1"]
            )
        };
        entries.unwrap_or_default().iter().map(line).collect()
    }
}

/// What decoding into a typed struct does with nulls.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, member| !member.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

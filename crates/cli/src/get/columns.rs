//! The server's tables as kubectl prints them.
use super::Args;
use crate::resource::Resource;
use serde_json::{Value, json};

/// Which cells of a server's table are printed, and what is added to them.
pub struct Columns<'a> {
    names: Vec<(usize, String)>,
    args: &'a Args,
    namespace: bool,
    /// `deployment.apps/` in front of names.
    prefix: String,
}

impl<'a> Columns<'a> {
    pub fn of(table: &Value, args: &'a Args, wide: bool, with_kind: bool, resource: &Resource) -> Self {
        let definitions = table["columnDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
        let names = definitions.iter().enumerate().filter(|(_, c)| wide || c["priority"].as_i64().unwrap_or(0) == 0);
        let names = names.map(|(i, c)| (i, c["name"].as_str().unwrap_or_default().to_uppercase())).collect();
        Self {
            names,
            args,
            namespace: args.selection.all_namespaces && resource.namespaced,
            prefix: if with_kind { resource.named("") } else { String::new() },
        }
    }
    pub fn headers(&self) -> Vec<String> {
        let namespace = self.namespace.then(|| "NAMESPACE".to_owned());
        let mut all: Vec<String> = namespace.into_iter().chain(self.names.iter().map(|(_, n)| n.clone())).collect();
        let short = |label: &String| label.rsplit('/').next().unwrap_or(label).to_uppercase();
        all.extend(self.args.label_columns.iter().map(short));
        all.extend(self.args.show_labels.then(|| "LABELS".to_owned()));
        all
    }
    pub fn cells(&self, row: &Value) -> Vec<String> {
        let metadata = &row["object"]["metadata"];
        let mut all = Vec::new();
        if self.namespace {
            all.push(metadata["namespace"].as_str().unwrap_or_default().to_owned());
        }
        for (position, (index, _)) in self.names.iter().enumerate() {
            let prefix = if position == 0 { self.prefix.as_str() } else { "" };
            all.push(format!("{prefix}{}", cell(&row["cells"][*index])));
        }
        let labels = metadata["labels"].as_object();
        for label in &self.args.label_columns {
            all.push(labels.and_then(|l| l.get(label)).and_then(Value::as_str).unwrap_or_default().to_owned());
        }
        if self.args.show_labels {
            let pairs = labels.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()));
            let pairs: Vec<String> = pairs.collect();
            all.push(if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") });
        }
        all
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('\n', " "),
        Value::Null => "<none>".to_owned(),
        other => other.to_string(),
    }
}

/// Name and age, of an object that the server has no table for.
pub fn plain(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let age = metadata["creationTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    let age = age.map(|at| crate::duration::human(jiff::Timestamp::now().duration_since(at).as_secs()));
    let cells = json!([metadata["name"], age.unwrap_or_else(|| "<unknown>".into())]);
    json!({
        "kind": "Table",
        "columnDefinitions": [{"name": "Name"}, {"name": "Age"}],
        "rows": [{"cells": cells, "object": {"metadata": metadata}}]
    })
}

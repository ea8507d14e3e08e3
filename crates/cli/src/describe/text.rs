//! The building blocks of a description: lines with levels of two spaces, cells that are lined up at the end, maps a pair a line
//! (`kubectl/pkg/describe/describe.go`, `PrefixWriter` and its neighbours).
use crate::apply::LAST_APPLIED;
use crate::duration;
use crate::tabwriter;
use serde_json::Value;
use std::fmt::Write as _;

/// Annotations longer than this get lines of their own.
const LONG: usize = 140;

/// A description in the making.
#[derive(Default)]
pub struct Text(pub String);

impl Text {
    pub fn line(&mut self, level: usize, text: &str) {
        // Writing to a string cannot fail.
        let _ok = writeln!(self.0, "{}{text}", "  ".repeat(level));
    }
    /// `Title:` and its value.
    pub fn field(&mut self, level: usize, title: &str, value: &str) {
        self.line(level, &format!("{title}:\t{value}"));
    }
    /// A field that is only there when it says something.
    pub fn some(&mut self, level: usize, title: &str, value: &Value) {
        let value = text(value);
        if !value.is_empty() {
            self.field(level, title, &value);
        }
    }
    /// Values below each other, the first beside the title.
    pub fn column(&mut self, title: &str, values: &[String]) {
        match values.split_first() {
            None => self.field(0, title, "<none>"),
            Some((first, rest)) => {
                self.field(0, title, first);
                rest.iter().for_each(|value| self.line(0, &format!("\t{value}")));
            }
        }
    }
    pub fn labels(&mut self, title: &str, map: &Value) {
        self.column(title, &pairs(map));
    }
    pub fn annotations(&mut self, title: &str, map: &Value) {
        let mut lines = Vec::new();
        for (key, value) in sorted(map).into_iter().filter(|(key, _)| *key != LAST_APPLIED) {
            let value = value.strip_suffix('\n').unwrap_or(&value);
            if value.len() + key.len() + 2 > LONG || value.contains('\n') {
                lines.push(format!("{key}:"));
                lines.extend(value.split('\n').map(|line| format!("  {}", shortened(line, LONG - 2))));
            } else {
                lines.push(format!("{key}: {value}"));
            }
        }
        self.column(title, &lines);
    }
    /// Name, namespace, labels and annotations, as most descriptions begin.
    pub fn head(&mut self, object: &Value) {
        self.field(0, "Name", &name(object));
        self.field(0, "Namespace", &text(&object["metadata"]["namespace"]));
        self.marks(object);
    }
    pub fn marks(&mut self, object: &Value) {
        self.labels("Labels", &object["metadata"]["labels"]);
        self.annotations("Annotations", &object["metadata"]["annotations"]);
    }
    /// A block of text, as it is.
    pub fn block(&mut self, text: &str) {
        self.0.push_str(text);
    }
    pub fn aligned(&self) -> String {
        tabwriter::align(&self.0, tabwriter::DESCRIBE)
    }
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

pub fn name(object: &Value) -> String {
    text(&object["metadata"]["name"])
}

/// A scalar as Go's `%v` shows it; nothing is empty.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

pub fn text_or(value: &Value, otherwise: &str) -> String {
    let text = text(value);
    if text.is_empty() { otherwise.to_owned() } else { text }
}

pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn sorted(map: &Value) -> Vec<(&str, String)> {
    let mut pairs: Vec<(&str, String)> =
        map.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), text(value))).collect();
    pairs.sort();
    pairs
}

/// `key=value`, sorted.
pub fn pairs(map: &Value) -> Vec<String> {
    sorted(map).into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// `a=b,c=d`, or `<none>`: a map on one line.
pub fn joined(map: &Value) -> String {
    let pairs = pairs(map);
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// A LabelSelector as Go formats it.
pub fn selector(selector: &Value) -> String {
    if selector.is_null() {
        return "<none>".into();
    }
    let mut parts: Vec<(String, String)> =
        sorted(&selector["matchLabels"]).into_iter().map(|(k, v)| (k.to_owned(), format!("{k}={v}"))).collect();
    for e in items(&selector["matchExpressions"]) {
        let key = text(&e["key"]);
        let mut values: Vec<String> = items(&e["values"]).iter().map(text).collect();
        values.sort();
        let values = values.join(",");
        let shown = match e["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.clone(),
        };
        parts.push((key, shown));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    if parts.is_empty() { "<none>".into() } else { parts.into_iter().map(|(_, p)| p).collect::<Vec<_>>().join(",") }
}

pub fn moment(value: &Value) -> Option<jiff::Timestamp> {
    value.as_str()?.parse().ok()
}

/// `Mon, 30 Nov 2026 18:42:28 +0000` (RFC 1123 with a numeric zone, in the local zone).
pub fn date(value: &Value) -> String {
    match moment(value) {
        Some(at) => at.to_zoned(jiff::tz::TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        None => "Mon, 01 Jan 0001 00:00:00 +0000".into(),
    }
}

/// How long ago it was: `5s`.
pub fn since(value: &Value, now: jiff::Timestamp) -> String {
    match moment(value) {
        Some(at) => duration::human(now.duration_since(at).as_secs()),
        None => "<unknown>".into(),
    }
}

/// `ReplicaSet/web-5d`
pub fn controller(object: &Value) -> Option<String> {
    let owners = items(&object["metadata"]["ownerReferences"]);
    let owner = owners.iter().find(|o| o["controller"] == true)?;
    Some(format!("{}/{}", text(&owner["kind"]), text(&owner["name"])))
}

/// Go's `True` and `False`.
pub fn truth(value: &Value) -> &'static str {
    if value == true { "True" } else { "False" }
}

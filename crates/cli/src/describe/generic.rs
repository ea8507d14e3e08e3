//! Kinds without a description of their own: every field with a readable name.
use super::text::{Text, text};
use serde_json::Value;

/// What is told at the top, or is of no use to a person.
const SKIPPED: [&str; 5] =
    [".metadata.managedFields", ".metadata.name", ".metadata.namespace", ".metadata.labels", ".metadata.annotations"];

pub fn describe(out: &mut Text, o: &Value) {
    out.head(o);
    fields(out, 0, o, "");
}

fn fields(out: &mut Text, level: usize, object: &Value, path: &str) {
    let mut all: Vec<_> = object.as_object().into_iter().flatten().collect();
    all.sort_by_key(|(name, _)| *name);
    for (name, value) in all {
        let path = format!("{path}.{name}");
        if SKIPPED.contains(&path.as_str()) {
            continue;
        }
        match value {
            Value::Object(_) => {
                out.line(level, &format!("{}:", label(name)));
                fields(out, level + 1, value, &path);
            }
            Value::Array(items) => {
                out.line(level, &format!("{}:", label(name)));
                for item in items {
                    match item {
                        Value::Object(_) => fields(out, level + 1, item, &path),
                        other => out.line(level + 1, &plain(other)),
                    }
                }
            }
            other => out.field(level, &label(name), &plain(other)),
        }
    }
}

fn plain(value: &Value) -> String {
    if value.is_null() { "<nil>".into() } else { text(value) }
}

/// `apiVersion` is `API Version`, `holderIdentity` is `Holder Identity`.
fn label(name: &str) -> String {
    if name.chars().any(|c| !c.is_alphabetic() && c != '-') {
        return name.to_owned();
    }
    let words = words(name).into_iter().map(|word| {
        let upper = word.to_uppercase();
        if ["API", "URL", "UID", "OSB", "GUID"].contains(&upper.as_str()) {
            return upper;
        }
        let mut chars = word.chars();
        chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
    });
    words.collect::<Vec<String>>().join(" ")
}

/// Splits where small letters turn into capitals; the last capital of several begins the next word.
fn words(name: &str) -> Vec<String> {
    #[derive(PartialEq, Clone, Copy)]
    enum Class {
        Lower,
        Upper,
        Other,
    }
    let class = |c: char| match c {
        c if c.is_lowercase() => Class::Lower,
        c if c.is_uppercase() => Class::Upper,
        _ => Class::Other,
    };
    let mut runs: Vec<(Class, String)> = Vec::new();
    for c in name.chars() {
        match runs.last_mut() {
            Some((known, run)) if *known == class(c) => run.push(c),
            _ => runs.push((class(c), c.to_string())),
        }
    }
    for i in 1..runs.len() {
        let (before, after) = runs.split_at_mut(i);
        if let (Some((Class::Upper, upper)), Some((Class::Lower, lower))) = (before.last_mut(), after.first_mut())
            && let Some(last) = upper.pop()
        {
            lower.insert(0, last);
        }
    }
    runs.into_iter().map(|(_, run)| run).filter(|run| !run.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let cases = [
            ("apiVersion", "API Version"),
            ("kind", "Kind"),
            ("holderIdentity", "Holder Identity"),
            ("uid", "UID"),
            ("podIPs", "Pod I Ps"),
            ("x.y/z", "x.y/z"),
            ("clusterIP", "Cluster IP"),
        ];
        for (name, expected) in cases {
            assert_eq!(label(name), expected, "{name}");
        }
    }
}

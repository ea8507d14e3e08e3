//! Values as YAML, in the form that `kubectl get -o yaml` has: keys sorted, two spaces, lists at the indentation of their key.
use super::resolve::is_special;
use serde_json::{Map, Value};

/// The text of one document, with a new line at its end.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(map, 0, false, &mut out),
        Value::Array(items) if !items.is_empty() => sequence(items, 0, false, &mut out),
        scalar => {
            inline(scalar, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn indent(width: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', width));
}

/// `open`: the first entry stands on the line that is already begun (`- a: 1`).
fn mapping(map: &Map<String, Value>, width: usize, open: bool, out: &mut String) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (i, (key, value)) in entries.into_iter().enumerate() {
        if i > 0 || !open {
            indent(width, out);
        }
        if key.contains('\n') {
            double_quoted(key, out);
        } else {
            text(key, width, out);
        }
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                mapping(map, width + 2, false, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                sequence(items, width, false, out);
            }
            scalar => {
                out.push(' ');
                inline(scalar, width + 2, out);
                out.push('\n');
            }
        }
    }
}

fn sequence(items: &[Value], width: usize, open: bool, out: &mut String) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 || !open {
            indent(width, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(map, width + 2, true, out),
            Value::Array(items) if !items.is_empty() => sequence(items, width + 2, true, out),
            scalar => {
                inline(scalar, width + 2, out);
                out.push('\n');
            }
        }
    }
}

/// `width`: the indentation of the lines of a block.
fn inline(value: &Value, width: usize, out: &mut String) {
    match value {
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        Value::String(s) => text(s, width, out),
        other => out.push_str(&other.to_string()),
    }
}

fn text(s: &str, width: usize, out: &mut String) {
    let printable = |c: char| {
        (c == '\n' || !c.is_control()) && c != '\u{feff}' && c != '\u{85}' && c != '\u{2028}' && c != '\u{2029}'
    };
    if s.is_empty() || !s.chars().all(printable) {
        double_quoted(s, out);
    } else if s.contains('\n') {
        block(s, width, out);
    } else if is_special(s) {
        double_quoted(s, out);
    } else if is_plain(s) {
        out.push_str(s);
    } else {
        out.push('\'');
        out.push_str(&s.replace('\'', "''"));
        out.push('\'');
    }
}

/// Several lines: `|`, with `-` where no line break ends them and `+` where several do.
fn block(s: &str, width: usize, out: &mut String) {
    // Spaces at the beginning or lines of spaces need what a block cannot say simply.
    if s.starts_with([' ', '\n']) || s.lines().any(|l| l.ends_with(' ')) {
        return double_quoted(s, out);
    }
    out.push('|');
    let body = match (s.strip_suffix('\n'), s.ends_with("\n\n")) {
        (None, _) => {
            out.push('-');
            s
        }
        (Some(body), true) => {
            out.push('+');
            body
        }
        (Some(body), false) => body,
    };
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(width.max(2), out);
            out.push_str(line);
        }
    }
}

fn is_plain(s: &str) -> bool {
    let first = s.chars().next().unwrap_or(' ');
    let second = s.chars().nth(1);
    let indicator = "#,[]{}&*!|>'\"%@`".contains(first) || first.is_whitespace();
    let dash = "-?:".contains(first) && second.is_none_or(|c| c == ' ');
    let document = s.starts_with("---") || s.starts_with("...");
    !(indicator
        || dash
        || document
        || s.ends_with([' ', ':'])
        || s.contains(": ")
        || s.contains(" #")
        || s.contains('\t'))
}

fn double_quoted(s: &str, out: &mut String) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn writes_like_kubectl() {
        let value = json!({"kind": "A", "list": [1, {"b": [], "a": {"x": null}}, ["y"], "no"], "text": "a\nb\n", "odd": ["", "1", "true", "a: b", "- x", "-x", "it's", "a #b", "{", "é", "\t", "x\n\ny", "2001-01-01"]});
        insta::assert_snapshot!(to_string(&value), @r#"
        kind: A
        list:
        - 1
        - a:
            x: null
          b: []
        - - "y"
        - "no"
        odd:
        - ""
        - "1"
        - "true"
        - 'a: b'
        - '- x'
        - -x
        - it's
        - 'a #b'
        - '{'
        - é
        - "\t"
        - |-
          x

          y
        - 2001-01-01
        text: |
          a
          b
        "#);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
            "[a-z:#'\"\n \t|>?&*!%@`{}\\[\\],.0-9-]{0,10}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-z:#'\"\n -]{0,6}", inner), 0..4)
                    .prop_map(|e| Value::Object(e.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any_value()) {
            let text = to_string(&value);
            prop_assert_eq!(super::super::parse(&text), Ok(value), "{}", text);
        }
    }
}

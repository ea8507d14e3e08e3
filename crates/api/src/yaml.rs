//! YAML as Kubernetes takes it (`sigs.k8s.io/yaml` over YAML 1.1): read into JSON values, and written.
//!
//! The parser is granit's (the one inside serde-saphyr), used by its events: which plain scalars are booleans or numbers, what becomes
//! of keys that are not strings, which keys are repeated and at which line, and the words of errors are all as in Go's library.
mod emit;
mod error;
mod resolve;

pub use emit::to_string;
pub use error::YamlError;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use granit_parser::{BorrowedInput, Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Documents are at most this deep, as in JSON.
const MAX_DEPTH: usize = crate::decode::json::MAX_DEPTH;
/// Values that aliases may copy all together (a small file can ask for billions).
const MAX_COPIES: usize = 1 << 20;

/// One document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub value: Value,
    /// `line 4: key "name" already set in map`. The last one counts.
    pub duplicates: Vec<String>,
}

/// Reads the first document of a body, as the API server does; none at all is `null`.
pub fn parse_document(text: &[u8]) -> Result<Document, YamlError> {
    let text = utf8(text)?;
    let mut reader = Reader::new(text);
    Ok(reader.document()?.unwrap_or(Document { value: Value::Null, duplicates: Vec::new() }))
}

/// Reads one document into a value.
pub fn parse(text: &str) -> Result<Value, YamlError> {
    parse_document(text.as_bytes()).map(|d| d.value)
}

/// Reads all documents of a file, those without content left out: what `kubectl apply -f` takes.
pub fn parse_all(text: &[u8]) -> Result<Vec<Document>, YamlError> {
    let text = utf8(text)?;
    let mut reader = Reader::new(text);
    let mut out = Vec::new();
    while let Some(document) = reader.document()? {
        if !document.value.is_null() {
            out.push(document);
        }
    }
    Ok(out)
}

/// The strict decoder's error about repeated keys.
pub fn duplicates_error(duplicates: &[String]) -> String {
    format!("error converting YAML to JSON: yaml: unmarshal errors:\n  {}", duplicates.join("\n  "))
}

fn utf8(text: &[u8]) -> Result<&str, YamlError> {
    std::str::from_utf8(text).map_err(|_| YamlError::new("invalid leading UTF-8 octet"))
}

/// A key of a map, before it is known whether it merges.
struct Key {
    text: String,
    merges: bool,
    line: usize,
}

struct Reader<'a, T: BorrowedInput<'a>> {
    parser: Parser<'a, T>,
    text: &'a str,
    anchors: HashMap<usize, Value>,
    duplicates: Vec<String>,
    copies: usize,
}

impl<'a> Reader<'a, granit_parser::StrInput<'a>> {
    fn new(text: &'a str) -> Self {
        let options = granit_parser::options! { emit_unresolved_aliases: true };
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            text,
            anchors: HashMap::new(),
            duplicates: Vec::new(),
            copies: 0,
        }
    }
}

impl<'a, T: BorrowedInput<'a>> Reader<'a, T> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        loop {
            match self.parser.next() {
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => return Err(YamlError::of(&error, self.text)),
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    fn document(&mut self) -> Result<Option<Document>, YamlError> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::StreamStart | Event::DocumentEnd, _) => {}
                (Event::DocumentStart(..), _) => {
                    self.anchors.clear();
                    let event = self.next()?;
                    let value = match event.0 {
                        Event::DocumentEnd => Value::Null,
                        _ => {
                            let value = self.node(event, 0)?;
                            // What follows must end the document.
                            self.next()?;
                            value
                        }
                    };
                    return Ok(Some(Document { value, duplicates: std::mem::take(&mut self.duplicates) }));
                }
                (_, span) => return Err(YamlError::at(span.start.line(), "did not find expected <document start>")),
            }
        }
    }

    fn node(&mut self, (event, span): (Event<'a>, Span), depth: usize) -> Result<Value, YamlError> {
        if depth > MAX_DEPTH {
            return Err(YamlError::new("exceeded max depth"));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(_, anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(depth)?, anchor),
            Event::Alias(id) => return self.alias(id),
            Event::UnresolvedAlias(name) => {
                return Err(YamlError::new(format!("unknown anchor '{name}' referenced")));
            }
            _ => return Err(YamlError::at(span.start.line(), "did not find expected node content")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn alias(&mut self, id: usize) -> Result<Value, YamlError> {
        let value = self.anchors.get(&id).ok_or_else(|| YamlError::new("anchor value contains itself"))?;
        self.copies = self.copies.saturating_add(size(value));
        if self.copies > MAX_COPIES {
            return Err(YamlError::new("document contains excessive aliasing"));
        }
        Ok(value.clone())
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut out = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(out)),
                event => out.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut out = Map::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Object(out));
            }
            let key = self.key((event, span), depth)?;
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            if key.merges {
                merge(value, &mut out)?;
            } else if out.insert(key.text.clone(), value).is_some() {
                let quoted = crate::field::go_quote(&key.text);
                self.duplicates.push(format!("line {}: key {quoted} already set in map", key.line));
            }
        }
    }

    fn key(&mut self, event: (Event<'a>, Span), depth: usize) -> Result<Key, YamlError> {
        let line = event.1.start.line();
        let merges = matches!(&event.0, Event::Scalar(text, ScalarStyle::Plain, _, None) if &**text == "<<");
        let text = match self.node(event, depth + 1)? {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(b) => b.to_string(),
            Value::Null => return Err(YamlError::at(line, "unsupported map key of type: nil")),
            Value::Array(_) | Value::Object(_) => return Err(YamlError::at(line, "invalid map key")),
        };
        Ok(Key { text, merges, line })
    }
}

/// `<<: *base`, `<<: [*a, *b]`: the first of several wins.
fn merge(value: Value, out: &mut Map<String, Value>) -> Result<(), YamlError> {
    match value {
        Value::Object(map) => out.extend(map),
        Value::Array(items) => {
            for item in items.into_iter().rev() {
                let Value::Object(map) = item else {
                    return Err(YamlError::new("map merge requires map or sequence of maps as the value"));
                };
                out.extend(map);
            }
        }
        _ => return Err(YamlError::new("map merge requires map or sequence of maps as the value")),
    }
    Ok(())
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, YamlError> {
    let known = tag.and_then(Tag::core_suffix);
    match known {
        None if tag.is_some_and(|t| t.parts() == ("tag:yaml.org,2002:", "binary")) => binary(text),
        None if tag.is_some() || style != ScalarStyle::Plain => Ok(Value::from(text)),
        Some("str") => Ok(Value::from(text)),
        _ => resolve::plain(text),
    }
}

/// `!!binary`: the bytes, as text.
fn binary(text: &str) -> Result<Value, YamlError> {
    let joined: String = text.split_whitespace().collect();
    let bytes = STANDARD.decode(joined).map_err(|_| YamlError::new("!!binary value contains invalid base64 data"))?;
    Ok(Value::from(String::from_utf8_lossy(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> String {
        match parse(text) {
            Ok(value) => value.to_string(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn reads_yaml_1_1() {
        let table = [
            ("", json!(null)),
            ("a: 1", json!({"a": 1})),
            ("mode: 0644", json!({"mode": 420})),
            ("mode: 0o644", json!({"mode": 420})),
            ("[yes, no, on, off, y, n, True, FALSE]", json!([true, false, true, false, true, false, true, false])),
            ("[~, null, Null, NULL, '']", json!([null, null, null, null, ""])),
            ("[1_000, 0x1F, 0b11, -5, +5, 08, 1e3, 1.5, .5, 1.]", json!([1000, 31, 3, -5, 5, 8, 1000, 1.5, 0.5, 1])),
            (
                "[2001-01-01, 1:30, v1, 1.2.3, '1', \"yes\", 1Gi, 100m, .]",
                json!(["2001-01-01", "1:30", "v1", "1.2.3", "1", "yes", "1Gi", "100m", "."]),
            ),
            ("1: a\ntrue: b\non: c\n1.5: d", json!({"1": "a", "true": "c", "1.5": "d"})),
            ("a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: 2", json!({"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}})),
            ("a: |\n  x\n  y\nb: >-\n  x\n  y", json!({"a": "x\ny\n", "b": "x y"})),
            ("a: !!str 1\nb: !!int \"5\"\nc: !foo x", json!({"a": "1", "b": 5, "c": "x"})),
            ("18446744073709551615", json!(18_446_744_073_709_551_615u64)),
            ("--- a\n--- b", json!("a")),
            ("# only a comment\n", json!(null)),
        ];
        for (text, want) in table {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
    }

    /// What kubectl (Go) says of the same texts. Known to differ: a tab before a key is let pass, and the texts `a: [1\nb: 2`
    /// and `a: b\n\tc: d` are refused in other words.
    #[test]
    fn refuses_in_gos_words() {
        let table = [
            ("a: [", "line 1: did not find expected node content"),
            ("a: b: c", "mapping values are not allowed in this context"),
            ("a: 1\n b: 2\n", "line 2: mapping values are not allowed in this context"),
            ("a:\n\t- b", "line 2: found character that cannot start any token"),
            ("a: 'x", "line 2: found unexpected end of stream"),
            ("a: *x", "unknown anchor 'x' referenced"),
            ("a: {b: 1\n", "line 1: did not find expected ',' or '}'"),
            ("a: }", "did not find expected node content"),
            ("a: ]", "did not find expected node content"),
            ("a: \"\\q\"", "found unknown escape character"),
            ("a: |\n  x\n y: z", "line 2: did not find expected key"),
            ("a: 1\n- b", "line 1: did not find expected key"),
            ("a: @x", "found character that cannot start any token"),
            ("a: `x", "found character that cannot start any token"),
            ("a: %x", "found character that cannot start any token"),
            ("a\nb: 1", "line 2: mapping values are not allowed in this context"),
            ("a: b\n  c: d", "line 2: mapping values are not allowed in this context"),
            ("a: !x!y z", "found undefined tag handle"),
            ("a: \"x", "line 2: found unexpected end of stream"),
            ("a: {b: c]\n", "did not find expected ',' or '}'"),
            ("a: [b: c, d}", "did not find expected ',' or ']'"),
        ];
        let ours: Vec<(&str, String)> = table.map(|(text, _)| (text, read(text))).into();
        let prefix = "error converting YAML to JSON: yaml: ";
        let theirs: Vec<(&str, String)> = table.map(|(text, words)| (text, format!("{prefix}{words}"))).into();
        assert_eq!(ours, theirs);
        assert_eq!(read("a: .inf"), "error converting YAML to JSON: json: unsupported value: +Inf");
    }

    /// What kubectl (Go) makes of the same text.
    #[test]
    fn reads_what_go_reads() {
        let want: Value = serde_json::from_str(include_str!("yaml/tests/scalars.json")).unwrap();
        let got = parse(include_str!("yaml/tests/scalars.yaml")).unwrap();
        for (key, value) in want.as_object().unwrap() {
            assert_eq!(&got[key], value, "{key}");
        }
    }

    #[test]
    fn notes_repeated_keys() {
        let document = parse_document(b"metadata:\n  name: a\n  x: 1\n  name: b\n").unwrap();
        assert_eq!(document.value, json!({"metadata": {"name": "b", "x": 1}}));
        assert_eq!(
            duplicates_error(&document.duplicates),
            "error converting YAML to JSON: yaml: unmarshal errors:\n  line 4: key \"name\" already set in map"
        );
    }

    #[test]
    fn many_documents() {
        let values: Vec<Value> =
            parse_all(b"---\na: 1\n---\n# nothing\n---\nb: 2\n...\n").unwrap().into_iter().map(|d| d.value).collect();
        assert_eq!(values, [json!({"a": 1}), json!({"b": 2})]);
    }

    #[test]
    fn bombs_do_not_go_off() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            text.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(",")));
        }
        assert!(read(&text).contains("excessive aliasing"));
        assert!(parse(&"[".repeat(10_000)).is_err());
        assert!(parse(&"- ".repeat(10_000)).is_err());
        assert!(parse("a: &a [*a]").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_safe(text in "[\\[\\]{}:,\"'a0-9.|>#&*!<?%@`~ \n\t-]{0,60}") {
            let _ = parse_all(text.as_bytes());
        }
        #[test]
        fn any_bytes_are_safe(bytes: Vec<u8>) {
            let _ = parse_document(&bytes);
        }
    }
}

//! JSON text into a tree that keeps what a map would not: the order of keys, repeated keys, numbers as they were written. Accepts and
//! refuses what Go's `encoding/json` does, in its words (`scanner.go`).
use crate::field::go_quote;
use serde_json::Value;
use std::borrow::Cow;

/// Objects nested deeper are refused: everything that walks them is recursive. (Go's limit is 10,000.)
pub const MAX_DEPTH: usize = 500;

#[derive(Clone, Debug, PartialEq)]
pub enum Node<'a> {
    Null,
    Bool(bool),
    /// As written.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    /// In the order written, repetitions included.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// A tree that borrows the texts of a `Value`.
    pub fn from_value(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => Self::Number(Cow::Owned(n.to_string())),
            Value::String(s) => Self::String(Cow::Borrowed(s)),
            Value::Array(items) => Self::Array(items.iter().map(Self::from_value).collect()),
            Value::Object(map) => {
                Self::Object(map.iter().map(|(k, v)| (Cow::Borrowed(k.as_str()), Self::from_value(v))).collect())
            }
        }
    }

    /// The value without a schema, as Go decodes into `interface{}` while preserving integers.
    pub fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(b),
            Self::Number(text) => number(&text),
            Self::String(text) => Value::String(text.into_owned()),
            Self::Array(items) => Value::Array(items.into_iter().map(Self::into_value).collect()),
            Self::Object(entries) => {
                Value::Object(entries.into_iter().map(|(k, v)| (k.into_owned(), v.into_value())).collect())
            }
        }
    }

    /// What Go calls it in errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

/// An integer where it is one and fits 64 bits, else the nearest float that JSON can hold.
pub(super) fn number(text: &str) -> Value {
    if let Ok(int) = text.parse::<i64>() {
        return Value::from(int);
    }
    let float: f64 = text.parse().unwrap_or(0.0);
    Value::from(if float.is_finite() { float } else { f64::MAX.copysign(float) })
}

/// Why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    #[error("unexpected end of JSON input")]
    End,
    #[error("invalid character {found} {place}")]
    Character { found: String, place: Cow<'static, str> },
    #[error("exceeded max depth")]
    Depth,
}

pub fn parse(text: &[u8]) -> Result<Node<'_>, SyntaxError> {
    let mut parser = Parser { text, at: 0 };
    let node = parser.value(0)?;
    match parser.skip_space() {
        None => Ok(node),
        Some(_) => Err(parser.refuse("after top-level value")),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    /// An error about the byte here.
    fn refuse(&self, place: impl Into<Cow<'static, str>>) -> SyntaxError {
        let Some(byte) = self.peek() else { return SyntaxError::End };
        let found = match byte {
            b'\'' => "'\\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            _ => {
                let quoted = go_quote(&char::from(byte).to_string());
                format!("'{}'", quoted.trim_matches('"'))
            }
        };
        SyntaxError::Character { found, place: place.into() }
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, SyntaxError> {
        if depth > MAX_DEPTH {
            return Err(SyntaxError::Depth);
        }
        match self.skip_space() {
            None => Err(SyntaxError::End),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Node::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Node::Bool(true)),
            Some(b'f') => self.literal("false", Node::Bool(false)),
            Some(b'n') => self.literal("null", Node::Null),
            Some(_) => Err(self.refuse("looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &'static str, node: Node<'a>) -> Result<Node<'a>, SyntaxError> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return Err(self.refuse(format!("in literal {word} (expecting '{}')", char::from(expected))));
            }
            self.at += 1;
        }
        Ok(node)
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, SyntaxError> {
        self.at += 1;
        let mut entries = Vec::new();
        if self.skip_space() == Some(b'}') {
            self.at += 1;
            return Ok(Node::Object(entries));
        }
        loop {
            if self.skip_space() != Some(b'"') {
                return Err(self.refuse("looking for beginning of object key string"));
            }
            let key = self.string()?;
            if self.skip_space() != Some(b':') {
                return Err(self.refuse("after object key"));
            }
            self.at += 1;
            entries.push((key, self.value(depth + 1)?));
            match self.skip_space() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Node::Object(entries));
                }
                _ => return Err(self.refuse("after object key:value pair")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Node<'a>, SyntaxError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.skip_space() == Some(b']') {
            self.at += 1;
            return Ok(Node::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            match self.skip_space() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Node::Array(items));
                }
                _ => return Err(self.refuse("after array element")),
            }
        }
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Result<Node<'a>, SyntaxError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else if !self.digits() {
            return Err(self.refuse("in numeric literal"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.digits() {
                return Err(self.refuse("after decimal point in numeric literal"));
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if !self.digits() {
                return Err(self.refuse("in exponent of numeric literal"));
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        Ok(Node::Number(String::from_utf8_lossy(text)))
    }

    /// The string that begins here. Without escapes it is borrowed. What is not UTF-8 becomes U+FFFD.
    fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.at += 1;
        let mut start = self.at;
        let mut owned: Option<String> = None;
        loop {
            match self.peek() {
                None => return Err(SyntaxError::End),
                Some(b'"') => {
                    let rest = String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default());
                    self.at += 1;
                    return Ok(match owned {
                        None => rest,
                        Some(text) => Cow::Owned(text + &rest),
                    });
                }
                Some(b'\\') => {
                    let before = String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default());
                    let text = owned.get_or_insert_default();
                    text.push_str(&before);
                    self.at += 1;
                    let c = self.escape()?;
                    owned.get_or_insert_default().push(c);
                    start = self.at;
                }
                Some(0..0x20) => return Err(self.refuse("in string literal")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let c = match self.peek() {
            None => return Err(SyntaxError::End),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b @ (b'"' | b'\\' | b'/')) => char::from(b),
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            Some(_) => return Err(self.refuse("in string escape code")),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, SyntaxError> {
        let first = self.hex()?;
        if (0xd800..0xdc00).contains(&first) && self.text.get(self.at..self.at + 2) == Some(b"\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let pair = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            // Not a pair: the first stands for nothing, the second is read again by itself.
            self.at = before;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, SyntaxError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let Some(digit) = digit else { return Err(self.refuse("in \\u hexadecimal character escape")) };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_like_go() {
        let read = |text: &str| parse(text.as_bytes()).map(Node::into_value).map_err(|e| e.to_string());
        assert_eq!(
            read(r#" {"a":[1,-2.5e3,true,null,"\u00e9\ud83d\ude00\n"],"b":{}} "#),
            Ok(json!({"a": [1, -2500.0, true, null, "é😀\n"], "b": {}}))
        );
        assert_eq!(read(r#""\ud800x\udc00""#), Ok(json!("\u{fffd}x\u{fffd}")));
        assert_eq!(parse(b"\"\xff\"").map(Node::into_value), Ok(json!("\u{fffd}")));
        let table = [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{x", "invalid character 'x' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("1 2", "invalid character '2' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1e+", "unexpected end of JSON input"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u12\"", "invalid character '\"' in \\u hexadecimal character escape"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
        ];
        for (text, want) in table {
            assert_eq!(read(text), Err(want.to_owned()), "{text}");
        }
        assert_eq!(read(&"[".repeat(100_000)), Err("exceeded max depth".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}:,\"a0-9.eE+\\\\tunlrfs -]{0,40}") {
            // serde_json is stricter about lone surrogates and numbers out of range; what it takes, we take alike.
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let ours = parse(text.as_bytes()).map(Node::into_value);
                proptest::prop_assert_eq!(ours.map(|v| v.to_string()), Ok(value.to_string()));
            }
        }
        #[test]
        fn any_bytes_are_safe(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}

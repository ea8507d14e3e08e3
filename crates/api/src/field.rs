//! Field paths and validation errors, with the words Kubernetes uses
//! (`k8s.io/apimachinery/pkg/util/validation/field`).
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// Where in an object something is: `spec.containers[0].ports[1].name`, `data[tls.crt]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(String);

impl Path {
    pub fn new(root: impl Into<String>) -> Self {
        Self(root.into())
    }
    /// An empty path; its first child stands alone.
    pub fn root() -> Self {
        Self(String::new())
    }
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An error at the root of an object reads `<nil>` in Kubernetes.
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

impl From<&str> for Path {
    fn from(s: &str) -> Self {
        Self(s.to_owned())
    }
}

/// The rule a value broke. `reason()` is the cause's reason in a Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl Rule {
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One broken rule at one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub rule: Rule,
    pub path: Path,
    /// The offending value as it is printed: strings quoted as Go does, all else as JSON with its fields in the order of the
    /// type. `None` for rules that print none (Required, Forbidden, …).
    pub value: Option<String>,
    pub detail: String,
}

impl Error {
    fn make(rule: Rule, path: &Path, value: Option<String>, detail: impl Into<String>) -> Self {
        Self { rule, path: path.clone(), value, detail: detail.into() }
    }
    pub fn not_found(path: &Path, value: impl Serialize) -> Self {
        Self::make(Rule::NotFound, path, Some(render(&value)), "")
    }
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::make(Rule::Required, path, None, detail)
    }
    pub fn duplicate(path: &Path, value: impl Serialize) -> Self {
        Self::make(Rule::Duplicate, path, Some(render(&value)), "")
    }
    pub fn invalid(path: &Path, value: impl Serialize, detail: impl Into<String>) -> Self {
        Self::make(Rule::Invalid, path, Some(render(&value)), detail)
    }
    /// `supported` is printed in the order given: Kubernetes sorts it, so hand it in sorted.
    pub fn not_supported<S: fmt::Display>(path: &Path, value: impl Serialize, supported: &[S]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| format!("\"{s}\"")).collect();
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Self::make(Rule::NotSupported, path, Some(render(&value)), detail)
    }
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::make(Rule::Forbidden, path, None, detail)
    }
    /// `max` in bytes.
    pub fn too_long(path: &Path, max: usize) -> Self {
        Self::make(Rule::TooLong, path, None, format!("may not be more than {max} bytes"))
    }
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::make(Rule::TooMany, path, Some(actual.to_string()), format!("must have at most {max} {items}"))
    }
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::make(Rule::Internal, path, None, detail)
    }
    /// The message without its path: a Status cause's `message`.
    pub fn body(&self) -> String {
        let mut out = self.rule.words().to_owned();
        if let Some(value) = &self.value {
            out.push_str(": ");
            out.push_str(value);
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

impl std::error::Error for Error {}

/// All the rules an object broke, in the order they were checked.
pub type Errors = Vec<Error>;

/// One line as Kubernetes aggregates: a lone error bare, several in brackets, repetitions left out.
pub fn aggregate(errors: &[Error]) -> String {
    let mut seen: Vec<String> = Vec::with_capacity(errors.len());
    for message in errors.iter().map(ToString::to_string) {
        if !seen.contains(&message) {
            seen.push(message);
        }
    }
    match seen.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// Each message as an Invalid of `value` at `path`.
pub fn invalid_each(path: &Path, value: impl Serialize, messages: Vec<String>) -> Errors {
    messages.into_iter().map(|message| Error::invalid(path, &value, message)).collect()
}

fn render(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => go_quote(&text),
        // Not the `Value`: its maps are sorted, the struct's fields are not.
        _ => serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()),
    }
}

/// A string as Go's `%q` prints it.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            // Go escapes what its tables call not printable: here the controls and the spaces other than U+0020.
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_kubernetes() {
        let p = Path::new("spec").child("containers").index(0).child("image");
        assert_eq!(Error::required(&p, "").to_string(), "spec.containers[0].image: Required value");
        let e = Error::invalid(&Path::new("data").key("a b"), "a b", "no");
        assert_eq!(e.to_string(), "data[a b]: Invalid value: \"a b\": no");
        let e = Error::not_supported(&Path::new("spec").child("type"), "Foo", &["A", "B"]);
        assert_eq!(e.to_string(), "spec.type: Unsupported value: \"Foo\": supported values: \"A\", \"B\"");
        let e = Error::invalid(&p, "a\u{1}\u{a0}\"", "no");
        assert_eq!(e.to_string(), r#"spec.containers[0].image: Invalid value: "a\x01\u00a0\"": no"#);
        let e = Error::not_supported(&Path::new("spec").child("type"), "Foo", &["A", "B"]);
        let two = [e.clone(), e.clone(), Error::required(&p, "x")];
        assert!(aggregate(&two).starts_with("[spec.type:") && aggregate(&two).matches("spec.type").count() == 1);
    }
}

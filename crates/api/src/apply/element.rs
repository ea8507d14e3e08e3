//! Path elements: one step from an object or list to what it holds
//! (structured-merge-diff `fieldpath/element.go`, `serialize-pe.go`, `value/value.go`).
use crate::gofmt;
use serde_json::{Number, Value};
use std::cmp::Ordering;
use std::fmt;

/// How to select a child of an object or list.
#[derive(Clone, Debug)]
pub enum Element {
    /// `f:`: the member of an object.
    Field(Box<str>),
    /// `k:`: the item of an associative list that has these values at its keys. Sorted by name.
    Key(Box<[(Box<str>, Value)]>),
    /// `v:`: the item of a set that equals this scalar.
    Value(Value),
    /// `i:`: the item at this place.
    Index(i64),
}

impl Element {
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// A key from names and values in any order.
    pub fn key(mut fields: Vec<(Box<str>, Value)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Key(fields.into())
    }

    pub fn as_field(&self) -> Option<&str> {
        match self {
            Self::Field(name) => Some(name),
            _ => None,
        }
    }

    /// The member's name in a FieldsV1 object: `f:spec`, `k:{"name":"c"}`, `v:"x"`, `i:0`.
    pub fn encode(&self) -> String {
        match self {
            Self::Field(name) => {
                let mut out = String::with_capacity(name.len() + 2);
                out.push_str("f:");
                out.push_str(name);
                out
            }
            Self::Key(fields) => {
                let mut out = String::from("k:{");
                for (i, (name, value)) in fields.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    gofmt::json_string(name, &mut out);
                    out.push(':');
                    gofmt::json(value, &mut out);
                }
                out.push('}');
                out
            }
            Self::Value(value) => {
                let mut out = String::from("v:");
                gofmt::json(value, &mut out);
                out
            }
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// `Ok(None)`: a kind of element that some later version knows; it is dropped, as Kubernetes does.
    pub fn decode(text: &str) -> Result<Option<Self>, ElementError> {
        let bytes = text.as_bytes();
        let (Some(kind), Some(colon), Some(rest)) = (bytes.first(), bytes.get(1), text.get(2..)) else {
            return Err(ElementError::TooShort);
        };
        if *colon != b':' {
            return Err(ElementError::MissingColon(text.to_owned()));
        }
        let json = |source| ElementError::Json { element: text.to_owned(), source };
        Ok(Some(match kind {
            b'f' => Self::field(rest),
            b'v' => Self::Value(serde_json::from_str(rest).map_err(json)?),
            b'k' => {
                let map: serde_json::Map<String, Value> = serde_json::from_str(rest).map_err(json)?;
                Self::Key(map.into_iter().map(|(name, value)| (name.into_boxed_str(), value)).collect())
            }
            b'i' => Self::Index(rest.parse().map_err(|_| ElementError::Index(text.to_owned()))?),
            _ => return Ok(None),
        }))
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

/// What is wrong with a member name of a FieldsV1 object.
#[derive(Debug, thiserror::Error)]
pub enum ElementError {
    #[error("key must be 2 characters long:")]
    TooShort,
    #[error("missing colon: {0}")]
    MissingColon(String),
    #[error("index is not a number: {0}")]
    Index(String),
    #[error("path element {element}: {source}")]
    Json {
        element: String,
        #[source]
        source: serde_json::Error,
    },
}

impl Ord for Element {
    /// Fields before keys before values before indexes, each kind in its natural order.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => compare_keys(a, b),
            (Self::Value(a), Self::Value(b)) => compare(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Element {}

/// As conflicts print it: `.spec`, `[name="c"]`, `[="x"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                f.write_str("[")?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    write!(f, "{comma}{name}={}", to_text(value))?;
                }
                f.write_str("]")
            }
            Self::Value(value) => write!(f, "[={}]", to_text(value)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// `value.ToString`: JSON-like, strings as Go literals.
fn to_text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(s) => gofmt::quote(s),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(to_text).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(map) => map.iter().map(|(k, v)| format!("{k}={}", to_text(v))).collect(),
        other => gofmt::print(other),
    }
}

fn compare_keys(a: &[(Box<str>, Value)], b: &[(Box<str>, Value)]) -> Ordering {
    for ((an, av), (bn, bv)) in a.iter().zip(b) {
        let order = an.cmp(bn).then_with(|| compare(av, bv));
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// The total order of values: numbers (by size, 1 equals 1.0) < strings < booleans < lists < objects < null.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            for (x, y) in a.iter().zip(b) {
                let order = compare(x, y);
                if order != Ordering::Equal {
                    return order;
                }
            }
            a.len().cmp(&b.len())
        }
        (Value::Object(a), Value::Object(b)) => {
            for ((an, av), (bn, bv)) in a.iter().zip(b) {
                let order = an.cmp(bn).then_with(|| compare(av, bv));
                if order != Ordering::Equal {
                    return order;
                }
            }
            a.len().cmp(&b.len())
        }
        _ => value_rank(a).cmp(&value_rank(b)),
    }
}

fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (a, b) => a.is_some().cmp(&b.is_some()),
        },
    }
}

fn value_rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

/// Whether two values are the same; 1 equals 1.0.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || compare_numbers(a, b) == Ordering::Equal,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((an, av), (bn, bv))| an == bn && equal(av, bv))
        }
        (a, b) => a == b,
    }
}

//! A tree read along a schema, as Go decodes it into a struct: unknown fields fall away (and are noted), `null` is absence, empty
//! lists and maps that Go would not write back are left out, times and quantities become canonical. The first value of a wrong type
//! is the error, in Go's words.
use super::json::{Node, number};
use super::{base64, time};
use crate::quantity::Quantity;
use crate::schema::{Field, FieldRef, Scalar, Shape, TypeRef};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashSet;

/// More unknown and repeated fields than this are not listed (`kubernetes_patch.go` in sigs.k8s.io/json).
const STRICT_MAX: usize = 100;

/// Go's zero time. Go writes it as `null`, which the typed structs do not take.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
const ZERO_MICRO_TIME: &str = "0001-01-01T00:00:00.000000Z";

type Entries<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

/// What a walk found beside the value.
pub(super) struct Walked {
    pub value: Value,
    /// `unknown field "spec.replicsa"`, `duplicate field "metadata.name"`, in the order of the text.
    pub strict: Vec<String>,
}

/// Reads `node` without a schema.
pub(super) fn untyped(node: Node<'_>) -> Walked {
    let mut walker = Walker::new(false);
    let value = walker.anything(node);
    Walked { value, strict: walker.strict }
}

/// Reads `node` as `ty`. `custom`: a custom resource, whose types are checked by its validation and not here.
pub(super) fn walk(node: Node<'_>, ty: TypeRef<'_>, custom: bool) -> Result<Walked, String> {
    let mut walker = Walker::new(custom);
    let value = walker.value(node, ty)?;
    match walker.wrong {
        Some(error) => Err(error),
        None => Ok(Walked { value, strict: walker.strict }),
    }
}

enum Segment<'s> {
    Field(&'s str),
    Key(String),
    Index(usize),
}

struct Walker<'s> {
    strict: Vec<String>,
    seen: HashSet<String>,
    /// The first value of a wrong type; the walk goes on, as Go's does.
    wrong: Option<String>,
    /// The fields of structs from the root to here, and the struct that has the last one: `DeploymentSpec.spec.replicas`.
    fields: Vec<&'s str>,
    owner: Option<TypeRef<'s>>,
    /// The same with map keys and list positions: `spec.containers[0].image`.
    path: Vec<Segment<'s>>,
    custom: bool,
}

impl<'s> Walker<'s> {
    fn new(custom: bool) -> Self {
        let (strict, seen, fields, path) = (Vec::new(), HashSet::new(), Vec::new(), Vec::new());
        Self { strict, seen, wrong: None, fields, owner: None, path, custom }
    }

    fn value(&mut self, node: Node<'_>, ty: TypeRef<'s>) -> Result<Value, String> {
        match (ty.shape(), node) {
            (Shape::Any, node) => Ok(if self.custom { self.anything(node) } else { node.into_value() }),
            (_, Node::Null) if self.custom => Ok(Value::Null),
            (_, Node::Null) => Ok(zero(ty)),
            (Shape::Struct(_), Node::Object(entries)) => self.object(entries, ty),
            (Shape::Map { .. }, Node::Object(entries)) => self.map(entries, ty),
            (Shape::List { .. }, Node::Array(items)) => self.list(items, ty),
            (_, node) if self.custom => Ok(self.anything(node)),
            (Shape::Scalar(scalar), node) => self.scalar(node, *scalar, ty),
            (_, node) => Ok(self.mismatch(node.kind(), &ty.go_name())),
        }
    }

    fn object(&mut self, entries: Entries<'_>, ty: TypeRef<'s>) -> Result<Value, String> {
        let mut out = Map::new();
        // A field that was read may be left out of `out` again.
        let mut read: Vec<&Field> = Vec::with_capacity(entries.len().min(64));
        let owner = self.owner;
        let preserve = ty.as_struct().is_some_and(|s| s.preserve_unknown);
        for (key, node) in entries {
            let Some(field) = ty.field(&key) else {
                if preserve {
                    let value = self.within(Segment::Key(key.to_string()), |w| w.anything(node));
                    out.insert(key.into_owned(), value);
                } else {
                    self.note("unknown", &key);
                }
                continue;
            };
            if read.iter().any(|f| std::ptr::eq(*f, field.field)) {
                self.note("duplicate", &key);
            }
            read.push(field.field);
            self.fields.push(&field.field.name);
            self.owner = Some(ty);
            let null = node == Node::Null;
            let custom = self.custom;
            // `metadata` of a custom resource is as strict as that of any object.
            self.custom &= !(&*key == "metadata" && field.ty.short_name() == "ObjectMeta");
            let value = self.within(Segment::Field(&field.field.name), |w| w.value(node, field.ty));
            self.custom = custom;
            self.fields.pop();
            self.owner = owner;
            let value = value?;
            if !custom && (null || omitted(&value, field)) {
                out.remove(&*key);
            } else {
                insert(&mut out, &key, value);
            }
        }
        if !self.custom {
            add_zero_times(ty, &mut out);
            if !self.path.is_empty() {
                name_embedded(ty, &mut out);
            }
        }
        Ok(Value::Object(out))
    }

    fn map(&mut self, entries: Entries<'_>, ty: TypeRef<'s>) -> Result<Value, String> {
        let Some(value_type) = ty.value() else { return Ok(Value::Null) };
        let mut out = Map::new();
        for (key, node) in entries {
            if out.contains_key(&*key) {
                self.note("duplicate", &key);
            }
            let value = self.within(Segment::Key(key.to_string()), |w| w.value(node, value_type))?;
            out.insert(key.into_owned(), value);
        }
        Ok(Value::Object(out))
    }

    fn list(&mut self, items: Vec<Node<'_>>, ty: TypeRef<'s>) -> Result<Value, String> {
        let Some(item_type) = ty.item() else { return Ok(Value::Null) };
        let mut out = Vec::with_capacity(items.len());
        for (i, node) in items.into_iter().enumerate() {
            self.path.push(Segment::Index(i));
            let value = self.value(node, item_type);
            self.path.pop();
            out.push(value?);
        }
        Ok(Value::Array(out))
    }

    /// Without a schema; repeated keys are noted all the same.
    fn anything(&mut self, node: Node<'_>) -> Value {
        match node {
            Node::Object(entries) => {
                let mut out = Map::new();
                for (key, node) in entries {
                    if out.contains_key(&*key) {
                        self.note("duplicate", &key);
                    }
                    let value = self.within(Segment::Key(key.to_string()), |w| w.anything(node));
                    out.insert(key.into_owned(), value);
                }
                Value::Object(out)
            }
            Node::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, node) in items.into_iter().enumerate() {
                    self.path.push(Segment::Index(i));
                    out.push(self.anything(node));
                    self.path.pop();
                }
                Value::Array(out)
            }
            other => other.into_value(),
        }
    }

    fn scalar(&mut self, node: Node<'_>, scalar: Scalar, ty: TypeRef<'s>) -> Result<Value, String> {
        let int = |text: &str, low: i64, high: i64| text.parse::<i64>().ok().filter(|n| (low..=high).contains(n));
        let (low, high) = match scalar {
            Scalar::Int64 => (i64::MIN, i64::MAX),
            _ => (i64::from(i32::MIN), i64::from(i32::MAX)),
        };
        Ok(match (scalar, node) {
            (Scalar::Quantity, node) => return quantity(&node),
            (Scalar::String | Scalar::IntOrString, Node::String(text)) => Value::String(text.into_owned()),
            (Scalar::Bool, Node::Bool(b)) => Value::Bool(b),
            (Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString, Node::Number(text)) => match int(&text, low, high) {
                Some(n) => Value::from(n),
                // An Unmarshaler's error ends the walk at once.
                None if scalar == Scalar::IntOrString => {
                    return Err(self.type_error(&format!("number {text}"), "int32"));
                }
                None => self.mismatch(&format!("number {text}"), &ty.go_name()),
            },
            (Scalar::Float, Node::Number(text)) if text.parse::<f64>().is_ok_and(f64::is_finite) => number(&text),
            (Scalar::Bytes, Node::String(text)) => match base64::canonical(&text) {
                Ok(text) => Value::String(text),
                Err(at) => {
                    self.wrong.get_or_insert_with(|| format!("illegal base64 data at input byte {at}"));
                    Value::Null
                }
            },
            (Scalar::Time, Node::String(text)) => Value::String(time::seconds(time::parse(&text, time::TIME)?)),
            (Scalar::MicroTime, Node::String(text)) => {
                Value::String(time::micros(time::parse(&text, time::MICRO_TIME)?))
            }
            (Scalar::Time | Scalar::MicroTime, node) => return Err(self.type_error(node.kind(), "string")),
            (Scalar::IntOrString, node) => return Err(self.type_error(node.kind(), "int32")),
            (_, node) => self.mismatch(node.kind(), &ty.go_name()),
        })
    }

    fn type_error(&self, what: &str, go: &str) -> String {
        match self.owner {
            Some(owner) => {
                let field = self.fields.join(".");
                format!(
                    "json: cannot unmarshal {what} into Go struct field {}.{field} of type {go}",
                    owner.short_name()
                )
            }
            None => format!("json: cannot unmarshal {what} into Go value of type {go}"),
        }
    }

    fn mismatch(&mut self, what: &str, go: &str) -> Value {
        if self.wrong.is_none() {
            self.wrong = Some(self.type_error(what, go));
        }
        Value::Null
    }

    fn within<T>(&mut self, segment: Segment<'s>, run: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(segment);
        let out = run(self);
        self.path.pop();
        out
    }

    fn note(&mut self, what: &str, key: &str) {
        if self.strict.len() >= STRICT_MAX {
            return;
        }
        let mut path = String::new();
        for segment in &self.path {
            let key = match segment {
                Segment::Field(key) => key,
                Segment::Key(key) => key.as_str(),
                Segment::Index(i) => {
                    path.push_str(&format!("[{i}]"));
                    continue;
                }
            };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
        }
        let dot = if path.is_empty() { "" } else { "." };
        let message = format!("{what} field {}", crate::field::go_quote(&format!("{path}{dot}{key}")));
        if self.seen.insert(message.clone()) {
            self.strict.push(message);
        }
    }
}

/// A quantity in its canonical form. It may be written as a bare number.
fn quantity(node: &Node<'_>) -> Result<Value, String> {
    let text = match node {
        Node::String(text) | Node::Number(text) => text.trim(),
        // Whatever else: no quantity begins with a bracket or a letter.
        _ => "?",
    };
    text.parse::<Quantity>().map(|q| Value::String(q.to_string())).map_err(|e| e.to_string())
}

/// What `null` stands for inside lists and maps, where it cannot be absent.
fn zero(ty: TypeRef<'_>) -> Value {
    match ty.shape() {
        Shape::Any => Value::Null,
        Shape::Struct(_) => {
            let mut out = Map::new();
            add_zero_times(ty, &mut out);
            name_embedded(ty, &mut out);
            Value::Object(out)
        }
        Shape::Map { .. } => Value::Object(Map::new()),
        Shape::List { .. } => Value::Array(Vec::new()),
        Shape::Scalar(scalar) => match scalar {
            Scalar::String | Scalar::Bytes => Value::from(""),
            Scalar::Bool => Value::from(false),
            Scalar::Int32 | Scalar::Int64 | Scalar::Float | Scalar::IntOrString => Value::from(0),
            Scalar::Quantity => Value::from("0"),
            Scalar::Time => Value::from(ZERO_TIME),
            Scalar::MicroTime => Value::from(ZERO_MICRO_TIME),
        },
    }
}

/// Times that must be there and are not: the typed structs know no zero time by themselves.
fn add_zero_times(ty: TypeRef<'_>, out: &mut Map<String, Value>) {
    // An Event's time may be absent there too: its validation asks for it.
    let names = ty.fields().filter(|f| f.field.required && &*f.field.name != "eventTime");
    for f in names {
        let time = matches!(f.ty.shape(), Shape::Scalar(Scalar::Time | Scalar::MicroTime));
        if time && !out.contains_key(&*f.field.name) {
            out.insert(f.field.name.to_string(), zero(f.ty));
        }
    }
}

/// An object inside another (a StatefulSet's volume claim templates) is of the kind that its field says, whatever it says itself.
fn name_embedded(ty: TypeRef<'_>, out: &mut Map<String, Value>) {
    let name = &*ty.get().name;
    if !name.starts_with("io.k8s.api.") || ["apiVersion", "kind", "metadata"].iter().any(|f| ty.field(f).is_none()) {
        return;
    }
    match name.strip_prefix("io.k8s.api.core.v1.") {
        Some(kind) => {
            out.insert("apiVersion".to_owned(), "v1".into());
            out.insert("kind".to_owned(), kind.into());
        }
        None => {
            out.remove("apiVersion");
            out.remove("kind");
        }
    }
}

/// Lists of these are defaulted when they are absent, not when they are empty: Go's defaulting asks whether they are `nil`
/// (`copyHPAScalingRules` in `pkg/apis/autoscaling/v2/defaults.go`), and validation then refuses the empty ones.
const EMPTY_IS_SAID: [&str; 1] = ["io.k8s.api.autoscaling.v2.HPAScalingPolicy"];

/// Go leaves it out when it writes the object (`omitempty`): an empty list or map, a zero that is no pointer.
fn omitted(value: &Value, field: FieldRef<'_>) -> bool {
    if field.field.required || field.ty.item().is_some_and(|item| EMPTY_IS_SAID.contains(&&*item.get().name)) {
        return false;
    }
    match (field.ty.shape(), value) {
        (Shape::List { .. }, Value::Array(items)) => items.is_empty(),
        (Shape::Map { .. }, Value::Object(map)) => map.is_empty(),
        (Shape::Scalar(Scalar::Bytes), Value::String(text)) => text.is_empty(),
        (Shape::Scalar(_), value) => field.field.omit_zero && is_zero(value),
        _ => false,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(s) => s.is_empty(),
        _ => false,
    }
}

/// A repeated field is decoded into the same struct: objects are merged, all else is replaced.
fn insert(out: &mut Map<String, Value>, key: &str, value: Value) {
    match (out.get_mut(key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (key, value) in new {
                insert(old, &key, value);
            }
        }
        (_, value) => {
            out.insert(key.to_owned(), value);
        }
    }
}

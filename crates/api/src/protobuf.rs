//! Kubernetes' protobuf bodies, read into the same values as JSON ones (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`).
//!
//! kubectl's typed commands (`create namespace`, `create deployment`, …) and Go clients send built-in kinds this way. Answers stay
//! JSON, which every client accepts beside protobuf. Field numbers come from a table made by `cargo xtask protobuf`:
//!
//! ```text
//! # io.k8s.api.core.v1.Volume
//! 1 name! s                                   a string, kept when empty
//! 2 + @io.k8s.api.core.v1.VolumeSource        embedded in Go: its fields are the Volume's own
//! 3 items [s                                  a list; {y: a map to bytes; i, b, d: numbers and booleans
//! ```
//! A zero without `!` is nothing, as `omitempty` would have it.
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What every body begins with.
pub const MAGIC: &[u8] = b"k8s\0";
/// Messages within messages; deeper is refused.
const DEEPEST: usize = 64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProtobufError {
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    NotProtobuf,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: nested too deeply")]
    TooDeep,
    #[error("no kind \"{kind}\" is registered for version \"{version}\"")]
    UnknownKind { version: String, kind: String },
    #[error("proto: {0} is not valid")]
    Invalid(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Bytes,
    Bool,
    Number,
    Double,
    Message(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Many {
    One,
    List,
    Map,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    /// `+`: embedded.
    name: &'static str,
    zero_is_value: bool,
    many: Many,
    kind: Kind,
}

type Message = HashMap<u64, Field>;

static TABLE: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    let mut table: HashMap<&'static str, Message> = HashMap::new();
    let mut current = "";
    for line in include_str!("protobuf/table.txt").lines() {
        if let Some(name) = line.strip_prefix("# ") {
            current = name;
            table.entry(current).or_default();
        } else if let Some((number, field)) = read_line(line) {
            table.entry(current).or_default().insert(number, field);
        }
    }
    table
});

fn read_line(line: &'static str) -> Option<(u64, Field)> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let name = words.next()?;
    let kind = words.next()?;
    let (many, kind) = match (kind.strip_prefix('['), kind.strip_prefix('{')) {
        (Some(kind), _) => (Many::List, kind),
        (_, Some(kind)) => (Many::Map, kind),
        _ => (Many::One, kind),
    };
    let kind = match kind {
        "s" => Kind::Text,
        "y" => Kind::Bytes,
        "b" => Kind::Bool,
        "i" => Kind::Number,
        "d" => Kind::Double,
        message => Kind::Message(message.strip_prefix('@')?),
    };
    Some((number, Field { name: name.trim_end_matches('!'), zero_is_value: name.ends_with('!'), many, kind }))
}

/// Reads a body: the envelope names version and kind, the rest is the object.
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::NotProtobuf)?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    each_field(envelope, |number, wire| {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => each_field(meta, |number, wire| {
                if let Wire::Bytes(text) = wire {
                    let text = String::from_utf8_lossy(text).into_owned();
                    if number == 1 { version = text } else { kind = text }
                }
                Ok(())
            })?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
        Ok(())
    })?;
    let name = type_name(&version, &kind);
    let Some(known) = TABLE.keys().find(|k| **k == name) else {
        return Err(ProtobufError::UnknownKind { version, kind });
    };
    let Value::Object(mut object) = message(known, raw, 0)? else {
        return Err(ProtobufError::UnknownKind { version, kind });
    };
    object.insert("apiVersion".into(), version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

/// `apps/v1` Deployment is `io.k8s.api.apps.v1.Deployment`; the options of requests are meta's in every group.
fn type_name(version: &str, kind: &str) -> String {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    if matches!(kind, "DeleteOptions" | "CreateOptions" | "UpdateOptions" | "PatchOptions" | "Status") {
        return format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}");
    }
    let package = match group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("io.k8s.api.{package}.{version}.{kind}")
}

enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> Result<u64, ProtobufError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(ProtobufError::Truncated)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ProtobufError::Overflow)
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], ProtobufError> {
    let length = usize::try_from(length).map_err(|_| ProtobufError::Overflow)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
    *bytes = rest;
    Ok(taken)
}

fn each_field<'a>(
    mut bytes: &'a [u8],
    mut each: impl FnMut(u64, Wire<'a>) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let wire = match key & 7 {
            0 => Wire::Varint(varint(&mut bytes)?),
            1 => {
                let eight: [u8; 8] = take(&mut bytes, 8)?.try_into().map_err(|_| ProtobufError::Truncated)?;
                Wire::Fixed64(u64::from_le_bytes(eight))
            }
            2 => {
                let length = varint(&mut bytes)?;
                Wire::Bytes(take(&mut bytes, length)?)
            }
            5 => take(&mut bytes, 4).map(|_| Wire::Fixed32)?,
            other => return Err(ProtobufError::WireType(u8::try_from(other).unwrap_or_default())),
        };
        each(key >> 3, wire)?;
    }
    Ok(())
}

fn message(name: &'static str, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    if depth > DEEPEST {
        return Err(ProtobufError::TooDeep);
    }
    if let Some(special) = special(name, bytes)? {
        return Ok(special);
    }
    let mut object = Map::new();
    fill(&mut object, name, bytes, depth)?;
    Ok(Value::Object(object))
}

fn fill(object: &mut Map<String, Value>, name: &'static str, bytes: &[u8], depth: usize) -> Result<(), ProtobufError> {
    if depth > DEEPEST {
        return Err(ProtobufError::TooDeep);
    }
    let Some(fields) = TABLE.get(name) else { return Ok(()) };
    each_field(bytes, |number, wire| {
        // A field of a newer version: JSON would drop it too.
        let Some(field) = fields.get(&number) else { return Ok(()) };
        if let (Many::One, "+", Kind::Message(inner), Wire::Bytes(bytes)) = (field.many, field.name, field.kind, &wire)
        {
            return fill(object, inner, bytes, depth + 1);
        }
        match field.many {
            Many::One => {
                let value = scalar(field.kind, &wire, depth)?;
                if field.zero_is_value || !is_zero(field.kind, &value) {
                    object.insert(field.name.to_owned(), value);
                }
            }
            Many::List => {
                let list = object.entry(field.name).or_insert_with(|| json!([]));
                if let Value::Array(list) = list {
                    list.push(scalar(field.kind, &wire, depth)?);
                }
            }
            Many::Map => {
                let Wire::Bytes(entry) = wire else { return Err(ProtobufError::Invalid("map entry")) };
                let (key, value) = map_entry(field.kind, entry, depth)?;
                let map = object.entry(field.name).or_insert_with(|| json!({}));
                if let Value::Object(map) = map {
                    map.insert(key, value);
                }
            }
        }
        Ok(())
    })
}

fn map_entry(kind: Kind, entry: &[u8], depth: usize) -> Result<(String, Value), ProtobufError> {
    let mut key = String::new();
    let mut value = empty(kind);
    each_field(entry, |number, wire| {
        match (number, &wire) {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, wire) => value = scalar(kind, wire, depth)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

fn empty(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::Bytes => "".into(),
        Kind::Bool => false.into(),
        Kind::Number | Kind::Double => 0.into(),
        Kind::Message(_) => json!({}),
    }
}

/// Zero times are `null`, which is nothing too.
fn is_zero(kind: Kind, value: &Value) -> bool {
    value.is_null() || (*value == empty(kind) && !matches!(kind, Kind::Message(_)))
}

fn utf8(text: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(text.to_vec()).map_err(|_| ProtobufError::Invalid("UTF-8"))
}

fn scalar(kind: Kind, wire: &Wire<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (kind, wire) {
        (Kind::Text, Wire::Bytes(text)) => utf8(text)?.into(),
        (Kind::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Kind::Bool, Wire::Varint(n)) => (*n != 0).into(),
        // Negative numbers are written as 64-bit two's complement, int32 too.
        (Kind::Number, Wire::Varint(n)) => n.cast_signed().into(),
        (Kind::Double, Wire::Fixed64(n)) => json!(f64::from_bits(*n)),
        (Kind::Message(name), Wire::Bytes(bytes)) => message(name, bytes, depth + 1)?,
        _ => return Err(ProtobufError::Invalid("wire type of a field")),
    })
}

/// Types whose JSON is not an object of their fields.
fn special(name: &str, bytes: &[u8]) -> Result<Option<Value>, ProtobufError> {
    const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
    const RUNTIME: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
    let mut numbers = [0i64; 4];
    let mut texts: Vec<&[u8]> = Vec::new();
    let short = name.strip_prefix(META).unwrap_or_default();
    let known = matches!(short, "Time" | "MicroTime" | "FieldsV1")
        || name == RUNTIME
        || name.ends_with(".resource.Quantity")
        || name.ends_with(".intstr.IntOrString")
        || name.ends_with(".ExtraValue");
    if !known {
        return Ok(None);
    }
    each_field(bytes, |number, wire| {
        match wire {
            Wire::Varint(n) => {
                let slot = usize::try_from(number).ok().and_then(|i| numbers.get_mut(i));
                if let Some(slot) = slot {
                    *slot = n.cast_signed();
                }
            }
            Wire::Bytes(text) => texts.push(text),
            Wire::Fixed32 | Wire::Fixed64(_) => {}
        }
        Ok(())
    })?;
    let text = texts.first().copied().unwrap_or_default();
    Ok(Some(match short {
        "Time" | "MicroTime" => time(numbers[1], numbers[2], short == "MicroTime")?,
        "FieldsV1" => serde_json::from_slice(text).map_err(|_| ProtobufError::Invalid("fieldsV1"))?,
        _ if name == RUNTIME => serde_json::from_slice(text).map_err(|_| ProtobufError::Invalid("raw extension"))?,
        _ if name.ends_with(".ExtraValue") => {
            Value::Array(texts.iter().map(|t| utf8(t).map(Value::from)).collect::<Result<_, _>>()?)
        }
        _ if name.ends_with(".intstr.IntOrString") && numbers[1] == 0 => numbers[2].into(),
        _ => utf8(text)?.into(),
    }))
}

/// RFC 3339; the zero time is `null`.
fn time(seconds: i64, nanos: i64, micro: bool) -> Result<Value, ProtobufError> {
    if seconds == 0 && nanos == 0 {
        return Ok(Value::Null);
    }
    let nanos = i32::try_from(nanos).map_err(|_| ProtobufError::Invalid("time"))?;
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Invalid("time"))?;
    Ok(if micro { time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ") } else { time.strftime("%Y-%m-%dT%H:%M:%SZ") }
        .to_string()
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![u8::try_from(number << 3 | 2).unwrap(), u8::try_from(bytes.len()).unwrap()];
        out.extend(bytes);
        out
    }
    fn number(field: u64, value: u8) -> Vec<u8> {
        vec![u8::try_from(field << 3).unwrap(), value]
    }
    fn body(version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
        let meta = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, object)].concat()
    }

    #[test]
    fn a_config_map() {
        // metadata {name "a", generateName "", generation 0, creationTimestamp {}}, data {"x": "y"}, binaryData {"z": [1]}
        let meta = [field(1, b"a"), field(2, b""), number(7, 0), field(8, b"")].concat();
        let data = [field(1, b"x"), field(2, b"y")].concat();
        let binary = [field(1, b"z"), field(2, &[1])].concat();
        let object = [field(1, &meta), field(2, &data), field(3, &binary)].concat();
        assert_eq!(
            decode(&body("v1", "ConfigMap", &object)).unwrap(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "y"}, "binaryData": {"z": "AQ=="}})
        );
    }

    #[test]
    fn zeros_of_pointers_stay_and_embedded_fields_move_up() {
        let volume = [field(1, b"v"), field(2, &field(2, b""))].concat();
        let spec = field(1, &volume);
        let template = field(2, &spec);
        let deployment = [number(1, 0), field(3, &template), number(5, 0)].concat();
        let value = decode(&body("apps/v1", "Deployment", &field(2, &deployment))).unwrap();
        assert_eq!(
            value["spec"],
            json!({"replicas": 0, "template": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}})
        );
    }

    #[test]
    fn special_types() {
        let port = [number(1, 0), number(2, 80)].concat();
        let name = [number(1, 1), field(3, b"http")].concat();
        let q = field(1, b"100m");
        assert_eq!(special("x.intstr.IntOrString", &port).unwrap(), Some(json!(80)));
        assert_eq!(special("x.intstr.IntOrString", &name).unwrap(), Some(json!("http")));
        assert_eq!(special("x.resource.Quantity", &q).unwrap(), Some(json!("100m")));
        assert_eq!(time(1, 5000, true).unwrap(), json!("1970-01-01T00:00:01.000005Z"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(decode(b"{}"), Err(ProtobufError::NotProtobuf));
        assert!(matches!(decode(&body("v1", "Nothing", b"")), Err(ProtobufError::UnknownKind { .. })));
        let mut cut = body("v1", "ConfigMap", &field(1, b"abc"));
        cut.pop();
        assert_eq!(decode(&cut), Err(ProtobufError::Truncated));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(object in proptest::collection::vec(any::<u8>(), 0..120)) {
            for kind in ["Pod", "ConfigMap", "Service"] {
                drop(decode(&body("v1", kind, &object)));
            }
        }
    }
}

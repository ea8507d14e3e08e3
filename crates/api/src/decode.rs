//! Request bodies into objects, strictly: what Kubernetes' JSON and YAML serializer does, with its errors
//! (`apimachinery/pkg/runtime/serializer/json`, `sigs.k8s.io/json`, `apiserver/pkg/endpoints/handlers`).
//!
//! A body goes bytes → [`json::Node`] (order, repetitions and numbers as written) → `Value`, along the type's [`crate::schema`].
mod base64;
pub mod json;
pub mod time;
mod walk;

use crate::schema::TypeRef;
use crate::status::ApiError;
use crate::yaml;
use json::Node;
use serde_json::Value;

/// Bodies that are larger are refused before they come here (`MaxRequestBodyBytes`).
pub const MAX_BODY_BYTES: usize = 3 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

/// What a request's body should be.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    /// From [`crate::schema::builtin`], or from a CustomResourceDefinition.
    pub ty: TypeRef<'a>,
    /// A custom resource: types are left to its validation, `null` is kept.
    pub custom: bool,
    /// Whether this server knows a kind: group, version, kind.
    pub registered: &'a dyn Fn(&str, &str, &str) -> bool,
}

/// A body that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// With `apiVersion` and `kind`, which a body may leave out.
    pub value: Value,
    /// `unknown field "spec.replicsa"`, …: refused under `fieldValidation=Strict` ([`strict_error`]), warnings under `Warn`.
    pub strict: Vec<String>,
}

/// Reads a request's body; the error is a 400 in Kubernetes' words.
pub fn decode(body: &[u8], format: Format, expected: Expected<'_>) -> Result<Decoded, ApiError> {
    let unrecognized = |why: &dyn std::fmt::Display| {
        let kind = expected.kind;
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({})",
            summary(body)
        ))
    };
    let parse_error =
        |why: &dyn std::fmt::Display| unrecognized(&format_args!("couldn't get version/kind; json parse error: {why}"));
    match format {
        Format::Json => {
            let node = json::parse(body).map_err(|e| parse_error(&e))?;
            decode_node(node, expected, &parse_error, &unrecognized)
        }
        Format::Yaml => {
            let document = yaml::parse_document(body).map_err(|e| unrecognized(&e))?;
            let mut decoded = decode_node(Node::from_value(&document.value), expected, &parse_error, &unrecognized)?;
            if !document.duplicates.is_empty() {
                decoded.strict.insert(0, yaml::duplicates_error(&document.duplicates));
            }
            Ok(decoded)
        }
    }
}

/// JSON that is no object of a kind, a patch: its value and its repeated keys (`kjson.UnmarshalStrict` into a map).
pub fn untyped(text: &[u8]) -> Result<Decoded, json::SyntaxError> {
    let walked = walk::untyped(json::parse(text)?);
    Ok(Decoded { value: walked.value, strict: walked.strict })
}

/// Reads an object that is not a body: the outcome of a patch. Errors are bare Go errors.
pub fn decode_value(value: &Value, ty: TypeRef<'_>, custom: bool) -> Result<Decoded, String> {
    let walked = walk::walk(Node::from_value(value), ty, custom)?;
    Ok(Decoded { value: walked.value, strict: walked.strict })
}

/// The text under `fieldValidation=Strict`, to be put after `… cannot be handled as a …: `.
pub fn strict_error(strict: &[String]) -> String {
    format!("strict decoding error: {}", strict.join(", "))
}

/// A body that could be read as some kind, but not as this one (400).
pub fn cannot_handle(kind: &str, version: &str, expected: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!(
        "{kind} in version {} cannot be handled as a {expected}: {why}",
        crate::field::go_quote(version)
    ))
}

type Refuse<'f> = &'f dyn Fn(&dyn std::fmt::Display) -> ApiError;

fn decode_node(
    node: Node<'_>,
    expected: Expected<'_>,
    parse_error: Refuse<'_>,
    unrecognized: Refuse<'_>,
) -> Result<Decoded, ApiError> {
    let (api_version, kind) = version_and_kind(&node).map_err(|e| parse_error(&e))?;
    let (group, version) = match api_version.split('/').collect::<Vec<_>>().as_slice() {
        // Left out: what the path says.
        [""] => (expected.group.to_owned(), expected.version.to_owned()),
        [version] => (String::new(), (*version).to_owned()),
        [group, version] => ((*group).to_owned(), (*version).to_owned()),
        _ => return Err(unrecognized(&format_args!("unexpected GroupVersion string: {api_version}"))),
    };
    let kind = if kind.is_empty() { expected.kind.to_owned() } else { kind };
    check_kind(&group, &version, &kind, expected)?;
    let walked =
        walk::walk(node, expected.ty, expected.custom).map_err(|e| cannot_handle(&kind, &version, expected.kind, e))?;
    let mut value = match walked.value {
        // `null` is an empty object.
        Value::Null => Value::Object(serde_json::Map::new()),
        other => other,
    };
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), Value::String(group_version(&group, &version)));
        map.insert("kind".to_owned(), Value::String(kind));
    }
    Ok(Decoded { value, strict: walked.strict })
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The kind of the body against the one that the path asks for.
fn check_kind(group: &str, version: &str, kind: &str, expected: Expected<'_>) -> Result<(), ApiError> {
    if (group, version, kind) == (expected.group, expected.version, expected.kind) {
        return Ok(());
    }
    let (in_data, wanted) = (group_version(group, version), group_version(expected.group, expected.version));
    if expected.custom || ((expected.registered)(group, version, kind) && kind == expected.kind) {
        let mismatch = if in_data == wanted {
            format!("the kind in the data ({kind}) does not match the expected kind ({})", expected.kind)
        } else {
            format!("the API version in the data ({in_data}) does not match the expected API version ({wanted})")
        };
        return Err(ApiError::bad_request(mismatch));
    }
    let why = conversion_fault((group, version, kind), (expected.group, expected.kind), expected.registered);
    Err(cannot_handle(kind, version, expected.kind, why))
}

/// Go names the structs: that of the object's version, and the internal one of the kind asked for.
fn conversion_fault(
    (group, version, kind): (&str, &str, &str),
    (wanted_group, wanted_kind): (&str, &str),
    registered: &dyn Fn(&str, &str, &str) -> bool,
) -> String {
    if !registered(group, version, kind) {
        let version = group_version(group, version);
        return format!(
            "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        );
    }
    let internal = if wanted_group.is_empty() { "core" } else { wanted_group.split('.').next().unwrap_or("core") };
    format!("converting ({version}.{kind}) to ({internal}.{wanted_kind}): unknown conversion")
}

/// Why an object that a patch has made is none of `expected` (group, version, kind) any more.
pub fn other_kind(
    api_version: &str,
    kind: &str,
    expected: (&str, &str, &str),
    registered: &dyn Fn(&str, &str, &str) -> bool,
) -> Option<String> {
    let (group, version) = match api_version.split('/').collect::<Vec<_>>().as_slice() {
        [version] => ("", *version),
        [group, version] => (*group, *version),
        _ => return Some(format!("unexpected GroupVersion string: {api_version}")),
    };
    let is = (group, version, kind);
    (is != expected).then(|| conversion_fault(is, (expected.0, expected.2), registered))
}

/// `apiVersion` and `kind` of the outermost object (`SimpleMetaFactory`), whose names match in any case: it uses the plain decoder.
fn version_and_kind(node: &Node<'_>) -> Result<(String, String), String> {
    let (mut api_version, mut kind) = (String::new(), String::new());
    let entries = match node {
        Node::Null => return Ok((api_version, kind)),
        Node::Object(entries) => entries,
        other => {
            return Err(format!(
                "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
                other.kind()
            ));
        }
    };
    let mut wrong = None;
    for (key, node) in entries {
        let (slot, name) = if key.eq_ignore_ascii_case("apiVersion") {
            (&mut api_version, "apiVersion")
        } else if key.eq_ignore_ascii_case("kind") {
            (&mut kind, "kind")
        } else {
            continue;
        };
        match node {
            Node::String(text) => *slot = text.clone().into_owned(),
            Node::Null => {}
            other => {
                let what = other.kind();
                wrong.get_or_insert_with(|| {
                    format!("json: cannot unmarshal {what} into Go struct field .{name} of type string")
                });
            }
        }
    }
    wrong.map_or(Ok((api_version, kind)), Err)
}

/// The beginning of a body for an error: as it is if it looks like JSON, else in hexadecimal.
fn summary(body: &[u8]) -> String {
    const MAX: usize = 30;
    if body.is_empty() {
        return "<empty>".to_owned();
    }
    let head = body.get(..MAX).unwrap_or(body);
    let more = if body.len() > MAX { " ..." } else { "" };
    if body.starts_with(b"{") {
        return format!("{}{more}", String::from_utf8_lossy(head));
    }
    let hex: String = head.iter().map(|b| format!("{b:02x}")).collect();
    format!("{hex}{more}")
}

#[cfg(test)]
mod tests;

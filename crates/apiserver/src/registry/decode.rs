//! Bodies to objects: media types, strictness, type errors in Kubernetes' words.
use super::managed::type_of;
use super::patch::{Patch, PatchType};
use super::unstructured::mismatch;
use crate::query::{FieldValidation, WriteOptions};
use crate::resources::Resource;
use crate::respond::Warnings;
use isopod_api::catalogue::Object;
use isopod_api::decode::json::Node;
use isopod_api::decode::{self, Expected, Format, cannot_handle, strict_error};
use isopod_api::field::{self, Path};
use isopod_api::go_order::{self, Touched};
use isopod_api::patch::{PatchError, json_patch, merge_patch};
use isopod_api::schema::{TypeRef, builtin};
use isopod_api::status::{ApiError, Named};
use isopod_api::{gofmt, strategic, yaml};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A body with what is needed to read it.
pub(crate) struct Body<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) content_type: &'a str,
    pub(crate) validation: FieldValidation,
}

/// Where a value to be decoded came from: it decides how its errors are told. With what a strict reading of a patch found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source<'p> {
    /// A JSON or merge patch: the error shows the patched object.
    Patched(Touched<'p>, &'p [String]),
    /// A strategic merge patch: the error shows the patch.
    Strategic(&'p Value, &'p [String]),
    Applied,
}

/// What bodies may be (`protobuf` is not read; clients that speak it speak JSON too).
const MEDIA: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

pub(super) fn format(content_type: &str) -> Result<Format, ApiError> {
    match content_type {
        "" | "application/json" => Ok(Format::Json),
        "application/yaml" => Ok(Format::Yaml),
        _ => Err(ApiError::unsupported_media_type(&MEDIA)),
    }
}

fn registered(group: &str, version: &str, kind: &str) -> bool {
    builtin().kind(group, version, kind).is_some()
}

/// Reads a body as one kind: its value, with unknown fields told as the client wants them told.
fn read(body: &Body<'_>, (group, version, kind): (&str, &str, &str), warnings: &Warnings) -> Result<Value, ApiError> {
    let Some(ty) = builtin().kind(group, version, kind) else {
        return Err(ApiError::internal(format_args!("the shape of {kind} is not known")));
    };
    let known = |group: &str, version: &str, kind: &str| {
        registered(group, version, kind) || isopod_api::retired::is_read(group, version, kind)
    };
    let expected = Expected { group, version, kind, ty, custom: false, registered: &known };
    let decoded = decode::decode(body.bytes, format(body.content_type)?, expected)?;
    check_depth(&decoded.value)?;
    match body.validation {
        FieldValidation::Strict if !decoded.strict.is_empty() => {
            Err(cannot_handle(kind, version, kind, strict_error(&decoded.strict)))
        }
        validation => {
            warn(validation, &decoded.strict, warnings);
            Ok(decoded.value)
        }
    }
}

/// How deep an object may nest: what is stored is read by serde_json, which stops at 128.
const MAX_DEPTH: usize = 120;

fn check_depth(value: &Value) -> Result<(), ApiError> {
    fn fits(value: &Value, left: usize) -> bool {
        match value {
            Value::Array(items) => left > 0 && items.iter().all(|v| fits(v, left - 1)),
            Value::Object(map) => left > 0 && map.values().all(|v| fits(v, left - 1)),
            _ => true,
        }
    }
    if fits(value, MAX_DEPTH) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("the object is nested too deeply: at most {MAX_DEPTH} levels are read")))
}

fn warn(validation: FieldValidation, strict: &[String], warnings: &Warnings) {
    if validation == FieldValidation::Warn {
        for text in strict {
            warnings.add(text);
        }
    }
}

/// The object a POST or PUT brings, defaulted.
pub(crate) fn object(resource: &Resource, body: &Body<'_>, warnings: &Warnings) -> Result<Box<dyn Object>, ApiError> {
    let d = resource.descriptor();
    let value = read(body, (d.group, d.version, d.kind), warnings)?;
    let mut object = resource.ops.decode(value).map_err(|e| cannot_handle(d.kind, d.version, d.kind, e))?;
    resource.ops.default(&mut *object);
    Ok(object)
}

/// A body of a kind that is not the object of its path: Binding, Scale, Eviction.
pub(crate) fn typed<T: DeserializeOwned>(
    body: &Body<'_>,
    group: &str,
    version: &str,
    kind: &str,
    warnings: &Warnings,
) -> Result<T, ApiError> {
    let value = read(body, (group, version, kind), warnings)?;
    serde_json::from_value(value).map_err(|e| cannot_handle(kind, version, kind, e))
}

/// The outcome of a patch as an object of the kind, defaulted.
pub(crate) fn value(
    resource: &Resource,
    value: &Value,
    source: Source<'_>,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Box<dyn Object>, ApiError> {
    let Some(ty) = type_of(resource) else { return Err(ApiError::generic(415)) };
    let decoded = patched(ty, value, source, validation, warnings)?;
    let decoded = of_its_kind(resource, decoded, ty, value, source)?;
    let mut object = resource.ops.decode(decoded).map_err(|e| unfit(ty, value, source, e.to_string()))?;
    resource.ops.default(&mut *object);
    Ok(object)
}

/// A patch cannot make another kind of an object. A strategic merge patch works on the struct: what it says of the kind is nothing.
fn of_its_kind(
    resource: &Resource,
    mut decoded: Value,
    ty: TypeRef<'_>,
    value: &Value,
    source: Source<'_>,
) -> Result<Value, ApiError> {
    let d = resource.descriptor();
    if let Source::Patched(..) = source {
        let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
        let (version, kind) = (text("apiVersion").unwrap_or(resource.api_version()), text("kind").unwrap_or(d.kind));
        if let Some(why) = decode::other_kind(version, kind, (d.group, d.version, d.kind), &registered) {
            return Err(unfit(ty, value, source, why));
        }
    }
    if let Some(map) = decoded.as_object_mut() {
        map.insert("apiVersion".to_owned(), resource.api_version().into());
        map.insert("kind".to_owned(), d.kind.into());
    }
    Ok(decoded)
}

/// The outcome of a patch, checked against the type it must be.
pub(crate) fn patched(
    ty: TypeRef<'_>,
    value: &Value,
    source: Source<'_>,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Value, ApiError> {
    let of_patch = match source {
        Source::Patched(_, strict) | Source::Strategic(_, strict) => strict,
        Source::Applied => &[],
    };
    check_depth(value)?;
    let decoded = decode::decode_value(value, ty, false).map_err(|why| match source {
        Source::Strategic(..) => unfit(ty, value, source, mismatch(value, ty).unwrap_or(why)),
        Source::Patched(..) | Source::Applied => unfit(ty, value, source, why),
    })?;
    let strict = [of_patch, &decoded.strict].concat();
    match validation {
        FieldValidation::Strict if !strict.is_empty() => Err(unfit(ty, value, source, strict_error(&strict))),
        validation => {
            warn(validation, &strict, warnings);
            Ok(decoded.value)
        }
    }
}

/// What was patched is no object of the kind any more.
fn unfit(ty: TypeRef<'_>, value: &Value, source: Source<'_>, why: String) -> ApiError {
    let shown = match source {
        Source::Patched(touched, _) => go_order::patched(value, &ty.get().name, touched),
        Source::Strategic(patch, _) => gofmt::print(patch),
        Source::Applied => return ApiError::unclassified(why),
    };
    ApiError::invalid(Named::new("", ""), "", &[field::Error::invalid(&Path::new("patch"), shown, why)])
}

/// The body of a PATCH.
pub(crate) fn patch(
    kind: PatchType,
    bytes: &[u8],
    options: &WriteOptions,
    warnings: &Warnings,
) -> Result<Patch, ApiError> {
    let wrong = |context: &str, why: &dyn std::fmt::Display| ApiError::bad_request(format!("{context}{why}"));
    let lenient = options.field_validation == FieldValidation::Ignore;
    // With what a strict reading of the text finds: it is told together with what the patched object has of that.
    let json = |context: &str| {
        let decoded = decode::untyped(bytes).map_err(|e| wrong(context, &e))?;
        Ok((decoded.value, if lenient { Vec::new() } else { decoded.strict }))
    };
    Ok(match kind {
        PatchType::Json => {
            let (operations, mut strict) = json("error decoding patch: ")?;
            if !lenient {
                operation_types(&operations)?;
                strict.extend(unknown_fields(&operations));
            }
            Patch::Json(operations, strict.into_iter().map(|text| format!("json patch {text}")).collect())
        }
        PatchType::Merge => {
            let (patch, strict) = json("error decoding patch: ")?;
            Patch::Merge(patch, strict)
        }
        PatchType::Strategic => match json("")? {
            (Value::Null, _) => Patch::Strategic(json!({}), Vec::new()),
            (patch, strict) if patch.is_object() => Patch::Strategic(patch, strict),
            (other, _) => {
                let kind = Node::from_value(&other).kind();
                let message = format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
                return Err(ApiError::bad_request(message));
            }
        },
        PatchType::Apply => Patch::Apply(configuration(bytes, options, warnings)?, options.force.unwrap_or(false)),
    })
}

/// `op`, `path` and `from` of an operation are texts.
fn operation_types(operations: &Value) -> Result<(), ApiError> {
    for operation in operations.as_array().into_iter().flatten() {
        for name in ["op", "path", "from"] {
            let value = operation.get(name).unwrap_or(&Value::Null);
            if !value.is_string() && !value.is_null() {
                let kind = Node::from_value(value).kind();
                return Err(ApiError::bad_request(format!(
                    "error decoding patch: json: cannot unmarshal {kind} into Go struct field jsonPatchOp.{name} of type string"
                )));
            }
        }
    }
    Ok(())
}

/// What the operations of a JSON patch say beside what they can say.
fn unknown_fields(operations: &Value) -> Vec<String> {
    let operations = operations.as_array().into_iter().flatten().enumerate();
    let fields =
        operations.flat_map(|(i, o)| o.as_object().into_iter().flat_map(move |o| o.keys().map(move |k| (i, k))));
    fields
        .filter(|(_, key)| !matches!(key.as_str(), "op" | "path" | "from" | "value"))
        .map(|(i, key)| format!("unknown field \"[{i}].{key}\""))
        .collect()
}

/// The YAML of an apply.
fn configuration(bytes: &[u8], options: &WriteOptions, warnings: &Warnings) -> Result<Value, ApiError> {
    let wrong = |why: String| ApiError::bad_request(format!("error decoding YAML: {why}"));
    let document = yaml::parse_document(bytes).map_err(|e| wrong(e.to_string()))?;
    if !document.value.is_object() && !document.value.is_null() {
        let kind = Node::from_value(&document.value).kind();
        return Err(wrong(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {kind} into Go value of type \
             map[string]interface {{}}"
        )));
    }
    if !document.duplicates.is_empty() {
        let text = yaml::duplicates_error(&document.duplicates);
        match options.field_validation {
            FieldValidation::Strict => {
                return Err(ApiError::bad_request(format!("error strict decoding YAML: {text}")));
            }
            FieldValidation::Warn => warnings.add(text),
            FieldValidation::Ignore => {}
        }
    }
    Ok(if document.value.is_null() { json!({}) } else { document.value })
}

/// `value` after a JSON, merge or strategic merge patch.
pub(crate) fn apply_patch(resource: &Resource, patch: &Patch, value: &Value) -> Result<Value, ApiError> {
    let refused = |e: PatchError| match e.code() {
        400 => ApiError::bad_request(e.to_string()),
        413 => ApiError::request_too_large(e),
        _ => ApiError::generic(422),
    };
    match patch {
        Patch::Json(operations, _) => json_patch(value.clone(), operations.clone()).map_err(refused),
        Patch::Merge(patch, _) => merge_patch(value.clone(), patch).map_err(refused),
        Patch::Strategic(patch, _) => {
            let Some(ty) = type_of(resource) else { return Err(ApiError::generic(415)) };
            strategic::merge(value.clone(), patch.clone(), ty).map_err(|e| match e.code() {
                400 => ApiError::bad_request(e.to_string()),
                422 => ApiError::generic(422),
                _ => ApiError::unclassified(e.to_string()),
            })
        }
        Patch::Apply(..) => Err(ApiError::internal("an apply is not a patch of a value")),
    }
}

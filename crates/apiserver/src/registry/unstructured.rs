//! The outcome of a strategic merge patch against its type: Go turns maps into structs there, and words what does not fit its own way
//! (`FromUnstructured` in `k8s.io/apimachinery/pkg/runtime/converter.go`).
use isopod_api::schema::{Scalar, Shape, TypeRef};
use serde_json::Value;

/// The first value of a wrong type, in Go's words. Times and quantities are not looked at: they have decoders of their own.
pub(crate) fn mismatch(value: &Value, ty: TypeRef<'_>) -> Option<String> {
    match (ty.shape(), value) {
        (_, Value::Null) | (Shape::Any, _) => None,
        (Shape::Struct(_), Value::Object(map)) => {
            ty.fields().find_map(|f| map.get(&*f.field.name).and_then(|v| mismatch(v, f.ty)))
        }
        (Shape::Map { .. }, Value::Object(map)) => {
            let item = ty.value()?;
            map.values().find_map(|v| mismatch(v, item))
        }
        (Shape::List { .. }, Value::Array(items)) => {
            let item = ty.item()?;
            items.iter().find_map(|v| mismatch(v, item))
        }
        (Shape::Struct(_), other) => Some(format!("cannot restore struct from: {}", kind(other))),
        (Shape::Map { .. }, other) => Some(format!("cannot restore map from {}", kind(other))),
        (Shape::List { .. }, other) => Some(format!("cannot restore slice from {}", kind(other))),
        (Shape::Scalar(scalar), other) => wrong_scalar(*scalar, other, ty),
    }
}

fn wrong_scalar(scalar: Scalar, value: &Value, ty: TypeRef<'_>) -> Option<String> {
    let unrecognized = |dt: &str| Some(format!("unrecognized type: {dt}"));
    match (scalar, value) {
        (Scalar::Quantity | Scalar::IntOrString | Scalar::Time | Scalar::MicroTime | Scalar::Bytes, _)
        | (Scalar::String, Value::String(_))
        | (Scalar::Bool, Value::Bool(_))
        | (Scalar::Float, Value::Number(_)) => None,
        (Scalar::Int32 | Scalar::Int64, Value::Number(n)) => match n.as_f64() {
            Some(f) if !(n.is_i64() || n.is_u64()) && f.fract() != 0.0 => {
                Some(format!("cannot convert float64 to {}", ty.go_name()))
            }
            _ => None,
        },
        // Go converts integers to strings, as characters: the converter refuses, by this name.
        (Scalar::String, Value::Number(n)) if n.is_i64() || n.is_u64() => {
            Some(format!("cannot convert int64 to {}", ty.go_name()))
        }
        (Scalar::String, _) => unrecognized("string"),
        (Scalar::Bool, _) => unrecognized("bool"),
        (Scalar::Int32, _) => unrecognized("int32"),
        (Scalar::Int64, _) => unrecognized("int64"),
        (Scalar::Float, _) => unrecognized("float64"),
    }
}

/// What `reflect` calls a decoded JSON value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_api::schema::builtin;
    use serde_json::json;

    #[test]
    fn words_it_as_go_does() {
        let ty = builtin().kind("apps", "v1", "Deployment").unwrap();
        for (value, want) in [
            (json!({"spec": {"replicas": "x"}}), Some("unrecognized type: int32")),
            (json!({"spec": {"replicas": 1.5}}), Some("cannot convert float64 to int32")),
            (json!({"spec": {"paused": "x"}}), Some("unrecognized type: bool")),
            (json!({"spec": "x"}), Some("cannot restore struct from: string")),
            (json!({"metadata": {"labels": "x"}}), Some("cannot restore map from string")),
            (json!({"metadata": {"labels": {"a": 1}}}), Some("cannot convert int64 to string")),
            (json!({"metadata": {"finalizers": {}}}), Some("cannot restore slice from map")),
            (json!({"spec": {"replicas": 3, "paused": null}}), None),
        ] {
            assert_eq!(mismatch(&value, ty).as_deref(), want, "{value}");
        }
    }
}

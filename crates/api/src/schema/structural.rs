//! A graph from the structural schema of a CustomResourceDefinition (`openAPIV3Schema`), with its `x-kubernetes-*` extensions
//! (`apiextensions-apiserver/pkg/apiserver/schema`).
use super::{Field, ListKind, PatchStrategy, Scalar, Schema, Shape, Struct, Type, TypeId, TypeRef, builtin, kind_key};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Deeper schemas are refused: every walk over an object is as deep as its schema.
const MAX_DEPTH: usize = 200;
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StructuralError {
    #[error("schema is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("schema must be an object")]
    NotObject,
}

impl Schema {
    /// The graph of one version of a custom resource. `apiVersion`, `kind` and `metadata` are as in every object.
    pub fn from_structural(group: &str, version: &str, kind: &str, schema: &Value) -> Result<Self, StructuralError> {
        let mut builder = Builder { schema: Self::default(), imported: HashMap::new() };
        let root = schema.as_object().ok_or(StructuralError::NotObject)?;
        let mut ty = builder.object(root, true, 0)?;
        let reversed: Vec<&str> = group.split('.').rev().collect();
        ty.name = format!("{}.{version}.{kind}", reversed.join(".")).into();
        let name = ty.name.clone();
        let id = builder.schema.push(ty);
        builder.schema.names.insert(name, id);
        builder.schema.kinds.insert(kind_key(group, version, kind).into(), id);
        Ok(builder.schema)
    }
}

struct Builder {
    schema: Schema,
    imported: HashMap<TypeId, TypeId>,
}

impl Builder {
    fn meta(&mut self) -> TypeId {
        match builtin().named(META) {
            Some(meta) => self.import(meta),
            None => self.schema.push(Type::anonymous(Shape::Any)),
        }
    }

    fn import(&mut self, from: TypeRef<'_>) -> TypeId {
        let mut seen = std::mem::take(&mut self.imported);
        let id = self.schema.import(from, &mut seen);
        self.imported = seen;
        id
    }

    fn type_of(&mut self, schema: &Value, depth: usize) -> Result<TypeId, StructuralError> {
        if depth > MAX_DEPTH {
            return Err(StructuralError::TooDeep);
        }
        let Some(schema) = schema.as_object() else { return Err(StructuralError::NotObject) };
        let mut ty = self.shape_of(schema, depth)?;
        ty.nullable = is_true(schema, "nullable");
        Ok(self.schema.push(ty))
    }

    fn shape_of(&mut self, schema: &Map<String, Value>, depth: usize) -> Result<Type, StructuralError> {
        if is_true(schema, "x-kubernetes-int-or-string") {
            return Ok(Type::anonymous(Shape::Scalar(Scalar::IntOrString)));
        }
        let scalar = |s| Ok(Type::anonymous(Shape::Scalar(s)));
        let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "string" => scalar(Scalar::String),
            "boolean" => scalar(Scalar::Bool),
            "integer" if text("format") == "int32" => scalar(Scalar::Int32),
            "integer" => scalar(Scalar::Int64),
            "number" => scalar(Scalar::Float),
            "array" => self.list(schema, depth),
            "object" => self.object(schema, is_true(schema, "x-kubernetes-embedded-resource"), depth),
            _ => Ok(Type::anonymous(Shape::Any)),
        }
    }

    fn list(&mut self, schema: &Map<String, Value>, depth: usize) -> Result<Type, StructuralError> {
        let item = match schema.get("items") {
            Some(items) => self.type_of(items, depth + 1)?,
            None => self.schema.push(Type::anonymous(Shape::Any)),
        };
        let kind = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => ListKind::Set,
            Some("map") => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                ListKind::Map(keys.into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect())
            }
            _ => ListKind::Atomic,
        };
        Ok(Type::anonymous(Shape::List { item, kind }))
    }

    fn object(&mut self, schema: &Map<String, Value>, whole: bool, depth: usize) -> Result<Type, StructuralError> {
        let atomic = schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
        match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => {
                let value = self.schema.push(Type::anonymous(Shape::Any));
                return Ok(Type::anonymous(Shape::Map { value, atomic }));
            }
            Some(values @ Value::Object(_)) => {
                let value = self.type_of(values, depth + 1)?;
                return Ok(Type::anonymous(Shape::Map { value, atomic }));
            }
            _ => {}
        }
        let mut fields = Vec::new();
        let required: Vec<&str> = strings(schema.get("required")).collect();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if whole && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
                continue;
            }
            let ty = self.type_of(property, depth + 1)?;
            let default = property.get("default").cloned();
            fields.push(field(name, ty, required.contains(&name.as_str()), default));
        }
        if whole {
            let text = self.schema.push(Type::anonymous(Shape::Scalar(Scalar::String)));
            let meta = self.meta();
            fields.extend(
                [("apiVersion", text), ("kind", text), ("metadata", meta)].map(|(n, ty)| field(n, ty, false, None)),
            );
        }
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let preserve_unknown = is_true(schema, "x-kubernetes-preserve-unknown-fields");
        let shape = Struct { fields: fields.into(), atomic, preserve_unknown, embedded: whole && depth > 0 };
        Ok(Type::anonymous(Shape::Struct(shape)))
    }
}

fn field(name: &str, ty: TypeId, required: bool, default: Option<Value>) -> Field {
    Field {
        name: name.into(),
        ty,
        required,
        strategy: PatchStrategy::default(),
        merge_key: None,
        default,
        omit_zero: false,
    }
}

fn is_true(schema: &Map<String, Value>, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool) == Some(true)
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn from_a_custom_resource() {
        let schema = Schema::from_structural("example.org", "v1", "Foo", &json!({"type": "object", "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "required": ["ports"], "properties": {
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "properties": {"name": {"type": "string", "default": "http"}, "port": {"x-kubernetes-int-or-string": true}}}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
                "template": {"type": "object", "x-kubernetes-embedded-resource": true, "nullable": true},
            }},
        }})).unwrap();
        let foo = schema.kind("example.org", "v1", "Foo").unwrap();
        assert_eq!(foo.get().name.as_ref(), "org.example.v1.Foo");
        let name = foo.field("metadata").and_then(|f| f.ty.field("ownerReferences")).and_then(|f| f.ty.item()).unwrap();
        assert_eq!(name.field("uid").unwrap().ty.go_name(), "types.UID");
        let spec = foo.field("spec").unwrap().ty;
        assert!(spec.as_struct().unwrap().preserve_unknown && spec.field("ports").unwrap().field.required);
        let port = spec.field("ports").and_then(|f| f.ty.item()).unwrap();
        assert_eq!(port.field("name").unwrap().field.default, Some(json!("http")));
        assert_eq!(port.field("port").unwrap().ty.shape(), &Shape::Scalar(Scalar::IntOrString));
        assert!(spec.field("labels").unwrap().ty.is_atomic());
        let template = spec.field("template").unwrap().ty;
        assert!(template.get().nullable && template.as_struct().unwrap().embedded && template.field("kind").is_some());
    }
}

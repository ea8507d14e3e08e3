//! The schemas of types: fields, references, the `x-kubernetes-*` extensions, descriptions.
use super::{Dialect, descriptions};
use crate::schema::{FieldRef, ListKind, PatchStrategy, Scalar, Schema, Shape, TypeId, TypeRef};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};

/// Collects types and all that they refer to.
pub(super) struct Schemas {
    dialect: Dialect,
    out: Map<String, Value>,
    /// Kinds by their type, for `x-kubernetes-group-version-kind`; of the graph seen last.
    kinds: HashMap<TypeId, Vec<Value>>,
    graph: *const Schema,
}

impl Schemas {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, out: Map::new(), kinds: HashMap::new(), graph: std::ptr::null() }
    }

    pub(super) fn finish(self) -> Map<String, Value> {
        self.out
    }

    /// Adds a type with a name, once, and gives a reference to it.
    pub(super) fn reference(&mut self, ty: TypeRef<'_>) -> Value {
        let mut waiting: Vec<TypeRef<'_>> = vec![ty];
        while let Some(ty) = waiting.pop() {
            let name = &*ty.get().name;
            if name.is_empty() || self.out.contains_key(name) {
                continue;
            }
            let mut seen = BTreeSet::new();
            let schema = self.named(ty, &mut seen);
            self.out.insert(name.to_owned(), schema);
            waiting.extend(seen.into_iter().map(|id| ty.schema().at(id)));
        }
        self.dialect.reference(&ty.get().name)
    }

    fn kinds_of(&mut self, ty: TypeRef<'_>) -> Vec<Value> {
        if !std::ptr::eq(self.graph, ty.schema()) {
            self.graph = ty.schema();
            self.kinds.clear();
            let mut all: Vec<(&str, TypeRef<'_>)> = ty.schema().kinds().collect();
            all.sort_unstable_by_key(|(key, _)| *key);
            for (key, ty) in all {
                let mut parts = key.splitn(3, '/');
                let mut part = || parts.next().unwrap_or_default();
                let gvk = json!({"group": part(), "version": part(), "kind": part()});
                self.kinds.entry(ty.id()).or_default().push(gvk);
            }
        }
        self.kinds.get(&ty.id()).cloned().unwrap_or_default()
    }

    /// A type under its own name. `seen` gets the named types that it refers to.
    fn named(&mut self, ty: TypeRef<'_>, seen: &mut BTreeSet<TypeId>) -> Value {
        let name = &*ty.get().name;
        let mut out = match ty.shape() {
            Shape::Struct(s) => {
                let properties: Map<String, Value> =
                    ty.fields().map(|f| (f.field.name.to_string(), self.property(name, f, seen))).collect();
                let required: Vec<&str> = ty.fields().filter(|f| f.field.required).map(|f| &*f.field.name).collect();
                let mut out = json!({"type": "object"});
                if !properties.is_empty() {
                    out["properties"] = Value::Object(properties);
                }
                if !required.is_empty() {
                    out["required"] = required.into();
                }
                if s.atomic {
                    out["x-kubernetes-map-type"] = "atomic".into();
                }
                if s.preserve_unknown {
                    out["x-kubernetes-preserve-unknown-fields"] = true.into();
                }
                out
            }
            Shape::Scalar(scalar) => self.scalar(*scalar),
            _ if name.ends_with("JSON") || name.contains("JSONSchemaPropsOr") => json!({}),
            _ => json!({"type": "object"}),
        };
        let description = descriptions::of_type(name);
        if !description.is_empty() {
            out["description"] = description.into();
        }
        let kinds = self.kinds_of(ty);
        if !kinds.is_empty() {
            out["x-kubernetes-group-version-kind"] = kinds.into();
        }
        out
    }

    fn property(&mut self, owner: &str, f: FieldRef<'_>, seen: &mut BTreeSet<TypeId>) -> Value {
        let mut out = self.inline(f.ty, seen, true);
        let description = descriptions::of_field(owner, &f.field.name);
        if !description.is_empty() {
            out["description"] = description.into();
        }
        if let Some(default) = &f.field.default {
            out["default"] = default.clone();
        }
        let PatchStrategy { merge, replace, retain_keys } = f.field.strategy;
        let strategy: Vec<&str> = [(merge, "merge"), (replace, "replace"), (retain_keys, "retainKeys")]
            .into_iter()
            .filter_map(|(set, name)| set.then_some(name))
            .collect();
        if !strategy.is_empty() {
            out["x-kubernetes-patch-strategy"] = strategy.join(",").into();
        }
        if let Some(key) = &f.field.merge_key {
            out["x-kubernetes-patch-merge-key"] = (&**key).into();
        }
        out
    }

    /// A type where it is used: a reference if it has a name. `described`: more is to stand beside the reference, which 3.0 only
    /// allows around it.
    fn inline(&mut self, ty: TypeRef<'_>, seen: &mut BTreeSet<TypeId>, described: bool) -> Value {
        if !ty.get().name.is_empty() {
            seen.insert(ty.id());
            let reference = self.dialect.reference(&ty.get().name);
            return match self.dialect {
                Dialect::V3 if described => json!({"allOf": [reference]}),
                _ => reference,
            };
        }
        match ty.shape() {
            Shape::Scalar(scalar) => self.scalar(*scalar),
            Shape::List { item, kind } => {
                let items = self.inline(ty.schema().at(*item), seen, false);
                let mut out = json!({"type": "array", "items": items});
                match kind {
                    ListKind::Atomic => out["x-kubernetes-list-type"] = "atomic".into(),
                    ListKind::Set => out["x-kubernetes-list-type"] = "set".into(),
                    ListKind::Map(keys) => {
                        out["x-kubernetes-list-type"] = "map".into();
                        out["x-kubernetes-list-map-keys"] = keys.iter().map(|k| Value::from(&**k)).collect();
                    }
                }
                out
            }
            Shape::Map { value, atomic } => {
                let values = self.inline(ty.schema().at(*value), seen, false);
                let mut out = json!({"type": "object", "additionalProperties": values});
                if *atomic {
                    out["x-kubernetes-map-type"] = "atomic".into();
                }
                out
            }
            Shape::Struct(_) => self.named(ty, seen),
            Shape::Any => json!({"x-kubernetes-preserve-unknown-fields": true}),
        }
    }

    fn scalar(&self, scalar: Scalar) -> Value {
        match (scalar, self.dialect) {
            (Scalar::String, _) => json!({"type": "string"}),
            (Scalar::Bool, _) => json!({"type": "boolean"}),
            (Scalar::Int32, _) => json!({"type": "integer", "format": "int32"}),
            (Scalar::Int64, _) => json!({"type": "integer", "format": "int64"}),
            (Scalar::Float, _) => json!({"type": "number", "format": "double"}),
            (Scalar::Bytes, _) => json!({"type": "string", "format": "byte"}),
            (Scalar::Time | Scalar::MicroTime, _) => json!({"type": "string", "format": "date-time"}),
            (Scalar::Quantity, Dialect::V2) => json!({"type": "string"}),
            (Scalar::Quantity, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            (Scalar::IntOrString, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
            (Scalar::IntOrString, Dialect::V3) => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
        }
    }
}

//! The shapes of all types: what strict decoding ([`crate::decode`]), strategic merge patch ([`crate::strategic`]), server-side apply
//! ([`crate::apply`]) and OpenAPI ([`crate::openapi`]) share.
//!
//! A [`Schema`] is a graph of [`Type`]s in one vector, named by small ids; a [`TypeRef`] is a graph and an id, cheap to copy, and is what
//! everybody walks with. [`builtin`] holds the types of Kubernetes, read once from `schema/table.txt` (facts from the published OpenAPI
//! documents, made by `cargo xtask schema`); [`Schema::from_structural`] makes one from a CustomResourceDefinition.
//!
//! The table, line by line:
//!
//! ```text
//! # io.k8s.api.core.v1.ServiceSpec atomic      a struct, its fields follow; `atomic`: x-kubernetes-map-type
//! = io.k8s.apimachinery.pkg.api.resource.Quantity   a scalar with a name, its letter follows
//! @ apps/v1/Deployment                          a kind that the struct is
//! ports! [M:port,protocol]TYPE p:merge k:port g:v1.X i:v1.Y d:"TCP"
//! ```
//! `!` required; `[A] [S] [M:keys] []` lists (atomic, set, map, unsaid), `{} {A}` maps (granular, atomic), `~` a struct made granular;
//! letters for scalars (see [`Scalar`]), `*` anything; `p:` patch strategy, `k:` merge key, `g:`/`i:` Go's name of the type or of the
//! list's items, `d:` default, `o:` a zero is left out.
mod structural;
mod table;

pub use structural::StructuralError;

use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A type's place in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u32);

/// Scalars as Go decodes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// `s`
    String,
    /// `b`
    Bool,
    /// `i`
    Int32,
    /// `l`
    Int64,
    /// `f`
    Float,
    /// `y`: base64 in JSON
    Bytes,
    /// `q`
    Quantity,
    /// `x`
    IntOrString,
    /// `t`: RFC 3339, seconds
    Time,
    /// `u`: RFC 3339, microseconds
    MicroTime,
}

/// `x-kubernetes-list-type`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Also where nothing is said.
    Atomic,
    Set,
    /// Items are told apart by these fields, in the order of the schema.
    Map(Box<[Box<str>]>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Anything: RawExtension, FieldsV1, JSON. Server-side apply deduces its structure from the value.
    Any,
    Scalar(Scalar),
    Struct(Struct),
    /// String keys. `atomic`: x-kubernetes-map-type.
    Map {
        value: TypeId,
        atomic: bool,
    },
    List {
        item: TypeId,
        kind: ListKind,
    },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Struct {
    /// Sorted by name.
    pub fields: Box<[Field]>,
    /// x-kubernetes-map-type: atomic (upstream also calls it structType).
    pub atomic: bool,
    /// Fields that are not listed are kept (custom resources).
    pub preserve_unknown: bool,
    /// A whole object with apiVersion, kind and metadata (custom resources).
    pub embedded: bool,
}

/// How strategic merge patch treats a field (`x-kubernetes-patch-strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: Box<str>,
    pub ty: TypeId,
    pub required: bool,
    pub strategy: PatchStrategy,
    /// `x-kubernetes-patch-merge-key`
    pub merge_key: Option<Box<str>>,
    pub default: Option<Value>,
    /// No pointer in Go and `omitempty`: a zero is not written back (`o` in the table).
    pub omit_zero: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// `io.k8s.api.core.v1.PodSpec`; empty for types without a name.
    pub name: Box<str>,
    /// Go's name where it cannot be derived: `v1.PullPolicy`.
    go: Option<Box<str>>,
    /// `null` is a value of its own, not the absence of one (custom resources).
    pub nullable: bool,
    pub shape: Shape,
}

/// A graph of types.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    types: Vec<Type>,
    names: HashMap<Box<str>, TypeId>,
    kinds: HashMap<Box<str>, TypeId>,
}

/// A type in its graph.
#[derive(Clone, Copy)]
pub struct TypeRef<'a> {
    schema: &'a Schema,
    id: TypeId,
}

/// A field and its type.
#[derive(Clone, Copy)]
pub struct FieldRef<'a> {
    pub field: &'a Field,
    pub ty: TypeRef<'a>,
}

/// The types of Kubernetes v1.37. A table that did not parse would be a bug that the tests find; then no type is known.
pub fn builtin() -> &'static Schema {
    static BUILTIN: LazyLock<Schema> =
        LazyLock::new(|| table::parse(include_str!("schema/table.txt")).unwrap_or_default());
    &BUILTIN
}

/// What a wrong id would stand for; ids only come from the graph itself.
static UNKNOWN: LazyLock<Type> = LazyLock::new(|| Type::anonymous(Shape::Any));

impl Type {
    fn anonymous(shape: Shape) -> Self {
        Self { name: Box::default(), go: None, nullable: false, shape }
    }
}

impl Schema {
    /// The type of a kind; `None` if it is not known. The core group is `""`.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeRef<'_>> {
        self.kinds.get(kind_key(group, version, kind).as_str()).map(|id| self.at(*id))
    }
    /// By OpenAPI name: `io.k8s.api.core.v1.PodSpec`.
    pub fn named(&self, name: &str) -> Option<TypeRef<'_>> {
        self.names.get(name).map(|id| self.at(*id))
    }
    pub fn at(&self, id: TypeId) -> TypeRef<'_> {
        TypeRef { schema: self, id }
    }
    /// All types that have a name, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = (&str, TypeRef<'_>)> {
        self.names.iter().map(|(name, id)| (&**name, self.at(*id)))
    }
    /// `group/version/Kind` of all kinds, with their types.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, TypeRef<'_>)> {
        self.kinds.iter().map(|(name, id)| (&**name, self.at(*id)))
    }

    fn push(&mut self, ty: Type) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.types.push(ty);
        id
    }

    /// Copies a type of another graph, with all that it refers to, into this one. `seen` maps the other's ids to ours.
    fn import(&mut self, from: TypeRef<'_>, seen: &mut HashMap<TypeId, TypeId>) -> TypeId {
        if let Some(id) = seen.get(&from.id) {
            return *id;
        }
        let mut ty = from.get().clone();
        let id = self.push(ty.clone());
        seen.insert(from.id, id);
        match &mut ty.shape {
            Shape::Any | Shape::Scalar(_) => {}
            Shape::Struct(s) => {
                for field in &mut s.fields {
                    field.ty = self.import(from.schema.at(field.ty), seen);
                }
            }
            Shape::Map { value: inner, .. } | Shape::List { item: inner, .. } => {
                *inner = self.import(from.schema.at(*inner), seen);
            }
        }
        if let Some(slot) = self.types.get_mut(id.0 as usize) {
            *slot = ty;
        }
        id
    }
}

fn kind_key(group: &str, version: &str, kind: &str) -> String {
    format!("{group}/{version}/{kind}")
}

impl<'a> TypeRef<'a> {
    pub fn get(self) -> &'a Type {
        self.schema.types.get(self.id.0 as usize).unwrap_or(&UNKNOWN)
    }
    pub fn id(self) -> TypeId {
        self.id
    }
    pub fn schema(self) -> &'a Schema {
        self.schema
    }
    pub fn shape(self) -> &'a Shape {
        &self.get().shape
    }
    pub fn as_struct(self) -> Option<&'a Struct> {
        match self.shape() {
            Shape::Struct(s) => Some(s),
            _ => None,
        }
    }
    /// A struct's field by its JSON name (case-sensitive, as in Kubernetes).
    pub fn field(self, name: &str) -> Option<FieldRef<'a>> {
        let fields = &self.as_struct()?.fields;
        let at = fields.binary_search_by(|f| (*f.name).cmp(name)).ok()?;
        fields.get(at).map(|field| FieldRef { field, ty: self.schema.at(field.ty) })
    }
    /// A struct's fields, sorted by name.
    pub fn fields(self) -> impl Iterator<Item = FieldRef<'a>> {
        let fields = self.as_struct().map(|s| &*s.fields).unwrap_or_default();
        fields.iter().map(move |field| FieldRef { field, ty: self.schema.at(field.ty) })
    }
    /// The type of a list's items.
    pub fn item(self) -> Option<TypeRef<'a>> {
        match self.shape() {
            Shape::List { item, .. } => Some(self.schema.at(*item)),
            _ => None,
        }
    }
    /// The type of a map's values.
    pub fn value(self) -> Option<TypeRef<'a>> {
        match self.shape() {
            Shape::Map { value, .. } => Some(self.schema.at(*value)),
            _ => None,
        }
    }
    /// What a key of an object leads to: a struct's field or a map's value; `None` if the key is not known here.
    pub fn child(self, key: &str) -> Option<TypeRef<'a>> {
        match self.shape() {
            Shape::Struct(_) => self.field(key).map(|f| f.ty),
            Shape::Map { value, .. } => Some(self.schema.at(*value)),
            _ => None,
        }
    }
    /// Replaced as a whole by server-side apply: atomic lists, maps and structs.
    pub fn is_atomic(self) -> bool {
        match self.shape() {
            Shape::Struct(s) => s.atomic,
            Shape::Map { atomic, .. } => *atomic,
            Shape::List { kind, .. } => *kind == ListKind::Atomic,
            Shape::Any | Shape::Scalar(_) => false,
        }
    }
    /// Go's name of the type, as errors print it: `int32`, `[]v1.Container`, `map[string]string`.
    pub fn go_name(self) -> String {
        let ty = self.get();
        if let Some(go) = &ty.go {
            return go.to_string();
        }
        match &ty.shape {
            Shape::Scalar(scalar) => scalar.go_name().to_owned(),
            Shape::List { item, .. } => format!("[]{}", self.schema.at(*item).go_name()),
            Shape::Map { value, .. } => format!("map[string]{}", self.schema.at(*value).go_name()),
            Shape::Any if ty.name.is_empty() => "interface {}".to_owned(),
            Shape::Struct(_) | Shape::Any => {
                let mut parts = ty.name.rsplit('.');
                let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                format!("{package}.{name}")
            }
        }
    }
    /// The last part of the name: `PodSpec`.
    pub fn short_name(self) -> &'a str {
        self.get().name.rsplit('.').next().unwrap_or_default()
    }
}

impl std::fmt::Debug for TypeRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.go_name())
    }
}

impl Scalar {
    pub fn go_name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Bool => "bool",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float => "float64",
            Self::Bytes => "[]uint8",
            Self::Quantity => "resource.Quantity",
            Self::IntOrString => "intstr.IntOrString",
            Self::Time => "v1.Time",
            Self::MicroTime => "v1.MicroTime",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_parses() {
        let schema = table::parse(include_str!("schema/table.txt")).unwrap();
        assert!(schema.names.len() > 850 && schema.kinds.len() > 190);
    }

    #[test]
    fn knows_pods_and_services() {
        let pod = builtin().kind("", "v1", "Pod").unwrap();
        let containers = pod.field("spec").and_then(|f| f.ty.field("containers")).unwrap();
        assert!(containers.field.required && containers.field.strategy.merge);
        assert_eq!(containers.field.merge_key.as_deref(), Some("name"));
        assert_eq!(
            containers.ty.shape(),
            &Shape::List { item: containers.ty.item().unwrap().id(), kind: ListKind::Map(["name".into()].into()) }
        );
        assert_eq!(containers.ty.go_name(), "[]v1.Container");
        let container = containers.ty.item().unwrap();
        assert_eq!(container.field("imagePullPolicy").unwrap().ty.go_name(), "v1.PullPolicy");
        let limits = container.field("resources").and_then(|f| f.ty.field("limits")).unwrap().ty;
        assert_eq!(
            (limits.go_name().as_str(), limits.value().unwrap().shape()),
            ("v1.ResourceList", &Shape::Scalar(Scalar::Quantity))
        );
        let port = container.field("ports").and_then(|f| f.ty.item()).unwrap();
        assert_eq!(port.field("protocol").unwrap().field.default, Some(Value::from("TCP")));
        let service = builtin().kind("", "v1", "Service").unwrap().field("spec").unwrap().ty;
        assert!(service.field("selector").unwrap().ty.is_atomic());
        let volume = builtin().named("io.k8s.api.core.v1.PersistentVolumeSpec").unwrap();
        assert!(!volume.field("claimRef").unwrap().ty.is_atomic());
        assert!(builtin().named("io.k8s.api.core.v1.ObjectReference").unwrap().is_atomic());
        assert!(
            builtin().kind("apps", "v1", "Deployment").is_some()
                && builtin().kind("apps", "v9", "Deployment").is_none()
        );
    }
}

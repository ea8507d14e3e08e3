//! Types as structured-merge-diff sees them: everything is a scalar, a list or a map, granular or atomic
//! (kube-openapi `pkg/schemaconv`). What Go's structs say beyond the schema (fields that are always there) stands here too.
use crate::schema::{Field, ListKind, Scalar, Shape, TypeRef};
use crate::strategic::FieldPatch;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// A type, or `None` where the value itself says what it is: then lists are atomic and maps granular.
#[derive(Clone, Copy)]
pub struct View<'s>(Option<TypeRef<'s>>);

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({})", self.name())
    }
}

impl<'s> From<TypeRef<'s>> for View<'s> {
    fn from(ty: TypeRef<'s>) -> Self {
        Self((!matches!(ty.shape(), Shape::Any)).then_some(ty))
    }
}

/// What a value of a type is treated as.
#[derive(Clone, Copy)]
pub(crate) enum Atom<'s> {
    Scalar,
    List(ListView<'s>),
    Map(MapView<'s>),
}

/// A list type.
#[derive(Clone, Copy)]
pub(crate) struct ListView<'s> {
    item: View<'s>,
    kind: &'s ListKind,
}

/// An object type: a struct's fields, a map's values, or whatever is there.
#[derive(Clone, Copy)]
pub(crate) struct MapView<'s> {
    /// Members that are not fields.
    rest: Option<View<'s>>,
    fields: Option<TypeRef<'s>>,
    atomic: bool,
    /// The value was null and of no known type: it may still become anything.
    undecided: bool,
}

/// What a scalar may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Numeric,
    String,
    Boolean,
    Untyped,
}

impl Atom<'_> {
    /// Whether two sides are of one kind, and so are compared once. Only values without a type can differ in kind.
    pub(crate) fn same_as(&self, other: &Atom<'_>) -> bool {
        match (self, other) {
            (Atom::Scalar, Atom::Scalar) | (Atom::List(_), Atom::List(_)) => true,
            (Atom::Map(a), Atom::Map(b)) => a.undecided == b.undecided,
            _ => false,
        }
    }
}

impl<'s> View<'s> {
    pub(crate) const ANY: View<'static> = View(None);

    pub(crate) fn atom(self, value: Option<&Value>) -> Atom<'s> {
        let Some(ty) = self.0 else { return deduced(value) };
        match ty.shape() {
            Shape::Any => deduced(value),
            Shape::Scalar(_) => Atom::Scalar,
            Shape::List { item, kind } => Atom::List(ListView { item: ty.schema().at(*item).into(), kind }),
            Shape::Map { value, atomic } => Atom::Map(MapView {
                rest: Some(ty.schema().at(*value).into()),
                fields: None,
                atomic: *atomic,
                undecided: false,
            }),
            Shape::Struct(fields) => Atom::Map(MapView {
                rest: (fields.preserve_unknown || fields.embedded).then_some(View::ANY),
                fields: Some(ty),
                atomic: fields.atomic,
                undecided: false,
            }),
        }
    }

    pub(crate) fn scalar(self) -> ScalarKind {
        match self.0.map(|ty| ty.shape()) {
            Some(Shape::Scalar(scalar)) => match scalar {
                Scalar::String | Scalar::Bytes | Scalar::Time | Scalar::MicroTime => ScalarKind::String,
                Scalar::Bool => ScalarKind::Boolean,
                Scalar::Int32 | Scalar::Int64 | Scalar::Float => ScalarKind::Numeric,
                Scalar::Quantity | Scalar::IntOrString => ScalarKind::Untyped,
            },
            _ => ScalarKind::Untyped,
        }
    }

    /// The default of a field, for keys that an item leaves out.
    pub(crate) fn key_default(self, field: &str) -> Option<Value> {
        self.0?.field(field)?.field.default.clone()
    }

    /// A list or object that the schema declares atomic.
    pub(crate) fn is_declared_atomic(self) -> bool {
        match self.0.map(|ty| ty.shape()) {
            Some(Shape::List { kind, .. }) => *kind == ListKind::Atomic,
            Some(Shape::Map { atomic, .. }) => *atomic,
            Some(Shape::Struct(fields)) => fields.atomic,
            _ => false,
        }
    }

    /// The name without its package: `PodSpec`.
    pub(crate) fn name(self) -> &'s str {
        self.0.map_or("interface", TypeRef::short_name)
    }

    pub(crate) fn is_untyped(self) -> bool {
        self.0.is_none()
    }

    /// How strategic merge patch treats a field of a struct, or a member of a map.
    pub(crate) fn patch_field(self, name: &str) -> Option<FieldPatch<'s>> {
        let found = self.0?.field(name)?;
        Some(FieldPatch {
            view: found.ty.into(),
            merge: found.field.strategy.merge,
            replace: found.field.strategy.replace,
            retain_keys: found.field.strategy.retain_keys,
            merge_key: found.field.merge_key.as_deref().unwrap_or_default(),
        })
    }

    /// Go's kind of a type that has no fields.
    pub(crate) fn not_a_struct(self) -> Option<&'static str> {
        Some(match self.0?.shape() {
            Shape::Struct(_) => return None,
            Shape::Map { .. } => "map",
            Shape::List { .. } => "slice",
            Shape::Any => "interface",
            Shape::Scalar(Scalar::Bool) => "bool",
            Shape::Scalar(Scalar::Int32) => "int32",
            Shape::Scalar(Scalar::Int64) => "int64",
            Shape::Scalar(_) => "string",
        })
    }

    pub(crate) fn list_element(self) -> View<'s> {
        match self.0.map(|ty| (ty, ty.shape())) {
            Some((ty, Shape::List { item, .. })) => ty.schema().at(*item).into(),
            _ => View(None),
        }
    }
}

fn deduced<'s>(value: Option<&Value>) -> Atom<'s> {
    match value {
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => Atom::Scalar,
        Some(Value::Array(_)) => Atom::List(ListView { item: View(None), kind: &ListKind::Atomic }),
        other => Atom::Map(MapView {
            rest: Some(View(None)),
            fields: None,
            atomic: false,
            undecided: !matches!(other, Some(Value::Object(_))),
        }),
    }
}

impl<'s> ListView<'s> {
    pub(crate) fn is_atomic(&self) -> bool {
        *self.kind == ListKind::Atomic
    }
    /// Empty for a set.
    pub(crate) fn keys(&self) -> &'s [Box<str>] {
        match self.kind {
            ListKind::Map(keys) => keys,
            ListKind::Set | ListKind::Atomic => &[],
        }
    }
    pub(crate) fn element(&self) -> View<'s> {
        self.item
    }
}

impl<'s> MapView<'s> {
    pub(crate) fn is_atomic(&self) -> bool {
        self.atomic
    }
    /// The type of a member, a field or not.
    pub(crate) fn member(&self, name: &str) -> View<'s> {
        match self.fields.and_then(|ty| ty.field(name)) {
            Some(found) => found.ty.into(),
            None => self.rest.unwrap_or(View(None)),
        }
    }
    /// Whether it is a field of the struct.
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.fields.is_some_and(|ty| ty.field(name).is_some())
    }
    /// Whether a member of this name may be there.
    pub(crate) fn accepts(&self, name: &str) -> bool {
        self.rest.is_some() || self.declares(name)
    }

    /// What a Go struct holds in a field that JSON leaves out, if the field is always there: an empty struct, null for a list or map, zero.
    ///
    /// Ownership of the parent depends on it: creating a Deployment makes its manager own `.spec.strategy.type` but not `.spec.strategy`,
    /// which is there in every Deployment, even an empty one.
    pub(crate) fn zero(&self, name: &str) -> Option<&'static Value> {
        let ty = self.fields?;
        let found = ty.field(name)?;
        let of_go = ty.get().name.starts_with("io.k8s.");
        match found.ty.shape() {
            _ if !of_go => None,
            Shape::Struct(_) => is_embedded(ty, found.field).then_some(&ZERO.object),
            _ if !found.field.required => None,
            Shape::Scalar(scalar) => Some(match scalar {
                Scalar::Bool => &ZERO.bool,
                Scalar::Int32 | Scalar::Int64 | Scalar::Float | Scalar::IntOrString => &ZERO.number,
                Scalar::String => &ZERO.string,
                Scalar::Quantity => &ZERO.quantity,
                Scalar::Bytes | Scalar::Time | Scalar::MicroTime => &Value::Null,
            }),
            Shape::Any | Shape::Map { .. } | Shape::List { .. } => Some(&Value::Null),
        }
    }
}

struct Zeroes {
    object: Value,
    bool: Value,
    number: Value,
    string: Value,
    quantity: Value,
}

static ZERO: LazyLock<Zeroes> = LazyLock::new(|| Zeroes {
    object: Value::Object(Map::new()),
    bool: Value::Bool(false),
    number: Value::from(0),
    string: Value::String(String::new()),
    quantity: Value::String("0".to_owned()),
});

/// Whether the field holds its struct, not a pointer to it (`staging/src/k8s.io/api/*/types.go`).
fn is_embedded(parent: TypeRef<'_>, field: &Field) -> bool {
    match (parent.short_name(), &*field.name) {
        ("ReplicationControllerSpec", "template") => false,
        (_, "metadata" | "spec" | "status") => true,
        ("DeploymentSpec", "strategy")
        | ("DaemonSetSpec" | "StatefulSetSpec", "updateStrategy")
        | ("ReplicaSetSpec" | "PodTemplate", "template")
        | ("Container" | "EphemeralContainer" | "PersistentVolumeClaimSpec", "resources")
        | ("ContainerStatus", "state" | "lastState")
        | ("Event", "source" | "deprecatedSource" | "regarding")
        | ("NodeDaemonEndpoints", "kubeletEndpoint")
        | ("NodeStatus", "daemonEndpoints" | "nodeInfo")
        | ("ServiceStatus" | "IngressStatus", "loadBalancer")
        | ("IngressServiceBackend", "port")
        | ("Endpoint", "conditions")
        | ("SelfSubjectReviewStatus", "userInfo")
        | ("TokenReviewStatus", "user")
        | ("ResourceClaimSpec" | "AllocationResult", "devices") => true,
        _ => field.required,
    }
}

//! The catalogue: the table of all kinds the API serves, one entry a kind.
//!
//! A kind's rules are a [`Kind`] over its typed struct. [`KindOps`] is the same without the type, for the API server:
//! [`Typed`] turns the one into the other. The order of a write follows `k8s.io/apiserver/pkg/registry/generic`:
//!
//! ```text
//! create: decode → default → (admission) → prepare_create → validate → warnings → store
//! update: decode → default → (admission) → prepare_update → validate_update → warnings → store
//! ```
//! Metadata (name, namespace, uid, generation where a kind says so, managedFields, deletion) is the API server's business;
//! `prepare_*` here is what the kind's own strategy does (`pkg/registry/*/strategy.go`).
use crate::field::{Errors, Path};
use crate::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use crate::k8s::{Metadata, Resource};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::any::Any;
use std::cell::RefCell;
use std::fmt::Debug;
use std::marker::PhantomData;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// Which requests a resource answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbs {
    /// create, delete, deletecollection, get, list, patch, update, watch
    All,
    /// All without deletecollection (namespaces).
    NoDeleteCollection,
    /// create alone: reviews, bindings. Nothing is stored.
    CreateOnly,
    /// get and list: what is measured. Nothing is stored.
    ReadOnly,
}

impl Verbs {
    /// Are there objects in the store?
    pub fn stored(self) -> bool {
        !matches!(self, Self::CreateOnly | Self::ReadOnly)
    }
    /// The verbs as discovery lists them.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::All => &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            Self::NoDeleteCollection => &["create", "delete", "get", "list", "patch", "update", "watch"],
            Self::CreateOnly => &["create"],
            Self::ReadOnly => &["get", "list"],
        }
    }
}

/// A subresource other than `status` and `scale`, for discovery; the API server implements it by `name`.
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    pub name: &'static str,
    /// Group and version of the body where it differs from the parent's (`policy/v1` Eviction); else empty.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

/// A column of the table that `kubectl get` prints (`pkg/printers/internalversion/printers.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean`, `date`
    pub kind: &'static str,
    /// `name` for the column of names, else empty
    pub format: &'static str,
    pub description: &'static str,
    /// 0: always shown; 1: with `-o wide`
    pub priority: i32,
}

/// Where `scale` finds its numbers, and the label selector in its text form.
#[derive(Clone, Copy, Debug)]
pub enum Scale {
    None,
    /// `spec.replicas`, `status.replicas`, `spec.selector` (a LabelSelector; a plain map for ReplicationController)
    Replicas,
}

/// What discovery and routing know of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    pub verbs: Verbs,
    /// Has a `status` subresource.
    pub status: bool,
    pub scale: Scale,
    pub subresources: &'static [Subresource],
    /// `metadata.generation` is kept by the API server: 1 at creation, +1 whenever `spec` changes.
    pub generation: bool,
    /// PUT may create (Lease, Event, EndpointSlice: see each strategy's AllowCreateOnUpdate).
    pub create_on_update: bool,
    /// PUT without a resourceVersion overwrites (AllowUnconditionalUpdate).
    pub unconditional_update: bool,
    /// The store's folder, `/registry/<storage>/…`. Two served versions of one kind (Event) name the same one.
    pub storage: &'static str,
    pub columns: &'static [Column],
}

impl Descriptor {
    /// A row with what most kinds share: every verb, no subresource, unconditional updates, its plural as the store's folder.
    /// The rest is said with `..Descriptor::new(…)`.
    pub const fn new(
        (group, version): (&'static str, &'static str),
        kind: &'static str,
        plural: &'static str,
        singular: &'static str,
        scope: Scope,
        columns: &'static [Column],
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            singular,
            short_names: &[],
            categories: &[],
            scope,
            verbs: Verbs::All,
            status: false,
            scale: Scale::None,
            subresources: &[],
            generation: false,
            create_on_update: false,
            unconditional_update: true,
            storage: plural,
            columns,
        }
    }
    /// `v1`, `apps/v1`
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
    /// `pods`, `deployments.apps`: how errors name the resource.
    pub fn qualified_plural(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
    /// `Pod`, `Deployment.apps`: how validation errors name the kind.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }
}

/// A decoded object of any kind. `Value`s at the edges, typed structs inside; `downcast` gives the struct.
pub trait Object: Any + Send + Sync + Debug {
    fn meta(&self) -> &ObjectMeta;
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// With `apiVersion` and `kind`, as it is stored and served (resourceVersion included if set).
    fn to_value(&self) -> Value;
    /// The same as JSON text: `{"apiVersion":…,"kind":…,"metadata":{…`, in this order.
    fn to_json(&self) -> Vec<u8>;
    fn boxed_clone(&self) -> Box<dyn Object>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T> Object for T
where
    T: Resource + Metadata<Ty = ObjectMeta> + Serialize + Clone + Debug + Send + Sync + 'static,
{
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.metadata_mut()
    }
    fn to_value(&self) -> Value {
        // Serializing a k8s-openapi struct into a Value cannot fail: its maps have string keys.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
    fn to_json(&self) -> Vec<u8> {
        exact_json(self)
    }
    fn boxed_clone(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

thread_local! {
    /// Where JSON text grows before its length is known.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
/// A scratch that one large object made larger than this is given back.
const SCRATCH_KEPT: usize = 256 << 10;

/// JSON text in a vector of just its size: the store and the watch cache keep it for as long as the object lives, and what a
/// vector grows beyond its text would be a third of their memory.
fn exact_json(object: &impl Serialize) -> Vec<u8> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        let written = serde_json::to_writer(&mut *scratch, object);
        let exact = if written.is_ok() { scratch.as_slice().to_vec() } else { Vec::new() };
        if scratch.capacity() > SCRATCH_KEPT {
            *scratch = Vec::new();
        }
        exact
    })
}

impl dyn Object {
    pub fn downcast<T: 'static>(&self) -> Option<&T> {
        self.as_any().downcast_ref()
    }
    pub fn downcast_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.as_any_mut().downcast_mut()
    }
}

/// How a deletion is to go, as the kind sees it (`RESTGracefulDeleteStrategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Gone at once (finalizers permitting).
    Immediate,
    /// Marked, with this grace period in seconds; somebody (the node) completes it.
    Graceful(i64),
}

/// What becomes of the dependents of a deleted object when nobody says (`DefaultGarbageCollectionPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// The garbage collector deletes them.
    Delete,
    /// They stay, without their owner (ReplicationController v1).
    Orphan,
    /// Nothing can depend on it; `orphan` and `foregroundDeletion` are never set (Event).
    Unsupported,
}

/// What printing a row needs beside the object.
#[derive(Clone, Copy, Debug)]
pub struct PrintContext {
    pub now: jiff::Timestamp,
}

/// The rules of one kind. Defaults of the methods are Kubernetes' generic behaviour.
pub trait Kind: Send + Sync + 'static {
    type Object: Resource
        + Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + Sync
        + 'static;

    fn descriptor() -> &'static Descriptor;

    /// Checks `metadata.name` (or `generateName`, with `prefix`): the messages of what is wrong, none when right.
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        crate::names::dns1123_subdomain(name, prefix)
    }
    /// Called before a request's body becomes the typed struct: keeps apart what the struct would not, such as an absent
    /// `selector` (required) and an empty one (invalid).
    fn before_decode(_value: &mut Value) {}
    /// Fills in what the person left out (`pkg/apis/*/v1/defaults.go`). Must be idempotent: it runs on every decode.
    fn default(_object: &mut Self::Object) {}
    /// `PrepareForCreate`: what a client may not set at creation (status) is reset.
    fn prepare_create(_object: &mut Self::Object) {}
    fn validate(object: &Self::Object) -> Errors;
    /// `PrepareForUpdate`: `status` is taken from `old`; what may not change silently is restored.
    fn prepare_update(_new: &mut Self::Object, _old: &Self::Object) {}
    fn validate_update(new: &Self::Object, old: &Self::Object) -> Errors;
    /// `PrepareForUpdate` of the status strategy: everything but `status` is taken from `old`.
    fn prepare_status_update(_new: &mut Self::Object, _old: &Self::Object) {}
    fn validate_status_update(_new: &Self::Object, _old: &Self::Object) -> Errors {
        Errors::new()
    }
    /// Texts of `Warning: 299` headers (`WarningsOnCreate`, `WarningsOnUpdate`).
    fn warnings(_new: &Self::Object, _old: Option<&Self::Object>) -> Vec<String> {
        Vec::new()
    }
    /// Field selectors beside `metadata.name` and `metadata.namespace`: every supported label with this object's value.
    /// The labels must not depend on the object.
    fn fields(_object: &Self::Object) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// The cells of the object's row, one for each of `descriptor().columns`.
    fn cells(object: &Self::Object, cx: &PrintContext) -> Vec<Value>;
    /// `requested` is `gracePeriodSeconds` of the DeleteOptions.
    fn deletion(_object: &Self::Object, _requested: Option<i64>) -> Deletion {
        Deletion::Immediate
    }
    /// What becomes of the dependents when the DeleteOptions do not say.
    fn dependents() -> Dependents {
        Dependents::Delete
    }
    /// The warning that every request for this version gets, whatever its verb (`APILifecycleDeprecated`).
    fn deprecation() -> Option<&'static str> {
        None
    }
    /// DELETE answers with the object, not with a Status (`ReturnDeletedObject`: Pod, ServiceAccount, PersistentVolume, …).
    fn returns_deleted() -> bool {
        false
    }
    /// Something beside `metadata.finalizers` must be empty before the object can go: a Namespace's `spec.finalizers`.
    fn holds_deletion(_object: &Self::Object) -> bool {
        false
    }
    /// Called when the object is marked for deletion: a Namespace's phase becomes `Terminating`.
    fn mark_deleting(_object: &mut Self::Object) {}
    /// From the form in which the kind is stored to this served version, and back (Event). `Value`s have apiVersion and kind.
    fn from_storage(value: Value) -> Value {
        value
    }
    fn to_storage(value: Value) -> Value {
        value
    }
}

/// [`Kind`] without its type: what the API server calls.
pub trait KindOps: Send + Sync {
    fn descriptor(&self) -> &'static Descriptor;
    /// Into the typed struct: unknown fields fall away. Type errors are found before, by [`crate::decode`], in Go's words.
    fn decode(&self, value: Value) -> Result<Box<dyn Object>, serde_json::Error>;
    /// The same from JSON text (what the store holds): one pass, no `Value` between.
    fn decode_json(&self, json: &[u8]) -> Result<Box<dyn Object>, serde_json::Error>;
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String>;
    fn default(&self, object: &mut dyn Object);
    fn prepare_create(&self, object: &mut dyn Object);
    fn validate(&self, object: &dyn Object) -> Errors;
    fn prepare_update(&self, new: &mut dyn Object, old: &dyn Object);
    fn validate_update(&self, new: &dyn Object, old: &dyn Object) -> Errors;
    fn prepare_status_update(&self, new: &mut dyn Object, old: &dyn Object);
    fn validate_status_update(&self, new: &dyn Object, old: &dyn Object) -> Errors;
    fn warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String>;
    fn fields(&self, object: &dyn Object) -> Vec<(&'static str, String)>;
    fn cells(&self, object: &dyn Object, cx: &PrintContext) -> Vec<Value>;
    fn deletion(&self, object: &dyn Object, requested: Option<i64>) -> Deletion;
    fn dependents(&self) -> Dependents;
    fn deprecation(&self) -> Option<&'static str>;
    fn returns_deleted(&self) -> bool;
    fn holds_deletion(&self, object: &dyn Object) -> bool;
    fn mark_deleting(&self, object: &mut dyn Object);
    #[expect(clippy::wrong_self_convention, reason = "from the form in which the kind is stored")]
    fn from_storage(&self, value: Value) -> Value;
    fn to_storage(&self, value: Value) -> Value;
}

/// The adapter from [`Kind`] to [`KindOps`]: `&Typed::<Deployments>::NEW`.
pub struct Typed<K>(PhantomData<fn() -> K>);

impl<K> Typed<K> {
    pub const NEW: Self = Self(PhantomData);
}

/// An object of another kind can only arrive here by a bug in the API server: say so as a validation error, do not panic.
fn wrong_kind() -> Errors {
    vec![crate::field::Error::internal(&Path::root(), "object of another kind")]
}

impl<K: Kind> KindOps for Typed<K> {
    fn descriptor(&self) -> &'static Descriptor {
        K::descriptor()
    }
    fn decode(&self, mut value: Value) -> Result<Box<dyn Object>, serde_json::Error> {
        K::before_decode(&mut value);
        Ok(Box::new(serde_json::from_value::<K::Object>(value)?))
    }
    fn decode_json(&self, json: &[u8]) -> Result<Box<dyn Object>, serde_json::Error> {
        Ok(Box::new(serde_json::from_slice::<K::Object>(json)?))
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        K::validate_name(name, prefix)
    }
    fn default(&self, object: &mut dyn Object) {
        if let Some(o) = object.downcast_mut::<K::Object>() {
            // What Go would not write again: empty labels, annotations, finalizers.
            crate::kinds::pod::canonical::metadata(o.metadata_mut());
            K::default(o);
        }
    }
    fn prepare_create(&self, object: &mut dyn Object) {
        if let Some(o) = object.downcast_mut() {
            K::prepare_create(o);
        }
    }
    fn validate(&self, object: &dyn Object) -> Errors {
        object.downcast().map_or_else(wrong_kind, K::validate)
    }
    fn prepare_update(&self, new: &mut dyn Object, old: &dyn Object) {
        if let (Some(n), Some(o)) = (new.downcast_mut(), old.downcast()) {
            K::prepare_update(n, o);
        }
    }
    fn validate_update(&self, new: &dyn Object, old: &dyn Object) -> Errors {
        match (new.downcast(), old.downcast()) {
            (Some(n), Some(o)) => K::validate_update(n, o),
            _ => wrong_kind(),
        }
    }
    fn prepare_status_update(&self, new: &mut dyn Object, old: &dyn Object) {
        if let (Some(n), Some(o)) = (new.downcast_mut(), old.downcast()) {
            K::prepare_status_update(n, o);
        }
    }
    fn validate_status_update(&self, new: &dyn Object, old: &dyn Object) -> Errors {
        match (new.downcast(), old.downcast()) {
            (Some(n), Some(o)) => K::validate_status_update(n, o),
            _ => wrong_kind(),
        }
    }
    fn warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String> {
        new.downcast().map(|n| K::warnings(n, old.and_then(|o| o.downcast()))).unwrap_or_default()
    }
    fn fields(&self, object: &dyn Object) -> Vec<(&'static str, String)> {
        object.downcast().map(K::fields).unwrap_or_default()
    }
    fn cells(&self, object: &dyn Object, cx: &PrintContext) -> Vec<Value> {
        object.downcast().map(|o| K::cells(o, cx)).unwrap_or_default()
    }
    fn deletion(&self, object: &dyn Object, requested: Option<i64>) -> Deletion {
        object.downcast().map_or(Deletion::Immediate, |o| K::deletion(o, requested))
    }
    fn dependents(&self) -> Dependents {
        K::dependents()
    }
    fn deprecation(&self) -> Option<&'static str> {
        K::deprecation()
    }
    fn returns_deleted(&self) -> bool {
        K::returns_deleted()
    }
    fn holds_deletion(&self, object: &dyn Object) -> bool {
        object.downcast().is_some_and(K::holds_deletion)
    }
    fn mark_deleting(&self, object: &mut dyn Object) {
        if let Some(o) = object.downcast_mut() {
            K::mark_deleting(o);
        }
    }
    fn from_storage(&self, value: Value) -> Value {
        K::from_storage(value)
    }
    fn to_storage(&self, value: Value) -> Value {
        K::to_storage(value)
    }
}

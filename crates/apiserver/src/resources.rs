//! The catalogue as the server walks it: served resources by group, version and plural.
use crate::watch_cache::{Cache, Caches};
use bytes::Bytes;
use isopod_api::apply::{FieldSet, reset_fields};
use isopod_api::catalogue::{Descriptor, KindOps, Scope};
use isopod_api::status::Named;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

/// One served resource: a kind in one version.
pub struct Resource {
    pub ops: &'static dyn KindOps,
    /// Of its storage; shared by all served versions. `None` for kinds of which nothing is stored.
    pub cache: Option<Arc<Cache>>,
    /// Another served version shares the storage: objects are converted on their way in and out.
    pub converts: bool,
    /// How the kind's stored JSON begins: `{"apiVersion":"v1","kind":"Pod","metadata":{`.
    pub stored_head: Bytes,
    api_version: String,
    /// The labels of its selectable fields.
    field_labels: OnceLock<Vec<&'static str>>,
    /// Fields that writes of the object and of its status cannot set.
    reset: [FieldSet; 2],
    /// How an object of it goes out: `{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"`.
    pub served_head: Bytes,
}

/// How an item of a list goes out: without kind and version.
pub const ITEM_HEAD: &str = "{\"metadata\":{\"resourceVersion\":\"";

impl Resource {
    fn new(ops: &'static dyn KindOps, cache: Option<Arc<Cache>>, converts: bool) -> Self {
        let d = ops.descriptor();
        let stored_head = format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",\"metadata\":{{", d.api_version(), d.kind);
        let served_head = format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"",
            d.kind,
            d.api_version()
        );
        Self {
            ops,
            cache,
            converts,
            stored_head: stored_head.into(),
            api_version: d.api_version(),
            field_labels: OnceLock::new(),
            reset: [reset_fields(d, ""), reset_fields(d, "status")],
            served_head: served_head.into(),
        }
    }
    pub fn api_version(&self) -> &str {
        &self.api_version
    }
    /// Of an empty object: the labels do not depend on it.
    pub fn field_labels(&self) -> &[&'static str] {
        self.field_labels.get_or_init(|| match self.ops.decode(json!({})) {
            Ok(empty) => self.ops.fields(&*empty).into_iter().map(|(label, _)| label).collect(),
            Err(_) => Vec::new(),
        })
    }
    /// Fields that a write through `subresource` leaves as they were.
    pub fn reset_fields(&self, subresource: &str) -> &FieldSet {
        let [object, status] = &self.reset;
        if subresource == "status" { status } else { object }
    }
    pub fn descriptor(&self) -> &'static Descriptor {
        self.ops.descriptor()
    }
    /// Group and plural, as errors name the resource.
    pub fn named(&self) -> Named<'static> {
        Named::new(self.descriptor().group, self.descriptor().plural)
    }
    /// Group and kind, as validation errors name it.
    pub fn named_kind(&self) -> Named<'static> {
        Named::new(self.descriptor().group, self.descriptor().kind)
    }
    pub fn namespaced(&self) -> bool {
        self.descriptor().scope == Scope::Namespaced
    }
    /// The folder of all objects, or of a namespace's.
    pub fn prefix(&self, namespace: &str) -> String {
        let storage = self.descriptor().storage;
        if namespace.is_empty() || !self.namespaced() {
            format!("/registry/{storage}/")
        } else {
            format!("/registry/{storage}/{namespace}/")
        }
    }
    pub fn key(&self, namespace: &str, name: &str) -> Arc<str> {
        let storage = self.descriptor().storage;
        if self.namespaced() {
            format!("/registry/{storage}/{namespace}/{name}").into()
        } else {
            format!("/registry/{storage}/{name}").into()
        }
    }
    pub fn stored(&self) -> bool {
        self.descriptor().verbs.stored()
    }
}

/// All served resources.
pub struct Resources {
    /// By group and version, then plural. Ordered as discovery lists them.
    groups: HashMap<(String, String), BTreeMap<&'static str, Arc<Resource>>>,
    all: Vec<Arc<Resource>>,
}

impl Resources {
    pub fn new(kinds: &[&'static dyn KindOps], caches: &Arc<Caches>) -> Self {
        let mut groups: HashMap<_, BTreeMap<_, _>> = HashMap::new();
        let mut all = Vec::with_capacity(kinds.len());
        for ops in kinds {
            let d = ops.descriptor();
            let stored = d.verbs.stored();
            let sharing = kinds.iter().filter(|k| stored && k.descriptor().storage == d.storage).count();
            let cache = stored.then(|| caches.register(d.storage, *ops));
            let resource = Arc::new(Resource::new(*ops, cache, sharing > 1));
            groups
                .entry((d.group.to_owned(), d.version.to_owned()))
                .or_default()
                .insert(d.plural, Arc::clone(&resource));
            all.push(resource);
        }
        Self { groups, all }
    }

    pub fn all(&self) -> &[Arc<Resource>] {
        &self.all
    }
    pub fn has_group(&self, group: &str) -> bool {
        self.groups.keys().any(|(g, _)| g == group)
    }
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.groups.get(&(group.to_owned(), version.to_owned()))?.get(plural)
    }
    /// A kind by its names; any version.
    pub fn find(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.all.iter().find(|r| r.descriptor().group == group && r.descriptor().plural == plural)
    }
}

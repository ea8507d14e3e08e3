//! One object as the cache holds it, and what a read or a watch selects by.
use bytes::Bytes;
use isopod_api::catalogue::{KindOps, Object};
use isopod_api::selector::{FieldSelector, Selector};
use isopod_store::{KeyValue, Revision};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// What selectors need of an object.
#[derive(Debug, Default)]
pub struct Info {
    /// By key, in order.
    labels: Box<[(Box<str>, Box<str>)]>,
    /// Read from the typed object on first use unless the writer gave them.
    fields: OnceLock<Fields>,
}

type Fields = Box<[(&'static str, Box<str>)]>;

fn boxed_labels(labels: &BTreeMap<String, String>) -> Box<[(Box<str>, Box<str>)]> {
    labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

fn boxed_fields(ops: &dyn KindOps, object: &dyn Object) -> Fields {
    ops.fields(object).into_iter().map(|(label, value)| (label, value.into_boxed_str())).collect()
}

impl Info {
    /// From the typed object, as the writer has it.
    pub fn of(ops: &dyn KindOps, object: &dyn Object) -> Self {
        let labels = object.meta().labels.as_ref().map(boxed_labels).unwrap_or_default();
        Self { labels, fields: boxed_fields(ops, object).into() }
    }

    fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.labels.get(at).map(|(_, value)| &**value)
    }

    /// Whether `other` says the same, so that one of them can stand for both.
    fn same(&self, other: &Self) -> bool {
        self.labels == other.labels && self.fields.get().is_some() && self.fields.get() == other.fields.get()
    }

    fn read(json: &[u8]) -> Self {
        #[derive(Deserialize, Default)]
        struct Meta {
            #[serde(default)]
            labels: Option<BTreeMap<String, String>>,
        }
        #[derive(Deserialize, Default)]
        struct Head {
            #[serde(default)]
            metadata: Meta,
        }
        let head: Head = serde_json::from_slice(json).unwrap_or_default();
        let labels = head.metadata.labels.as_ref().map(boxed_labels).unwrap_or_default();
        Self { labels, fields: OnceLock::new() }
    }
}

/// An object at one version. Cheap to share.
#[derive(Debug)]
pub struct Cached {
    pub key: Arc<str>,
    /// As stored: without resourceVersion.
    pub json: Bytes,
    /// What clients see as its resourceVersion.
    pub revision: Revision,
    info: OnceLock<Arc<Info>>,
}

impl Cached {
    pub fn from_stored(kv: &KeyValue) -> Self {
        Self { key: Arc::clone(&kv.key), json: kv.value.clone(), revision: kv.mod_revision, info: OnceLock::new() }
    }

    pub fn new(key: Arc<str>, json: Bytes, revision: Revision) -> Self {
        Self { key, json, revision, info: OnceLock::new() }
    }

    /// With what the writer knows of it, kept once for all versions that do not differ in it.
    pub(crate) fn with_info(self, info: Option<Arc<Info>>, previous: Option<&Self>) -> Self {
        if let Some(info) = info {
            let known = previous.and_then(|p| p.info.get()).filter(|known| known.same(&info));
            let _ = self.info.set(known.map_or(info.clone(), Arc::clone));
        }
        self
    }

    /// The same object under another revision: the last state of a deleted one, at its deletion.
    pub(crate) fn at(&self, revision: Revision) -> Self {
        Self { key: Arc::clone(&self.key), json: self.json.clone(), revision, info: self.info.clone() }
    }

    pub fn info(&self) -> &Info {
        self.info.get_or_init(|| Arc::new(Info::read(&self.json)))
    }

    /// The value of a selectable field; `None` for one the kind does not have.
    fn fields(&self, ops: &dyn KindOps) -> &[(&'static str, Box<str>)] {
        self.info().fields.get_or_init(|| {
            let value = serde_json::from_slice(&self.json).map(|v| ops.from_storage(v));
            value.and_then(|v| ops.decode(v)).map(|o| boxed_fields(ops, &*o)).unwrap_or_default()
        })
    }

    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
    /// Of a namespaced kind's object.
    pub fn namespace(&self) -> &str {
        self.key.rsplit('/').nth(1).unwrap_or_default()
    }
}

/// What a list or watch selects by.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Keys must begin so.
    pub prefix: String,
    pub labels: Selector,
    pub fields: FieldSelector,
    pub ops: Ops,
    pub namespaced: bool,
}

/// The kind whose selectable fields are meant.
#[derive(Clone, Copy)]
pub struct Ops(pub &'static dyn KindOps);

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.descriptor().kind)
    }
}

impl Filter {
    pub fn selects_all(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The only name that can match, if the field selector names one.
    pub fn only_name(&self) -> Option<&str> {
        self.fields.required("metadata.name")
    }

    pub fn matches(&self, object: &Cached) -> bool {
        if !object.key.starts_with(&self.prefix) {
            return false;
        }
        if !self.fields.is_everything()
            && !self.fields.matches(|label| match label {
                "metadata.name" => Some(object.name()),
                "metadata.namespace" => Some(if self.namespaced { object.namespace() } else { "" }),
                _ => object.fields(self.ops.0).iter().find(|(l, _)| *l == label).map(|(_, v)| &**v),
            })
        {
            return false;
        }
        self.labels.is_everything() || self.labels.matches_with(|key| object.info().label(key))
    }
}

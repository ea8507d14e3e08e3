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
    pub labels: BTreeMap<String, String>,
    /// Read from the typed object on first use unless the writer gave them.
    fields: OnceLock<Vec<(&'static str, String)>>,
}

impl Info {
    /// From the typed object, as the writer has it.
    pub fn of(ops: &dyn KindOps, object: &dyn Object) -> Self {
        let labels = object.meta().labels.clone().unwrap_or_default();
        let fields = OnceLock::new();
        let _ = fields.set(ops.fields(object));
        Self { labels, fields }
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
        Self { labels: head.metadata.labels.unwrap_or_default(), fields: OnceLock::new() }
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

    pub(crate) fn with_info(self, info: Option<Arc<Info>>) -> Self {
        if let Some(info) = info {
            let _ = self.info.set(info);
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
    fn fields(&self, ops: &dyn KindOps) -> &[(&'static str, String)] {
        self.info().fields.get_or_init(|| {
            let value = serde_json::from_slice(&self.json).map(|v| ops.from_storage(v));
            value.and_then(|v| ops.decode(v)).map(|o| ops.fields(&*o)).unwrap_or_default()
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
                _ => object.fields(self.ops.0).iter().find(|(l, _)| *l == label).map(|(_, v)| v.as_str()),
            })
        {
            return false;
        }
        self.labels.is_everything() || self.labels.matches(&object.info().labels)
    }
}

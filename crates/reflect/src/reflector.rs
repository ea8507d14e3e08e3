//! Handles: [`Reflectors`] is the process's table of mirrors, [`Reflector`] is one of them.
use crate::mirror::{IndexFn, Mirror};
use crate::slim::Detail;
use crate::source::{Filter, Metadata, Objects};
use crate::subscribe::Subscription;
use crate::{HasMeta, MetaReflector, Source, watch};
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Which objects of a kind to mirror; the default is all. Each selection is a watch of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    pub labels: Option<String>,
    pub fields: Option<String>,
}

impl Selection {
    /// The pods bound to one node: what a node agent watches.
    pub fn on_node(node: &str) -> Self {
        Self { fields: Some(format!("spec.nodeName={node}")), ..Self::default() }
    }
}

/// What the watch loop and all handles of one mirror share.
pub(crate) struct Shared<K> {
    pub(crate) mirror: RwLock<Mirror<K>>,
    pub(crate) synced: tokio::sync::watch::Sender<bool>,
}

/// Ends the watch loop with the last handle.
struct Running<K: HasMeta> {
    shared: Arc<Shared<K>>,
    task: tokio::task::JoinHandle<()>,
}

impl<K: HasMeta> Drop for Running<K> {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.mirror.write().close();
    }
}

/// One kind's mirror. Cheap to clone; reading never waits for the network.
pub struct Reflector<K: HasMeta> {
    running: Arc<Running<K>>,
}

impl<K: HasMeta> Clone for Reflector<K> {
    fn clone(&self) -> Self {
        Self { running: Arc::clone(&self.running) }
    }
}

impl<K: HasMeta> Reflector<K> {
    /// A mirror of any source. Must be called within a tokio runtime.
    pub fn start(source: Box<dyn Source<K>>) -> Self {
        let shared =
            Arc::new(Shared { mirror: RwLock::new(Mirror::new()), synced: tokio::sync::watch::channel(false).0 });
        let task = tokio::spawn(watch::run(source, Arc::downgrade(&shared)));
        Self { running: Arc::new(Running { shared, task }) }
    }

    /// A mirror of one object (or of its absence), shared with nobody: its watch ends with the last handle. How a node agent
    /// follows the few ConfigMaps and Secrets that its pods use.
    pub fn of_one(client: kube::Client, namespace: &str, name: &str) -> Self
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let filter = Filter { fields: Some(format!("metadata.name={name}")), labels: None };
        Self::start(Box::new(Objects { api: Api::namespaced(client, namespace), filter, detail: Detail::Whole }))
    }

    fn mirror(&self) -> parking_lot::RwLockReadGuard<'_, Mirror<K>> {
        self.running.shared.mirror.read()
    }

    /// The namespace of cluster-scoped objects is empty.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.mirror().get(namespace, name).cloned()
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.mirror().iter().cloned().collect()
    }

    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        self.mirror().iter_in(namespace).cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.mirror().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Registers an index (idempotent by name; the first function stays). It is kept up with every change.
    pub fn add_index(&self, name: &'static str, of: IndexFn<K>) {
        self.running.shared.mirror.write().add_index(name, of);
    }

    /// The objects that have `value` in the index; none if there is no such index.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        self.mirror().by_index(name, value).cloned().collect()
    }

    /// How far the mirror has come: every change of this kind up to here is in it. 0 before it is synced.
    pub fn resource_version(&self) -> u64 {
        self.mirror().resource_version()
    }

    /// First every object there is (`old` is `None`), then changes.
    pub fn subscribe(&self) -> Subscription<K> {
        Subscription { outbox: self.running.shared.mirror.write().subscribe() }
    }

    /// Whether the mirror has held the whole truth once.
    pub fn is_synced(&self) -> bool {
        *self.running.shared.synced.borrow()
    }

    pub async fn synced(&self) {
        let mut synced = self.running.shared.synced.subscribe();
        // The sender lives as long as `self`.
        let _closed = synced.wait_for(|s| *s).await;
    }
}

#[derive(Default)]
struct Table {
    /// `Reflector<K>` by K, namespace (`None`: all) and selection.
    typed: HashMap<(TypeId, Option<String>, Selection), Box<dyn Any + Send + Sync>>,
    /// The same without their type, whole kinds only, by group and plural.
    erased: HashMap<(String, String), Arc<dyn MetaReflector>>,
}

/// The process's mirrors: one a kind and selection, made when first asked for. Cheap to clone.
#[derive(Clone)]
pub struct Reflectors {
    client: kube::Client,
    table: Arc<Mutex<Table>>,
}

impl Reflectors {
    /// `client` needs list and watch on every kind asked for.
    pub fn new(client: kube::Client) -> Self {
        Self { client, table: Arc::default() }
    }

    /// The mirror of all objects of a kind. Pods are mirrored without what only their node needs (see [`crate`]).
    pub fn of<K>(&self) -> Reflector<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        let api = Api::all(self.client.clone());
        let reflector =
            self.typed(None, Selection::default(), |filter| Objects { api, filter, detail: Detail::ControlPlane });
        let name = (K::group(&()).into_owned(), K::plural(&()).into_owned());
        self.table.lock().erased.entry(name).or_insert_with(|| Arc::new(reflector.clone()));
        reflector
    }

    /// The mirror of a selection of a kind, over all namespaces if it is namespaced.
    pub fn selected<K>(&self, selection: Selection) -> Reflector<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        let api = Api::all(self.client.clone());
        self.typed(None, selection, |filter| Objects { api, filter, detail: Detail::Whole })
    }

    /// The mirror of a selection within one namespace.
    pub fn selected_in<K>(&self, namespace: &str, selection: Selection) -> Reflector<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let api = Api::namespaced(self.client.clone(), namespace);
        self.typed(Some(namespace.to_owned()), selection, |filter| Objects { api, filter, detail: Detail::Whole })
    }

    fn typed<K>(
        &self,
        namespace: Option<String>,
        selection: Selection,
        source: impl FnOnce(Filter) -> Objects<K>,
    ) -> Reflector<K>
    where
        K: HasMeta + kube::Resource + DeserializeOwned + Clone + Debug,
    {
        let mut table = self.table.lock();
        let key = (TypeId::of::<K>(), namespace, selection);
        if let Some(known) = table.typed.get(&key).and_then(|r| r.downcast_ref::<Reflector<K>>()) {
            return known.clone();
        }
        let filter = Filter { labels: key.2.labels.clone(), fields: key.2.fields.clone() };
        let reflector = Reflector::start(Box::new(source(filter)));
        table.typed.insert(key, Box::new(reflector.clone()));
        reflector
    }

    /// The metadata of all objects of any kind: through the kind's full mirror if there is one, else by a metadata-only watch.
    pub fn metadata(&self, resource: &ApiResource) -> Arc<dyn MetaReflector> {
        let name = (resource.group.clone(), resource.plural.clone());
        let mut table = self.table.lock();
        let known = table.erased.entry(name).or_insert_with(|| {
            let source = Metadata::new(self.client.clone(), resource);
            Arc::new(Reflector::<PartialObjectMeta<DynamicObject>>::start(Box::new(source)))
        });
        Arc::clone(known)
    }

    /// Drops the table's handle on a kind that is no longer served; its watch ends with the last other handle.
    pub fn forget_metadata(&self, group: &str, plural: &str) {
        self.table.lock().erased.remove(&(group.to_owned(), plural.to_owned()));
    }
}

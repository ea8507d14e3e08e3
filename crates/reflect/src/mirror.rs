//! The mirror itself: objects by key and by index, and who wants to hear of changes. No I/O, no tasks.
use crate::subscribe::{Change, Outbox};
use crate::{HasMeta, Key};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

/// Ready-made index functions.
pub mod index {
    use crate::HasMeta;
    use k8s_openapi::api::core::v1::Pod;

    /// Name of the index [`controller`] is registered under.
    pub const CONTROLLER: &str = "controller-uid";
    /// Name of the index [`pod_node`] is registered under.
    pub const NODE: &str = "spec.nodeName";

    /// By uid of the managing owner (`ownerReferences[?(@.controller)]`); objects without one are under the empty string.
    pub fn controller<K: HasMeta>(object: &K) -> Vec<String> {
        let owners = object.object_meta().owner_references.as_deref().unwrap_or_default();
        vec![owners.iter().find(|o| o.controller == Some(true)).map(|o| o.uid.clone()).unwrap_or_default()]
    }

    /// Pods by the node they are bound to; unbound ones are under the empty string.
    pub fn pod_node(pod: &Pod) -> Vec<String> {
        vec![pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default()]
    }
}

/// Which values an object has in an index.
pub(crate) type IndexFn<K> = fn(&K) -> Vec<String>;

struct Index<K> {
    of: IndexFn<K>,
    values: HashMap<String, HashMap<Key, Arc<K>>>,
}

impl<K> Index<K> {
    fn insert(&mut self, key: &Key, object: &Arc<K>) {
        for value in (self.of)(object) {
            self.values.entry(value).or_default().insert(key.clone(), Arc::clone(object));
        }
    }
    fn remove(&mut self, key: &Key, object: &K) {
        for value in (self.of)(object) {
            if let Some(objects) = self.values.get_mut(&value) {
                objects.remove(key);
                if objects.is_empty() {
                    self.values.remove(&value);
                }
            }
        }
    }
}

/// All objects of one kind (or of a selection of it), as of `resource_version`.
pub(crate) struct Mirror<K> {
    /// By namespace, then by name: looked up without making a [`Key`].
    namespaces: HashMap<Arc<str>, HashMap<Arc<str>, Arc<K>>>,
    indexes: HashMap<&'static str, Index<K>>,
    outboxes: Vec<Weak<Outbox<K>>>,
    count: usize,
    resource_version: u64,
}

impl<K: HasMeta> Mirror<K> {
    pub(crate) fn new() -> Self {
        Self {
            namespaces: HashMap::new(),
            indexes: HashMap::new(),
            outboxes: Vec::new(),
            count: 0,
            resource_version: 0,
        }
    }

    pub(crate) fn resource_version(&self) -> u64 {
        self.resource_version
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.namespaces.get(namespace)?.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.namespaces.values().flat_map(HashMap::values)
    }

    pub(crate) fn iter_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<K>> {
        self.namespaces.get(namespace).into_iter().flat_map(HashMap::values)
    }

    pub(crate) fn by_index(&self, index: &str, value: &str) -> impl Iterator<Item = &Arc<K>> {
        self.indexes.get(index).and_then(|i| i.values.get(value)).into_iter().flat_map(HashMap::values)
    }

    /// Registers an index; the first function under a name stays.
    pub(crate) fn add_index(&mut self, name: &'static str, of: IndexFn<K>) {
        if self.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { of, values: HashMap::new() };
        for object in self.iter() {
            index.insert(&Key::of(object.object_meta()), object);
        }
        self.indexes.insert(name, index);
    }

    pub(crate) fn subscribe(&mut self) -> Arc<Outbox<K>> {
        let outbox = Outbox::new();
        for object in self.iter() {
            let key = Key::of(object.object_meta());
            outbox.push(Change { key, old: None, new: Some(Arc::clone(object)), latest: Arc::clone(object) });
        }
        self.outboxes.push(Arc::downgrade(&outbox));
        outbox
    }

    pub(crate) fn close(&mut self) {
        for outbox in self.outboxes.drain(..).filter_map(|o| o.upgrade()) {
            outbox.close();
        }
    }

    /// The mirror is true up to `version` (a bookmark).
    pub(crate) fn advance(&mut self, version: u64) {
        self.resource_version = self.resource_version.max(version);
    }

    pub(crate) fn upsert(&mut self, object: K) {
        let object = Arc::new(object);
        let key = Key::of(object.object_meta());
        self.advance(version_of(object.object_meta()));
        let names = self.namespaces.entry(Arc::clone(&key.namespace)).or_default();
        let old = names.insert(Arc::clone(&key.name), Arc::clone(&object));
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.insert(&key, &object);
        }
        if old.is_none() {
            self.count += 1;
        }
        self.publish(&Change { key, old, new: Some(Arc::clone(&object)), latest: object });
    }

    pub(crate) fn remove(&mut self, last: K) {
        let key = Key::of(last.object_meta());
        self.advance(version_of(last.object_meta()));
        self.take(&key, Some(Arc::new(last)));
    }

    fn take(&mut self, key: &Key, last: Option<Arc<K>>) {
        let Some(names) = self.namespaces.get_mut(&key.namespace) else { return };
        let Some(old) = names.remove(&key.name) else { return };
        if names.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        self.count -= 1;
        for index in self.indexes.values_mut() {
            index.remove(key, &old);
        }
        let latest = last.unwrap_or_else(|| Arc::clone(&old));
        self.publish(&Change { key: key.clone(), old: Some(old), new: None, latest });
    }

    /// The whole truth as of `version`: what is not in `objects` is gone, what did not change is not told.
    pub(crate) fn replace(&mut self, objects: Vec<K>, version: u64) {
        let keep: HashSet<Key> = objects.iter().map(|o| Key::of(o.object_meta())).collect();
        let gone: Vec<Key> = self.iter().map(|o| Key::of(o.object_meta())).filter(|k| !keep.contains(k)).collect();
        for key in gone {
            self.take(&key, None);
        }
        for object in objects {
            let meta = object.object_meta();
            let known = self.get(meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""));
            if known.is_some_and(|k| same_version(k.object_meta(), meta)) {
                continue;
            }
            self.upsert(object);
        }
        // A restored server may have gone back in time: what the list says is the truth.
        self.resource_version = version;
    }

    fn publish(&mut self, change: &Change<K>) {
        self.outboxes.retain(|outbox| match outbox.upgrade() {
            Some(outbox) => {
                outbox.push(change.clone());
                true
            }
            None => false,
        });
    }
}

/// Comparable since KEP-5504: decimal and growing. One that is not counts as 0 (nothing is known of it).
pub(crate) fn version_of(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn same_version(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    a.uid == b.uid && a.resource_version.is_some() && a.resource_version == b.resource_version
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subscription;
    use k8s_openapi::api::core::v1::ConfigMap;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Op {
        Upsert(u8, u8),
        Remove(u8),
        /// The whole truth: these names, each with its label.
        Replace(BTreeMap<u8, u8>),
        /// The subscriber hears what waits.
        Hear,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..6u8, 0..3u8).prop_map(|(n, l)| Op::Upsert(n, l)),
            2 => (0..6u8).prop_map(Op::Remove),
            1 => proptest::collection::btree_map(0..6u8, 0..3u8, 0..5).prop_map(Op::Replace),
            2 => Just(Op::Hear),
        ]
    }

    fn object(name: u8, label: u8, version: u64) -> ConfigMap {
        let metadata = ObjectMeta {
            namespace: Some(format!("ns{}", name % 2)),
            name: Some(name.to_string()),
            uid: Some(name.to_string()),
            resource_version: Some(version.to_string()),
            labels: Some([("l".to_owned(), label.to_string())].into()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn label(o: &ConfigMap) -> Vec<String> {
        o.metadata.labels.iter().flatten().map(|(_, v)| v.clone()).collect()
    }

    proptest! {
        /// Whatever happens: lookups and indexes agree with a plain map, and who follows the changes has the same picture.
        #[test]
        fn agrees_with_a_plain_map(ops in proptest::collection::vec(op(), 0..60)) {
            let mut mirror = Mirror::new();
            mirror.add_index("label", label);
            let mut subscription = Subscription { outbox: mirror.subscribe() };
            let (mut naive, mut heard) = (BTreeMap::new(), BTreeMap::new());
            for (version, op) in (1u64..).zip(ops) {
                match op {
                    Op::Upsert(n, l) => {
                        mirror.upsert(object(n, l, version));
                        naive.insert(n.to_string(), l.to_string());
                    }
                    Op::Remove(n) => {
                        mirror.remove(object(n, 0, version));
                        naive.remove(&n.to_string());
                    }
                    Op::Replace(all) => {
                        mirror.replace(all.iter().map(|(n, l)| object(*n, *l, version)).collect(), version);
                        naive = all.iter().map(|(n, l)| (n.to_string(), l.to_string())).collect();
                    }
                    Op::Hear => {
                        for change in subscription.take() {
                            let name = change.key.name.to_string();
                            let old = change.old.as_ref().map(|o| label(o)[0].clone());
                            prop_assert_eq!(heard.get(&name), old.as_ref());
                            match &change.new {
                                Some(o) => heard.insert(name, label(o)[0].clone()),
                                None => heard.remove(&name),
                            };
                        }
                        prop_assert_eq!(&heard, &naive);
                    }
                }
                prop_assert_eq!(mirror.len(), naive.len());
                for l in 0..3u8 {
                    let l = l.to_string();
                    let expected = naive.values().filter(|v| **v == l).count();
                    prop_assert_eq!(mirror.by_index("label", &l).count(), expected);
                }
                for n in 0..6u8 {
                    let found = mirror.get(&format!("ns{}", n % 2), &n.to_string()).map(|o| label(o)[0].clone());
                    prop_assert_eq!(found.as_ref(), naive.get(&n.to_string()));
                }
            }
        }
    }
}

//! Reflectors without their type: what the garbage collector and other readers of metadata see.
//!
//! A kind that is mirrored in full already is read through that mirror: there is never a second watch for its metadata.
use crate::{Key, Reflector, Subscription};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::sync::Arc;

/// Anything with object metadata.
pub trait HasMeta: Send + Sync + 'static {
    fn object_meta(&self) -> &ObjectMeta;
    fn object_meta_mut(&mut self) -> &mut ObjectMeta;
}

impl<K: kube::Resource + Send + Sync + 'static> HasMeta for K {
    fn object_meta(&self) -> &ObjectMeta {
        self.meta()
    }
    fn object_meta_mut(&mut self) -> &mut ObjectMeta {
        self.meta_mut()
    }
}

/// A [`crate::Change`] without its type.
#[derive(Clone)]
pub struct MetaChange {
    pub key: Key,
    pub old: Option<Arc<dyn HasMeta>>,
    pub new: Option<Arc<dyn HasMeta>>,
    pub latest: Arc<dyn HasMeta>,
}

/// A [`Reflector`] without its type.
#[async_trait::async_trait]
pub trait MetaReflector: Send + Sync {
    fn get_meta(&self, namespace: &str, name: &str) -> Option<Arc<dyn HasMeta>>;
    fn list_meta(&self) -> Vec<Arc<dyn HasMeta>>;
    /// Objects in one namespace.
    fn list_meta_in(&self, namespace: &str) -> Vec<Arc<dyn HasMeta>>;
    fn subscribe_meta(&self) -> Box<dyn MetaSubscription>;
    async fn synced_meta(&self);
    fn is_synced_meta(&self) -> bool;
}

/// A [`Subscription`] without its type.
#[async_trait::async_trait]
pub trait MetaSubscription: Send {
    async fn next_batch_meta(&mut self) -> Option<Vec<MetaChange>>;
}

#[async_trait::async_trait]
impl<K: HasMeta> MetaReflector for Reflector<K> {
    fn get_meta(&self, namespace: &str, name: &str) -> Option<Arc<dyn HasMeta>> {
        self.get(namespace, name).map(|o| o as Arc<dyn HasMeta>)
    }
    fn list_meta(&self) -> Vec<Arc<dyn HasMeta>> {
        self.list().into_iter().map(|o| o as Arc<dyn HasMeta>).collect()
    }
    fn list_meta_in(&self, namespace: &str) -> Vec<Arc<dyn HasMeta>> {
        self.list_in(namespace).into_iter().map(|o| o as Arc<dyn HasMeta>).collect()
    }
    fn subscribe_meta(&self) -> Box<dyn MetaSubscription> {
        Box::new(self.subscribe())
    }
    async fn synced_meta(&self) {
        self.synced().await;
    }
    fn is_synced_meta(&self) -> bool {
        self.is_synced()
    }
}

#[async_trait::async_trait]
impl<K: HasMeta> MetaSubscription for Subscription<K> {
    async fn next_batch_meta(&mut self) -> Option<Vec<MetaChange>> {
        let batch = self.next_batch().await?;
        Some(
            batch
                .into_iter()
                .map(|c| MetaChange {
                    key: c.key,
                    old: c.old.map(|o| o as Arc<dyn HasMeta>),
                    new: c.new.map(|o| o as Arc<dyn HasMeta>),
                    latest: c.latest,
                })
                .collect(),
        )
    }
}

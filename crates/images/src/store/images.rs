//! The store as the node agent sees it.
use super::ImageStore;
use crate::contract::{Credentials, Images};
use crate::{Image, ImageError, Result};
use async_trait::async_trait;

#[async_trait]
impl Images for ImageStore {
    async fn find(&self, reference: &str) -> Result<Option<Image>> {
        let (store, reference) = (self.clone(), reference.to_owned());
        blocking(move || store.lookup(&reference)).await
    }

    async fn pull(&self, reference: &str, credentials: &[Credentials]) -> Result<Image> {
        self.pull_image(reference, credentials, None).await
    }

    async fn list(&self) -> Result<Vec<Image>> {
        let store = self.clone();
        blocking(move || store.images()).await
    }

    async fn remove(&self, id: &str) -> Result<u64> {
        let store = self.clone();
        let id = id.parse().map_err(|_| ImageError::Refused { message: format!("{id:?} is no image id") })?;
        blocking(move || store.delete_at_rest(&id)?.ok_or(ImageError::Busy)).await
    }
}

/// Runs what reads and writes files away from the threads that drive the others.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(ImageError::Io { context: "image store".into(), source: std::io::Error::other(error) }),
    }
}
